package faults

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testprocess"
)

// silentBroker accepts connections, reads what comes, and never answers.
func silentBroker(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		accepting.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return ln.Addr().String()
}

// named fails unless a text says which broker it is that does not answer.
func named(t *testing.T, who, text, addr string) {
	t.Helper()
	for _, want := range []string{addr, "accepts connections, but does not answer"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q:\n%s", who, want, text)
		}
	}
}

// TestBrokerThatNeverAnswers: everything that meets one ends, or tells, within its deadline, and names it.
func TestBrokerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	addr := silentBroker(t)
	var env []string
	if !*fullFlag {
		env = []string{"KAFKA_REQUEST_TIMEOUT_SECS=1.5"}
	}
	for _, args := range [][]string{
		{"tail"}, {"topics", "describe"}, {"topics", "ensure"}, {"demo", "--runs", "1"},
	} {
		t.Run(strings.Join(args[:min(2, len(args))], " "), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := testprocess.Run(t, env, append(args, "--brokers", addr)...)
			if code := p.Wait(); code == 0 || code > 10 {
				t.Errorf("it ended with %d after %v", code, time.Since(began))
			}
			named(t, args[0], p.Errs.String(), addr)
		})
	}
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		full(t, "a gateway looks at the topics for 15 s before it serves")
		http := freeAddress(t)
		p := testprocess.Run(t, append(env, "KAFKA_BROKERS="+addr), "gateway", "--listen", http)
		testprocess.Eventually(t, "/readyz names the broker", func() error {
			code, body := get(t, "http://"+http+"/readyz", 5*time.Second)
			if code != 503 || !strings.Contains(body, addr+" accepts connections, but does not answer") {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
		named(t, "its log", p.Errs.String(), addr)
		if code := p.Stop(); code != 0 {
			t.Errorf("gateway ended with %d", code)
		}
	})
	t.Run("SDK", func(t *testing.T) {
		t.Parallel()
		p, err := dashstream.New(dashstream.WithBrokers(addr), dashstream.WithDeliveryTimeout(2*time.Second), dashstream.WithFlushTimeout(4*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "thread"})
		run.Event(pb.EventType_EVENT_TYPE_NODE_WARNING, "node")
		run.End(nil)
		err = p.Close(t.Context())
		if err == nil {
			t.Fatal("a producer whose messages went nowhere closed without an error")
		}
		named(t, "the producer", err.Error(), addr)
		if c := p.Stats().Total(); c.Emitted != 3 || c.Acked != 0 || c.Emitted != c.DroppedTotal()+c.FailedTotal() {
			t.Errorf("it counts %+v", c)
		}
	})
}
