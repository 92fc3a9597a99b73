package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/topics"
)

// outcome is what one run of the command line left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// runCLI runs the command line with the environment and nothing else.
func runCLI(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	names := []string{} // never nil: misspelt variables are looked for
	for name := range env {
		names = append(names, name)
	}
	var stdout, stderr bytes.Buffer
	code := Program{
		Args: args, Env: settings.MapEnv(env), EnvNames: names, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
	}.Run(ctx)
	return outcome{code, stdout.String(), stderr.String()}
}

// want fails the test unless the code is right and standard error has every text.
func (o outcome) want(t *testing.T, code int, says ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d; stderr: %s", o.code, code, o.stderr)
	}
	for _, s := range says {
		if !strings.Contains(o.stderr, s) {
			t.Errorf("no %q in stderr: %s", s, o.stderr)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		says []string
	}{
		{nil, []string{"Usage: dashstream <command>", "no command given"}},
		{[]string{"frobnicate"}, []string{"unexpected argument frobnicate", "commands: ", "topics, config, version", "Try: dashstream --help"}},
		{[]string{"topics"}, []string{"ensure", "describe", "Try: dashstream topics --help"}},
		{[]string{"topics", "frobnicate"}, []string{"commands: ensure, describe", "Try: dashstream topics --help"}},
		{[]string{"version", "--bogus"}, []string{"unknown flag --bogus", "Try: dashstream version --help"}},
		{[]string{"version", "--output", "xml"}, []string{"--output", `"text","json"`, `"xml"`, "Try: dashstream version --help"}},
		{[]string{"topics", "ensure", "--profile", "huge"}, []string{`--profile="huge"`, "default, production, embedded"}},
		{[]string{"topics", "ensure", "--kafka-security-protocol", "tls"}, []string{`--kafka-security-protocol="tls"`, "plaintext, ssl, sasl_plaintext, sasl_ssl", "Try: dashstream config"}},
		{[]string{"topics", "ensure", "--partitions", "-5"}, []string{`--partitions="-5": below the minimum; allowed: a whole number`}},
		{[]string{"up", "--demo", "--demo-rate", "-1"}, []string{`--demo-rate="-1": below the minimum; allowed: a number, from 0 to 10000`}},
		{[]string{"up", "--demo", "--demo-seed", "-1"}, []string{`--demo-seed="-1"`, "a whole number from 0 to 18446744073709551615"}},
		{[]string{"demo", "--seed", "-1"}, []string{"--seed", `"-1": want a whole number from 0 to 18446744073709551615`}},
		{[]string{"demo", "--rate", "-.5"}, []string{"--rate -0.5: allowed is 0 to 10000"}},
		{[]string{"tail", "-n", "-1"}, []string{"--count: -1: want 0 or more"}},
		{[]string{"tail", "--count", "-1"}, []string{"--count: -1: want 0 or more"}},
		{[]string{"tail", "--type", ""}, []string{`"" is no message type`, "state_diff"}},
		{[]string{"tail", "--type="}, []string{`"" is no message type`, "state_diff"}},
		{[]string{"tail", "--type", "event,"}, []string{`"" is no message type`, "state_diff"}},
		{[]string{"topics", "ensure", "--partitions=-5"}, []string{`--partitions="-5": below the minimum`}},
		{[]string{"topics", "ensure", "--min-insync", "2"}, []string{"min.insync.replicas", "replication factor, 1"}},
		{[]string{"version", "--log-level", "loud"}, []string{`--log-level="loud"`, "debug, info, warn, error"}},
		{[]string{"config", "--reference", "gateway"}, []string{`leave out "gateway"`, "Try: dashstream config --help"}},
		{[]string{"config", "nothing"}, []string{`no command "nothing"`, "topics ensure", "Try: dashstream config"}},
		{[]string{"version\x1b[2J\n"}, []string{"unexpected argument"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			o := runCLI(t, map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, tt.args...)
			o.want(t, ExitUsage, tt.says...)
			if o.stdout != "" {
				t.Errorf("talk on stdout: %q", o.stdout)
			}
			if strings.Contains(o.stderr, "\x1b") {
				t.Errorf("control characters on the terminal: %q", o.stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"topics", "--help"}, {"topics", "ensure", "-h"}, {"config", "--help"}} {
		o := runCLI(t, nil, args...)
		o.want(t, ExitOK)
		if !strings.Contains(o.stdout, "Usage: dashstream") || o.stderr != "" {
			t.Errorf("%q: stdout %q, stderr %q", args, o.stdout, o.stderr)
		}
	}
	o := runCLI(t, nil, "topics", "ensure", "--help")
	// Wrapping depends on the width of the terminal.
	text := strings.Join(strings.Fields(o.stdout), " ")
	for _, want := range []string{
		"--kafka-topic=TOPIC", "default: dashstream-quality", "env: KAFKA_TOPIC or DASHSTREAM_TOPIC",
		"default: <KAFKA_TOPIC>-dlq", "default: that of the profile", "--raise-partitions", "-o, --output",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, o.stdout)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	o := runCLI(t, nil, "version")
	o.want(t, ExitOK)
	if !strings.HasPrefix(o.stdout, "dashstream ") || !strings.Contains(o.stdout, "go1.") {
		t.Errorf("stdout %q", o.stdout)
	}
	if o := runCLI(t, nil, "version", "-o", "json"); !strings.Contains(o.stdout, `"go_version": "go1.`) {
		t.Errorf("stdout %q", o.stdout)
	}
}

// Every way to end has its code.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	tests := []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("anything"), ExitFailure},
		{context.DeadlineExceeded, ExitFailure},
		{usageError("", "wrong"), ExitUsage},
		{&settings.Error{Name: "KAFKA_TOPIC"}, ExitUsage},
		{fmt.Errorf("wrapped: %w", errors.Join(&settings.Error{}, &settings.Error{})), ExitUsage},
		{noData("nothing"), ExitNoData},
		{s.Explain(kafkaclient.OpInspect, kerr.UnknownTopicOrPartition), ExitNoData},
		{s.Explain(kafkaclient.OpConnect, context.DeadlineExceeded), ExitBroker},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, ExitBroker},
		{kerr.SaslAuthenticationFailed, ExitBroker},
		{kerr.TopicAuthorizationFailed, ExitBroker},
		{kerr.NotEnoughReplicas, ExitBroker},
		{&topics.MismatchError{}, ExitFailure},
	}
	for _, tt := range tests {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestUnjoin(t *testing.T) {
	t.Parallel()
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c")
	sentence := fmt.Errorf("%w because of %w", a, b)
	got := unjoin(badSettings(errors.Join(a, errors.Join(sentence, c))))
	if len(got) != 3 || got[0] != a || got[1] != sentence || got[2] != c { //nolint:errorlint // the very same
		t.Errorf("got %v", got)
	}
}

// All commands share one set of Kafka settings: the same names, the same defaults, and a flag beats a variable.
func TestCommandsShareTheKafkaSettings(t *testing.T) {
	t.Parallel()
	reference := kafkaclient.Default()
	fields, err := settings.Fields(&reference)
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]settings.Field{}
	for _, f := range fields {
		shared[f.Env()] = f
	}
	kafkaCommands := 0
	for _, l := range leaves(commandList()) {
		own, err := settings.Fields(l.command)
		if err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		n := 0
		for _, f := range own {
			want, ok := shared[f.Env()]
			if !ok {
				continue
			}
			n++
			// A consumer has a group of its own; all else is the same everywhere.
			if f.Flag != want.Flag || f.Default != want.Default && f.Env() != "KAFKA_GROUP_ID" {
				t.Errorf("%s: %s has flag %s and default %q, want %s and %q", l.name, f.Env(), f.Flag, f.Default, want.Flag, want.Default)
			}
		}
		if n < len(shared) {
			continue // a command that does not connect to a cluster of the user's
		}
		kafkaCommands++
		source := settings.Source{Env: settings.MapEnv(map[string]string{"KAFKA_BOOTSTRAP_SERVERS": "env:1", "KAFKA_TOPIC": "env"})}
		if got := effective(t, l.command, source); got["KAFKA_BROKERS"] != "env:1" || got["KAFKA_TOPIC"] != "env" || got["KAFKA_DLQ_TOPIC"] != "env-dlq" {
			t.Errorf("%s: the environment is not honoured: %v", l.name, got)
		}
	}
	if kafkaCommands < 3 {
		t.Errorf("only %d commands have all Kafka settings", kafkaCommands)
	}
}

// effective loads a command and returns its settings by variable.
func effective(t *testing.T, command any, source settings.Source) map[string]string {
	t.Helper()
	values, err := settings.Load(command, source)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, v := range values {
		out[v.Field.Env()] = v.Text
	}
	return out
}

func TestFlagBeatsVariable(t *testing.T) {
	t.Parallel()
	env := map[string]string{"KAFKA_BROKERS": "env:1", "KAFKA_TOPIC": "env", "DASHSTREAM_TOPICS_PARTITIONS": "7"}
	for _, args := range [][]string{
		{"topics", "ensure", "--kafka-topic", "flag", "--kafka-brokers=flag:2", "--raise-partitions"},
		{"topics", "ensure", "--topic=flag", "--brokers", "flag:2", "--raise-partitions"},
	} {
		cmd, _, err := Program{Args: args, Env: settings.MapEnv(env), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}.prepare()
		if err != nil {
			t.Fatal(err)
		}
		c, ok := cmd.(*topicsEnsure)
		if !ok {
			t.Fatalf("%T", cmd)
		}
		if c.Topics.Kafka.Topic != "flag" || c.Topics.Kafka.Brokers.String() != "flag:2" || c.Topics.Partitions != 7 || !c.RaisePartitions {
			t.Errorf("%q: %+v", args, c)
		}
		if got := c.Topics.definitions(&Process{})[0]; got.Partitions != 7 || got.Name != "flag" {
			t.Errorf("definition %+v", got)
		}
	}
}

// A boolean setting needs no value as a flag, and takes one after "=".
func TestBooleanFlag(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flag string
		want bool
	}{{"--aws-ec2-metadata-disabled", true}, {"--aws-ec2-metadata-disabled=no", false}, {"--aws-ec2-metadata-disabled=on", true}} {
		cmd, _, err := Program{Args: []string{"topics", "describe", tt.flag, "--partitions", "2"}, Env: settings.MapEnv(map[string]string{"AWS_EC2_METADATA_DISABLED": "yes"})}.prepare()
		if err != nil {
			t.Fatalf("%s: %v", tt.flag, err)
		}
		if c, ok := cmd.(*topicsDescribe); !ok || bool(c.Topics.Kafka.AWSMetadataDisabled) != tt.want || c.Topics.Partitions != 2 {
			t.Errorf("%s: %+v", tt.flag, cmd)
		}
	}
}

