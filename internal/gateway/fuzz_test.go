package gateway

import (
	"net/url"
	"reflect"
	runtimemetrics "runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
)

// allocated returns how many bytes the heap gave while fn ran.
func allocated(fn func()) uint64 {
	s := []runtimemetrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	runtimemetrics.Read(s)
	before := s[0].Value.Uint64()
	fn()
	runtimemetrics.Read(s)
	return s[0].Value.Uint64() - before
}

// refusal fails unless an answer names a field, is one line of UTF-8, and short,
// however long what it answers is.
func refusal(t *testing.T, bad *fieldError) {
	t.Helper()
	s := &session{hub: fuzzHub(), enc: encodingProto}
	s.state.Store(stateBusy) // nobody writes it
	s.refuse(bad)
	if bad.field == "" || bad.message == "" || len(s.control) > 1000 {
		t.Fatalf("%q: %q, a frame of %d bytes", bad.field, bad.message, len(s.control))
	}
	f := &streampb.ServerFrame{}
	if err := proto.Unmarshal(s.control[headerBytes(s.control):], f); err != nil {
		t.Fatalf("%v: the frame does not parse: %v", bad, err)
	}
	for _, text := range []string{f.GetError().GetField(), f.GetError().GetMessage()} {
		if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("the answer has %q", text)
		}
	}
}

var fuzzHub = sync.OnceValue(func() *hub { return &hub{metrics: newTestMetrics()} })

// headerBytes is the size of a frame's header, RFC 6455 section 5.2.
func headerBytes(b []byte) int {
	switch b[1] {
	case 126:
		return 4
	case 127:
		return 10
	}
	return 2
}

// judge is what a session does with a frame.
func judge(f *streampb.ClientFrame) (subscription, *fieldError) {
	switch f := f.GetFrame().(type) {
	case *streampb.ClientFrame_Subscribe:
		return checkSubscribe(f.Subscribe)
	case *streampb.ClientFrame_Ack:
		c, bad := checkCursor("ack.cursor", f.Ack.GetCursor())
		var sub subscription
		sub.start.Cursor = &c
		return sub, bad
	}
	return subscription{}, badField("frame", "empty: want subscribe or ack")
}

