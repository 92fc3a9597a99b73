package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/proto"
)

// headersOf lists the header of a message and those within it.
func headersOf(m *pb.DashStreamMessage) []*pb.Header {
	hs := []*pb.Header{HeaderOf(m)}
	for _, ev := range batchEvents(m) {
		hs = append(hs, ev.Header)
	}
	return hs
}

// TestCompressionIsAsTheHeaderSays, over kinds, sizes and entropy; and a
// message is compressed exactly where the rule says.
func TestCompressionIsAsTheHeaderSays(t *testing.T) {
	t.Parallel()
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	framings := map[byte]int{}
	for name, m := range golden(t) {
		for _, size := range []int{0, 1, 100, 200, 300, 400, 500, 700, 2000, 140_000} {
			for _, alphabet := range []int{1, 16, 256} {
				pad := make([]byte, size)
				for i := range pad {
					pad[i] = byte(rng.IntN(alphabet))
				}
				HeaderOf(m).ParentId = pad
				frame, err := Append(nil, m, MaxProducerBytes)
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", name, size, err)
				}
				framings[frame[0]]++
				want := pb.CompressionType_COMPRESSION_NONE
				if frame[0] == frameZstd {
					want = pb.CompressionType_COMPRESSION_ZSTD
				}
				got, err := Decode(frame, DefaultLimits())
				if err != nil {
					t.Fatalf("%s, %d bytes: %v", name, size, err)
				}
				for i, h := range append(headersOf(got), headersOf(m)...) {
					if h.Compression != want {
						t.Errorf("%s, %d bytes: header %d says %s, framed with 0x%02x", name, size, i, h.Compression, frame[0])
					}
				}

				setCompression(got, pb.CompressionType_COMPRESSION_NONE)
				switch plain := proto.Size(got); {
				case frame[0] == frameZstd && (plain <= CompressAbove || len(frame)-1 >= plain):
					t.Errorf("%s: %d bytes compressed to %d", name, plain, len(frame)-1)
				case frame[0] == framePlain && alphabet == 1 && size > 2*CompressAbove:
					t.Errorf("%s: %d bytes of one value left plain", name, plain)
				}
			}
		}
	}
	if framings[framePlain] == 0 || framings[frameZstd] == 0 {
		t.Errorf("only one framing was tried: %v", framings)
	}
}

func TestCompressThreshold(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]byte{CompressAbove - 1: framePlain, CompressAbove: framePlain, CompressAbove + 1: frameZstd} {
		m := &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{ThreadId: "t"}}}}
		for proto.Size(m) < size {
			m.GetEvent().NodeId += "n"
		}
		frame := mustAppend(t, m)
		if frame[0] != want {
			t.Errorf("%d bytes framed with 0x%02x, want 0x%02x", size, frame[0], want)
		}
	}
}

// TestAppendChangesOnlyTheCompression of the caller's message.
func TestAppendChangesOnlyTheCompression(t *testing.T) {
	t.Parallel()
	for name, m := range golden(t) {
		setCompression(m, pb.CompressionType_COMPRESSION_LZ4)
		HeaderOf(m).SchemaVersion = 0
		want := proto.CloneOf(m)
		frame := mustAppend(t, m)
		if got := HeaderOf(m).Compression == pb.CompressionType_COMPRESSION_ZSTD; got != (frame[0] == frameZstd) {
			t.Errorf("%s: compression left at %s", name, HeaderOf(m).Compression)
		}
		setCompression(want, HeaderOf(m).Compression)
		if !proto.Equal(m, want) {
			t.Errorf("%s: changed to\n%v\nwant\n%v", name, m, want)
		}
	}
}

// nested returns an attribute of the given depth in messages.
func nestedArray(depth int) *pb.AttributeValue {
	v := &pb.AttributeValue{}
	for ; depth > 2; depth -= 2 {
		v = &pb.AttributeValue{Value: &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{Values: []*pb.AttributeValue{v}}}}
	}
	if depth == 2 {
		v = &pb.AttributeValue{Value: &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{Values: []*pb.AttributeValue{v}}}}
	}
	return v
}

