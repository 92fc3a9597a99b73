package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"the command's output and success", []string{"-backend", "embedded", "sh", "-c", `echo "at $KAFKA_BROKERS"`}, 0, "at 127.0.0.1:", "serves on 127.0.0.1:"},
		{"the command's exit code", []string{"-backend", "embedded", "sh", "-c", "exit 7"}, 7, "", "exit status 7"},
		{"no such command", []string{"-backend", "embedded", "/no/such/command"}, 1, "", "/no/such/command"},
		{"no command", []string{"-backend", "embedded"}, exitUsage, "", "usage:"},
		{"no jars", []string{"true"}, exitUsage, "", "kafka-jars.sh"},
		{"no such backend", []string{"-backend", "redpanda", "true"}, exitUsage, "", "usage:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tc.args, "", &stdout, &stderr); code != tc.code {
				t.Errorf("exit code = %d, want %d", code, tc.code)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("output %q, %q; want %q, %q in it", &stdout, &stderr, tc.stdout, tc.stderr)
			}
		})
	}
}
