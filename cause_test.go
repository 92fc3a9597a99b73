package dashstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// Who closes a producer whose messages did not arrive is told why, and what to change; so is the log, once.
func TestCloseSaysWhy(t *testing.T) {
	t.Parallel()
	const password = "correct-horse-battery"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()
	c := testkafka.Start(t, testkafka.Options{})
	missing := c.TopicName(t)
	secured, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "agent", "another"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secured.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are made, and nobody speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	talkative := errors.New("proxy: no route for agent:" + password + " with AKIAIOSFODNN7EXAMPLE")
	sasl := func(broker string) map[string]string {
		return map[string]string{
			"KAFKA_BROKERS": broker, "KAFKA_TOPIC": "t", "KAFKA_SECURITY_PROTOCOL": "sasl_plaintext", "KAFKA_SASL_MECHANISM": "PLAIN",
			"KAFKA_SASL_USERNAME": "agent", "KAFKA_SASL_PASSWORD": password,
		}
	}
	for name, tt := range map[string]struct {
		env   map[string]string
		opts  []dashstream.Option
		cause error
		says  []string
	}{
		"nobody listens": {
			env:   map[string]string{"KAFKA_BROKERS": free},
			cause: syscall.ECONNREFUSED, says: []string{"nothing listens at " + free, "KAFKA_BROKERS"},
		},
		"nobody listens at an address of the code": {
			env:   map[string]string{"KAFKA_BROKERS": "127.0.0.1:9"},
			opts:  []dashstream.Option{dashstream.WithBrokers(free)},
			cause: syscall.ECONNREFUSED, says: []string{"nothing listens at " + free, "correct WithBrokers (now " + free + ")"},
		},
		"nobody answers": {
			env:   map[string]string{"KAFKA_BROKERS": silent.Addr().String()},
			cause: context.DeadlineExceeded, says: []string{"accepts connections, but does not answer", "KAFKA_BROKERS"},
		},
		"no such topic": {
			env:   map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": missing},
			cause: kerr.UnknownTopicOrPartition, says: []string{missing, "dashstream topics ensure", "KAFKA_TOPIC"},
		},
		"wrong password": {
			env:   sasl(secured.ListenAddrs()[0]),
			cause: io.EOF, says: []string{"password is wrong", "KAFKA_SASL_PASSWORD"},
		},
		"a secret in the error": {
			env:   sasl(free),
			opts:  []dashstream.Option{dashstream.WithRedaction(false), dashstream.WithKafkaOptions(kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, talkative }))},
			cause: talkative, says: []string{"no route for agent:[REDACTED] with [REDACTED]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			opts := append([]dashstream.Option{
				env(tt.env), dashstream.WithFlushTimeout(3 * time.Second), dashstream.WithKafkaOptions(kgo.WithLogger(nil)),
				dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			}, tt.opts...)
			p, err := dashstream.New(opts...)
			if err != nil {
				t.Fatal(err)
			}
			run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
			flushed := p.Flush(t.Context())
			run.End(nil)
			closed := p.Close(t.Context())
			for what, err := range map[string]error{"flush": flushed, "close": closed} {
				var incomplete *dashstream.IncompleteError
				if !errors.As(err, &incomplete) || incomplete.Cause == nil || !errors.Is(err, tt.cause) || !errors.Is(incomplete.Cause, tt.cause) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v, want the cause %v", what, err, tt.cause)
				}
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != 1 || !strings.Contains(lines[0], "telemetry was lost") {
				t.Errorf("the log is\n%s", log.String())
			}
			for _, text := range []string{flushed.Error(), closed.Error(), lines[0], fmt.Sprintf("%+v %#v", closed.Error(), log.String())} {
				for _, want := range tt.says {
					if !strings.Contains(text, want) {
						t.Errorf("%q is not in %q", want, text)
					}
				}
				if strings.Contains(text, password) || strings.Contains(text, "AKIA") {
					t.Errorf("a secret is in %q", text)
				}
			}
		})
	}
}

// What Kafka said of a record is the cause; where all arrived, or Kafka is not the reason, there is none.
func TestFlushSaysWhy(t *testing.T) {
	t.Parallel()
	c := fakeKafka(t, 1, "t")
	var log bytes.Buffer
	p := fakeProducer(t, c, "t", dashstream.WithKafkaOptions(kgo.WithLogger(nil)), dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	flush(t, p)
	refuse(c, 1, kerr.MessageTooLarge.Code)
	run.Edge("a", "b")
	err := p.Flush(t.Context())
	var incomplete *dashstream.IncompleteError
	if !errors.As(err, &incomplete) || !errors.Is(incomplete.Cause, kerr.MessageTooLarge) || !strings.Contains(err.Error(), "max.message.bytes") || incomplete.Err != nil {
		t.Errorf("flush: %v", err)
	}
	run.Edge("a", "b")
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := strings.Count(log.String(), "telemetry was lost"); n != 1 { // the refused one
		t.Errorf("the log is\n%s", log.String())
	}

	log.Reset()
	p = fakeProducer(t, c, "t", dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"}).End(nil)
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if strings.Contains(log.String(), "lost") {
		t.Errorf("the log is\n%s", log.String())
	}
	// An attempt that a deadline cut short does not hide why the ones before failed.
	var attempts atomic.Int64
	p = offline(t, dashstream.WithFlushTimeout(2*time.Second), dashstream.WithKafkaOptions(kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
		if attempts.Add(1) > 2 {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
		}
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	})))
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	if err := p.Flush(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("flush: %v", err)
	}

	p = offline(t, dashstream.WithKafkaOptions(kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})))
	p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"}).End(nil)
	if err := p.Close(t.Context()); !errors.As(err, &incomplete) || incomplete.Cause != nil {
		t.Errorf("close without any time: %v, want no cause", err)
	}
	if err := (&dashstream.IncompleteError{Dropped: 1}).Error(); strings.Contains(err, "Kafka") {
		t.Error(err)
	}
}
