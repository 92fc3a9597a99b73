package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

func TestQuickstart(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}[name]
		return v, ok
	}
	var out bytes.Buffer
	if err := run(t.Context(), env, &out, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "quickstart-") {
		t.Errorf("it said %q", out.String())
	}
	if got := lastEvent(t, c, topic); got != pb.EventType_EVENT_TYPE_GRAPH_END {
		t.Errorf("the last event is %s", got)
	}

	// Interrupted, it says so, and the run has an end.
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	time.AfterFunc(300*time.Millisecond, func() { cancel(stopped) })
	if err := run(ctx, env, &out, 200*time.Millisecond); !errors.Is(err, stopped) {
		t.Errorf("interrupted, it returned %v", err)
	}
	if got := lastEvent(t, c, topic); got != pb.EventType_EVENT_TYPE_GRAPH_ERROR {
		t.Errorf("the last event is %s", got)
	}
}

func TestQuickstartWithoutKafka(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := run(ctx, func(name string) (string, bool) {
		v, ok := map[string]string{"KAFKA_BROKERS": "127.0.0.1:1", "DASHFLOW_FLUSH_TIMEOUT_SECS": "0"}[name]
		return v, ok
	}, &bytes.Buffer{}, 0)
	if err == nil {
		t.Error("it did not notice")
	}
}

// lastEvent reads the topic's only partition to its end.
func lastEvent(t *testing.T, c *testkafka.Cluster, topic string) (last pb.EventType) {
	t.Helper()
	ends, err := c.Admin(t).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	cl := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for done := false; !done; {
		fs := cl.PollFetches(t.Context())
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) {
			m, err := wire.Decode(r.Value, wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if e := m.GetEvent(); e != nil {
				last = e.EventType
			}
			done = r.Offset == end.Offset-1
		})
	}
	return last
}
