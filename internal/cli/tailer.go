package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/wire"
)

// tailer prints the log as it grows. It reads the partitions directly, without
// a consumer group, and commits nothing.
type tailer struct {
	start feed.Start
	// live leaves out what is not new; nil lets everything by.
	live   *liveEnd
	filter *feed.Filter
	limits wire.Limits
	// count ends after so many records; 0 never ends.
	count   int
	printed int
	// untilEnd ends where the log ended when the tail began.
	untilEnd bool
	// idle is how long one that ends there waits for the next piece of the log.
	idle time.Duration
	json bool
	out  *bufio.Writer
	// note tells people what is no record: gaps, resets.
	note func(format string, args ...any)
}

// run prints until ctx ends, the count is reached, or the output is closed, and
// then where another tail goes on.
func (t *tailer) run(ctx context.Context, f *feed.Feed) error {
	r, err := f.NewReader(ctx, t.start)
	if err != nil {
		return err
	}
	t.began(len(r.Positions()))
	last, err := t.follow(ctx, f, r)
	// What could not be written is not known to anybody: there is no place after it.
	for _, why := range []error{err, context.Cause(ctx)} {
		if _, lost := errors.AsType[*outputError](why); lost {
			return err
		}
	}
	if endErr := t.ended(ctx, r, last); endErr != nil {
		return errors.Join(err, endErr)
	}
	return err
}

// follow prints until ctx ends or the tail is done. Where that is in the middle of
// a segment, it returns what was printed last.
func (t *tailer) follow(ctx context.Context, f *feed.Feed, r *feed.Reader) (last place, err error) {
	for {
		// Whatever is in memory is printed before the output is flushed.
		step, ok, _ := r.TryNext()
		if !ok {
			if err := t.flush(); err != nil {
				return place{}, err
			}
			if step, err = t.next(ctx, f, r); err != nil {
				return place{}, err
			}
		}
		switch {
		case step.Segment != nil:
			if last, err := t.segment(step.Segment); err != nil || last.segment != nil {
				return last, err
			}
		case step.CaughtUp:
			if t.untilEnd {
				return place{}, nil
			}
		default:
			if err := t.event(r, step); err != nil {
				return place{}, err
			}
		}
	}
}

// segment prints the records of a segment. The place is that of the record with
// which the count is reached.
func (t *tailer) segment(seg *feed.Segment) (last place, err error) {
	seg.Matching(t.filter, func(rec *feed.Record) {
		if err != nil || last.segment != nil || !t.isNew(rec) {
			return
		}
		err = t.print(rec)
		t.printed++
		if t.count > 0 && t.printed == t.count {
			last = place{seg, rec}
		}
	})
	return last, err
}

func (t *tailer) isNew(rec *feed.Record) bool { return t.live == nil || t.live.isNew(rec) }

// event tells what is no record: people by a note and programs by a line.
func (t *tailer) event(r *feed.Reader, step feed.Step) error {
	var line any
	switch {
	case step.Gap != nil:
		t.note("gap: partition %d offsets %d to %d will not come (%s)", step.Gap.Partition, step.Gap.From, step.Gap.To-1, step.Gap.Reason)
		line = newGapLine(step.Gap)
	case step.Reset != nil:
		// Of the new stream everything is new.
		t.live = nil
		t.note("reset: %s; reading stream %s from its beginning", step.Reset.Reason, r.StreamID())
		line = newResetLine(step.Reset, r.StreamID())
	case step.Growth != nil:
		t.note("the topic has %d partitions now", len(r.Positions()))
		line = newPartitionsLine(step.Growth, len(r.Positions()))
	}
	if !t.json {
		return nil
	}
	return t.printLine(line)
}

// next waits for what comes next: without end when there may be nothing, but not when the log is known to go on.
func (t *tailer) next(ctx context.Context, f *feed.Feed, r *feed.Reader) (feed.Step, error) {
	if !t.untilEnd {
		return r.Next(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, t.idle)
	defer cancel()
	step, err := r.Next(bounded)
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		if why := f.Ready(); why != nil {
			err = why
		}
		err = fmt.Errorf("the rest of the log could not be read within %v: %w", t.idle, err)
	}
	return step, err
}

// began tells people that something is going on when no record comes, and in which order records will.
func (t *tailer) began(partitions int) {
	if t.json || t.untilEnd {
		return
	}
	order := ""
	if partitions > 1 {
		order = fmt.Sprintf(" of %d partitions, each in its own order", partitions)
	}
	t.note("printing records%s; Ctrl-C ends", order)
}

func (t *tailer) print(rec *feed.Record) error {
	line := tailLine{
		Partition: rec.Partition, Offset: rec.Offset, ThreadID: string(rec.Key), Type: "unknown", Bytes: len(rec.Value),
		KafkaTimestamp: time.UnixMilli(rec.Timestamp).UTC().Format(timeFormat),
	}
	m, err := wire.Decode(rec.Value, t.limits)
	if err != nil {
		line.Error = &tailError{Reason: string(wire.ReasonOf(err)), Detail: err.Error()}
	} else {
		h := wire.HeaderOf(m)
		line.ThreadID, line.TenantID, line.Sequence = h.GetThreadId(), h.GetTenantId(), h.GetSequence()
		line.Type = wire.TypeName(wire.KindOf(m))
		if us := h.GetTimestampUs(); us != 0 {
			line.Timestamp = time.UnixMicro(us).UTC().Format(timeFormat)
		}
	}
	if !t.json {
		return t.printText(&line, m)
	}
	if m != nil {
		if line.Message, err = protojson.Marshal(m); err != nil {
			line.Error = &tailError{Reason: "malformed", Detail: err.Error()}
			line.Message = nil
		}
	}
	return t.printLine(line)
}

// printLine writes one line of --output json.
func (t *tailer) printLine(line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return writing(err)
	}
	_, err = t.out.Write(append(b, '\n'))
	return writing(err)
}

// flush writes what is still in memory.
func (t *tailer) flush() error { return writing(t.out.Flush()) }

// outputError is an error of the output: something that should be in it is not.
type outputError struct{ err error }

func (e *outputError) Error() string { return "write output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// writing says that an error is of the output.
func writing(err error) error {
	if err != nil {
		return &outputError{err}
	}
	return nil
}

const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

func (t *tailer) printText(line *tailLine, m *dashstreampb.DashStreamMessage) error {
	at := line.Timestamp
	if at == "" {
		at = line.KafkaTimestamp
	}
	what := ""
	if line.Error != nil {
		what = "cannot be read: " + line.Error.Detail
	} else {
		what = summary(m)
	}
	_, err := fmt.Fprintf(t.out, "%s %d@%d %s #%d %s %s\n", localTime(at), line.Partition, line.Offset, printable(line.ThreadID, 60), line.Sequence, line.Type, printable(what, 200))
	return writing(err)
}

// localTime is a timestamp on the clock of who reads it: with its date, since a log is older than today, and with its
// offset, so that it can be given to --from.
func localTime(at string) string {
	t, err := time.Parse(timeFormat, at)
	if err != nil {
		return at
	}
	return t.Local().Format("2006-01-02T15:04:05.000Z07:00")
}

// isClosedPipe reports whether the reader of the output has gone, as head does
// when it has enough.
func isClosedPipe(err error) bool {
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.EPIPE)
}