// nestedMap nests three messages a level: value, map, entry.
func nestedMap(levels int) *pb.AttributeValue {
	v := &pb.AttributeValue{}
	for range levels {
		v = &pb.AttributeValue{Value: &pb.AttributeValue_MapValue{MapValue: &pb.AttributeMap{Values: map[string]*pb.AttributeValue{"k": v}}}}
	}
	return v
}

func eventWith(v *pb.AttributeValue) *pb.DashStreamMessage {
	m := smallEvent()
	m.GetEvent().Attributes["v"] = v
	return m
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	cycle := &pb.AttributeValue{}
	cycle.Value = &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{Values: []*pb.AttributeValue{cycle}}}
	mapCycle := &pb.AttributeValue{}
	mapCycle.Value = &pb.AttributeValue_MapValue{MapValue: &pb.AttributeMap{Values: map[string]*pb.AttributeValue{"k": mapCycle}}}
	var doubled *pb.AttributeValue // two to the fortieth values
	for range 40 {
		doubled = &pb.AttributeValue{Value: &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{Values: []*pb.AttributeValue{doubled, doubled}}}}
	}
	headless := batchOf(3)
	headless.GetEventBatch().Events[1].Header = nil
	nilEvent := batchOf(3)
	nilEvent.GetEventBatch().Events[2] = nil
	newer := smallEvent()
	HeaderOf(newer).SchemaVersion = 2
	newerInside := batchOf(2)
	newerInside.GetEventBatch().Events[1].Header.SchemaVersion = 7
	badText := smallEvent()
	badText.GetEvent().NodeId = "\xff"
	badLargeText := largeDiff(4096)
	HeaderOf(badLargeText).ThreadId = "\xff"
	noise := make([]byte, MaxProducerBytes)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	large := largeDiff(100)
	large.GetStateDiff().FullState = noise
	huge := largeDiff(100)
	huge.GetStateDiff().FullState = make([]byte, DefaultMaxBytes)

	cases := []struct {
		name string
		m    *pb.DashStreamMessage
		want Reason
	}{
		{"nil", nil, ReasonMissingHeader},
		{"no message", &pb.DashStreamMessage{}, ReasonMissingHeader},
		{"nil choice", &pb.DashStreamMessage{Message: (*pb.DashStreamMessage_Event)(nil)}, ReasonMissingHeader},
		{"nil message in the choice", &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{}}, ReasonMissingHeader},
		{"event without a header in a batch", headless, ReasonMissingHeader},
		{"nil event in a batch", nilEvent, ReasonMissingHeader},
		{"newer schema", newer, ReasonSchemaVersion},
		{"newer schema in a batch", newerInside, ReasonSchemaVersion},
		{"text that is not UTF-8", badText, ReasonMalformed},
		{"text that is not UTF-8, compressed", badLargeText, ReasonMalformed},
		{"array that holds itself", eventWith(cycle), ReasonMalformed},
		{"map that holds itself", eventWith(mapCycle), ReasonMalformed},
		{"array that holds an array many times", eventWith(doubled), ReasonTooLarge},
		{"nested too deep", eventWith(nestedArray(98)), ReasonMalformed},
		{"frame above the limit", large, ReasonTooLarge},
		{"message above what readers take, though it compresses", huge, ReasonTooLarge},
	}
	for name, m := range golden(t) {
		SetHeader(m, nil)
		cases = append(cases, struct {
			name string
			m    *pb.DashStreamMessage
			want Reason
		}{name + " without a header", m, ReasonMissingHeader})
	}
	for _, c := range cases {
		dst := []byte("kept")
		got, err := Append(dst, c.m, MaxProducerBytes)
		var e *Error
		if !errors.As(err, &e) || e.Reason != c.want {
			t.Errorf("%s: %v, want reason %s", c.name, err, c.want)
			continue
		}
		if string(got) != "kept" {
			t.Errorf("%s: dst became %d bytes", c.name, len(got))
		}
		if c.want == ReasonTooLarge && (e.Size <= e.Limit || e.Limit == 0) {
			t.Errorf("%s: size %d, limit %d", c.name, e.Size, e.Limit)
		}
		if c.want == ReasonSchemaVersion && e.Version < 2 {
			t.Errorf("%s: version %d", c.name, e.Version)
		}
	}
}

