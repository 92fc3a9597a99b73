package testkafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/dashflow/dashstream/internal/testkafka"
)

// TestSecuredListener shows the hook for later: a listener with SASL and a user made when the storage is formatted.
func TestSecuredListener(t *testing.T) {
	user := scram.Auth{User: "alice", Pass: "secret of alice"}
	c := testkafka.Start(t, testkafka.Options{
		Properties: map[string]string{
			"listeners":                                            "CLIENTS://127.0.0.1:${PORT},CONTROLLER://127.0.0.1:${CONTROLLER_PORT}",
			"listener.security.protocol.map":                       "CLIENTS:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
			"advertised.listeners":                                 "CLIENTS://127.0.0.1:${PORT}",
			"inter.broker.listener.name":                           "CLIENTS",
			"sasl.enabled.mechanisms":                              "SCRAM-SHA-256",
			"sasl.mechanism.inter.broker.protocol":                 "SCRAM-SHA-256",
			"listener.name.clients.scram-sha-256.sasl.jaas.config": `org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret of alice";`,
		},
		Prepare: func(dir string) ([]string, error) {
			if _, err := os.Stat(dir); err != nil {
				return nil, err
			}
			return []string{"--add-scram", "SCRAM-SHA-256=[name=alice,password=secret of alice]"}, nil
		},
		Security: []kgo.Opt{kgo.SASL(user.AsSha256Mechanism())},
	})
	topic := c.Topic(t, 1)
	produce(t, c.Client(t), topic, "over SASL")
	if got := consume(t, c, topic, 1); got[0] != "over SASL" {
		t.Errorf("read %q", got)
	}
	stranger, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...), kgo.SASL(scram.Auth{User: "alice", Pass: "wrong"}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Ping(within(t)); err == nil {
		t.Error("a client with the wrong password was let in")
	}
}

const dyingChild = "TESTKAFKA_DYING_CHILD"

// TestBrokersDoNotOutliveTests starts this binary again, lets it start Apache Kafka and die, and looks for what is left.
func TestBrokersDoNotOutliveTests(t *testing.T) {
	if os.Getenv(dyingChild) != "" {
		c := testkafka.Start(t, testkafka.Options{})
		fmt.Printf("brokers %s\n", c.BrokerList())
		os.Stdout.Sync()
		panic("as a test may")
	}
	if testkafka.Start(t, testkafka.Options{}).Backend() != testkafka.Apache {
		t.Skip("the embedded broker is in the test's own process")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestBrokersDoNotOutliveTests$")
	cmd.Env = append(os.Environ(), dyingChild+"=1", "DASHSTREAM_TEST_KAFKA=apache", "DASHSTREAM_TEST_KAFKA_BROKERS=", "TMPDIR="+tmp)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the child ended with %v, want it to panic:\n%s", err, out)
	}
	_, rest, ok := strings.Cut(string(out), "brokers ")
	if !ok {
		t.Fatalf("the child started no broker:\n%s%s", out, exit.Stderr)
	}
	addr, _, _ := strings.Cut(rest, "\n")
	testkafka.Eventually(t, "the dead child's broker and its files are gone", func(ctx context.Context) error {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0))
		if err != nil {
			return err
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := cl.Ping(ctx); err == nil {
			return fmt.Errorf("%s still serves", addr)
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		left, err := os.ReadDir(tmp)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%s is left", left[0].Name())
		}
		return err
	})
}
