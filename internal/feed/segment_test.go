package feed

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

const (
	eventType = dashstreampb.MessageType_MESSAGE_TYPE_EVENT
	tokenType = dashstreampb.MessageType_MESSAGE_TYPE_TOKEN_CHUNK
)

// eventRecord is an event whose header claims a type, as no key says.
func eventRecord(t *testing.T, claimed dashstreampb.MessageType, pad int) Record {
	t.Helper()
	b, err := proto.Marshal(&dashstreampb.DashStreamMessage{Message: &dashstreampb.DashStreamMessage_Event{Event: &dashstreampb.Event{
		Header: &dashstreampb.Header{ThreadId: "thread", TenantId: "acme", Sequence: 1, Type: claimed, SchemaVersion: 1},
		NodeId: string(make([]byte, pad)), EventType: dashstreampb.EventType_EVENT_TYPE_NODE_START,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return Record{Key: []byte("key"), Value: append([]byte{0}, b...)}
}

func selected(s *Segment, f *Filter) (n int) {
	s.Matching(f, func(*Record) { n++ })
	return n
}

// A filter looks at what a message is, whatever its header claims.
func TestAFilterGoesByTheKindOfAMessage(t *testing.T) {
	t.Parallel()
	s := &Segment{Records: []Record{eventRecord(t, tokenType, 1)}}
	for want, kind := range map[int]dashstreampb.MessageType{1: eventType, 0: tokenType} {
		if got := selected(s, NewFilter(nil, nil, []dashstreampb.MessageType{kind})); got != want {
			t.Errorf("%v selects %d events that claim to be token chunks, want %d", kind, got, want)
		}
	}
}

// A record that is too large to decode goes through the filters as every other.
func TestAFilterSelectsARecordAboveTheLimit(t *testing.T) {
	t.Parallel()
	s := &Segment{Records: []Record{eventRecord(t, eventType, wire.DefaultMaxBytes+100)}}
	for name, f := range map[string]*Filter{
		"thread": NewFilter([]string{"thread"}, nil, nil), "tenant": NewFilter(nil, []string{"acme"}, nil), "type": NewFilter(nil, nil, []dashstreampb.MessageType{eventType}),
	} {
		if selected(s, f) != 1 || !s.MayMatch(f) {
			t.Errorf("the filter of its %s does not select a record of %d bytes", name, len(s.Records[0].Value))
		}
	}
	if f := NewFilter([]string{"key"}, nil, nil); selected(s, f) != 0 {
		t.Error("a filter selects a record by its key, of which its header says that it is another thread's")
	}
}

// What is compressed is looked into up to the limit that is set.
func TestAFilterSelectsACompressedRecordBelowTheSetLimit(t *testing.T) {
	t.Parallel()
	const size = 12 << 20
	rec := eventRecord(t, eventType, size)
	body, err := wire.Compress(nil, rec.Value[1:])
	if err != nil {
		t.Fatal(err)
	}
	rec.Value = append([]byte{1}, body...)
	f := NewFilter(nil, []string{"acme"}, nil)
	for limit, want := range map[int]int{0: 0, size: 0, size + 1<<10: 1} {
		b := segmenter{maxRecord: limit}
		b.add(fetched{next: 1, records: []*kgo.Record{{Key: rec.Key, Value: rec.Value}}})
		for _, s := range b.segments() {
			if got := selected(s, f); got != want {
				t.Errorf("a record of %d bytes, compressed: a filter selects %d where %d bytes are allowed, want %d", size, got, limit, want)
			}
		}
	}
}

// countingHolder adds up what a segment says that it grew.
type countingHolder struct{ bytes int64 }

func (h *countingHolder) grown(n int64) { h.bytes += n }
func (h *countingHolder) trim()         {}

// Filters come and go while a segment stays: only some of their frames do.
func TestFramesOfASegmentAreBounded(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"many": 10, "large": maxFrameBytes / 4} {
		s := &Segment{Records: []Record{eventRecord(t, eventType, 1), {Key: []byte("other")}}}
		s.buildIndex()
		h := &countingHolder{bytes: s.bytes.Load()}
		before := s.attach(h)
		var last *Filter
		encoded := 0
		encode := func(*Segment, *Filter) ([]byte, int) { encoded++; return make([]byte, size), 1 }
		for i := range 10 * maxFrames {
			last = NewFilter([]string{"thread", fmt.Sprint(i)}, nil, nil)
			if _, _, err := s.Frame(FrameKey{Filter: last}, encode); err != nil {
				t.Fatal(err)
			}
		}
		if encoded != 10*maxFrames {
			t.Errorf("%s: %d frames were made, want one of each filter", name, encoded)
		}
		if _, _, err := s.Frame(FrameKey{Filter: last}, encode); err != nil || encoded != 10*maxFrames {
			t.Errorf("%s: the newest frame was not kept: error %v", name, err)
		}
		if len(s.frames) > maxFrames || len(s.order) != len(s.frames) {
			t.Errorf("%s: %d frames are kept, in order %d, want at most %d", name, len(s.frames), len(s.order), maxFrames)
		}
		if grown := s.detach() - before; grown > maxFrameBytes || grown != h.bytes-before {
			t.Errorf("%s: the segment grew by %d bytes, want at most %d; its holder was told %d", name, grown, maxFrameBytes, h.bytes-before)
		}
	}
}