// Invariants: never a panic; memory follows the frame's size; a refusal names a
// field and is short; what is accepted is within the limits; the protobuf and the
// JSON form of one frame are both taken and mean the same, or are refused by the
// same field for the same reason.
func FuzzClientFrame(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"subscribe":{}}`, `{"subscribe":{"start":{"earliest":true},"filter":{"threads":["a"],"types":["MESSAGE_TYPE_EVENT"]}}}`,
		`{"ack":{"cursor":{"streamId":"x","partitions":[{"partition":0,"nextOffset":"1","leaderEpoch":3}]}}}`, `[`, `{"subscribe":{"start":{"sinceMs":"-1"}}}`,
		`{"subscribe":{"start":{"cursor":{"streamId":"x","partitions":[{"partition":-1}]}}}}`, "\xff", `{"subscribe":{"filter":{"types":[9,-1,99999]}}}`,
		`{"subscribe":{"filter":{"threads":["\ud800"]}}}`, `{"subscribe":{"filter":{"threads":["a\u0000\nb"],"tenants":[""]}}}`,
		`{"ack":{"cursor":{"streamId":"x","partitions":[{"partition":0},{}]}}}`, `{"subscribe":{},"subscribe":{}}`, `{"subscribe":{"start":{"sinceMs":1e3}}}`,
		strings.Repeat(`{"subscribe":`, 2000), `{"subscribe":` + strings.Repeat("[", 20_000), `{"subscribe":{"filter":{"threads":` + strings.Repeat(`["`, 5000),
	} {
		f.Add([]byte(s), false)
	}
	f.Add([]byte{0x0a, 0x00}, true)
	f.Add([]byte{0x0a, 0x05, 0x0a, 0x03, 0x18, 0x80, 0x80}, true)
	f.Add(slices.Repeat([]byte{0x0a, 0x02, 0x12, 0x00}, 2000), true)
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		enc := encodingJSON
		if binary {
			enc = encodingProto
		}
		var frame *streampb.ClientFrame
		var bad *fieldError
		if n := allocated(func() { frame, bad = decodeClientFrame(enc, data) }); n > 1<<20+200*uint64(len(data)) {
			t.Fatalf("%d bytes had %d allocated", len(data), n)
		}
		if bad != nil {
			refusal(t, bad)
			return
		}
		got, bad := judge(frame)
		other, otherBad := judge(reencode(t, frame, !binary))
		if (bad == nil) != (otherBad == nil) || bad != nil && *bad != *otherBad || !reflect.DeepEqual(got, other) {
			t.Fatalf("the encodings are judged differently: %v, %+v and %v, %+v", bad, got, otherBad, other)
		}
		if bad != nil {
			refusal(t, bad)
			return
		}
		within(t, got)
	})
}

// within fails unless what was accepted is within the limits.
func within(t *testing.T, s subscription) {
	t.Helper()
	if len(s.threads) > maxFilterValues || len(s.tenants) > maxFilterValues || len(s.types) > maxFilterValues {
		t.Fatal("a filter above its limit was accepted")
	}
	for _, v := range slices.Concat(s.threads, s.tenants) {
		if v == "" || len(v) > maxFilterText || !utf8.ValidString(v) {
			t.Fatalf("the value %q was accepted", v)
		}
	}
	if ms := s.start.SinceMS; ms != nil && (*ms < earliestTimeMS || *ms > latestTimeMS) {
		t.Fatalf("the time %d was accepted", *ms)
	}
	c := s.start.Cursor
	if c == nil {
		return
	}
	if c.StreamID == "" || len(c.StreamID) > 64 || len(c.Offsets) > maxPartitions {
		t.Fatalf("a cursor of stream %q with %d partitions was accepted", c.StreamID, len(c.Offsets))
	}
	for p, o := range c.Offsets {
		if p < 0 || o < 0 {
			t.Fatalf("partition %d offset %d was accepted", p, o)
		}
	}
}

// reencode takes a frame to the other encoding and back.
func reencode(t *testing.T, f *streampb.ClientFrame, binary bool) *streampb.ClientFrame {
	t.Helper()
	enc, b, err := encodingJSON, []byte(nil), error(nil)
	if binary {
		enc = encodingProto
		b, err = proto.Marshal(f)
	} else {
		b, err = protojson.Marshal(f)
	}
	if err != nil {
		t.Fatalf("what was decoded cannot be encoded as %v: %v", enc, err)
	}
	out, bad := decodeClientFrame(enc, b)
	if bad != nil {
		t.Fatalf("%v of what was taken is refused: %v: %q", enc, bad, b)
	}
	return out
}

// Invariants: never a panic; a query is refused with a field, or gives all that it
// says and nothing else; an accepted one, written anew, is accepted and means the
// same; the id of the last event counts before from and since_ms, and is judged as
// they are.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "from=earliest", "from=a:0=1", "since_ms=5&thread=x&type=event", "from=&from=", "type=%ff", "thread=%00", "thread=a;b", "from=%zz", "&&type=event&", "since_ms=05", "since_ms=%2B5", "thread=%ff"} {
		f.Add(s, "")
	}
	f.Add("from=earliest", "a:0=1")
	f.Add("since_ms=5", "a:0=1,1=2")
	f.Add("thread=x", "latest")
	f.Add("", "a:~AAEF")
	f.Add(strings.Repeat("thread=a&", 5000), "")
	f.Fuzz(func(t *testing.T, query, last string) {
		var sub *streampb.Subscribe
		var bad *fieldError
		if n := allocated(func() { sub, _, bad = subscribeFromQuery(query, last) }); n > 1<<20+200*uint64(len(query)+len(last)) {
			t.Fatalf("%d bytes had %d allocated", len(query)+len(last), n)
		}
		if bad != nil {
			refusal(t, bad)
			return
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("a part of %q was passed over: %v", query, err)
		}
		if f := sub.GetFilter(); !slices.Equal(f.GetThreads(), q["thread"]) || !slices.Equal(f.GetTenants(), q["tenant"]) || len(f.GetTypes()) != len(q["type"]) {
			t.Fatalf("%q became %v", query, f)
		}
		if last != "" {
			q.Del("since_ms")
			q.Set("from", last)
			if alone, _, bad := subscribeFromQuery(q.Encode(), ""); bad != nil || !proto.Equal(alone, sub) {
				t.Fatalf("the id %q means %v, and %v as from: %v", last, sub, alone, bad)
			}
		}
		checked, bad := checkSubscribe(sub)
		if bad != nil {
			refusal(t, bad)
			return
		}
		within(t, checked)
		again, _, bad := subscribeFromQuery(written(checked), "")
		if bad != nil {
			t.Fatalf("%q, written as %q, is refused: %v", query, written(checked), bad)
		}
		if second, bad := checkSubscribe(again); bad != nil || !reflect.DeepEqual(second, checked) {
			t.Fatalf("%q means %+v, and written as %q %+v, %v", query, checked, written(checked), second, bad)
		}
	})
}

// written is the query of a subscription.
func written(s subscription) string {
	q := url.Values{"thread": s.threads, "tenant": s.tenants}
	for _, t := range s.types {
		q.Add("type", t.String())
	}
	switch {
	case s.start.Earliest:
		q.Set("from", "earliest")
	case s.start.SinceMS != nil:
		q.Set("since_ms", strconv.FormatInt(*s.start.SinceMS, 10))
	case s.start.Cursor != nil:
		q.Set("from", s.start.Cursor.String())
	}
	return q.Encode()
}
