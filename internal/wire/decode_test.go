package wire

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func plainFrame(t testing.TB, m proto.Message) []byte {
	t.Helper()
	return append([]byte{framePlain}, mustMarshal(t, m)...)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	headless := batchOf(2)
	headless.GetEventBatch().Events[1].Header = nil
	newer := smallEvent()
	HeaderOf(newer).SchemaVersion = 2
	newest := smallEvent()
	HeaderOf(newest).SchemaVersion = 1<<32 - 1
	newerInside := batchOf(2)
	newerInside.GetEventBatch().Events[1].Header.SchemaVersion = 2
	good := plainFrame(t, smallEvent())

	for _, c := range []struct {
		name  string
		frame []byte
		l     Limits
		want  Reason
	}{
		{"null", nil, DefaultLimits(), ReasonEmpty},
		{"no bytes", []byte{}, DefaultLimits(), ReasonEmpty},
		{"framing byte alone", []byte{framePlain}, DefaultLimits(), ReasonMissingHeader},
		{"zstd framing byte alone", []byte{frameZstd}, DefaultLimits(), ReasonDecompress},
		{"stored size above the limit", good, Limits{Framed: len(good) - 1, Decoded: len(good)}, ReasonTooLarge},
		{"message size above the limit", good, Limits{Framed: len(good), Decoded: len(good) - 2}, ReasonTooLarge},
		{"limits without end", good[:len(good)-1], Limits{Framed: math.MaxInt, Decoded: math.MaxInt}, ReasonMalformed},
		{"no limits given", good, Limits{}, ReasonTooLarge},
		{"protobuf without framing", good[1:], DefaultLimits(), ReasonUnknownFraming},
		{"zstd without framing", goodZstd(t, good[1:]), DefaultLimits(), ReasonUnknownFraming},
		{"JSON", []byte(`{"event":{}}`), DefaultLimits(), ReasonUnknownFraming},
		{"a kind of a later schema", append([]byte{framePlain}, protowire.AppendBytes([]byte{10<<3 | 2}, good[3:])...), DefaultLimits(), ReasonMissingHeader},
		{"no header", plainFrame(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{NodeId: "n"}}}), DefaultLimits(), ReasonMissingHeader},
		{"event without a header in a batch", plainFrame(t, headless), DefaultLimits(), ReasonMissingHeader},
		{"newer schema", plainFrame(t, newer), DefaultLimits(), ReasonSchemaVersion},
		{"newest schema", plainFrame(t, newest), DefaultLimits(), ReasonSchemaVersion},
		{"newer schema in a batch", plainFrame(t, newerInside), DefaultLimits(), ReasonSchemaVersion},
		{"cut off", good[:len(good)-1], DefaultLimits(), ReasonMalformed},
		{"text that is not UTF-8", bytes.Replace(good, []byte("planner"), []byte("pl\xc3\x28ner"), 1), DefaultLimits(), ReasonMalformed},
		{"field number 0", []byte{framePlain, 0x02, 0}, DefaultLimits(), ReasonMalformed},
	} {
		m, err := Decode(c.frame, c.l)
		var e *Error
		if m != nil || !errors.As(err, &e) || e.Reason != c.want {
			t.Errorf("%s: %v, %v, want reason %s", c.name, m, err, c.want)
			continue
		}
		if c.want == ReasonTooLarge && e.Size <= e.Limit {
			t.Errorf("%s: size %d, limit %d", c.name, e.Size, e.Limit)
		}
		if c.want == ReasonSchemaVersion && e.Version < 2 {
			t.Errorf("%s: version %d", c.name, e.Version)
		}
	}
}

// TestFirstByte: each first byte leads to a message or to one typed error,
// with and without legacy mode, on whole and on cut frames (WIR-11).
func TestFirstByte(t *testing.T) {
	t.Parallel()
	for first := range 256 {
		for _, rest := range [][]byte{nil, plainFrame(t, smallEvent())[1:], goodZstd(t, mustMarshal(t, largeDiff(2000)))} {
			for _, n := range []int{0, 1, len(rest) / 2, len(rest)} {
				frame := append([]byte{byte(first)}, rest[:min(n, len(rest))]...)
				m, err := Decode(frame, DefaultLimits())
				checkResult(t, frame, m, err)
				if first > frameZstd && ReasonOf(err) != ReasonUnknownFraming {
					t.Errorf("first byte 0x%02x: %v", first, err)
				}
				m, framing, err := DecodeLegacy(frame, DefaultLimits())
				checkResult(t, frame, m, err)
				if (first > frameZstd) != framing.Legacy() {
					t.Errorf("first byte 0x%02x read as %s", first, framing)
				}
			}
		}
	}
}

// checkResult: a message, or an Error with a reason of the closed set and a
// bounded text, never both and never neither.
func checkResult(t testing.TB, frame []byte, m *pb.DashStreamMessage, err error) {
	t.Helper()
	if (m == nil) == (err == nil) {
		t.Fatalf("% x: message %v and error %v", head(frame), m, err)
	}
	if err != nil {
		checkError(t, frame, err)
		return
	}
	for i, h := range headersOf(m) {
		if h == nil || h.SchemaVersion != SchemaVersion {
			t.Fatalf("% x: header %d is %v", head(frame), i, h)
		}
	}
}

