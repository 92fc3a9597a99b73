package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// A tail that had nothing to print says so, and a script can tell.
func TestTailOfNothing(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}
	nothing := func(says ...string) func(args ...string) {
		return func(args ...string) {
			t.Helper()
			o := runCLI(t, env, append([]string{"tail", "--no-follow"}, args...)...)
			o.want(t, ExitNoData, append(says, "topic "+topic+" has no record")...)
			// A program gets where to go on.
			if slices.Contains(args, "json") {
				if !regexp.MustCompile(`^\{"type":"cursor","cursor":"[\w-]{16}:0=0(@\d+)?,1=0(@\d+)?,2=0(@\d+)?"\}\n$`).MatchString(o.stdout) {
					t.Errorf("%q: stdout %q", args, o.stdout)
				}
			} else if o.stdout != "" {
				t.Errorf("%q: stdout %q", args, o.stdout)
			}
		}
	}
	nothing("from now to its end; --from earliest begins with the oldest")()
	nothing("from earliest to its end")("--from", "earliest", "--output", "json")

	runCLI(t, env, "demo", "--runs", "1", "--speed", "0", "--seed", "1").want(t, ExitOK)
	nothing("that --thread, --tenant and --type ask for from earliest")("--from", "earliest", "--thread", "nobody")
	nothing("from 2999-01-01T00:00:00Z")("--from", "2999-01-01T00:00:00Z")
	o := runCLI(t, env, "tail", "--no-follow", "--from", "earliest", "--count", "2")
	o.want(t, ExitOK)
	// Each line tells the day and the zone: a log is older than today, and a time is good for --from.
	at := regexp.MustCompile(`^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S+) \d@\d+ demo-1-0001-rag #1 event GRAPH_START`).FindStringSubmatch(o.stdout)
	if at == nil {
		t.Fatalf("stdout %q", o.stdout)
	}
	if stamp, err := time.Parse(time.RFC3339, at[1]); err != nil || time.Since(stamp) > time.Hour {
		t.Errorf("%q: %v, want a time of now", at[1], err)
	}
	runCLI(t, env, "tail", "--no-follow", "--from", at[1], "--count", "1").want(t, ExitOK)
	// What ended tells how long it took, a call of a model its tokens, and a call of a tool which one.
	o = runCLI(t, env, "tail", "--no-follow", "--from", "earliest", "--type", "event")
	for _, want := range []string{`TOOL_START \S+ tool_name="\w+"`, `LLM_END \S+ model="\S+" tokens=\d+\+\d+ took \S+s\n`, `NODE_END \S+ took \S+s\n`} {
		if !regexp.MustCompile(want).MatchString(o.stdout) {
			t.Errorf("no %s in %s", want, o.stdout)
		}
	}
	// A full disk is one error.
	if full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil {
		var stderr bytes.Buffer
		code := Run(t.Context(), []string{"tail", "--no-follow", "--from", "earliest", "-o", "json"}, settings.MapEnv(env), strings.NewReader(""), full, &stderr)
		if n := strings.Count(stderr.String(), "no space left"); code != ExitFailure || n != 1 {
			t.Errorf("exit code %d, told %d times: %s", code, n, stderr.String())
		}
		_ = full.Close()
	}
	// A tail that waits says that it does, and in which order records come.
	runCLI(t, env, "tail", "--from", "earliest", "--count", "1").want(t, ExitOK, "printing records of 3 partitions, each in its own order; Ctrl-C ends")
}

// A setting that was given as a flag is called that where it has to be changed.
func TestTailNamesTheFlag(t *testing.T) {
	t.Parallel()
	o := runCLI(t, map[string]string{"KAFKA_BROKERS": "127.0.0.1:9"}, "tail", "--brokers", "127.0.0.1:1")
	o.want(t, ExitBroker, "nothing listens at 127.0.0.1:1", "correct --kafka-brokers (now 127.0.0.1:1)")
	o = runCLI(t, map[string]string{"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "tail")
	o.want(t, ExitBroker, "correct KAFKA_BOOTSTRAP_SERVERS (now 127.0.0.1:1)")
}

// A broker that stops answering in the middle ends a tail that was to end where the log does, with the broker's exit code.
func TestTailToAnEndThatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.SeedTopics(1, "m"))
	s := kafkaclient.Default()
	s.Brokers, s.Topic = c.ListenAddrs(), "m"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := reading(ctx, t, s, &kgo.Record{Topic: "m", Value: []byte("x")})
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, errors.New("hung up"), true
	})
	said := ""
	tail := &tailer{start: feed.Start{Earliest: true}, filter: feed.NewFilter(nil, nil, nil), untilEnd: true, idle: time.Second, out: bufio.NewWriter(io.Discard),
		note: func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }}
	err := s.Explain(kafkaclient.OpConsume, tail.run(ctx, f))
	if err == nil || !strings.Contains(err.Error(), "the rest of the log could not be read within 1s") || exitCode(err) != ExitBroker {
		t.Errorf("%v, exit code %d, want %d", err, exitCode(err), ExitBroker)
	}
	if !regexp.MustCompile(`^resume with --from=\S+:0=0(@\d+)?\n$`).MatchString(said) {
		t.Errorf("it said %q, want where to go on", said)
	}
}

// reading is a feed that reads a topic in which the records are, until the test ends.
func reading(ctx context.Context, t *testing.T, s kafkaclient.Settings, records ...*kgo.Record) *feed.Feed {
	t.Helper()
	options, err := s.ClientOptions(nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f, err := feed.New(feed.DefaultConfig(s.Topic), feed.Deps{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- f.Run(rctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.Close()
	})
	select {
	case <-f.Started():
	case <-ctx.Done():
		t.Fatal("the topic is not being read")
	}
	return f
}

// To be told to stop is how servers and a tail end, also while they connect.
func TestStoppedWhileConnecting(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"tail"}, ExitOK},
		{[]string{"gateway", "--listen", "127.0.0.1:0"}, ExitOK},
		{[]string{"tail", "--no-follow"}, ExitFailure}, // it was to print so much, and did not
		{[]string{"tail", "--count", "3"}, ExitFailure},
	} {
		args := tt.args
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			conn, err := ln.Accept()
			stop() // the command waits for an answer now
			if err == nil {
				_, _ = io.Copy(io.Discard, conn) // ends when the client hangs up
				_ = conn.Close()
			}
		}()
		var stdout, stderr bytes.Buffer
		begun := time.Now()
		code := Run(ctx, args, settings.MapEnv(map[string]string{"KAFKA_BROKERS": ln.Addr().String()}), strings.NewReader(""), &stdout, &stderr)
		if code != tt.code || strings.Contains(stderr.String(), "error") || time.Since(begun) > 8*time.Second {
			t.Errorf("%q: code %d after %s: %s", args, code, time.Since(begun), stderr.String())
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
}
