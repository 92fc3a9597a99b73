package wire

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
)

// fuzzLimits are small, so that the fuzzer reaches them.
var fuzzLimits = Limits{Framed: 256 << 10, Decoded: 512 << 10}

// seeds are frames of every kind, sound, odd and damaged.
func seeds(f *testing.F) [][]byte {
	var all [][]byte
	for _, m := range golden(f) {
		all = append(all, mustAppend(f, m), plainFrame(f, m))
	}
	all = append(all, mustAppend(f, largeDiff(20_000)), mustAppend(f, batchOf(40)), mustAppend(f, smallEvent()))
	for _, frame := range all[:len(all):len(all)] {
		for _, n := range []int{0, 1, 2, len(frame) / 3, len(frame) / 2, len(frame) - 1} {
			all = append(all, frame[:n])
		}
		flipped := bytes.Clone(frame)
		for i := 7; i < len(flipped); i += 13 {
			flipped[i] ^= 0x55
		}
		all = append(all, flipped, append([]byte("\x02"), frame[1:]...), frame[1:], append(bytes.Clone(frame), frame...))
	}
	for _, frame := range odd(f) {
		all = append(all, frame)
	}
	for _, b := range bombs(f, fuzzLimits.Decoded) {
		all = append(all, append([]byte{frameZstd}, b.frame...), b.frame)
	}
	for _, unit := range []string{"\x12\x00", "\x12\x02\x0a\x00", "\x22\x00"} {
		all = append(all, append([]byte("\x00\x42\x80\x80\x08"), strings.Repeat(unit, 1<<16)...))
	}
	return all
}

// FuzzDecode reads arbitrary values. Invariants:
//
//   - no panic; a message or an Error with a known reason, never both;
//   - memory stays within the limits, whatever the value says;
//   - where Decode succeeds, Peek reports the same kind and headers, for the
//     events of a batch too;
//   - where Peek fails for another reason than the message's content, Decode
//     fails for the same one;
//   - legacy mode reads framed values alike;
//   - what was decoded, appended and decoded again is the same message.
func FuzzDecode(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		var m *pb.DashStreamMessage
		var err error
		n := allocated(func() { m, err = Decode(value, fuzzLimits) })
		if most := uint64(fuzzLimits.Decoded + max(costFactor*fuzzLimits.Decoded, costFloor) + 1<<20); n > most {
			t.Fatalf("% x: allocates %d bytes, the most is %d", head(value), n, most)
		}
		checkResult(t, value, m, err)

		var p Peeker
		_, peekErr := p.Peek(value, fuzzLimits)
		switch got, want := ReasonOf(peekErr), ReasonOf(err); {
		case got == "":
			switch want {
			case "", ReasonMalformed, ReasonSchemaVersion, ReasonMissingHeader, ReasonTooLarge:
			default:
				t.Fatalf("% x: Peek succeeds, Decode says %v", head(value), err)
			}
		case got == ReasonMalformed || got == ReasonMissingHeader:
			if want == "" {
				t.Fatalf("% x: Decode succeeds, Peek says %v", head(value), peekErr)
			}
		case got != want:
			t.Fatalf("% x: Peek says %v, Decode %v", head(value), peekErr, err)
		}
		for h, err := range p.Headers(value, fuzzLimits) {
			if err != nil {
				checkError(t, value, err)
			}
			_ = h
		}

		legacy, framing, legacyErr := DecodeLegacy(value, fuzzLimits)
		checkResult(t, value, legacy, legacyErr)
		if !framing.Legacy() && (ReasonOf(legacyErr) != ReasonOf(err) || !proto.Equal(legacy, m)) {
			t.Fatalf("% x: legacy mode says %v, Decode %v", head(value), legacyErr, err)
		}

		if err == nil {
			checkPeekAgrees(t, value, fuzzLimits, &p, m)
			roundTrip(t, m)
			_ = CheckIDs(m)
			_ = Validate(m)
		}
		if !bytes.Equal(value, before) {
			t.Fatal("the value was written to")
		}
	})
}

// roundTrip holds Decode∘Append = identity, apart from the compression, which
// says how the frame was laid.
func roundTrip(t *testing.T, m *pb.DashStreamMessage) {
	t.Helper()
	want := proto.CloneOf(m)
	frame, err := Append(nil, m, DefaultMaxBytes)
	if err != nil {
		t.Fatalf("what was decoded cannot be appended: %v", err)
	}
	got, err := Decode(frame, DefaultLimits())
	if err != nil {
		t.Fatalf("what was appended cannot be decoded: %v", err)
	}
	c := HeaderOf(got).Compression
	if (c == pb.CompressionType_COMPRESSION_ZSTD) != (frame[0] == frameZstd) {
		t.Fatalf("framed with 0x%02x, header says %s", frame[0], c)
	}
	for _, h := range headersOf(got) {
		if h.Compression != c {
			t.Fatalf("headers say %s and %s", c, h.Compression)
		}
	}
	setCompression(want, c)
	if !proto.Equal(got, want) {
		t.Fatalf("came back as\n%v\nwant\n%v", got, want)
	}
}

