package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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
		"is %d when there was no record to print.\n\n"+
		"At its end it says with which cursor another tail goes on exactly where this one ended: on standard error, or with --output json "+
		"as the last line, which has the type cursor. Other lines of JSON that are no records have the type gap, reset or partitions.",
		ExitFailure, ExitNoData)
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
