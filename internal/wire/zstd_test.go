package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// frameSpec makes zstd frames that no encoder makes.
type frameSpec struct {
	descriptor byte // added to what the other fields ask for
	window     byte // window descriptor; single segment if 0
	dict       []byte
	size       int64 // declared content size, undeclared below 0
	blocks     [][]byte
	tail       []byte
}

func (s frameSpec) bytes() []byte {
	b := []byte{0x28, 0xB5, 0x2F, 0xFD}
	d := s.descriptor
	if s.window == 0 {
		d |= 1 << 5
	}
	switch len(s.dict) {
	case 1:
		d |= 1
	case 2:
		d |= 2
	case 4:
		d |= 3
	}
	if s.size >= 0 {
		d |= 3 << 6 // eight bytes
	}
	b = append(b, d)
	if s.window != 0 {
		b = append(b, s.window)
	}
	b = append(b, s.dict...)
	if s.size >= 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(s.size))
	}
	for i, block := range s.blocks {
		block = bytes.Clone(block)
		if i == len(s.blocks)-1 {
			block[0] |= 1
		}
		b = append(b, block...)
	}
	return append(b, s.tail...)
}

func block(kind, size int, content ...byte) []byte {
	h := size<<3 | kind<<1
	return append([]byte{byte(h), byte(h >> 8), byte(h >> 16)}, content...)
}

func rawBlock(b []byte) []byte { return block(0, len(b), b...) }

// rleBlock yields n bytes from one.
func rleBlock(n int) []byte { return block(1, n, 'x') }

// literalsBlock is a compressed block that yields n bytes from five.
func literalsBlock(n int) []byte {
	return block(2, 5, byte(1|3<<2|n<<4), byte(n>>4), byte(n>>12), 'x', 0)
}

func repeatBlocks(n int, b []byte) [][]byte {
	bs := make([][]byte, n)
	for i := range bs {
		bs[i] = b
	}
	return bs
}

const window8MiB = 13 << 3

