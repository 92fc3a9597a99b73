package feed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// logged keeps the lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(b) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			return 0, err
		}
		l.lines = append(l.lines, m)
	}
	return len(b), nil
}

// with returns the lines with a message.
func (l *logged) with(msg string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(m map[string]any) bool { return m["msg"] != msg })
}

// network connects a feed to a cluster until it is told to stop the brokers: then
// connections end and new ones are refused, as they are by a machine without the
// process.
type network struct {
	mu      sync.Mutex
	stopped bool
	conns   []net.Conn
	nobody  string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return &network{nobody: l.Addr().String()}
}

func (n *network) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var d net.Dialer
	if n.stopped {
		return d.DialContext(ctx, network, n.nobody)
	}
	c, err := d.DialContext(ctx, network, addr)
	if err == nil {
		n.conns = append(n.conns, c)
	}
	return c, err
}

func (n *network) stop(stopped bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = stopped
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.conns = nil
}

// Nothing in the log said that nothing was read, why, or for how long; and what
// /readyz said blamed a firewall.
func TestAnOutageIsLoggedWithItsCauseAndItsEnd(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, 3)
	nw, log := newNetwork(t), &logged{}
	cfg := feed.DefaultConfig(f.topic)
	cfg.RefreshInterval, cfg.RequestTimeout = 200*time.Millisecond, 2*time.Second
	fd := runWith(t, cfg, feed.Deps{
		Options: []kgo.Opt{kgo.SeedBrokers(f.ListenAddrs()...), kgo.Dialer(nw.dial)}, Logger: slog.New(slog.NewJSONHandler(log, nil)),
	})
	r := newReader(t, fd, feed.Start{})
	f.produce(0, 1)
	r.until("one", func() bool { return r.count == 1 })
	nw.stop(true)
	testkafka.Eventually(t, "the outage is logged", func(context.Context) error {
		if len(log.with("the log cannot be read")) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	line := log.with("the log cannot be read")[0]
	if d, _ := line["for"].(float64); time.Duration(d) < 2*time.Second || time.Duration(d) > 20*time.Second {
		t.Errorf("it says that reading has failed for %v", time.Duration(d))
	}
	if text, _ := line["error"].(string); !strings.Contains(text, "likely cause: nothing listens at "+nw.nobody) || strings.Contains(text, "\n") {
		t.Errorf("error %q", text)
	}
	if line["level"] != "WARN" || line["partitions_unread"] != 3.0 || line["partitions"] != 3.0 {
		t.Errorf("the line is %v", line)
	}
	var ready error
	testkafka.Eventually(t, "all that fails is listed", func(context.Context) error {
		if ready = fd.Ready(); ready == nil || !strings.Contains(ready.Error(), "more partitions") {
			return fmt.Errorf("ready: %w", ready)
		}
		return nil
	})
	for reason := range strings.SplitSeq(kafkaclient.Explain(ready).Error(), "\n") {
		if !strings.Contains(reason, "likely cause: nothing listens at "+nw.nobody) {
			t.Errorf("ready: %s", reason)
		}
	}
	if n := strings.Count(ready.Error(), "\n") + 1; n > 3 {
		t.Errorf("%d reasons for one broker that is gone:\n%v", n, ready)
	}
	nw.stop(false)
	testkafka.Eventually(t, "the end is logged", func(context.Context) error {
		if len(log.with("all partitions are being read again")) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	end := log.with("all partitions are being read again")[0]
	if d, _ := end["after"].(float64); time.Duration(d) < 5*time.Second {
		t.Errorf("it says that the outage took %v", time.Duration(d))
	}
	if n := len(log.with("the log cannot be read")); n != 1 {
		t.Errorf("the outage was logged %d times in less than a minute", n)
	}
	if err := fd.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}
