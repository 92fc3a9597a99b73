package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
)

// kfake's groups.log and pids.log are rows of entries: the length of what follows the checksum, the checksum over it, a
// format version, and JSON. Numbers are little-endian.
const entryOverhead = 4 + 4 + 2

// entries yields the JSON of each entry up to the first that is torn.
func entries(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(raw) >= entryOverhead {
			length := int64(binary.LittleEndian.Uint32(raw))
			if length < 2 || length > int64(len(raw)-8) {
				return
			}
			body := raw[8 : 8+length]
			if crc32.Checksum(body, crc32c) != binary.LittleEndian.Uint32(raw[4:]) {
				return
			}
			if !yield(body[2:]) {
				return
			}
			raw = raw[8+length:]
		}
	}
}

// appendEntry adds an entry in the format this version knows.
func appendEntry(dst, data []byte) []byte {
	body := binary.LittleEndian.AppendUint16(nil, fakeFormat)
	body = append(body, data...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(body, crc32c))
	return append(dst, body...)
}
