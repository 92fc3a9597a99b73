package dashstream_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// A misspelt variable is told to who listens; one of a gateway that shares the environment is none.
func TestMisspeltVariableIsTold(t *testing.T) {
	t.Setenv("DASHSTREAM_TPIC", "y")
	t.Setenv("DASHSTREAM_TOKEN_FILE", "/run/secrets/token")
	var log bytes.Buffer
	p, err := dashstream.New(dashstream.FromEnv(), dashstream.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if says := log.String(); !strings.Contains(says, "level=WARN") || !strings.Contains(says, "name=DASHSTREAM_TPIC nearest=DASHSTREAM_TOPIC") ||
		strings.Contains(says, "DASHSTREAM_TOKEN_FILE") {
		t.Errorf("%s", says)
	}
}

// A name that a program adds follows the rule that the documentation of WithRedactionNames tells.
func TestRedactionNamesFollowTheirRule(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithRedactionNames("ssn"))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: map[string]string{
		"ssn": "hide", "User_SSN": "hide", "ssns": "hide", "ssn2": "hide", "ssn_of_customer": "hide", "ssn_length": "show", "lessness": "show",
	}})
	run.End(nil)
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		if state := r.msg.GetEvent().GetAttributes()["initial_state_json"].GetStringValue(); state != "" {
			if strings.Contains(state, "hide") || strings.Count(state, "show") != 2 {
				t.Errorf("%s", state)
			}
			return
		}
	}
	t.Error("no state")
}

