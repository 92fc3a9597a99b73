package wire

import (
	"bytes"
	"fmt"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
)

// checkPeek compares a peeked header with the decoded one.
func checkPeek(t testing.TB, what string, got PeekedHeader, want *pb.Header) {
	t.Helper()
	if !got.Present || got.Type != want.Type || got.Compression != want.Compression || got.SchemaVersion != want.SchemaVersion ||
		!bytes.Equal(got.MessageID, want.MessageId) || !bytes.Equal(got.ParentID, want.ParentId) ||
		string(got.TenantID) != want.TenantId || string(got.ThreadID) != want.ThreadId ||
		got.Sequence != want.Sequence || got.TimestampUS != want.TimestampUs {
		t.Fatalf("%s: peeked %+v, decoded %v", what, got, want)
	}
}

// checkPeekAgrees: where Decode succeeds, Peek and Events report what is in
// its message, and nothing else.
func checkPeekAgrees(t testing.TB, frame []byte, l Limits, p *Peeker, m *pb.DashStreamMessage) {
	t.Helper()
	res, err := p.Peek(frame, l)
	if err != nil {
		t.Fatalf("% x: Decode succeeds and Peek says %v", head(frame), err)
	}
	if res.Kind != KindOf(m) {
		t.Fatalf("% x: peeked kind %s, decoded %s", head(frame), res.Kind, KindOf(m))
	}
	checkPeek(t, fmt.Sprintf("% x", head(frame)), res.PeekedHeader, HeaderOf(m))
	events, i := batchEvents(m), 0
	for h, err := range res.Events() {
		if err != nil || i >= len(events) {
			t.Fatalf("% x: event header %d of %d: %v", head(frame), i, len(events), err)
		}
		checkPeek(t, fmt.Sprintf("% x, event %d", head(frame), i), h, events[i].Header)
		i++
	}
	if i != len(events) {
		t.Fatalf("% x: %d event headers of %d", head(frame), i, len(events))
	}
}

// pieces builds messages that no marshaller writes.
type pieces struct{ t testing.TB }

func (p pieces) header(h *pb.Header) []byte {
	return protowire.AppendBytes([]byte{0x0A}, mustMarshal(p.t, h))
}

func (p pieces) field(num protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(content, nil))
}

func join(bs ...[]byte) []byte { return bytes.Join(bs, nil) }

// odd are frames that Decode takes though no marshaller writes them.
func odd(t testing.TB) map[string][]byte {
	p := pieces{t}
	full := &pb.Header{MessageId: []byte("0123456789abcdef"), ThreadId: "first", TenantId: "tenant", Sequence: 7, TimestampUs: -1, Type: 1, ParentId: []byte{9}, SchemaVersion: 1}
	other := &pb.Header{ThreadId: "second", Sequence: 8}
	zeros := []byte{0x28, 0, 0x22, 0, 0x10, 0, 0x0A, 0} // sequence, thread, timestamp, message id, all set to zero
	group := []byte{15<<3 | 3, 1 << 3, 5, 15<<3 | 4}
	frames := map[string][]byte{
		"merged header in one body":   p.field(1, p.header(full), p.header(other)),
		"merged header across bodies": join(p.field(1, p.header(full)), p.field(1, p.header(other))),
		"header behind the body":      p.field(1, p.field(3, []byte("node")), p.header(full)),
		"later kind wins":             join(p.field(1, p.header(full)), p.field(4, p.header(other))),
		"kind comes back":             join(p.field(1, p.header(full)), p.field(4, p.header(other)), p.field(1, p.header(other))),
		"explicit zeros win":          p.field(1, p.header(full), p.field(1, zeros)),
		"header in two halves":        p.field(1, p.field(1, []byte{0x28, 3}), p.field(1, []byte{0x22, 1, 'x'})),
		"wrong wire type is unknown":  join([]byte{4 << 3, 1}, p.field(1, []byte{1 << 3, 1}, p.field(1, []byte{4 << 3, 1, 5<<3 | 2, 1, 'q', 2<<3 | 5, 1, 2, 3, 4}), p.header(full))),
		"unknown fields around":       join(p.field(99, []byte("?")), group, p.field(1, group, p.field(77, nil), p.field(1, group, mustMarshal(t, full), p.field(50, []byte("!")))), p.field(1000, nil)),
		"overlong varints":            p.field(1, p.field(1, []byte{0x28, 0x87, 0x80, 0x80, 0x00, 0xA2, 0x00, 0x81, 0x00, 'x'})),
		"values cut to their type":    p.field(1, p.field(1, []byte{0x30, 0x81, 0x80, 0x80, 0x80, 0xF0, 0x01, 0x40, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01, 0x48, 0x81, 0x80, 0x80, 0x80, 0x10})),
		"empty header":                p.field(2, p.field(1)),
		"batch in two parts":          join(p.field(8, p.header(full), p.field(2, p.header(full))), p.field(8, p.field(2, p.header(other), p.header(full)))),
		"batch replaced and resumed":  join(p.field(8, p.header(full), p.field(2, p.header(full))), p.field(1, p.header(other)), p.field(8, p.header(other), p.field(2, p.header(other)))),
		"batch replaced":              join(p.field(8, p.header(full), p.field(2, p.header(full))), p.field(7, p.header(other))),
		"batch with odd events":       p.field(8, p.field(2, p.header(full), p.header(other)), []byte{2 << 3, 4}, p.header(other), p.field(3, []byte("?")), p.field(2, p.field(1))),
		"empty batch":                 p.field(8, p.header(full)),
	}
	for name, body := range frames {
		frames[name] = append([]byte{framePlain}, body...)
	}
	return frames
}

