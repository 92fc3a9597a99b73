package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runMain makes the test binary the program itself.
const runMain = "DASHSTREAM_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the real program with these arguments and variables.
func program(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, exe, args...) //nolint:gosec // this very binary
	cmd.Env = append([]string{runMain + "=1"}, env...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestProgram(t *testing.T) {
	t.Parallel()
	tests := []struct {
		env            []string
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, []string{"version"}, 0, "dashstream ", ""},
		{nil, nil, 2, "", "no command given"},
		{[]string{"DASHSTREAM_TOPCI=x"}, []string{"version"}, 0, "dashstream ", "nearest=DASHSTREAM_TOPIC"},
		{[]string{"KAFKA_TOPIC=a/b"}, []string{"config"}, 2, "KAFKA_BROKERS", `KAFKA_TOPIC="a/b"`},
		{[]string{"KAFKA_BROKERS=127.0.0.1:1"}, []string{"topics", "describe"}, 3, "", "nothing listens at 127.0.0.1:1"},
	}
	for _, tt := range tests {
		cmd, stdout, stderr := program(t, tt.env, tt.args...)
		if code := exitCode(t, cmd.Run()); code != tt.code {
			t.Errorf("%q: exit code %d, want %d; stderr %s", tt.args, code, tt.code, stderr)
		}
		if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) || tt.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%q: stdout %q, stderr %q", tt.args, stdout, stderr)
		}
	}
}

// A signal ends the program in order, whichever of the two it is.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cmd, _, stderr := program(t, []string{"KAFKA_BROKERS=" + ln.Addr().String()}, "topics", "ensure")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept() // the command waits for an answer now
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd.Wait()); code != 1 || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("%v: exit code %d, stderr %s", sig, code, stderr)
		}
		for _, c := range []io.Closer{conn, ln} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
