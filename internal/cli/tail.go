package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/wire"
)

// tailCommand prints the log as it grows.
type tailCommand struct {
	From     tailStart `name:"from" placeholder:"WHERE" default:"now" help:"Where to begin." allowed:"now, earliest, a time (RFC 3339), a time ago (10m), or a cursor (stream:partition=offset@epoch,...)"`
	Thread   []string  `name:"thread" placeholder:"ID" sep:"none" help:"Only this thread; may be given several times."`
	Tenant   []string  `name:"tenant" placeholder:"ID" sep:"none" help:"Only this tenant; may be given several times."`
	Type     msgTypes  `name:"type" placeholder:"TYPE" help:"Only this message type; may be given several times."`
	Count    int       `name:"count" short:"n" placeholder:"N" help:"End after so many records." allowed:"a whole number, 0 or more; 0 means never" unset:"0"`
	NoFollow bool      `name:"no-follow" help:"End where the log ends now."`
	Output

	Kafka kafkaclient.Settings `embed:""`
}

func newTailCommand() *tailCommand { return &tailCommand{Kafka: kafkaclient.Default()} }

// Help says in which order records come, for kong.HelpProvider.
func (c *tailCommand) Help() string {
	return fmt.Sprintf("The records of a thread, and all of one partition, come in the order of the log. Between partitions there is no order: "+
		"each record comes when it is read, so an older one may follow a newer one. Each line has the time at which it was sent, "+
		"and PARTITION@OFFSET, by which it can be sorted.\n\n"+
		"Interrupted, it ends with exit code 0, or with %d when --no-follow or --count wanted more. With --no-follow, the exit code "+
		"is %d when there was no record to print.", ExitFailure, ExitNoData)
}

// Run prints records until it is done or interrupted, which is how a tail is meant to end, also while it connects.
func (c *tailCommand) Run(ctx context.Context, p *Process) error {
	err := c.run(ctx, p)
	if !errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	if c.NoFollow || c.Count > 0 {
		return ctx.Err() // it was to print so much, and did not
	}
	return nil
}

func (c *tailCommand) run(ctx context.Context, p *Process) error {
	began := startedAt(time.Now())
	if c.Count < 0 {
		return usageError(programName+" tail --help", "--count: %d: want 0 or more", c.Count)
	}
	options, err := c.check(ctx, p)
	if err != nil {
		return err
	}
	cfg := feed.DefaultConfig(c.Kafka.Topic)
	cfg.RequestTimeout = c.Kafka.RequestTimeout.Duration()
	f, err := feed.New(cfg, feed.Deps{Options: options})
	if err != nil {
		return err
	}
	// The reading ends before the feed is freed, whichever way this returns.
	fctx, stop := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { _ = f.Run(fctx) }) // returns nil when its context ends
	defer func() {
		stop()
		reading.Wait()
		f.Close()
	}()
	if err := c.await(ctx, f); err != nil {
		return err
	}
	types := make([]dashstreampb.MessageType, len(c.Type))
	for i, t := range c.Type {
		types[i] = dashstreampb.MessageType(t)
	}
	t := &tailer{
		filter: feed.NewFilter(c.Thread, c.Tenant, types), limits: wire.DefaultLimits(),
		count: c.Count, untilEnd: c.NoFollow, idle: startTimeout, json: c.JSON(), out: bufio.NewWriter(p.Stdout),
		note: func(format string, args ...any) { say(p.Stderr, programName+": "+format, args...) },
	}
	readable, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	reading.Go(func() {
		watchReading(fctx, f.Ready, t.note, func(err error) error { return c.Kafka.Explain(kafkaclient.OpConsume, err) }, failed)
	})
	reading.Go(func() { watchOutput(fctx, p.Stdout, failed) })
	if t.start, t.live, err = c.From.begin(ctx, f, began); err == nil {
		err = t.run(readable, f)
	}
	if err != nil && ctx.Err() == nil && readable.Err() != nil {
		err = context.Cause(readable)
	}
	var bad *feed.CursorError
	switch {
	case errors.As(err, &bad):
		return usageError(programName+" tail --help", "--from: %v", bad)
	case isClosedPipe(err):
		return nil
	case err == nil && t.printed == 0:
		return c.nothing()
	}
	return c.Kafka.Explain(kafkaclient.OpConsume, err)
}

// nothing says that there was no record, and of what kind.
func (c *tailCommand) nothing() error {
	kind := ""
	if len(c.Thread)+len(c.Tenant)+len(c.Type) > 0 {
		kind = " that --thread, --tenant and --type ask for"
	}
	hint := ""
	if c.From == (tailStart{}) {
		hint = "; --from earliest begins with the oldest"
	}
	return noData("topic %s has no record%s from %s to its end%s", c.Kafka.Topic, kind, c.From, hint)
}

// startTimeout bounds the look at the topic before tail begins.
const startTimeout = 30 * time.Second

// check finds out, before anything is printed, whether the topic can be read,
// so that a mistake is said at once and not when a deadline passes.
func (c *tailCommand) check(ctx context.Context, p *Process) ([]kgo.Opt, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := p.connect(ctx, c.Kafka, "tail")
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := c.Kafka.Probe(ctx, client, kafkaclient.OpConsume, c.Kafka.Topic); err != nil {
		return nil, err
	}
	return c.Kafka.ClientOptions(p.Log, programName+"-tail")
}

// await waits until the topic is being read.
func (c *tailCommand) await(ctx context.Context, f *feed.Feed) error {
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.Started():
		return nil
	case <-deadline.C:
		return c.Kafka.Explain(kafkaclient.OpConsume, fmt.Errorf("topic %s could not be read within %v: %w", c.Kafka.Topic, startTimeout, f.Ready()))
	}
}