func goodZstd(t testing.TB, content []byte) []byte {
	t.Helper()
	b, err := Compress(nil, content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type bomb struct {
	name  string
	frame []byte // without the framing byte
	want  Reason
}

// bombs are frames that must be refused without taking memory.
func bombs(t testing.TB, limit int) []bomb {
	good := goodZstd(t, bytes.Repeat([]byte("telemetry "), 100))
	full := limit / zstdMaxBlock // blocks that fill the limit
	badSum := bytes.Clone(good)
	badSum[len(badSum)-1] ^= 1
	all := []bomb{
		{"huge declared size", frameSpec{size: 1 << 40, blocks: repeatBlocks(full, rleBlock(zstdMaxBlock))}.bytes(), ReasonTooLarge},
		{"size beyond int64", frameSpec{size: 1<<63 - 1, blocks: repeatBlocks(1, rleBlock(zstdMaxBlock))}.bytes(), ReasonTooLarge},
		{"one byte above the limit", frameSpec{size: int64(limit) + 1, blocks: repeatBlocks(full+1, rleBlock(zstdMaxBlock))}.bytes(), ReasonTooLarge},
		{"undeclared size", frameSpec{window: window8MiB, size: -1, blocks: repeatBlocks(full, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"undeclared size, bomb", frameSpec{window: window8MiB, size: -1, blocks: repeatBlocks(8000, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"undeclared size, empty", frameSpec{window: window8MiB, size: -1, blocks: repeatBlocks(1, rawBlock(nil))}.bytes(), ReasonDecompress},
		{"lies small, one segment", frameSpec{size: 100, blocks: repeatBlocks(8000, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies small, window", frameSpec{window: window8MiB, size: 300, blocks: repeatBlocks(8000, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies small, literals", frameSpec{window: window8MiB, size: 300, blocks: repeatBlocks(8000, literalsBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies in the last block", frameSpec{size: int64(limit), blocks: repeatBlocks(full+1, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies in the last block, literals", frameSpec{size: int64(limit), blocks: repeatBlocks(full+1, literalsBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies in the last block, raw", frameSpec{size: int64(limit), blocks: append(repeatBlocks(full, rleBlock(zstdMaxBlock)), rawBlock(make([]byte, 1000)))}.bytes(), ReasonDecompress},
		{"lies large, in the headers", frameSpec{size: int64(limit), blocks: repeatBlocks(1, rleBlock(zstdMaxBlock))}.bytes(), ReasonDecompress},
		{"lies large: undecided until decoded", frameSpec{size: int64(limit), blocks: repeatBlocks(full, literalsBlock(10))}.bytes(), ReasonDecompress},
		{"no content behind a size", frameSpec{size: int64(limit), blocks: repeatBlocks(1, rleBlock(0))}.bytes(), ReasonDecompress},
		{"dictionary, 1 byte", frameSpec{dict: []byte{7}, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"dictionary, 2 bytes", frameSpec{dict: []byte{7, 1}, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"dictionary, 4 bytes", frameSpec{dict: []byte{7, 1, 1, 1}, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"window above 8 MiB", frameSpec{window: window8MiB + 1, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"window of terabytes", frameSpec{window: 0xFF, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"reserved bit", frameSpec{descriptor: 1 << 3, size: 10, blocks: repeatBlocks(1, rleBlock(10))}.bytes(), ReasonDecompress},
		{"reserved block type", frameSpec{size: 10, blocks: repeatBlocks(1, block(3, 10))}.bytes(), ReasonDecompress},
		{"block above the format's limit", frameSpec{window: window8MiB, size: 1 << 18, blocks: repeatBlocks(2, rleBlock(zstdMaxBlock+1))}.bytes(), ReasonDecompress},
		{"no block", frameSpec{size: 10}.bytes(), ReasonDecompress},
		{"bad magic", append([]byte{0x29}, good[1:]...), ReasonDecompress},
		{"bad checksum", badSum, ReasonDecompress},
		{"no bytes", nil, ReasonDecompress},
		{"two frames", append(bytes.Clone(good), good...), ReasonDecompress},
		{"trailing byte", append(bytes.Clone(good), 0), ReasonDecompress},
		{"skippable frame", []byte{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}, ReasonDecompress},
		{"skippable frame in front", append([]byte{0x5F, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, good...), ReasonDecompress},
		{"skippable frame behind", append(bytes.Clone(good), 0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0), ReasonDecompress},
	}
	for _, n := range []int{1, 3, 4, 5, 6, 8, len(good) / 2, len(good) - 1} {
		all = append(all, bomb{fmt.Sprintf("cut after %d bytes", n), good[:n], ReasonDecompress})
	}
	return all
}

// allocated returns the bytes that f allocates in all, which bounds its peak
// from above. Not for parallel tests.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestBombs: each hostile frame is refused with its reason, by every reader,
// within the limit and 1 MiB. Not parallel: it counts the process's memory.
func TestBombs(t *testing.T) {
	for _, limit := range []int{DefaultMaxBytes, 1 << 20} {
		l := Limits{Framed: DefaultMaxBytes, Decoded: limit}
		for _, b := range bombs(t, limit) {
			framed := append([]byte{frameZstd}, b.frame...)
			readers := map[string]func() error{
				"Decode":       func() error { _, err := Decode(framed, l); return err },
				"DecodeLegacy": func() error { _, _, err := DecodeLegacy(framed, l); return err },
				"Peek":         func() error { _, err := Peek(framed, l); return err },
				"Headers": func() error {
					for _, err := range Headers(framed, l) {
						return err
					}
					return nil
				},
				"Decompress": func() error { _, err := Decompress(nil, b.frame, limit); return err },
				"CheckpointState": func() error {
					if len(b.frame) == 0 {
						return refuse(b.want, "a checkpoint without state is no bomb")
					}
					_, err := CheckpointState(&pb.Checkpoint{State: b.frame, CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD}}, limit)
					return err
				},
			}
			for name, read := range readers {
				var err error
				n := allocated(func() { err = read() })
				if got := ReasonOf(err); got != b.want {
					t.Errorf("%s of %s, limit %d: %v, want reason %s", name, b.name, limit, err, b.want)
				}
				most := uint64(limit + 1<<20)
				if strings.HasPrefix(b.name, "lies large,") || strings.HasPrefix(b.name, "huge") {
					most = 256 << 10 // seen without decoding
				}
				if n > most {
					t.Errorf("%s of %s, limit %d: allocates %d bytes, the most is %d", name, b.name, limit, n, most)
				}
			}
		}
	}
}

// TestStructureBombs: small messages that would take a hundred times their
// size in memory are refused before they take it.
func TestStructureBombs(t *testing.T) {
	const limit = 2 << 20
	l := Limits{Framed: limit, Decoded: limit}
	header := protowire.AppendBytes([]byte{0x0A}, mustMarshal(t, &pb.Header{ThreadId: "t"}))
	repeat := func(kind protowire.Number, unit ...byte) []byte {
		body := bytes.Clone(header)
		for len(body) < limit-64 {
			body = append(body, unit...)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, kind, protowire.BytesType), body)
	}
	inner := bytes.Repeat([]byte{0x0A, 0x00}, (limit-256)/2)
	array := protowire.AppendBytes([]byte{6<<3 | 2}, inner)
	entry := protowire.AppendBytes([]byte{0x0A, 1, 'k', 0x12}, array)
	attributes := protowire.AppendBytes(append(bytes.Clone(header), 4<<3|2), entry)

	for name, body := range map[string][]byte{
		"events of a batch":      repeat(8, 0x12, 0),
		"events with a header":   repeat(8, 0x12, 2, 0x0A, 0),
		"node execution records": repeat(9, 4<<3|2, 0),
		"error records":          repeat(9, 7<<3|2, 0),
		"diff operations":        repeat(2, 3<<3|2, 0),
		"attributes":             repeat(1, 4<<3|2, 0),
		"metrics":                repeat(6, 4<<3|2, 0),
		"metadata":               repeat(5, 8<<3|2, 0),
		"suggestions":            repeat(7, 8<<3|2, 0),
		"an array of attributes": protowire.AppendBytes([]byte{0x0A}, attributes),
	} {
		if len(body) >= limit || len(body) < limit*9/10 {
			t.Fatalf("%s: %d bytes are not just below the limit", name, len(body))
		}
		for framing, frame := range map[string][]byte{
			"plain": append([]byte{framePlain}, body...),
			"zstd":  append([]byte{frameZstd}, goodZstd(t, body)...),
		} {
			var err error
			n := allocated(func() { _, err = Decode(frame, l) })
			if ReasonOf(err) != ReasonTooLarge {
				t.Errorf("%s, %s: %v, want reason %s", name, framing, err, ReasonTooLarge)
			}
			if most := uint64(limit + 1<<20); n > most {
				t.Errorf("%s, %s: allocates %d bytes, the most is %d", name, framing, n, most)
			}
			if _, err := Peek(frame, l); err != nil {
				t.Errorf("%s, %s: the header cannot be read: %v", name, framing, err)
			}
		}
	}
}

// TestCostIsAnUpperBound: what the price list says is not less than what
// unmarshalling takes, so the refusal above bounds memory.
func TestCostIsAnUpperBound(t *testing.T) {
	bodies := map[string][]byte{}
	for name, m := range golden(t) {
		bodies[name] = mustMarshal(t, m)
	}
	bodies["batch"] = mustMarshal(t, batchOf(2000))
	bodies["state"] = mustMarshal(t, largeDiff(1<<20))
	for _, unit := range [][]byte{{0x12, 0}, {0x12, 2, 0x0A, 0}, {0x12, 4, 0x1A, 2, 'n', 'n'}} {
		body := bytes.Repeat(unit, 40_000)
		bodies[fmt.Sprintf("batch of % x", unit)] = protowire.AppendBytes([]byte{8<<3 | 2}, body)
	}
	var many []byte // attributes with distinct keys
	for i := range 20_000 {
		key := fmt.Sprintf("%x", i)
		e := protowire.AppendString([]byte{0x0A}, key)
		e = append(e, 0x12, 2, 0x20, 1)
		many = protowire.AppendBytes(append(many, 4<<3|2), e)
	}
	bodies["distinct attributes"] = protowire.AppendBytes([]byte{0x0A}, many)
	bodies["events with an attribute"] = protowire.AppendBytes([]byte{8<<3 | 2}, bytes.Repeat([]byte{0x12, 4, 0x0A, 0, 0x22, 0}, 20_000))
	var packed []byte
	for range 100_000 {
		packed = append(packed, 1)
	}
	bodies["packed"] = protowire.AppendBytes([]byte{3<<3 | 2}, protowire.AppendBytes([]byte{4<<3 | 2}, packed))
	bodies["unpacked"] = protowire.AppendBytes([]byte{3<<3 | 2}, bytes.Repeat([]byte{4 << 3, 1}, 100_000))
	bodies["unknown"] = bytes.Repeat([]byte{0xF8, 0x07, 1}, 100_000)

	for name, body := range bodies {
		const slack = 16 << 10 // pages
		price := costs().root.cost(body, 1<<40, MaxDepth)
		live := retained(t, body)
		if live > uint64(price+slack) {
			t.Errorf("%s: %d bytes on the wire take %d, priced %d", name, len(body), live, price)
		}
		if price > costs().worst*len(body)+slack {
			t.Errorf("%s: %d bytes on the wire priced %d, more than %d a byte", name, len(body), price, costs().worst)
		}
	}
}

// retained returns the bytes of heap that a message holds once unmarshalled.
func retained(t *testing.T, body []byte) uint64 {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := new(pb.DashStreamMessage)
	if err := proto.Unmarshal(body, m); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(m)
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// TestRealMessagesAreNotTooDear: what an honest producer writes up to its
// limit is far from the price limit.
func TestRealMessagesAreNotTooDear(t *testing.T) {
	t.Parallel()
	const limit = 3 << 20 // above what costFloor covers
	body := mustMarshal(t, batchOf(20_000))
	if len(body) >= limit || len(body) < limit*9/10 {
		t.Fatalf("batch of %d bytes is not near the limit", len(body))
	}
	if _, err := Decode(append([]byte{framePlain}, body...), Limits{Framed: limit, Decoded: limit}); err != nil {
		t.Error(err)
	}
}

// TestReferenceFrames reads what the reference implementation of zstd wrote.
func TestReferenceFrames(t *testing.T) {
	t.Parallel()
	want := largeDiff(300 << 10)
	setCompression(want, pb.CompressionType_COMPRESSION_ZSTD)
	for name, reason := range map[string]Reason{"declared": "", "declared_unchecked": "", "level19": "", "undeclared": ReasonDecompress} {
		b, err := os.ReadFile(filepath.Join("testdata", "zstd", name+".zst"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(append([]byte{frameZstd}, b...), DefaultLimits())
		if ReasonOf(err) != reason {
			t.Errorf("%s: %v, want reason %q", name, err, reason)
		}
		if err == nil && !proto.Equal(got, want) {
			t.Errorf("%s: the message differs", name)
		}
	}
}

// TestDecompressIsTheInverse over sizes around the block size and any entropy.
func TestDecompressIsTheInverse(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 255, 256, 257, 1023, 1024, 1025, 65791, 65792, 131071, 131072, 131073, 1 << 20, 3<<20 + 7} {
		for _, alphabet := range []int{1, 4, 256} {
			content := make([]byte, size)
			for i := range content {
				content[i] = byte(rng.IntN(alphabet))
			}
			frame := goodZstd(t, content)
			got, err := Decompress([]byte("prefix"), frame, size)
			if err != nil {
				t.Errorf("%d bytes of %d values: %v", size, alphabet, err)
				continue
			}
			if !bytes.Equal(got, append([]byte("prefix"), content...)) {
				t.Errorf("%d bytes of %d values: content differs", size, alphabet)
			}
			if _, err := Decompress(nil, frame, size-1); size > 0 && ReasonOf(err) != ReasonTooLarge {
				t.Errorf("%d bytes with a limit of %d: %v", size, size-1, err)
			}
		}
	}
}

func mustMarshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
