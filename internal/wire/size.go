package wire

import (
	"math"

	"github.com/klauspost/compress/zstd"
)

// DecodedSize returns how many bytes a frame claims to hold once decompressed,
// without decompressing it: at least the size of the frame, and no more than
// limit. What the claim is worth only [Decode] finds out.
func DecodedSize(frame []byte, limit int) int {
	n := uint64(len(frame))
	if len(frame) > 0 && frame[0] == frameZstd {
		var h zstd.Header
		if err := h.Decode(frame[1:]); err == nil && h.HasFCS {
			n = max(n, h.FrameContentSize)
		}
	}
	return int(min(n, uint64(max(limit, len(frame))), math.MaxInt32))
}
