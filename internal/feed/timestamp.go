package feed

import "time"

// millis returns a record's timestamp as the log has it. The Kafka client holds
// nanoseconds, which wrap around for what lies beyond the year 2262; what wrapped
// is turned back, exactly up to 2^57 ms.
func millis(t time.Time) int64 {
	// 10^6 is 2^6·5^6, and 5^6 has an inverse modulo 2^58.
	const inverse, bits = 0x10fb65668c26139, 58
	ms := uint64(t.UnixNano()) >> 6 * inverse
	return int64(ms<<(64-bits)) >> (64 - bits)
}
