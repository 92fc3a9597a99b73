package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

func dialed(port int, err error) error {
	return fmt.Errorf("unable to dial: %w", &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Err: err})
}

// The attempt that a deadline cut short came last, and hid that nothing listened.
func TestADeadlineDoesNotHideWhyNoConnectionIsMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c kafkaclient.Connections
		one, two := kgo.BrokerMetadata{NodeID: 1}, kgo.BrokerMetadata{NodeID: 2}
		note := func(b kgo.BrokerMetadata, err error) { c.OnBrokerConnect(b, 0, nil, err) }
		refused, cut := dialed(9092, syscall.ECONNREFUSED), dialed(9092, os.ErrDeadlineExceeded)
		note(one, refused)
		note(one, cut)
		note(one, &kafkaclient.HandshakeError{Addr: "127.0.0.1:9092", Err: context.DeadlineExceeded})
		note(one, context.Canceled)
		err := kafkaclient.Explain(kafkaclient.WithFailure(fmt.Errorf("fetch: %w", context.DeadlineExceeded), c.FailureOf(1)))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "likely cause: nothing listens at 127.0.0.1:9092") {
			t.Errorf("got %v", err)
		}
		if err := c.FailureOf(2); err != nil {
			t.Errorf("the failure of one broker is taken for that of another: %v", err)
		}
		// After a while, that nobody answers any more is the news.
		time.Sleep(time.Minute)
		note(one, cut)
		if err := c.Failure(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a minute later: %v", err)
		}
		note(two, refused)
		note(one, nil)
		if c.Failure() != nil || c.FailureOf(1) != nil || !errors.Is(c.FailureOf(2), syscall.ECONNREFUSED) {
			t.Errorf("after a connection: %v, of the brokers %v and %v", c.Failure(), c.FailureOf(1), c.FailureOf(2))
		}
	})
	if err := kafkaclient.WithFailure(os.ErrNotExist, syscall.ECONNREFUSED); err != os.ErrNotExist { //nolint:errorlint // the very same
		t.Errorf("an error that says why became %v", err)
	}
}

// "context deadline exceeded" did not say which broker it was that accepts connections and says nothing.
func TestADeadlineDoesNotHideWhoIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c kafkaclient.Connections
		broker := kgo.BrokerMetadata{NodeID: 1, Host: "kafka", Port: 9092}
		ask := func() { c.OnBrokerWrite(broker, 0, 100, 0, 0, nil) }
		silent := func() bool {
			err := kafkaclient.Explain(kafkaclient.WithFailure(fmt.Errorf("fetch: %w", context.DeadlineExceeded), c.Failure()))
			return kafkaclient.Classify(err) == kafkaclient.ClassTimeout && strings.Contains(err.Error(), "kafka:9092 accepts connections, but does not answer")
		}
		ask()
		if silent() {
			t.Error("an answer that is not due yet is missed")
		}
		time.Sleep(5 * time.Second)
		ask()
		if !silent() {
			t.Error("a broker that has not answered for 5 s is not named")
		}
		c.OnBrokerRead(broker, 0, 0, 0, 0, os.ErrDeadlineExceeded)
		c.OnBrokerRead(broker, 0, 0, 0, 0, net.ErrClosed)
		if !silent() || c.FailureOf(2) != nil {
			t.Errorf("after the client gave up: %v, of another broker %v", c.Failure(), c.FailureOf(2))
		}
		time.Sleep(time.Minute)
		if silent() {
			t.Error("a broker that nobody asks any more is blamed")
		}
		ask()
		if !silent() {
			t.Error("a broker that is asked again, and has still said nothing, is not named")
		}
		c.OnBrokerRead(broker, 0, 10, 0, 0, nil)
		if c.Failure() != nil {
			t.Errorf("after an answer: %v", c.Failure())
		}
		ask()
		time.Sleep(2 * time.Second)
		c.OnBrokerConnect(broker, 0, nil, dialed(9092, syscall.ECONNREFUSED))
		if err := c.FailureOf(1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a broker that is gone: %v", err)
		}
	})
}

// A client that goes on trying where connections end at once was told of a deadline alone.
func TestADeadlineDoesNotHideWhoHangsUp(t *testing.T) {
	t.Parallel()
	var c kafkaclient.Connections
	broker := kgo.BrokerMetadata{NodeID: 1, Host: "kafka", Port: 9092}
	c.OnBrokerConnect(broker, 0, nil, nil)
	c.OnBrokerRead(broker, 3, 0, 0, 0, &kafkaclient.HangUpError{Addr: "kafka:9092", First: true, Err: io.EOF})
	err := kafkaclient.Default().Explain(kafkaclient.OpProduce, kafkaclient.WithFailure(context.DeadlineExceeded, c.Failure()))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "kafka:9092 closed the connection during the first request") ||
		!strings.Contains(err.Error(), "the listener expects SASL or TLS") {
		t.Errorf("got %v", err)
	}
	c.OnBrokerConnect(broker, 0, nil, nil)
	if err := c.Failure(); err != nil {
		t.Errorf("after a connection: %v", err)
	}
}

// Among several attempts, the one that was refused is the one to be named.
func TestExplainNamesWhatIsWrongWithEach(t *testing.T) {
	t.Parallel()
	mixed := fmt.Errorf("describe topic: %w", errors.Join(dialed(1111, os.ErrDeadlineExceeded), dialed(2222, syscall.ECONNREFUSED)))
	if err := kafkaclient.Explain(mixed); !strings.Contains(err.Error(), "nothing listens at 127.0.0.1:2222") {
		t.Errorf("got %v", err)
	}
	joined := errors.Join(fmt.Errorf("partition 1: %w", dialed(1111, os.ErrDeadlineExceeded)), fmt.Errorf("partition 2: %w", dialed(2222, syscall.ECONNREFUSED)), os.ErrNotExist)
	err := kafkaclient.Explain(joined)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "127.0.0.1:1111 does not answer") || !strings.Contains(lines[1], "nothing listens at 127.0.0.1:2222") || lines[2] != os.ErrNotExist.Error() {
		t.Errorf("got %v", err)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, os.ErrNotExist) {
		t.Error("an error was lost")
	}
}
