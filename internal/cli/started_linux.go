package cli

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// userHz is the unit of times in /proc, proc(5): it is 100 a second for user
// space on every architecture of Go.
const userHz = 100

// startedAt returns when this process was started, as the kernel has it, or up
// to 30 ms before: what a user writes right after starting a tail in the
// background must not fall between the start and the first line of our code. It
// returns now where the kernel's answer is not plausible.
func startedAt(now time.Time) time.Time {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return now
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return now
	}
	// The second field is the name in brackets, which may hold anything; the
	// start is the 20th after it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return now
	}
	var ticks, up float64
	if _, err := fmt.Sscan(string(fields[19]), &ticks); err != nil {
		return now
	}
	if _, err := fmt.Sscan(string(uptime), &up); err != nil {
		return now
	}
	age := time.Duration((up - ticks/userHz) * float64(time.Second))
	if age < 0 || age > time.Minute {
		return now
	}
	// Both numbers are cut to 10 ms.
	return now.Add(-age - 20*time.Millisecond)
}
