package cli

import (
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// words is a text without its line breaks, which depend on the width of the terminal.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// The help of a command is about the command: of the Kafka settings it has the three that name a cluster and its topics, and
// says where the others are.
func TestHelpIsNotDrownedInKafka(t *testing.T) {
	t.Parallel()
	kafka := kafkaclient.Default()
	fields, err := settings.Fields(&kafka)
	if err != nil {
		t.Fatal(err)
	}
	all := words(runCLI(t, nil, "help", "kafka").stdout)
	for _, f := range fields {
		if !strings.Contains(all, "--"+f.Flag) || !strings.Contains(all, "env: "+f.Env()) {
			t.Errorf("help kafka has no --%s", f.Flag)
		}
	}
	for _, command := range []string{"gateway", "tail", "demo", "topics ensure", "topics describe", "config"} {
		o := runCLI(t, nil, append(strings.Fields(command), "--help")...)
		o.want(t, ExitOK)
		for _, f := range fields {
			named := f.Flag == "kafka-brokers" || f.Flag == "kafka-topic" || f.Flag == "kafka-dlq-topic"
			if strings.Contains(o.stdout, "--"+f.Flag+"=") != named {
				t.Errorf("%s --help: is --%s there? want %v", command, f.Flag, named)
			}
		}
		if !strings.Contains(o.stdout, "dashstream help kafka") {
			t.Errorf("%s --help does not say where the other settings are", command)
		}
	}
	// A flag that help leaves out is one all the same.
	runCLI(t, nil, "tail", "--kafka-sasl-mechanism=x").want(t, ExitUsage, "--kafka-sasl-mechanism", "SCRAM-SHA-256")
}

// Every flag tells in the same form what may be written and what it is without.
func TestHelpTellsAllowedAndDefault(t *testing.T) {
	t.Parallel()
	for command, want := range map[string][]string{
		"tail": {
			"--from=WHERE Where to begin. (now, earliest, a time (RFC 3339), a time ago (10m), or a cursor (stream:partition=offset@epoch,...); default: now)",
			"--output=FORMAT text for people, json for programs. (text, json; default: text)",
			"execution_trace)", "(a whole number, 0 or more; 0 means never; default: 0)",
			"The records of a thread, and all of one partition, come in the order of the log.", "the exit code is 4",
		},
		"demo": {"How many runs; 0 goes on until Ctrl-C. (default: 10)", "(default: 3, or with --rate as many as it takes)", "18446744073709551615; default: a new one"},
		"up":   {"(default: .dashstream; env: DASHSTREAM_DATA_DIR)"},
	} {
		text := words(runCLI(t, nil, command, "--help").stdout)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s --help has no %q in %s", command, w, text)
			}
		}
	}
}

func TestHelpCommand(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"", "up", "topics", "topics ensure", "help"} {
		args := strings.Fields(command)
		o, want := runCLI(t, nil, append([]string{"help"}, args...)...), runCLI(t, nil, append(args, "--help")...)
		o.want(t, ExitOK)
		if o.stdout != want.stdout || o.stdout == "" {
			t.Errorf("help %s: %q, want what --help says, %q", command, o.stdout, want.stdout)
		}
	}
	runCLI(t, nil, "help", "frobnicate").want(t, ExitUsage, `no command "frobnicate"`, "topics ensure", "kafka")
	if o := runCLI(t, nil, "--help"); !strings.Contains(words(o.stdout), "4 There is nothing: no such topic, no such run, no record. 5 Another process has") {
		t.Errorf("the exit codes are not told: %s", o.stdout)
	}
}

func TestVersionFlag(t *testing.T) {
	t.Parallel()
	want := runCLI(t, nil, "version").stdout
	for _, args := range [][]string{{"--version"}, {"tail", "--version"}} {
		o := runCLI(t, nil, args...)
		o.want(t, ExitOK)
		if o.stdout != want || o.stderr != "" {
			t.Errorf("%q: stdout %q, stderr %q, want %q", args, o.stdout, o.stderr, want)
		}
	}
}
