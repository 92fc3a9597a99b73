package wire

import (
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

// smallEvent is what the SDK emits most: a node that starts.
func smallEvent() *pb.DashStreamMessage {
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{
		Header: &pb.Header{
			MessageId: []byte("0123456789abcdef"), TimestampUs: 1764009620123456, TenantId: "default",
			ThreadId: "3f0c2b1e-7a53-4f0e-9d7c-0c3a7b1f5e21", Sequence: 42,
			Type: pb.MessageType_MESSAGE_TYPE_EVENT, SchemaVersion: 1,
		},
		EventType: pb.EventType_EVENT_TYPE_NODE_START,
		NodeId:    "planner",
		Attributes: map[string]*pb.AttributeValue{
			"model":    {Value: &pb.AttributeValue_StringValue{StringValue: "model-x"}},
			"attempt":  {Value: &pb.AttributeValue_IntValue{IntValue: 1}},
			"cost_usd": {Value: &pb.AttributeValue_FloatValue{FloatValue: 0.0123}},
		},
	}}}
}

// largeDiff is a state of about n bytes, compressible as JSON is.
func largeDiff(n int) *pb.DashStreamMessage {
	var state strings.Builder
	state.WriteString(`{"messages":[`)
	for i := 0; state.Len() < n; i++ {
		if i > 0 {
			state.WriteByte(',')
		}
		state.WriteString(`{"role":"assistant","content":"step `)
		state.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i*i%23))
		state.WriteString(` of the plan","tokens":`)
		state.WriteString(strings.Repeat("7", 1+i%6))
		state.WriteString(`}`)
	}
	state.WriteString(`]}`)
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{
		Header: &pb.Header{
			MessageId: []byte("0123456789abcdef"), TimestampUs: 1764009620123456, TenantId: "default",
			ThreadId: "3f0c2b1e-7a53-4f0e-9d7c-0c3a7b1f5e21", Sequence: 43,
			Type: pb.MessageType_MESSAGE_TYPE_STATE_DIFF, SchemaVersion: 1,
		},
		FullState: []byte(state.String()),
	}}}
}

func batchOf(n int) *pb.DashStreamMessage {
	b := &pb.EventBatch{Header: &pb.Header{MessageId: []byte("0123456789abcdef"), ThreadId: "t", Type: pb.MessageType_MESSAGE_TYPE_EVENT_BATCH}}
	for range n {
		b.Events = append(b.Events, smallEvent().GetEvent())
	}
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: b}}
}

func mustAppend(tb testing.TB, m *pb.DashStreamMessage) []byte {
	tb.Helper()
	frame, err := Append(nil, m, DefaultMaxBytes)
	if err != nil {
		tb.Fatal(err)
	}
	return frame
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
	}{
		{"small", smallEvent()}, {"8KiB", largeDiff(8 << 10)}, {"256KiB", largeDiff(256 << 10)}, {"batch50", batchOf(50)},
	} {
		b.Run(c.name, func(b *testing.B) {
			var e Encoder
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if buf, err = e.Append(buf[:0], c.m, MaxProducerBytes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
	}{
		{"small", smallEvent()}, {"8KiB", largeDiff(8 << 10)}, {"1MiB", largeDiff(1 << 20)}, {"batch50", batchOf(50)},
	} {
		b.Run(c.name, func(b *testing.B) {
			frame := mustAppend(b, c.m)
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(frame, DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPeek(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
	}{
		{"plain", smallEvent()}, {"zstd8KiB", largeDiff(8 << 10)}, {"zstd256KiB", largeDiff(256 << 10)}, {"zstdBatch50", batchOf(50)},
	} {
		b.Run(c.name, func(b *testing.B) {
			frame := mustAppend(b, c.m)
			var p Peeker
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Peek(frame, DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvents(b *testing.B) {
	frame := mustAppend(b, batchOf(50))
	p, err := Peek(frame, DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for h, err := range p.Events() {
			if err != nil || len(h.ThreadID) == 0 {
				b.Fatal(err)
			}
			n++
		}
		if n != 50 {
			b.Fatal(n)
		}
	}
}