// FuzzAppend frames arbitrary messages. Invariants: no panic; a frame within
// the limit that Decode reads back as the same message and Peek as the same
// header, or dst as it was and an Error; of the message only the compression
// changes.
func FuzzAppend(f *testing.F) {
	for _, m := range golden(f) {
		f.Add(mustMarshal(f, m), 1<<20)
		f.Add(mustMarshal(f, m), 300)
	}
	f.Add(mustMarshal(f, batchOf(20)), 1<<20)
	f.Add(mustMarshal(f, eventWith(nestedArray(99))), 1<<20)
	f.Add([]byte{0x0A, 0}, 10)
	for _, frame := range odd(f) {
		f.Add(frame[1:], 1000)
	}
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		m := new(pb.DashStreamMessage)
		if proto.Unmarshal(body, m) != nil {
			return
		}
		if checkHeaders(m) == nil {
			if size := sizeFast(m); size >= 0 {
				fast, same := appendFast(nil, m, size), new(pb.DashStreamMessage)
				if err := proto.Unmarshal(fast, same); err != nil || len(fast) != proto.Size(m) || !proto.Equal(same, m) {
					t.Fatalf("by hand % x, proto.Size %d: %v, %v", fast, proto.Size(m), err, m)
				}
			}
		}
		want := proto.CloneOf(m)
		out, err := Append([]byte("dst"), m, limit)
		if err != nil {
			checkError(t, body, err)
			if string(out) != "dst" {
				t.Fatalf("dst became %d bytes beside %v", len(out), err)
			}
		} else {
			frame := out[3:]
			if string(out[:3]) != "dst" || len(frame) > limit {
				t.Fatalf("frame of %d bytes, limit %d", len(frame), limit)
			}
			l := Limits{Framed: limit, Decoded: max(limit, DefaultMaxBytes)}
			got, err := Decode(frame, l)
			if err != nil {
				t.Fatalf("what was appended cannot be decoded: %v", err)
			}
			checkPeekAgrees(t, frame, l, new(Peeker), got)
			normaliseVersions(m)
			if !proto.Equal(got, m) {
				t.Fatalf("came back as\n%v\nwant\n%v", got, m)
			}
			setCompression(want, HeaderOf(m).Compression)
			normaliseVersions(want)
		}
		if err == nil && !proto.Equal(m, want) {
			t.Fatalf("the message became\n%v\nwant\n%v", m, want)
		}
	})
}

func normaliseVersions(m *pb.DashStreamMessage) {
	for _, h := range headersOf(m) {
		normaliseVersion(h)
	}
}

// FuzzDecompress decompresses arbitrary frames. Invariants: no panic; no more
// than limit bytes come out, and no more memory than limit and 1 MiB is taken;
// what comes out is what a streaming decoder makes of the frame, and what is
// refused leaves dst as it was.
func FuzzDecompress(f *testing.F) {
	for _, b := range bombs(f, 1<<20) {
		f.Add(b.frame)
	}
	for _, content := range []string{"", "a", strings.Repeat("telemetry ", 500)} {
		f.Add(goodZstd(f, []byte(content)))
	}
	f.Add(goodZstd(f, mustMarshal(f, largeDiff(300_000))))
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, frame []byte) {
		var out []byte
		var err error
		n := allocated(func() { out, err = Decompress(nil, frame, limit) })
		if n > limit+1<<20 {
			t.Fatalf("% x: allocates %d bytes", head(frame), n)
		}
		if err != nil {
			checkError(t, frame, err)
			if out != nil {
				t.Fatalf("% x: %d bytes beside %v", head(frame), len(out), err)
			}
			return
		}
		if len(out) > limit {
			t.Fatalf("% x: %d bytes came out", head(frame), len(out))
		}
		r, err := zstd.NewReader(bytes.NewReader(frame), zstd.WithDecoderConcurrency(1), zstd.WithDecodeBuffersBelow(0))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		want, err := io.ReadAll(io.LimitReader(r, limit+1))
		if err != nil || !bytes.Equal(out, want) {
			t.Fatalf("% x: %d bytes came out, a stream gives %d: %v", head(frame), len(out), len(want), err)
		}
	})
}

// FuzzClip cuts arbitrary text. Invariants: no panic; valid UTF-8 within the
// limit; valid text that fits is unchanged; a cut text is a prefix of the
// repaired whole, apart from its ellipsis.
func FuzzClip(f *testing.F) {
	for _, s := range []string{"", "plain", "zwölf", "日本語", "🌍🌎🌏", "a\xffb", "\xf0\x9f\x8c", "é\u0301", "\xed\xa0\x80", strings.Repeat("ß", 50)} {
		for _, n := range []int{-1, 0, 1, 2, 3, 4, 5, 7, 11, 100} {
			f.Add(s, n)
		}
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = min(limit, 1<<20)
		got := Clip(s, limit)
		if !utf8.ValidString(got) || len(got) > max(limit, 0) {
			t.Fatalf("Clip(%q, %d) = %q", s, limit, got)
		}
		if utf8.ValidString(s) && len(s) <= limit && got != s {
			t.Fatalf("Clip(%q, %d) = %q, and it fits", s, limit, got)
		}
		var whole strings.Builder
		for _, r := range s {
			whole.WriteRune(r)
		}
		if body, cut := strings.CutSuffix(got, "…"); got != whole.String() && !strings.HasPrefix(whole.String(), got) &&
			!(cut && strings.HasPrefix(whole.String(), body)) {
			t.Fatalf("Clip(%q, %d) = %q, which it does not begin with", s, limit, got)
		}
		if again := Clip([]byte(s), limit); again != got {
			t.Fatalf("Clip of bytes %q, of a string %q", again, got)
		}
	})
}

// TestClipCostIsBounded by the limit and not by the text.
func TestClipCostIsBounded(t *testing.T) {
	huge := strings.Repeat("é", 8<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := Clip(huge, 100)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("allocates %d bytes", n)
	}
	if len(got) > 100 || !strings.HasSuffix(got, "é…") {
		t.Errorf("%q", got)
	}
}