// TestPeekReadsAsDecodeDoes, on what marshallers write and on what they never
// write but a decoder must take.
func TestPeekReadsAsDecodeDoes(t *testing.T) {
	t.Parallel()
	frames := odd(t)
	for name, m := range golden(t) {
		frames[name] = mustAppend(t, m)
	}
	frames["zstd"] = mustAppend(t, largeDiff(5000))
	frames["zstd batch"] = mustAppend(t, batchOf(30))
	if frames["zstd"][0] != frameZstd || frames["zstd batch"][0] != frameZstd {
		t.Fatal("nothing compressed")
	}
	var p Peeker
	for name, frame := range frames {
		m, err := Decode(frame, DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkPeekAgrees(t, frame, DefaultLimits(), &p, m)
	}
}

// TestPeekOutlivesDamage: behind its header a message may be anything.
func TestPeekOutlivesDamage(t *testing.T) {
	t.Parallel()
	m := smallEvent()
	good := plainFrame(t, m)
	bodyAt := bytes.Index(good, []byte("planner"))
	for _, c := range []struct {
		name  string
		frame []byte
		want  Reason
	}{
		{"text that is not UTF-8", bytes.Replace(good, []byte("planner"), []byte("pl\xffnner"), 1), ""},
		{"attributes that are no map", bytes.Replace(good, []byte("attempt"), []byte("\xff\xff\xff\xff\xff\xff\xff"), 1), ""},
		{"cut off", good[:bodyAt+3], ReasonMalformed},
		{"junk behind", append(bytes.Clone(good), 0xFF), ReasonMalformed},
		{"end of a group", append(bytes.Clone(good), 0x0C), ReasonMalformed},
	} {
		if _, err := Decode(c.frame, DefaultLimits()); ReasonOf(err) != ReasonMalformed {
			t.Errorf("%s: Decode: %v", c.name, err)
		}
		p, err := Peek(c.frame, DefaultLimits())
		if ReasonOf(err) != c.want {
			t.Errorf("%s: Peek: %v, want reason %q", c.name, err, c.want)
		}
		if string(p.ThreadID) != HeaderOf(m).ThreadId || p.Sequence != HeaderOf(m).Sequence || p.Kind != pb.MessageType_MESSAGE_TYPE_EVENT {
			t.Errorf("%s: %+v", c.name, p)
		}
	}

	newer := smallEvent()
	HeaderOf(newer).SchemaVersion = 9
	if p, err := Peek(plainFrame(t, newer), DefaultLimits()); err != nil || p.SchemaVersion != 9 {
		t.Errorf("newer schema: version %d, %v", p.SchemaVersion, err)
	}
	for field, bad := range map[string]*pb.Header{"thread_id": {ThreadId: "\xff"}, "tenant_id": {TenantId: "\xed\xa0\x80"}} {
		raw := mustMarshalLax(bad)
		frame := append([]byte{framePlain}, pieces{t}.field(1, pieces{t}.field(1, raw))...)
		if _, err := Peek(frame, DefaultLimits()); ReasonOf(err) != ReasonMalformed {
			t.Errorf("%s that is not UTF-8: %v", field, err)
		}
	}
	if _, err := Peek(plainFrame(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Metrics{Metrics: &pb.Metrics{}}}), DefaultLimits()); ReasonOf(err) != ReasonMissingHeader {
		t.Errorf("no header: %v", err)
	}
}

// mustMarshalLax writes strings that are not UTF-8, which Marshal refuses.
func mustMarshalLax(h *pb.Header) []byte {
	b := protowire.AppendString([]byte{3<<3 | 2}, h.TenantId)
	return protowire.AppendString(append(b, 4<<3|2), h.ThreadId)
}

