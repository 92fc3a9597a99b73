package wire

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdMaxBlock is the most that one block yields, by the format.
	zstdMaxBlock = 128 << 10
	// zstdOverrun is slack behind the output that lets the decoder copy whole
	// words.
	zstdOverrun = 16
	// zstdMaxWindow is the window that every reader should support (RFC 8878,
	// 3.1.1.1.2); frames that declare more are refused. A single-segment frame
	// has its content as its window and is bounded by that.
	zstdMaxWindow = 8 << 20
	// zstdEncoderWindow bounds an encoder's memory. The producer's largest
	// message fits in it.
	zstdEncoderWindow = MaxProducerBytes
	// maxPooledBytes is the largest buffer worth keeping between messages.
	maxPooledBytes = 2 * MaxProducerBytes
)

// Pools, not one shared codec: a codec costs about a megabyte, so their number
// follows actual use and the collector takes back idle ones.
var (
	encoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdEncoderWindow),
			// A small frame would leave its content size out otherwise.
			zstd.WithSingleSegment(true))
		if err != nil {
			return err
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
		return d
	}}
)

// Compress appends one zstd frame of src to dst. The frame declares its
// content size, as [Decompress] asks for. It fails only if the codec does.
func Compress(dst, src []byte) (out []byte, err error) {
	x := encoders.Get()
	enc, ok := x.(*zstd.Encoder)
	if !ok {
		return dst, fmt.Errorf("make a zstd encoder: %w", x.(error))
	}
	defer func() {
		// The encoder panics where it finds itself in a state that it holds to
		// be impossible. A message then goes out plain; that encoder is not
		// used again.
		if r := recover(); r != nil {
			out, err = dst, fmt.Errorf("zstd encoder: %v", r)
			return
		}
		encoders.Put(enc)
	}()
	return enc.EncodeAll(src, dst), nil
}

// Decompress appends the content of src to dst. It takes exactly one zstd
// frame, with its content size declared, no more than limit bytes, no
// dictionary and no window above 8 MiB, and nothing behind it. All of that is
// checked before memory is taken, and the output is bounded by the declared
// size even if the frame holds more. Refusals are an [Error] with
// ReasonTooLarge or ReasonDecompress; dst is then returned as it was.
func Decompress(dst, src []byte, limit int) ([]byte, error) {
	f, err := inspectZstd(src, limit)
	if err != nil {
		return dst, err
	}
	x := decoders.Get()
	dec, ok := x.(*zstd.Decoder)
	if !ok {
		return dst, refuse(ReasonDecompress, "make a zstd decoder: %v", x.(error))
	}
	defer decoders.Put(dec)

	// The decoder notices an overflow only after the block that caused it, so
	// leave room for that block: otherwise a frame that lies in its last block
	// makes the output grow to twice the limit before it is refused.
	start := len(dst)
	need := start + f.size + f.blockMax + zstdOverrun
	buf := dst
	if cap(buf) < need {
		buf = make([]byte, start, need)
		copy(buf, dst)
	}
	out, err := dec.DecodeAll(src, buf[:start:need])
	if err != nil {
		return dst, refuse(ReasonDecompress, "zstd frame of %d bytes that declares %d: %v", len(src), f.size, err)
	}
	if len(out)-start != f.size {
		return dst, refuse(ReasonDecompress, "zstd frame declares %d bytes and holds %d", f.size, len(out)-start)
	}
	return out, nil
}

// zstdFrame is what a frame says about itself.
type zstdFrame struct {
	size     int // declared content size
	blockMax int // most that one of its blocks can yield
}

// inspectZstd walks the frame's headers without decoding it.
func inspectZstd(src []byte, limit int) (zstdFrame, error) {
	var h zstd.Header
	rest, err := h.DecodeAndStrip(src)
	switch {
	case err != nil:
		return zstdFrame{}, refuse(ReasonDecompress, "zstd frame header of %d bytes: %v", len(src), err)
	case h.Skippable:
		return zstdFrame{}, refuse(ReasonDecompress, "skippable zstd frame, only a data frame is allowed")
	case h.DictionaryID != 0:
		return zstdFrame{}, refuse(ReasonDecompress, "zstd dictionary %d, dictionaries are not allowed", h.DictionaryID)
	case !h.HasFCS:
		return zstdFrame{}, refuse(ReasonDecompress, "zstd frame does not declare its content size")
	case h.FrameContentSize > uint64(max(limit, 0)):
		const maxInt = int(^uint(0) >> 1)
		return zstdFrame{}, tooLarge("decompressed message", int(min(h.FrameContentSize, uint64(maxInt))), limit)
	case !h.SingleSegment && h.WindowSize > zstdMaxWindow:
		return zstdFrame{}, refuse(ReasonDecompress, "zstd window of %d bytes, the limit is %d", h.WindowSize, zstdMaxWindow)
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = max(h.FrameContentSize, zstd.MinWindowSize)
	}
	f := zstdFrame{size: int(h.FrameContentSize), blockMax: int(min(window, zstdMaxBlock))}

	var atMost uint64 // what the blocks can yield at most
	for last := false; !last; {
		if len(rest) < 3 {
			return zstdFrame{}, refuse(ReasonDecompress, "zstd frame of %d bytes is cut off", len(src))
		}
		bh := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		rest = rest[3:]
		last = bh&1 != 0
		stored, yields := int(bh>>3), int(bh>>3)
		switch bh >> 1 & 3 {
		case 0: // raw
		case 1: // one byte, repeated
			stored = 1
		case 2: // compressed
			yields = f.blockMax
		default:
			return zstdFrame{}, refuse(ReasonDecompress, "zstd frame has a block of the reserved type")
		}
		if yields > f.blockMax {
			return zstdFrame{}, refuse(ReasonDecompress, "zstd block of %d bytes, the frame's limit is %d", yields, f.blockMax)
		}
		if len(rest) < stored {
			return zstdFrame{}, refuse(ReasonDecompress, "zstd frame of %d bytes is cut off", len(src))
		}
		rest = rest[stored:]
		atMost += uint64(yields)
	}
	if h.HasCheckSum {
		if len(rest) < 4 {
			return zstdFrame{}, refuse(ReasonDecompress, "zstd frame of %d bytes is cut off", len(src))
		}
		rest = rest[4:]
	}
	if len(rest) != 0 {
		return zstdFrame{}, refuse(ReasonDecompress, "%d bytes behind the zstd frame, only one frame is allowed", len(rest))
	}
	if atMost < h.FrameContentSize {
		return zstdFrame{}, refuse(ReasonDecompress, "zstd frame declares %d bytes, its blocks hold at most %d", f.size, atMost)
	}
	return f, nil
}

// isZstd reports whether b begins with the magic number of a zstd frame.
func isZstd(b []byte) bool {
	return len(b) >= 4 && binary.LittleEndian.Uint32(b) == 0xFD2FB528
}