func checkError(t testing.TB, frame []byte, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("% x: untyped error %v", head(frame), err)
	}
	known := false
	for _, r := range Reasons() {
		known = known || r == e.Reason && r != ReasonOther
	}
	if !known || len(e.Detail) > maxDetailBytes || e.Detail == "" || strings.ToValidUTF8(e.Detail, "") != e.Detail {
		t.Fatalf("% x: reason %q, detail %q", head(frame), e.Reason, e.Detail)
	}
}

func head(b []byte) []byte { return b[:min(len(b), 64)] }

// TestHeaderRules: version 0 is 1, sequence 0 is missing and 1 is not, a
// timestamp of 0 is a value, a saturated duration survives (WIR-05, 15, 18).
func TestHeaderRules(t *testing.T) {
	t.Parallel()
	for _, sequence := range []uint64{0, 1, 1<<53 + 1, 1<<63 - 1, 1<<64 - 1} {
		m := batchOf(1)
		ev := m.GetEventBatch().Events[0]
		ev.Header.Sequence, ev.Header.SchemaVersion, ev.Header.TimestampUs = sequence, 0, 0
		ev.DurationUs = DurationOverflow
		frame := mustAppend(t, m)
		got, err := Decode(frame, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		h := got.GetEventBatch().Events[0].Header
		if h.Sequence != sequence || h.SchemaVersion != 1 || h.TimestampUs != 0 {
			t.Errorf("sequence %d: %v", sequence, h)
		}
		if d := got.GetEventBatch().Events[0].DurationUs; d != DurationOverflow {
			t.Errorf("duration %d", d)
		}
		for ph, err := range Headers(frame, DefaultLimits()) {
			if err != nil || ph.Sequence != sequence || ph.SchemaVersion != 1 || !ph.Present {
				t.Errorf("sequence %d: peeked %+v, %v", sequence, ph, err)
			}
		}
		if HeaderOf(got).Sequence != 0 {
			t.Errorf("the envelope has sequence %d", HeaderOf(got).Sequence)
		}
	}
}

func TestDecodeLegacy(t *testing.T) {
	t.Parallel()
	small, large := smallEvent(), largeDiff(4000)
	for _, c := range []struct {
		name  string
		value []byte
		want  Framing
		m     *pb.DashStreamMessage
	}{
		{"framed", mustAppend(t, small), FramingPlain, small},
		{"framed zstd", mustAppend(t, large), FramingZstd, large},
		{"bare protobuf", mustMarshal(t, small), FramingLegacyPlain, small},
		{"bare zstd", goodZstd(t, mustMarshal(t, large)), FramingLegacyZstd, large},
	} {
		got, framing, err := DecodeLegacy(c.value, DefaultLimits())
		if err != nil || framing != c.want || !proto.Equal(got, c.m) {
			t.Errorf("%s: %s, %v", c.name, framing, err)
		}
		if _, err := Decode(c.value, DefaultLimits()); (err != nil) != c.want.Legacy() {
			t.Errorf("%s without legacy mode: %v", c.name, err)
		}
		p, err := (&Peeker{Legacy: true}).Peek(c.value, DefaultLimits())
		if err != nil || p.Framing != c.want || string(p.ThreadID) != HeaderOf(c.m).ThreadId {
			t.Errorf("%s peeked: %s, %q, %v", c.name, p.Framing, p.ThreadID, err)
		}
	}
	limit := Limits{Framed: DefaultMaxBytes, Decoded: 1000}
	if _, _, err := DecodeLegacy(goodZstd(t, mustMarshal(t, large)), limit); ReasonOf(err) != ReasonTooLarge {
		t.Errorf("bare zstd above the limit: %v", err)
	}
	if _, _, err := DecodeLegacy(mustMarshal(t, large), limit); ReasonOf(err) != ReasonTooLarge {
		t.Errorf("bare protobuf above the limit: %v", err)
	}
}

// TestDecodeSharesNoMemory with the frame.
func TestDecodeSharesNoMemory(t *testing.T) {
	t.Parallel()
	for _, m := range []*pb.DashStreamMessage{smallEvent(), largeDiff(4000)} {
		frame := mustAppend(t, m)
		got, err := Decode(frame, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		clear(frame)
		if !proto.Equal(got, m) {
			t.Error("the message changed with its frame")
		}
	}
}

// TestHugeMessageID: 10 MB of message id are bounded by the frame, counted by
// CheckIDs, and never become a key (WIR-12).
func TestHugeMessageID(t *testing.T) {
	m := smallEvent()
	HeaderOf(m).MessageId = bytes.Repeat([]byte{0xA5}, DefaultMaxBytes-1000)
	frame := mustAppend(t, m)
	got, err := Decode(frame, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	err = CheckIDs(got)
	if ReasonOf(err) != ReasonInvalidID || len(err.Error()) > 600 {
		t.Errorf("CheckIDs: %v", err)
	}
	if _, ok := MessageKey(HeaderOf(got).MessageId); ok {
		t.Error("it is a key")
	}
	plain := plainFrame(t, m)
	if n := testing.AllocsPerRun(10, func() { _, _ = Peek(plain, DefaultLimits()) }); n != 0 {
		t.Errorf("peeking at it allocates %v times", n)
	}
	m2 := smallEvent()
	if key, ok := MessageKey(HeaderOf(m2).MessageId); !ok || string(key[:]) != string(HeaderOf(m2).MessageId) {
		t.Error("16 bytes are no key")
	}
}