func TestEventsOfDamagedBatch(t *testing.T) {
	t.Parallel()
	frame := plainFrame(t, batchOf(3))
	cut := frame[:len(frame)-40]
	p, err := Peek(cut, DefaultLimits())
	if ReasonOf(err) != ReasonMalformed {
		t.Fatalf("cut batch: %v", err)
	}
	threads, failed := 0, false
	for h, err := range p.Events() {
		if err != nil {
			failed = true
			continue
		}
		if len(h.ThreadID) == 0 {
			t.Error("event without a thread")
		}
		threads++
	}
	if threads != 3 || !failed {
		t.Errorf("%d headers, failed %t; want 3 and true", threads, failed)
	}

	headless := batchOf(3)
	headless.GetEventBatch().Events[1].Header = nil
	var present []bool
	for h, err := range Headers(plainFrame(t, headless), DefaultLimits()) {
		if err != nil {
			t.Error(err)
		}
		present = append(present, h.Present)
	}
	if fmt.Sprint(present) != "[true false true]" {
		t.Errorf("headers present: %v", present)
	}

	for h, err := range Headers([]byte{7}, DefaultLimits()) {
		if ReasonOf(err) != ReasonUnknownFraming || h.Present {
			t.Errorf("%+v, %v", h, err)
		}
	}
	for range Headers(mustAppend(t, smallEvent()), DefaultLimits()) {
		t.Error("an event has no inner headers")
	}
	n := 0
	for range p.Events() {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("stopped after %d", n)
	}
}

// TestMixedBatch: each thread of a batch is found (WIR-16).
func TestMixedBatch(t *testing.T) {
	t.Parallel()
	m := batchOf(6)
	for i, ev := range m.GetEventBatch().Events {
		ev.Header.ThreadId = fmt.Sprintf("thread-%d", i%3)
		ev.Header.Sequence = uint64(i/3 + 1)
	}
	last := map[string]uint64{}
	for h, err := range Headers(mustAppend(t, m), DefaultLimits()) {
		if err != nil {
			t.Fatal(err)
		}
		last[string(h.ThreadID)] = h.Sequence
	}
	if len(last) != 3 || last["thread-0"] != 2 || last["thread-1"] != 2 || last["thread-2"] != 2 {
		t.Errorf("last sequences %v", last)
	}
}

// TestPeekDoesNotAllocate. Not parallel: AllocsPerRun counts the process.
func TestPeekDoesNotAllocate(t *testing.T) {
	plain, packed := mustAppend(t, smallEvent()), mustAppend(t, largeDiff(20_000))
	batch, packedBatch := plainFrame(t, batchOf(20)), mustAppend(t, batchOf(20))
	if packed[0] != frameZstd || packedBatch[0] != frameZstd {
		t.Fatal("nothing compressed")
	}
	l := DefaultLimits()
	var p Peeker
	count := func(res *Peeked) {
		n := 0
		for h, err := range res.Events() {
			if err == nil && h.Present {
				n++
			}
		}
		if n != 20 {
			t.Fatalf("%d headers", n)
		}
	}
	for name, f := range map[string]func(){
		"Peek, plain":        func() { _, _ = Peek(plain, l) },
		"Peeker, plain":      func() { _, _ = p.Peek(plain, l) },
		"Events of a batch":  func() { res, _ := p.Peek(batch, l); count(&res) },
		"Peeker, zstd":       func() { _, _ = p.Peek(packed, l) },
		"Peeker, zstd batch": func() { res, _ := p.Peek(packedBatch, l); count(&res) },
		"Peeker.Headers": func() {
			for _, err := range p.Headers(batch, l) {
				if err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		f()
		// The race detector empties pools at random.
		if n := testing.AllocsPerRun(200, f); n > 0 && !raceEnabled {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestPeekerDoesNotKeepLargeMessages, beyond the next call.
func TestPeekerDoesNotKeepLargeMessages(t *testing.T) {
	t.Parallel()
	var p Peeker
	if _, err := p.Peek(mustAppend(t, largeDiff(8<<20)), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Peek(mustAppend(t, largeDiff(5000)), DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if cap(p.plain) > maxPooledBytes {
		t.Errorf("keeps %d bytes", cap(p.plain))
	}
}

func TestPeekedAliasesTheFrame(t *testing.T) {
	t.Parallel()
	frame := mustAppend(t, smallEvent())
	p, err := Peek(frame, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if !bytes.Equal(p.ThreadID, make([]byte, len(p.ThreadID))) {
		t.Error("the thread id is a copy")
	}
	if got := cap(p.ThreadID); got != len(p.ThreadID) {
		t.Errorf("appending to the thread id would write into the frame: capacity %d", got)
	}
	if p.Framing != FramingPlain {
		t.Errorf("framing %s", p.Framing)
	}
}