// Two runs in one process share nothing.
func TestRunsShareNothing(t *testing.T) {
	t.Parallel()
	prepare := func(args ...string) *topicsEnsure {
		cmd, _, err := Program{Args: append([]string{"topics", "ensure"}, args...)}.prepare()
		if err != nil {
			t.Fatal(err)
		}
		c, ok := cmd.(*topicsEnsure)
		if !ok {
			t.Fatalf("%T", cmd)
		}
		return c
	}
	first := prepare("--kafka-topic", "first", "--update-configs")
	second := prepare()
	if second.Topics.Kafka.Topic != kafkaclient.DefaultTopic || second.UpdateConfigs || first.Topics.Kafka.Topic != "first" {
		t.Errorf("first %q, second %q %v", first.Topics.Kafka.Topic, second.Topics.Kafka.Topic, second.UpdateConfigs)
	}
}

func TestMisspeltVariable(t *testing.T) {
	t.Parallel()
	o := runCLI(t, map[string]string{"DASHSTREAM_TOPCI": "x", "DASHSTREAM_SERVICE_HOST": "10.0.0.1"}, "version")
	o.want(t, ExitOK, "DASHSTREAM_TOPCI", "nearest=DASHSTREAM_TOPIC")
	if strings.Contains(o.stderr, "SERVICE_HOST") {
		t.Errorf("a variable of Kubernetes is no mistake: %s", o.stderr)
	}
}

// FuzzArgs: whatever the arguments, the command line is either understood or refused with a message; nothing panics. The
// command itself does not run.
func FuzzArgs(f *testing.F) {
	for _, seed := range []string{
		"", "--help", "topics ensure --partitions 3", "config --kafka-topic=\x00", "version -o json -o", "topics ensure --retention=1e309",
		"config gateway --", "-", "--", "-o", "topics describe --kafka-brokers [::1]:1", "--=", "config \xff", "topics ensure -o=json --update-configs=maybe",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var stdout, stderr bytes.Buffer
		cmd, _, err := Program{Args: strings.Split(line, " "), Stdout: &stdout, Stderr: &stderr}.prepare()
		switch {
		case err != nil:
			if code := exitCode(err); code == ExitOK || strings.TrimSpace(err.Error()) == "" {
				t.Errorf("code %d, message %q", code, err)
			}
		case cmd == nil && stdout.Len() == 0:
			t.Error("neither a command, nor help, nor an error")
		}
	})
}
