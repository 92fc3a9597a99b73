package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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
		{"field number beyond range", append(bytes.Clone(good), 0x80, 0x80, 0x80, 0x80, 0x10, 0), ReasonMalformed},
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
	if _, err := p.Peek(mustAppend(t, largeDiff(4<<20)), DefaultLimits()); err != nil {
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

// TestPeekAgreesOnRandomMessages: messages made of random sound pieces in
// random order, most of which Decode takes.
func TestPeekAgreesOnRandomMessages(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	g := generator{rand.New(rand.NewPCG(seed, seed))}
	var p Peeker
	taken, batches := 0, 0
	for range 20_000 {
		frame := append([]byte{framePlain}, g.message()...)
		m, err := Decode(frame, DefaultLimits())
		if err != nil {
			if r := ReasonOf(err); r != ReasonMissingHeader && r != ReasonSchemaVersion {
				t.Fatalf("% x: %v", frame, err)
			}
			if _, peekErr := p.Peek(frame, DefaultLimits()); peekErr != nil && ReasonOf(peekErr) != ReasonOf(err) {
				t.Fatalf("% x: Decode says %v, Peek %v", frame, err, peekErr)
			}
			continue
		}
		taken++
		if len(batchEvents(m)) > 0 {
			batches++
		}
		checkPeekAgrees(t, frame, DefaultLimits(), &p, m)
	}
	if taken < 5000 || batches < 500 {
		t.Errorf("only %d messages taken, %d batches", taken, batches)
	}
}

type generator struct{ *rand.Rand }

func (g generator) message() []byte {
	var b []byte
	for range 1 + g.IntN(4) {
		switch g.IntN(6) {
		case 0:
			b = append(b, g.unknown()...)
		case 1, 2:
			b = g.bytes(b, 8, g.batch())
		default:
			b = g.bytes(b, protowire.Number(1+g.IntN(9)), g.body())
		}
	}
	return b
}

func (g generator) batch() []byte {
	b := g.body()
	for range g.IntN(4) {
		b = g.bytes(b, 2, g.body())
		if g.IntN(4) == 0 {
			b = g.bytes(b, 1, g.header())
		}
	}
	return b
}

// body is a message of any kind, as far as all have the same fields.
func (g generator) body() []byte {
	var b []byte
	for range g.IntN(4) {
		if g.IntN(4) == 0 {
			b = append(b, g.unknown()...)
		} else {
			b = g.bytes(b, 1, g.header())
		}
	}
	return b
}

func (g generator) header() []byte {
	var b []byte
	for range g.IntN(8) {
		switch num := protowire.Number(1 + g.IntN(9)); num {
		case 1, 7, 3, 4:
			b = g.bytes(b, num, []byte("0123456789abcdef")[:g.IntN(17)])
		case 9:
			b = g.varint(protowire.AppendTag(b, num, protowire.VarintType), uint64(g.IntN(2)))
		default:
			b = g.varint(protowire.AppendTag(b, num, protowire.VarintType), g.Uint64()>>g.IntN(64))
		}
		if g.IntN(5) == 0 {
			b = append(b, g.unknown()...)
		}
	}
	return b
}

// unknown is a field that no message of this schema has, or has otherwise.
func (g generator) unknown() []byte {
	switch g.IntN(5) {
	case 0: // a header field, a kind, a batch's events: with another wire type
		return protowire.AppendFixed64(protowire.AppendTag(nil, protowire.Number(1+g.IntN(9)), protowire.Fixed64Type), g.Uint64())
	case 1:
		return protowire.AppendFixed32(protowire.AppendTag(nil, protowire.Number(1+g.IntN(9)), protowire.Fixed32Type), g.Uint32())
	case 2:
		num := protowire.Number(100 + g.IntN(1000))
		return protowire.AppendTag(append(protowire.AppendTag(nil, num, protowire.StartGroupType), g.header()...), num, protowire.EndGroupType)
	case 3:
		return g.varint(protowire.AppendTag(nil, protowire.Number(20+g.IntN(1000)), protowire.VarintType), g.Uint64())
	}
	return g.bytes(nil, protowire.Number(20+g.IntN(1<<20)), []byte("\xff\xfe unknown")[:g.IntN(10)])
}

func (g generator) bytes(b []byte, num protowire.Number, content []byte) []byte {
	b = g.varint(b, protowire.EncodeTag(num, protowire.BytesType))
	return append(g.varint(b, uint64(len(content))), content...)
}

// varint is now and then longer than it has to be.
func (g generator) varint(b []byte, v uint64) []byte {
	b = protowire.AppendVarint(b, v)
	if v < 1<<56 && g.IntN(10) == 0 {
		b[len(b)-1] |= 0x80
		b = append(b, 0)
	}
	return b
}
