package httpserve

import (
	"log/slog"
	"sync"
	"time"
)

// keptDescriptors are left to others at least, where there are that many: the
// embedded broker has its log, its index and a socket for each producer, and a
// Kafka client one for each broker.
const keptDescriptors = 2048

// descriptorHint tells what sets how many descriptors there are.
const descriptorHint = "raise the limit on open files (ulimit -n)"

// descriptorShare returns how many connections a server may have of the process's
// file descriptors; 0: as many as it likes.
func descriptorShare() int { return shareOf(DescriptorLimit()) }

func shareOf(limit int) int {
	if limit == 0 {
		return 0
	}
	return max(1, limit-min(limit/2, keptDescriptors))
}

// Complaints are lines of the log about what a flood brings about thousands of
// times: one at once, and then one for all that came in a time.
type Complaints struct {
	Logger *slog.Logger

	mu   sync.Mutex
	said time.Time
	more int
}

// complaintInterval is the time between two lines.
const complaintInterval = 10 * time.Second

// Warn logs, or counts what is not logged.
func (c *Complaints) Warn(text string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.said.IsZero() || now.Sub(c.said) >= complaintInterval {
		if c.more > 0 {
			args = append(args, "more_since_last_line", c.more)
		}
		c.said, c.more = now, 0
		c.Logger.Warn(text, args...)
		return
	}
	c.more++
}
