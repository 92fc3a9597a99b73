package gateway

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// The batch that is written by hand equals what the generated code gives.
func TestProtoBatchEqualsTheGeneratedCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.StringMatching(`[A-Za-z0-9_-]{0,20}`).Draw(t, "stream")
		num := rapid.Int64Range(0, math.MaxInt64)
		part := rapid.Int32Range(0, math.MaxInt32)
		var records []*feed.Record
		want := &streampb.Batch{Cursor: &streampb.Cursor{StreamId: stream}}
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			r := &feed.Record{
				Partition: part.Draw(t, "p"), Offset: num.Draw(t, "o"), Timestamp: rapid.Int64().Draw(t, "ts"),
				Key: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "k"), Value: rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "v"),
			}
			pb := &streampb.Record{Partition: proto.Int32(r.Partition), Offset: proto.Int64(r.Offset), TimestampMs: proto.Int64(r.Timestamp), Key: r.Key, Value: r.Value}
			for range rapid.IntRange(0, 2).Draw(t, "headers") {
				h := kgo.RecordHeader{Key: string(rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "hk")), Value: rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "hv")}
				r.Headers = append(r.Headers, h)
				pb.Headers = append(pb.Headers, &streampb.RecordHeader{Key: strings.ToValidUTF8(h.Key, "\uFFFD"), Value: h.Value})
			}
			records = append(records, r)
			want.Records = append(want.Records, pb)
		}
		var moves []feed.Move
		for range rapid.IntRange(1, 5).Draw(t, "moves") {
			m := feed.Move{Partition: part.Draw(t, "mp"), Next: num.Draw(t, "mn"), Epoch: rapid.Int32Range(-2, math.MaxInt32).Draw(t, "me")}
			moves = append(moves, m)
			at := &streampb.PartitionOffset{Partition: proto.Int32(m.Partition), NextOffset: proto.Int64(m.Next)}
			if m.Epoch >= 0 {
				at.LeaderEpoch = proto.Int32(m.Epoch)
			}
			want.Cursor.Partitions = append(want.Cursor.Partitions, at)
		}
		if stream == "" {
			// The generated code leaves an empty string out; ours never has one.
			return
		}
		body, err := proto.Marshal(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Batch{Batch: want}})
		if err != nil {
			t.Fatal(err)
		}
		expected := append(appendWSHeader(nil, opBinary, len(body)), body...)
		if got := appendProtoBatch(records, stream, moves); !bytes.Equal(got, expected) {
			t.Fatalf("got %x\nwant %x", got, expected)
		}
	})
}

func TestAnOversizeRecordIsShownAsSuch(t *testing.T) {
	t.Parallel()
	c := newEncoder(wire.Limits{Framed: 100, Decoded: 100}, nil, nil)
	for _, enc := range []encoding{encodingProto, encodingJSON} {
		seg := &feed.Segment{
			Records: []feed.Record{{Offset: 1, Value: make([]byte, 101)}, {Offset: 2, Value: []byte{0, 1}}},
			Moves:   []feed.Move{{From: 1, Next: 3}},
		}
		b, n := c.segment(enc, "s")(seg, nil)
		if n != 2 {
			t.Errorf("%v: %d records in the frame, want 2", enc, n)
		}
		if enc == encodingJSON {
			if !bytes.Contains(b, []byte(`"reason":"too_large"`)) || !bytes.Contains(b, []byte(`"valueBytes":"101"`)) {
				t.Errorf("json: %s", b)
			}
			continue
		}
		f := &streampb.ServerFrame{}
		if err := proto.Unmarshal(b[2:], f); err != nil {
			t.Fatal(err)
		}
		rs := f.GetBatch().GetRecords()
		if len(rs) != 2 || rs[0].GetError().GetReason() != "too_large" || rs[0].GetValue() != nil || string(rs[1].GetValue()) != "\x00\x01" {
			t.Errorf("proto: %v", f)
		}
	}
}

func TestClipKeepsWholeCharactersOnOneLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		n := rapid.IntRange(0, 40).Draw(t, "n")
		got := clip(s, n)
		if !proto.Equal(&streampb.Error{Message: got}, &streampb.Error{Message: got}) || bytes.ContainsAny([]byte(got), "\n\r\x1b") {
			t.Fatalf("clip(%q, %d) = %q", s, n, got)
		}
		if _, err := proto.Marshal(&streampb.Error{Message: got}); err != nil {
			t.Fatalf("clip(%q, %d) = %q: %v", s, n, got, err)
		}
	})
}