// TestDepthIsTheSameBothWays: what Append takes, Decode takes, and the reverse.
func TestDepthIsTheSameBothWays(t *testing.T) {
	t.Parallel()
	accepted, refused := 0, 0
	for depth := 90; depth < 105; depth++ {
		for name, nested := range map[string]*pb.AttributeValue{
			"arrays": nestedArray(depth), "maps": nestedMap(depth / 3),
			"array in a map": {Value: &pb.AttributeValue_MapValue{MapValue: &pb.AttributeMap{
				Values: map[string]*pb.AttributeValue{"k": nestedArray(depth - 3)}}}},
			"maps in an array": {Value: &pb.AttributeValue_ArrayValue{ArrayValue: &pb.AttributeArray{
				Values: []*pb.AttributeValue{nestedMap(depth / 3)}}}},
		} {
			batch := batchOf(1)
			batch.GetEventBatch().Events[0] = eventWith(nested).GetEvent()
			for _, m := range []*pb.DashStreamMessage{eventWith(nested), batch} {
				_, appendErr := Append(nil, m, MaxProducerBytes)
				setCompression(m, 0)
				_, decodeErr := Decode(plainFrame(t, m), DefaultLimits())
				if (appendErr == nil) != (decodeErr == nil) {
					t.Errorf("%s, depth %d: Append %v, Decode %v", name, depth, appendErr, decodeErr)
				}
				if appendErr == nil {
					accepted++
				} else {
					refused++
				}
			}
		}
	}
	if accepted < 15 || refused < 15 {
		t.Errorf("%d accepted, %d refused: the limit was not tried", accepted, refused)
	}
}

func TestAppendLimitIsInclusive(t *testing.T) {
	t.Parallel()
	for _, m := range []*pb.DashStreamMessage{smallEvent(), largeDiff(4096)} {
		n := len(mustAppend(t, m))
		if _, err := Append(nil, m, n); err != nil {
			t.Errorf("frame of %d bytes with that limit: %v", n, err)
		}
		if _, err := Append(nil, m, n-1); ReasonOf(err) != ReasonTooLarge {
			t.Errorf("frame of %d bytes with a limit of %d: %v", n, n-1, err)
		}
	}
}