// msgType is a message type on the command line.
type msgType dashstreampb.MessageType

// UnmarshalText takes a type's name in any case, with or without its prefix.
func (t *msgType) UnmarshalText(text []byte) error {
	m, err := wire.ParseMessageType(string(text))
	if err != nil {
		return err
	}
	*t = msgType(m)
	return nil
}

// Allowed implements settings.Allower.
func (msgType) Allowed() string { return wire.MessageTypeNames() }

// msgTypes are the message types of one flag or several.
type msgTypes []msgType

// UnmarshalText adds the types of a comma-separated list, which is not empty: no type is no filter.
func (l *msgTypes) UnmarshalText(text []byte) error {
	for name := range strings.SplitSeq(string(text), ",") {
		var t msgType
		if err := t.UnmarshalText([]byte(name)); err != nil {
			return err
		}
		*l = append(*l, t)
	}
	return nil
}

// tailStart is where tail begins.
type tailStart struct {
	earliest bool
	since    time.Time     // zero: not given
	ago      time.Duration // 0: not given
	cursor   *feed.Cursor
}

// UnmarshalText reads now, latest, earliest, a time, a time ago, or a cursor.
func (s *tailStart) UnmarshalText(text []byte) error {
	v := string(text)
	*s = tailStart{}
	switch v {
	case "now", "latest", "":
		return nil
	case "earliest":
		s.earliest = true
		return nil
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		s.since = t
		return nil
	}
	if d, err := time.ParseDuration(v); err == nil && d > 0 {
		s.ago = d
		return nil
	}
	c, err := feed.ParseCursor(v)
	if err != nil {
		return fmt.Errorf("%q: want now, earliest, a time such as 2026-01-31T12:00:00Z, a time ago such as 10m, or a cursor: %w", printable(v, 80), err)
	}
	s.cursor = &c
	return nil
}

// String is as a user would write it.
func (s tailStart) String() string {
	switch {
	case s.earliest:
		return "earliest"
	case s.cursor != nil:
		return "the cursor"
	case !s.since.IsZero():
		return s.since.Format(time.RFC3339Nano)
	case s.ago > 0:
		return s.ago.String() + " ago"
	default:
		return "now"
	}
}

// begin turns it into a start of the feed for a command that began at a time, and
// into what is new from there on, nil where everything is.
func (s tailStart) begin(ctx context.Context, f *feed.Feed, began time.Time) (feed.Start, *liveEnd, error) {
	if s == (tailStart{}) {
		return startNow(ctx, f, began)
	}
	return s.start(began), nil, nil
}

// start is where a tail begins that does not begin now.
func (s tailStart) start(began time.Time) feed.Start {
	since := began
	switch {
	case s.earliest:
		return feed.Start{Earliest: true}
	case s.cursor != nil:
		return feed.Start{Cursor: s.cursor}
	case !s.since.IsZero():
		since = s.since
	case s.ago > 0:
		since = began.Add(-s.ago)
	}
	ms := max(0, since.UnixMilli())
	return feed.Start{SinceMS: &ms}
}

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

// run prints until ctx ends, the count is reached, or the output is closed.
func (t *tailer) run(ctx context.Context, f *feed.Feed) error {
	r, err := f.NewReader(ctx, t.start)
	if err != nil {
		return err
	}
	t.began(len(r.Positions()))
	for {
		// Whatever is in memory is printed before the output is flushed.
		step, ok, _ := r.TryNext()
		if !ok {
			if err := t.flush(); err != nil {
				return err
			}
			if step, err = t.next(ctx, f, r); err != nil {
				return err
			}
		}
		switch {
		case step.Segment != nil:
			done := false
			step.Segment.Matching(t.filter, func(rec *feed.Record) {
				if err != nil || done || t.live != nil && !t.live.isNew(rec) {
					return
				}
				err = t.print(rec)
				t.printed++
				done = t.count > 0 && t.printed == t.count
			})
			if err != nil {
				return err
			}
			if done {
				return t.flush()
			}
		case step.Gap != nil:
			t.note("gap: partition %d offsets %d to %d will not come (%s)", step.Gap.Partition, step.Gap.From, step.Gap.To-1, step.Gap.Reason)
		case step.Reset != nil:
			t.note("reset: %s; reading stream %s from its beginning", step.Reset.Reason, r.StreamID())
		case step.Growth != nil:
			t.note("the topic has %d partitions now", len(r.Positions()))
		case step.CaughtUp:
			if t.untilEnd {
				return t.flush()
			}
		}
	}
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

// tailLine is one line of --output json. Offsets and sequences are exact
// integers of up to 64 bits.
type tailLine struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	ThreadID  string `json:"thread_id"`
	TenantID  string `json:"tenant_id,omitempty"`
	Sequence  uint64 `json:"sequence"`
	Type      string `json:"type"`
	// Timestamp is the producer's, in UTC; empty where it is unknown.
	Timestamp string `json:"timestamp"`
	// KafkaTimestamp is the record's, in UTC.
	KafkaTimestamp string          `json:"kafka_timestamp"`
	Bytes          int             `json:"bytes"`
	Message        json.RawMessage `json:"message,omitempty"`
	Error          *tailError      `json:"error,omitempty"`
}

type tailError struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
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
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encode record %d of partition %d: %w", rec.Offset, rec.Partition, err)
	}
	_, err = t.out.Write(append(b, '\n'))
	return writing(err)
}

// flush writes what is still in memory.
func (t *tailer) flush() error { return writing(t.out.Flush()) }

// writing says that an error is of the output.
func writing(err error) error {
	if err != nil {
		return fmt.Errorf("write output: %w", err)
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