func env(vars map[string]string) dashstream.Option {
	return dashstream.FromLookup(func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string][]dashstream.Option{
		"KAFKA_BROKERS":                        {env(map[string]string{"KAFKA_BROKERS": "a:b:c"})},
		"DASHFLOW_STATE_REDACT":                {env(map[string]string{"DASHFLOW_STATE_REDACT": "perhaps"})},
		"DASHFLOW_FLUSH_TIMEOUT_SECS":          {env(map[string]string{"DASHFLOW_FLUSH_TIMEOUT_SECS": "-1"})},
		"KAFKA_SASL_MECHANISM":                 {env(map[string]string{"KAFKA_SECURITY_PROTOCOL": "sasl_ssl"})},
		"ca.pem":                               {env(map[string]string{"KAFKA_SECURITY_PROTOCOL": "ssl", "KAFKA_SSL_CA_LOCATION": "/nowhere/ca.pem"})},
		"WithBrokers":                          {dashstream.WithBrokers()},
		"KAFKA_TOPIC":                          {dashstream.WithTopic("no spaces")},
		"WithQueueBytes(1): allowed is 65536":  {dashstream.WithQueueBytes(1)},
		"WithCheckpointEvery(-1)":              {dashstream.WithCheckpointEvery(-1)},
		"WithMaxStateBytes(0): allowed is 1":   {dashstream.WithMaxStateBytes(0)},
		"WithFlushTimeout(-1s): allowed is 0s": {dashstream.WithFlushTimeout(-time.Second)},
		"WithDeliveryTimeout(1ms)":             {dashstream.WithDeliveryTimeout(time.Millisecond)},
		"WithLinger(2m0s): allowed is 0s to":   {dashstream.WithLinger(2 * time.Minute)},
		"WithRunIdleTimeout(-1ns)":             {dashstream.WithRunIdleTimeout(-1)},
		"WithMaxIdleThreads(-1)":               {dashstream.WithMaxIdleThreads(-1)},
		"WithLogger(nil)":                      {dashstream.WithLogger(nil)},
		"WithClock(nil)":                       {dashstream.WithClock(nil)},
		"pattern 0 is nil":                     {dashstream.WithRedactionPatterns(nil)},
	} {
		p, err := dashstream.New(opts...)
		if err == nil {
			_ = p.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	// All that is wrong is said at once.
	_, err := dashstream.New(dashstream.WithQueueBytes(1), dashstream.WithTopic(""))
	if err == nil || !strings.Contains(err.Error(), "WithQueueBytes") || !strings.Contains(err.Error(), "KAFKA_TOPIC") {
		t.Errorf("the error is %v", err)
	}
}

// What is given in code beats the environment, in whatever order the options stand.
func TestCodeBeatsEnvironment(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	vars := env(map[string]string{"KAFKA_BROKERS": "127.0.0.1:1", "KAFKA_TOPIC": "other", "KAFKA_TENANT_ID": "acme", "DASHFLOW_FLUSH_TIMEOUT_SECS": "60"})
	for _, opts := range [][]dashstream.Option{{vars, dashstream.WithTopic(topic), dashstream.WithBrokers(c.Brokers()...)}, {dashstream.WithBrokers(c.Brokers()...), dashstream.WithTopic(topic), vars}} {
		p, err := dashstream.New(opts...)
		if err != nil {
			t.Fatal(err)
		}
		p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"}).End(nil)
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	records := readAll(t, c, topic)
	if len(records) != 4 || records[0].header().TenantId != "acme" {
		t.Errorf("%d records, tenant %q", len(records), records[0].header().GetTenantId())
	}
}

func TestSendRefuses(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	h := func() *pb.Header { return &pb.Header{ThreadId: "t"} }
	for name, m := range map[string]*pb.DashStreamMessage{
		"nil":       nil,
		"empty":     {},
		"no header": {Message: &pb.DashStreamMessage_Event{Event: &pb.Event{}}},
		"no thread": {Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{}}}},
		"encoding": {Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{Header: h(), Operations: []*pb.DiffOperation{
			{Path: "/a", Encoding: pb.DiffOperation_VALUE_ENCODING_MSGPACK}}}}},
		"batch": {Message: &pb.DashStreamMessage_EventBatch{EventBatch: &pb.EventBatch{Events: []*pb.Event{{Header: h()}, {}}}}},
	} {
		if err := p.Send(m); !errors.Is(err, dashstream.ErrInvalidMessage) {
			t.Errorf("%s: %v, want ErrInvalidMessage", name, err)
		}
	}
	flush(t, p)
	if records := readAll(t, c, topic); len(records) != 1 { // the good event of the batch
		t.Errorf("%d records, want 1", len(records))
	}
	if got := p.Stats().Total(); got.Dropped[dashstream.DropInvalid] != 4 || got.Emitted != 5 {
		t.Errorf("emitted %d, dropped %v", got.Emitted, got.Dropped)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: h()}}}); !errors.Is(err, dashstream.ErrClosed) {
		t.Errorf("after close: %v, want ErrClosed", err)
	}
	checkAccounts(t, p)
}

// WIR-02: a batch of the caller is its events, each in its own thread, with nothing changed.
func TestSendOfABatch(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 4)
	p := newProducer(t, c, topic)
	batch := &pb.EventBatch{Header: &pb.Header{ThreadId: "envelope", Sequence: 99}}
	for i := range 50 {
		batch.Events = append(batch.Events, &pb.Event{
			Header: &pb.Header{ThreadId: []string{"a", "b"}[i%2], TimestampUs: int64(1000 + i), Sequence: 12345}, EventType: pb.EventType_EVENT_TYPE_NODE_START, DurationUs: int64(i),
		})
	}
	if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: batch}}); err != nil {
		t.Fatal(err)
	}
	flush(t, p)
	records := readAll(t, c, topic)
	checkSequences(t, records)
	seen := map[string]int64{"a": 0, "b": 1}
	for _, r := range records {
		e := r.msg.GetEvent()
		if e.DurationUs != seen[r.key] || e.Header.TimestampUs != 1000+e.DurationUs {
			t.Errorf("thread %s: event %d at %d, want %d", r.key, e.DurationUs, e.Header.TimestampUs, seen[r.key])
		}
		seen[r.key] += 2
	}
	if got := p.Stats().Types[pb.MessageType_MESSAGE_TYPE_EVENT]; len(records) != 50 || got.Acked != 50 {
		t.Errorf("%d records, %d acknowledged; want 50", len(records), got.Acked)
	}
}
