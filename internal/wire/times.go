package wire

import (
	"math"
	"time"
)

// DurationOverflow is a duration_us that was beyond range at the producer.
const DurationOverflow = math.MaxInt64

// The years that RFC 3339 can write.
var (
	minTimeUS = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	maxTimeUS = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC).UnixMicro()
)

// Time converts a timestamp in microseconds since the Unix epoch. 0 is the
// epoch, not a missing value. ok is false outside the years 1 to 9999, which
// no clock shows: the caller flags it instead of showing it.
func Time(us int64) (t time.Time, ok bool) {
	if us < minTimeUS || us > maxTimeUS {
		return time.Time{}, false
	}
	return time.UnixMicro(us).UTC(), true
}

// Timestamp is the inverse of [Time], rounding down to the microsecond.
func Timestamp(t time.Time) int64 { return t.UnixMicro() }

// Duration converts a duration in microseconds. ok is false for
// [DurationOverflow], for what a time.Duration cannot hold (292 years), and
// below zero.
func Duration(us int64) (d time.Duration, ok bool) {
	if us < 0 || us > math.MaxInt64/int64(time.Microsecond) {
		return 0, false
	}
	return time.Duration(us) * time.Microsecond, true
}

// DurationUS is the inverse of [Duration], rounding down; a negative duration,
// from a clock that was set back, becomes 0.
func DurationUS(d time.Duration) int64 { return max(d, 0).Microseconds() }
