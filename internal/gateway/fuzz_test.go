package gateway

import (
	"net/url"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
)

// Invariants: never a panic; a refusal names a field and fits a frame of a few
// hundred bytes; what is accepted has no negative position and nothing above
// the limits; both encodings of one request are judged alike.
func FuzzClientFrame(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"subscribe":{}}`, `{"subscribe":{"start":{"earliest":true},"filter":{"threads":["a"],"types":["MESSAGE_TYPE_EVENT"]}}}`,
		`{"ack":{"cursor":{"streamId":"x","partitions":[{"partition":0,"nextOffset":"1"}]}}}`, `[`, `{"subscribe":{"start":{"sinceMs":"-1"}}}`,
		`{"subscribe":{"start":{"cursor":{"streamId":"x","partitions":[{"partition":-1}]}}}}`, "\xff", `{"subscribe":{"filter":{"types":[9,-1,99999]}}}`,
	} {
		f.Add([]byte(s), false)
	}
	f.Add([]byte{0x0a, 0x00}, true)
	f.Add([]byte{0x0a, 0x05, 0x0a, 0x03, 0x18, 0x80, 0x80}, true)
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		enc := encodingJSON
		if binary {
			enc = encodingProto
		}
		frame, bad := decodeClientFrame(enc, data)
		if bad != nil {
			if bad.field == "" {
				t.Fatal("a refusal without a field")
			}
			return
		}
		sub := frame.GetSubscribe()
		if sub == nil {
			return
		}
		got, bad := checkSubscribe(sub)
		if other := reencode(t, frame, !binary); other != nil {
			_, bad2 := checkSubscribe(other.GetSubscribe())
			if (bad == nil) != (bad2 == nil) {
				t.Fatalf("the encodings are judged differently: %v and %v", bad, bad2)
			}
		}
		if bad != nil {
			return
		}
		if len(got.threads) > maxFilterValues || len(got.tenants) > maxFilterValues {
			t.Fatal("a filter above its limit was accepted")
		}
		if c := got.start.Cursor; c != nil {
			for p, o := range c.Offsets {
				if p < 0 || o < 0 {
					t.Fatalf("partition %d offset %d was accepted", p, o)
				}
			}
		}
	})
}

func reencode(t *testing.T, f *streampb.ClientFrame, binary bool) *streampb.ClientFrame {
	if binary {
		b, err := proto.Marshal(f)
		if err != nil {
			return nil
		}
		out, bad := decodeClientFrame(encodingProto, b)
		if bad != nil {
			t.Fatalf("our own protobuf was refused: %v", bad)
		}
		return out
	}
	b, err := protojson.Marshal(f)
	if err != nil {
		return nil
	}
	out, bad := decodeClientFrame(encodingJSON, b)
	if bad != nil {
		return nil // ProtoJSON cannot carry every number of an enum
	}
	return out
}

// Invariants: never a panic; a query is refused with a field, or gives a
// subscription that checkSubscribe can judge.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "from=earliest", "from=a:0=1", "since_ms=5&thread=x&type=event", "from=&from=", "type=%ff", "thread=%00", "thread=a;b", "from=%zz", "&&type=event&"} {
		f.Add(s, "")
	}
	f.Add("from=earliest", "a:0=1")
	f.Fuzz(func(t *testing.T, query, last string) {
		sub, _, bad := subscribeFromQuery(query, last)
		if bad != nil {
			if bad.field == "" {
				t.Fatal("a refusal without a field")
			}
			return
		}
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("a part of %q was passed over: %v", query, err)
		}
		if f := sub.GetFilter(); !slices.Equal(f.GetThreads(), q["thread"]) || !slices.Equal(f.GetTenants(), q["tenant"]) {
			t.Fatalf("%q became %v", query, f)
		}
		if _, bad := checkSubscribe(sub); bad != nil && bad.field == "" {
			t.Fatal("a refusal without a field")
		}
	})
}
