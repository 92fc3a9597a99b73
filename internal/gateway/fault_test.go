package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// A panic while a segment was encoded left an empty frame behind: every later
// session was told that nothing matched, and passed the records by.
func TestAPanicInTheEncoderCostsNobodyRecords(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	s := start(t, c, topic, nil)
	var left atomic.Int64
	left.Store(3)
	gateway.BreakEncoder(s.g, func() bool { return left.Add(-1) >= 0 })
	fill(t, c, topic, 1, 20)

	for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
		w := testclient.Dial(t, s.URL, protocol, nil)
		w.Subscribe(testclient.Earliest(), nil)
		if got := websocket.CloseStatus(w.End()); got != 4004 {
			t.Errorf("%s: the session ended with %d, want 4004", protocol, got)
		}
		if len(w.Records) > 0 || w.Positions[0] != 0 {
			t.Errorf("%s: %d records and position %d before the fault", protocol, len(w.Records), w.Positions[0])
		}
	}
	if err := testclient.SSE(t, s.URL, "?from=earliest", "").End(); err == nil || !strings.Contains(err.Error(), "4004") {
		t.Errorf("the event stream ended with %v, want a close event with 4004", err)
	}
	if n := value(t, s.reg, "websocket_session_panics_total"); n != 3 {
		t.Errorf("%v faults were counted, want 3", n)
	}
	for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
		again := testclient.Dial(t, s.URL, protocol, nil)
		again.Subscribe(testclient.Earliest(), nil)
		again.Until("all", func() bool { return again.CaughtUp == 1 })
		again.Complete(20)
	}
	testkafka.Eventually(t, "the broken sessions are gone", func(context.Context) error {
		if n := value(t, s.reg, "websocket_connected_clients"); n != 2 {
			return fmt.Errorf("%v clients are connected, want 2", n)
		}
		return nil
	})
}

// A record at which the gateway fails each time kept ending the sessions of its
// clients, which came back to it and never got further.
func TestARecordThatCannotBeEncodedIsShownAsAnError(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"among others": "poison", "in a frame of its own": "poison" + strings.Repeat("x", 300_000), "above the limit": "poison" + strings.Repeat("x", 600_000),
	} {
		for fault, decode := range map[string]func(*dashstreampb.DashStreamMessage) *dashstreampb.DashStreamMessage{
			"decoding panics": func(*dashstreampb.DashStreamMessage) *dashstreampb.DashStreamMessage { panic("broken on purpose") },
			"no JSON": func(m *dashstreampb.DashStreamMessage) *dashstreampb.DashStreamMessage {
				m.GetTokenChunk().Text = "\xff"
				return m
			},
		} {
			t.Run(name+", "+fault, func(t *testing.T) {
				t.Parallel()
				c := testkafka.Start(t, testkafka.Options{})
				topic := c.Topic(t, 1)
				var logged strings.Builder
				s := startLogged(t, c.Brokers(), topic, slog.New(slog.NewTextHandler(&logged, nil)), func(cfg *gateway.Config) {
					cfg.Limits = wire.Limits{Framed: 500_000, Decoded: 500_000}
				})
				gateway.BreakRecords(s.g, func(b []byte, l wire.Limits) (*dashstreampb.DashStreamMessage, error) {
					m, err := wire.Decode(b, wire.DefaultLimits())
					if err == nil && strings.HasPrefix(m.GetTokenChunk().GetText(), "poison") {
						return decode(m), nil
					}
					return wire.Decode(b, l)
				})
				fill(t, c, topic, 1, 20)
				// Uncompressed, so that it is as large as it is.
				m, err := wire.Decode(message(t, "thread-0-0", "red", 21, text), wire.DefaultLimits())
				if err != nil {
					t.Fatal(err)
				}
				plain, err := proto.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				stored := append([]byte{0}, plain...)
				produce(t, c, &kgo.Record{Topic: topic, Key: []byte("thread-0-0"), Value: stored})
				fill(t, c, topic, 1, 20)

				pb := testclient.Dial(t, s.URL, "dashstream.v1+proto", nil)
				js := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
				for _, cl := range []*testclient.Client{pb, js} {
					cl.Subscribe(testclient.Earliest(), nil)
				}
				clients := map[string]*testclient.Client{"proto": pb, "json": js, "sse": testclient.SSE(t, s.URL, "?from=earliest", "")}
				for kind, cl := range clients {
					cl.Until(kind, func() bool { return len(cl.Records) == 41 && cl.CaughtUp == 1 })
					cl.Complete(41)
					for i, r := range cl.Records {
						e := r.GetError()
						switch carried := cl == pb && len(stored) <= 500_000; {
						case i == 20 && !carried:
							if e.GetReason() != "internal" || e.GetValueBytes() != int64(len(stored)) || strings.Contains(e.GetDetail(), "poison") {
								t.Errorf("%s: error %v, want internal with %d bytes", kind, e, len(stored))
							}
						case e != nil || (len(r.GetValue()) > 0) == (r.GetMessage() != nil):
							t.Errorf("%s: record %d has error %v, a value of %d bytes, message %v", kind, i, e, len(r.GetValue()), r.GetMessage() != nil)
						}
					}
				}
				if n := value(t, s.reg, "websocket_record_faults_total"); n < 2 {
					t.Errorf("%v faults were counted, want one for each of two encodings", n)
				}
				s.stop() // nobody logs any more
				if text := logged.String(); !strings.Contains(text, "offset=20") || strings.Contains(text, "xxxx") {
					t.Errorf("the log tells not which record it was, or too much: %.500s", text)
				}
			})
		}
	}
}
