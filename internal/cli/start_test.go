package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/embedded"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// freePorts lets servers of several tests run at once.
var freePorts = []string{"--listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"}

func upArgs(dir string, more ...string) []string {
	return append(append([]string{"up", "--data-dir", dir}, freePorts...), more...)
}

// taken is an address that a process listens on.
func taken(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// What another process has is told with the ways out, and with one exit code for all three.
func TestStartIntoWhatIsInUse(t *testing.T) {
	t.Parallel()
	busy := taken(t)
	runCLI(t, nil, upArgs(t.TempDir(), "--kafka-listen", busy)...).
		want(t, ExitInUse, busy, "in use", "another dashstream up or a Kafka broker", "--kafka-listen 127.0.0.1:0 (DASHSTREAM_KAFKA_LISTEN)")
	runCLI(t, nil, upArgs(t.TempDir(), "--listen", busy)...).want(t, ExitInUse, busy, "in use", "--listen 127.0.0.1:0 (DASHSTREAM_LISTEN)")

	dir := t.TempDir()
	b, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	runCLI(t, nil, upArgs(dir)...).want(t, ExitInUse, dir, "held by process", "--data-dir (DASHSTREAM_DATA_DIR)")
}

// A mistake is told once, by the name it was written under, with what is allowed.
func TestStartMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.Mkdir(mine, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mine, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(pair string) map[string]string {
		name, value, _ := strings.Cut(pair, "=")
		return map[string]string{name: value}
	}
	for _, tt := range []struct {
		env  string
		args []string
		code int
		says []string
	}{
		{"", []string{"gateway", "--listen", "3005"}, ExitUsage, []string{`--listen="3005"`, "want HOST:PORT, such as 127.0.0.1:3002"}},
		{"DASHSTREAM_LISTEN=3005", []string{"gateway"}, ExitUsage, []string{`DASHSTREAM_LISTEN="3005"`, "want HOST:PORT"}},
		{"", []string{"gateway", "--allowed-origins", "example.org"}, ExitUsage, []string{`--allowed-origins="example.org"`, "SCHEME://HOST"}},
		{"", upArgs(dir, "--kafka-listen", "9092"), ExitUsage, []string{`--kafka-listen="9092"`, "HOST:PORT"}},
		{"", upArgs(dir, "--kafka-topic", "a/b"), ExitUsage, []string{`--kafka-topic="a/b"`, "letters, digits"}},
		{"KAFKA_TOPIC=a/b", []string{"tail"}, ExitUsage, []string{`KAFKA_TOPIC="a/b"`, "letters, digits"}},
		{"", upArgs(""), ExitUsage, []string{"--data-dir: no directory"}},
		{"", upArgs(dir, "--listen", "0.0.0.0:0", "--open", "--pprof"), ExitUsage, []string{"--pprof (DASHSTREAM_PPROF)", "0.0.0.0:0", "loopback"}},
		{"DASHSTREAM_TOKEN=\n", upArgs(dir), ExitUsage, []string{"DASHSTREAM_TOKEN", "blank"}},
		{"", upArgs(mine), ExitFailure, []string{mine, "thesis.tex", "new or empty directory"}},
		{"", upArgs(dir, "--demo-seed", "7"), ExitUsage, []string{"--demo-seed has no effect without --demo"}},
		{"", upArgs(dir, "--demo-rate=2"), ExitUsage, []string{"--demo-rate has no effect without --demo"}},
		{"", upArgs(dir, "--ready-file", mine), ExitFailure, []string{"--ready-file " + mine, "no regular file"}},
		{"", upArgs(dir, "--ready-file", filepath.Join(dir, "no", "ready")), ExitFailure, []string{"--ready-file", "cannot be written"}},
	} {
		o := runCLI(t, env(tt.env), tt.args...)
		o.want(t, tt.code, tt.says...)
		if n := strings.Count(o.stderr, "error: "); n != 1 {
			t.Errorf("%q: %d errors, want one: %s", tt.args, n, o.stderr)
		}
	}
	// An empty directory is not a ready file to be cleared away.
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	runCLI(t, nil, upArgs(filepath.Join(dir, "data"), "--ready-file", empty)...).want(t, ExitFailure, empty)
	if _, err := os.Stat(empty); err != nil {
		t.Error(err)
	}
}

// The cluster in the environment is not the one that up serves. It says so, without what may be in the value.
func TestUpSaysThatItUsesItsOwnBroker(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS"} {
		o := runCLI(t, map[string]string{name: "kafka://u:hunter2@host"}, upArgs(t.TempDir(), "--kafka-listen", taken(t))...)
		o.want(t, ExitInUse, name+" is not used: up has a broker of its own", "dashstream gateway")
		if strings.Contains(o.stderr, "hunter2") {
			t.Errorf("the password is shown: %s", o.stderr)
		}
	}
}

// A hint can be pasted: it means the cluster and the topics of the command that failed.
func TestHintsMeanTheSameCluster(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.TopicName(t)
	flags := []string{"--brokers", c.BrokerList(), "--topic", topic, "--kafka-request-timeout-secs=7", "--kafka-ssl-key-password", ""}
	want := "dashstream topics ensure --kafka-brokers " + c.BrokerList() + " --kafka-topic " + topic
	for _, args := range [][]string{{"tail"}, {"demo"}, {"gateway", "--listen", "127.0.0.1:0"}, {"topics", "describe", "--profile", "embedded"}} {
		o := runCLI(t, nil, append(args, flags...)...)
		o.want(t, ExitNoData, want)
		if args[0] == "tail" {
			continue
		}
		try := want + " --kafka-request-timeout-secs=7"
		if args[0] == "topics" {
			try += " --profile=embedded"
		}
		if !strings.Contains(o.stderr, "Try: "+try+"\n") {
			t.Errorf("%q: no %q in %s", args, "Try: "+try, o.stderr)
		}
	}
	// In the environment or as a flag, it is the same.
	runCLI(t, map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}, "tail").want(t, ExitNoData, want)
	// Pasted, it does what it says.
	runCLI(t, nil, strings.Fields(strings.TrimPrefix(want, "dashstream "))...).want(t, ExitOK)
	runCLI(t, nil, append([]string{"topics", "describe"}, flags...)...).want(t, ExitOK)
}