// TestCompressionFailureFallsBack to a plain frame and is counted (WIR-17).
func TestCompressionFailureFallsBack(t *testing.T) {
	t.Parallel()
	e := Encoder{compress: func(dst, _ []byte) ([]byte, error) { return append(dst, "garbage"...), errors.New("out of order") }}
	m := largeDiff(4096)
	frame, err := e.Append(nil, m, MaxProducerBytes)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(frame, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if frame[0] != framePlain || HeaderOf(got).Compression != pb.CompressionType_COMPRESSION_NONE || !proto.Equal(got, m) {
		t.Errorf("framed with 0x%02x, header says %s", frame[0], HeaderOf(got).Compression)
	}
	if n := e.CompressionFailures(); n != 1 {
		t.Errorf("%d failures counted, want 1", n)
	}
}

// TestPoolsDoNotAlias: frames, messages and peeked headers of many goroutines
// keep their content while the pools go round (WIR-19). Meant for -race.
func TestPoolsDoNotAlias(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	var enc Encoder
	for g := range 8 {
		wg.Go(func() {
			var peeker Peeker
			type kept struct {
				thread string
				frame  []byte
				m      *pb.DashStreamMessage
				size   int
			}
			var all []kept
			for i := range 40 {
				thread := fmt.Sprintf("thread-%d-%d", g, i)
				m := largeDiff(200 + 997*(i%9))
				HeaderOf(m).ThreadId = thread
				frame, err := enc.Append(nil, m, MaxProducerBytes)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := Decode(frame, DefaultLimits())
				if err != nil {
					t.Error(err)
					return
				}
				all = append(all, kept{thread, frame, got, len(m.GetStateDiff().FullState)})
			}
			for _, k := range all {
				if HeaderOf(k.m).ThreadId != k.thread || len(k.m.GetStateDiff().FullState) != k.size {
					t.Errorf("%s: the decoded message changed", k.thread)
				}
				p, err := peeker.Peek(k.frame, DefaultLimits())
				if err != nil || string(p.ThreadID) != k.thread {
					t.Errorf("%s: the frame changed: %s, %v", k.thread, p.ThreadID, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestFrameIsNoLargerThanItsContent: queues are bounded by frame sizes, so a
// frame must not hold the buffer that it was compressed in.
func TestFrameIsNoLargerThanItsContent(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 4096, 500_000} {
		frame := mustAppend(t, largeDiff(n))
		if cap(frame) > 2*len(frame)+64 {
			t.Errorf("frame of %d bytes has a buffer of %d", len(frame), cap(frame))
		}
	}
}

// TestBatchSizeDoesNotChangeContent: events alone or in one batch read the
// same (WIR-02).
func TestBatchSizeDoesNotChangeContent(t *testing.T) {
	t.Parallel()
	batch := &pb.EventBatch{Header: &pb.Header{ThreadId: "a"}}
	var alone []*pb.Event
	for i := range 50 {
		ev := smallEvent().GetEvent()
		ev.Header.Sequence = uint64(i/2 + 1)
		ev.Header.ThreadId = string(rune('a' + i%2))
		ev.Header.TimestampUs = []int64{0, 32503680000000000, 1}[i%3]
		m, err := Decode(mustAppend(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: proto.CloneOf(ev)}}), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		alone = append(alone, m.GetEvent())
		batch.Events = append(batch.Events, ev)
	}
	m, err := Decode(mustAppend(t, &pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: batch}}), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	for i, ev := range m.GetEventBatch().GetEvents() {
		ev.Header.Compression = alone[i].Header.Compression // the one difference: how it travelled
		if !proto.Equal(ev, alone[i]) {
			t.Errorf("event %d: %v, alone %v", i, ev, alone[i])
		}
	}
}

func TestTypeNames(t *testing.T) {
	t.Parallel()
	names := strings.Split(MessageTypeNames(), ", ")
	if len(names) != len(pb.MessageType_name) {
		t.Errorf("names: %v", names)
	}
	for _, name := range names {
		for _, spelling := range []string{name, strings.ToUpper(name), "MESSAGE_TYPE_" + strings.ToUpper(name)} {
			if got, err := ParseMessageType(spelling); err != nil || TypeName(got) != name {
				t.Errorf("ParseMessageType(%s) = %s, %v", spelling, got, err)
			}
		}
	}
	if _, err := ParseMessageType("nonsense"); err == nil || !strings.Contains(err.Error(), "state_diff") {
		t.Errorf("nonsense: %v", err)
	}
	if got := TypeName(99); got != "unknown" {
		t.Errorf("TypeName(99) = %s", got)
	}
}

func TestHelpersOfMessages(t *testing.T) {
	t.Parallel()
	for name, m := range golden(t) {
		want := "MESSAGE_TYPE_" + strings.ToUpper(name)
		if got := KindOf(m).String(); got != want {
			t.Errorf("KindOf(%s) = %s, want %s", name, got, want)
		}
		if h := HeaderOf(m); h.GetType().String() != want {
			t.Errorf("HeaderOf(%s) has type %s", name, h.GetType())
		}
		h := &pb.Header{ThreadId: "other"}
		if !SetHeader(m, h) || HeaderOf(m) != h {
			t.Errorf("SetHeader(%s) set nothing", name)
		}
	}
	for _, m := range []*pb.DashStreamMessage{nil, {}, {Message: (*pb.DashStreamMessage_Error)(nil)}, {Message: &pb.DashStreamMessage_Error{}}} {
		if HeaderOf(m) != nil || SetHeader(m, &pb.Header{}) {
			t.Errorf("%v has a header", m)
		}
	}
	if !bytes.Equal(mustAppend(t, smallEvent())[:1], []byte{framePlain}) {
		t.Error("a small event is not framed plain")
	}
}

// TestFastIsProtoMarshal: events written by hand are the bytes that
// proto.Marshal writes, and what is not plain is not written by hand.
func TestFastIsProtoMarshal(t *testing.T) {
	t.Parallel()
	value := func(v *pb.AttributeValue) *pb.DashStreamMessage {
		m := golden(t)["event"]
		m.GetEvent().Attributes = map[string]*pb.AttributeValue{"key": v}
		return m
	}
	str := func(s string) *pb.AttributeValue {
		return &pb.AttributeValue{Value: &pb.AttributeValue_StringValue{StringValue: s}}
	}
	unknown := smallEvent()
	unknown.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 1})
	unknownEvent := smallEvent()
	unknownEvent.GetEvent().ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 1})
	unknownHeader := smallEvent()
	HeaderOf(unknownHeader).ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 1})
	unknownValue := str("v")
	unknownValue.ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 1})
	unknownBatch := batchOf(1)
	unknownBatch.GetEventBatch().ProtoReflect().SetUnknown([]byte{0xF8, 0x07, 1})
	negative := smallEvent()
	negative.GetEvent().Attributes = nil
	negative.GetEvent().EventType, negative.GetEvent().DurationUs = -5, -1
	HeaderOf(negative).Type, HeaderOf(negative).TimestampUs, HeaderOf(negative).Sequence = -1, -1<<63, 1<<64-1
	HeaderOf(negative).SchemaVersion = 1<<32 - 1
	long := smallEvent()
	long.GetEvent().Attributes = map[string]*pb.AttributeValue{strings.Repeat("k", 300): str(strings.Repeat("v", 70_000))}

	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
		fast bool
	}{
		{"batch", golden(t)["event_batch"], true},
		{"empty batch", batchOf(0), true},
		{"empty event", &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{}}}}, true},
		{"negative and largest numbers", negative, true},
		{"long strings", long, true},
		{"string", value(str("zwölf")), true},
		{"empty string", value(str("")), true},
		{"int", value(&pb.AttributeValue{Value: &pb.AttributeValue_IntValue{IntValue: -1 << 63}}), true},
		{"zero", value(&pb.AttributeValue{Value: &pb.AttributeValue_IntValue{}}), true},
		{"float", value(&pb.AttributeValue{Value: &pb.AttributeValue_FloatValue{FloatValue: math.Inf(-1)}}), true},
		{"negative zero", value(&pb.AttributeValue{Value: &pb.AttributeValue_FloatValue{FloatValue: math.Copysign(0, -1)}}), true},
		{"true", value(&pb.AttributeValue{Value: &pb.AttributeValue_BoolValue{BoolValue: true}}), true},
		{"false", value(&pb.AttributeValue{Value: &pb.AttributeValue_BoolValue{}}), true},
		{"bytes", value(&pb.AttributeValue{Value: &pb.AttributeValue_BytesValue{BytesValue: []byte{0xFF}}}), true},
		{"no choice", value(&pb.AttributeValue{}), true},
		{"nil value", value(nil), true},
		{"nil choice", value(&pb.AttributeValue{Value: (*pb.AttributeValue_IntValue)(nil)}), false},
		{"array", value(nestedArray(2)), false},
		{"map", value(&pb.AttributeValue{Value: &pb.AttributeValue_MapValue{}}), false},
		{"unknown field", unknown, false},
		{"unknown field of the event", unknownEvent, false},
		{"unknown field of the header", unknownHeader, false},
		{"unknown field of the batch", unknownBatch, false},
		{"unknown field of a value", value(unknownValue), false},
		{"not an event", golden(t)["metrics"], false},
		{"value that is not UTF-8", value(str("\xff")), false},
		{"key that is not UTF-8", func() *pb.DashStreamMessage {
			m := smallEvent()
			m.GetEvent().Attributes["\xff"] = str("")
			return m
		}(), false},
	} {
		size := sizeFast(c.m)
		if (size >= 0) != c.fast {
			t.Errorf("%s: written by hand: %t, want %t", c.name, size >= 0, c.fast)
			continue
		}
		if !c.fast {
			continue
		}
		if got, want := appendFast(nil, c.m, size), mustMarshal(t, c.m); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, got, want)
		}
	}
}

// TestAppendWritesNoStructureBomb: what readers refuse for its size in memory
// is refused where it is written.
func TestAppendWritesNoStructureBomb(t *testing.T) {
	t.Parallel()
	batch := &pb.EventBatch{Header: &pb.Header{}}
	ev := &pb.Event{Header: &pb.Header{}}
	for range 500_000 {
		batch.Events = append(batch.Events, ev)
	}
	m := &pb.DashStreamMessage{Message: &pb.DashStreamMessage_EventBatch{EventBatch: batch}}
	if _, err := Append(nil, m, MaxProducerBytes); ReasonOf(err) != ReasonTooLarge {
		t.Errorf("compressible: %v", err)
	}
}
