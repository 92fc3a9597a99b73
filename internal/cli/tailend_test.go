package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// offsets is the cursor without leader epochs, which tails that read other pieces know otherwise.
func offsets(t *testing.T, cursor string) string {
	t.Helper()
	c, err := feed.ParseCursor(cursor)
	if err != nil {
		t.Error(err)
	}
	return feed.Cursor{StreamID: c.StreamID, Offsets: c.Offsets}.String()
}

// printed is what a tail with --output json printed: the lines of records by partition, those of other kinds, and the cursor
// of the last line.
type printed struct {
	records map[int32][]string
	events  []string
	cursor  string
	count   int
}

func parsePrinted(t *testing.T, out string) printed {
	t.Helper()
	p := printed{records: map[int32][]string{}}
	for text := range strings.Lines(out) {
		var line struct {
			Type, Cursor string
			Partition    int32
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil || p.cursor != "" {
			t.Fatalf("line %q, %v, after the cursor %q", text, err, p.cursor)
		}
		switch line.Type {
		case lineCursor:
			p.cursor = line.Cursor
		case lineGap, lineReset, linePartitions:
			p.events = append(p.events, text)
		default:
			p.records[line.Partition] = append(p.records[line.Partition], text)
			p.count++
		}
	}
	if p.cursor == "" {
		t.Fatalf("no cursor in the last line of %q", out)
	}
	return p
}

// add appends what the next tail printed.
func (p *printed) add(next printed) {
	for partition, lines := range next.records {
		p.records[partition] = append(p.records[partition], lines...)
	}
	p.events = append(p.events, next.events...)
	p.cursor = next.cursor
	p.count += next.count
}

// equal compares the records in the order of their partitions, and where the cursors are.
func (p printed) equal(t *testing.T, other printed) bool {
	t.Helper()
	return offsets(t, p.cursor) == offsets(t, other.cursor) && maps.EqualFunc(p.records, other.records, slices.Equal[[]string])
}

// tailLog is a log of some kinds of records in three partitions, some of which cannot be read.
func tailLog(t *testing.T) (env map[string]string) {
	t.Helper()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	env = map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}
	runCLI(t, env, "demo", "--runs", "1", "--speed", "0", "--seed", "1").want(t, ExitOK)
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range int32(10) {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: i % 3, Value: []byte("no frame")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	return env
}

// A log that is printed in pieces is printed whole: each tail goes on after the last record of the one before.
func TestTailInPieces(t *testing.T) {
	t.Parallel()
	env := tailLog(t)
	for name, filter := range map[string][]string{
		"all": nil, "of a type": {"--type", "event"}, "of a thread": {"--thread", "demo-1-0001-rag"}, "rare": {"--type", "unknown"}, "none": {"--thread", "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tail := func(args ...string) outcome {
				return runCLI(t, env, append(append([]string{"tail", "--no-follow"}, filter...), args...)...)
			}
			whole := parsePrinted(t, tail("--from", "earliest", "-o", "json").stdout)
			t.Logf("%d records", whole.count)
			pieces := printed{records: map[int32][]string{}, cursor: "earliest"}
			for code := ExitOK; code == ExitOK; {
				if pieces.count > whole.count {
					t.Fatalf("%d records in pieces so far, %d in all", pieces.count, whole.count)
				}
				o := tail("--count", "7", "-o", "json", "--from", pieces.cursor)
				piece := parsePrinted(t, o.stdout)
				if o.code != ExitOK && o.code != ExitNoData || piece.count > 7 {
					t.Fatalf("exit code %d, %d records: %s", o.code, piece.count, o.stderr)
				}
				pieces.add(piece)
				code = o.code
			}
			if !pieces.equal(t, whole) {
				t.Errorf("in pieces %d records to %s, in one %d to %s, or in another order", pieces.count, pieces.cursor, whole.count, whole.cursor)
			}
		})
	}
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		whole := runCLI(t, env, "tail", "--no-follow", "--from", "earliest")
		resume := regexp.MustCompile(`(?m)^dashstream: resume with (--from=\S+)$`)
		pieces, from := "", "--from=earliest"
		for code := ExitOK; code == ExitOK; {
			o := runCLI(t, env, "tail", "--no-follow", "--count", "40", from)
			at := resume.FindStringSubmatch(o.stderr)
			if at == nil || len(pieces) > len(whole.stdout) {
				t.Fatalf("it said %q", o.stderr)
			}
			pieces, from, code = pieces+o.stdout, at[1], o.code
		}
		sorted := func(text string) []string { return slices.Sorted(strings.Lines(text)) }
		if !slices.Equal(sorted(pieces), sorted(whole.stdout)) || offsets(t, strings.TrimPrefix(from, "--from=")) != offsets(t, strings.TrimPrefix(resume.FindStringSubmatch(whole.stderr)[1], "--from=")) {
			t.Errorf("in pieces %d bytes to %s, in one %d: %s", len(pieces), from, len(whole.stdout), whole.stderr)
		}
	})
}

// canceller ends a tail when it has printed some lines.
type canceller struct {
	bytes.Buffer
	after  int
	cancel func()
}

func (c *canceller) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p)
	if bytes.Count(c.Bytes(), []byte("\n")) >= c.after {
		c.cancel()
	}
	return n, err
}

// Wherever a tail is interrupted, the next one goes on there, also while the log grows.
func TestTailInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const total = 600
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for i := range int32(total / 6) {
			for j := range int32(6) { // a batch for each partition, which come together
				cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: j % 3, Value: fmt.Append(nil, i, "/", j)}, nil)
			}
			if err := cl.Flush(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	pieces := printed{records: map[int32][]string{}, cursor: "earliest"}
	for n := 0; pieces.count < total; n++ {
		args := []string{"tail", "-o", "json", "--from", pieces.cursor}
		tctx, interrupt := context.WithCancel(ctx)
		out := &canceller{after: 1 + n%7, cancel: interrupt}
		if n%2 == 0 {
			args = append(args, "--count", "7")
			out.after = total
		}
		var stderr bytes.Buffer
		code := Run(tctx, args, settings.MapEnv(env), strings.NewReader(""), out, &stderr)
		interrupt()
		if code != ExitOK {
			t.Fatalf("exit code %d: %s", code, stderr.String())
		}
		pieces.add(parsePrinted(t, out.String()))
		if total-pieces.count < 7 {
			break // --count would wait for ever
		}
	}
	writing.Wait()
	if pieces.count < total {
		pieces.add(parsePrinted(t, runCLI(t, env, "tail", "-o", "json", "--no-follow", "--from", pieces.cursor).stdout))
	}
	whole := parsePrinted(t, runCLI(t, env, "tail", "-o", "json", "--no-follow", "--from", "earliest").stdout)
	if whole.count != total || !pieces.equal(t, whole) {
		t.Errorf("in pieces %d records to %s, in one %d to %s, or in another order", pieces.count, pieces.cursor, whole.count, whole.cursor)
	}
}

// A segment holds records of several partitions: where it is printed in part, each goes on at its first record after that.
func TestPlaceInASegment(t *testing.T) {
	t.Parallel()
	records := []feed.Record{
		{Partition: 0, Offset: 4}, {Partition: 1, Offset: 7}, {Partition: 1, Offset: 9}, {Partition: 0, Offset: 5}, {Partition: 2, Offset: 1},
	}
	seg := &feed.Segment{Records: records}
	for last, want := range []map[int32]int64{
		{0: 5, 1: 7, 2: 1, 3: 8}, {0: 5, 1: 9, 2: 1, 3: 8}, {0: 5, 1: 20, 2: 1, 3: 8}, {0: 20, 1: 20, 2: 1, 3: 8}, {0: 20, 1: 20, 2: 20, 3: 8},
	} {
		next := map[int32]int64{0: 20, 1: 20, 2: 20, 3: 8} // behind the segment
		place{seg, &seg.Records[last]}.lower(next)
		if !maps.Equal(next, want) {
			t.Errorf("after record %d: %v, want %v", last, next, want)
		}
	}
	next := map[int32]int64{0: 20}
	if (place{}).lower(next); next[0] != 20 {
		t.Errorf("between two segments: %v", next)
	}
}

// What a tail from now leaves out, since it was there before, is not what the next one prints, wherever the first one ends.
func TestCursorOfATailFromNow(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := kafkaclient.Default()
	s.Brokers, s.Topic = c.Brokers(), c.Topic(t, 1)
	began := time.Now()
	// Timestamps in minutes from the start of the command: a clock that is ahead has the tail look through what follows.
	var records []*kgo.Record
	for _, minutes := range []int{30, -3, -2, -1, 0, -1, 0, -1} {
		key := "old"
		if minutes == 0 {
			key = "new"
		}
		records = append(records, &kgo.Record{Topic: s.Topic, Key: []byte(key), Value: []byte("x"), Timestamp: began.Add(time.Duration(minutes) * time.Minute)})
	}
	f := reading(ctx, t, s, records...)
	tailFromNow := func(threads ...string) (*tailer, *feed.Reader) {
		t.Helper()
		tail := &tailer{filter: feed.NewFilter(threads, nil, nil), limits: wire.DefaultLimits()}
		var err error
		if tail.start, tail.live, err = (tailStart{}).begin(ctx, f, began); err != nil {
			t.Fatal(err)
		}
		r, err := f.NewReader(ctx, tail.start)
		if err != nil {
			t.Fatal(err)
		}
		if at := r.Positions(); at[0] != 0 {
			t.Fatalf("the tail begins at %v, want to look back to 0", at)
		}
		return tail, r
	}
	wants := func(name string, c feed.Cursor, want int64) {
		t.Helper()
		if len(c.Offsets) != 1 || c.Offsets[0] != want {
			t.Errorf("%s: %s, want offset %d", name, c, want)
		}
	}
	tail, r := tailFromNow()
	wants("before anything was read", tail.cursor(ctx, r, place{}), 4)
	tail, r = tailFromNow("nobody")
	wants("before anything was read, of which nothing is to be printed", tail.cursor(ctx, r, place{}), 8)
	if tail.live.ends[0] != 8 {
		t.Errorf("the log ends at %v, want 8", tail.live.ends)
	}
	// Within the segment: after the first record that is new, and after the second.
	for _, tt := range []struct{ last, want int64 }{{4, 6}, {6, 8}} {
		tail, r = tailFromNow()
		step, err := r.Next(ctx)
		if err != nil || step.Segment == nil || len(step.Segment.Records) != len(records) {
			t.Fatalf("%+v, %v, want all records in a segment", step, err)
		}
		wants(fmt.Sprint("after ", tt.last), tail.cursor(ctx, r, place{step.Segment, &step.Segment.Records[tt.last]}), tt.want)
	}
	// Without time to find out, nothing that is new is missed.
	gone, cancelNow := context.WithCancel(ctx)
	cancelNow()
	tail, r = tailFromNow()
	wants("without time", tail.cursor(gone, r, place{}), 0)

	// And through the whole command, which began when this process did.
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": s.Topic}
	first := parsePrinted(t, runCLI(t, env, "tail", "--count", "2", "-o", "json").stdout)
	if first.count != 2 || strings.Contains(strings.Join(first.records[0], ""), `"old"`) || !strings.HasSuffix(offsets(t, first.cursor), ":0=8") {
		t.Errorf("%+v, want the two that are new, and to go on at the end", first)
	}
	// Interrupted before anything was read, it still finds out.
	ictx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	var out bytes.Buffer
	errs := &canceller{after: 1, cancel: interrupt} // where it says that it prints records
	code := Run(ictx, []string{"tail", "--thread", "nobody"}, settings.MapEnv(env), strings.NewReader(""), &out, errs)
	if code != ExitOK || out.Len() != 0 || !regexp.MustCompile(`:0=8(@\d+)?\n$`).MatchString(errs.String()) {
		t.Errorf("interrupted: exit code %d, printed %q, said %s", code, &out, errs)
	}
}

// A program that reads JSON learns what will not come, what is void, and that there is more to read.
func TestTailTellsProgramsWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": topic}
	cl := c.Client(t, kgo.MetadataMinAge(10*time.Millisecond))
	put := func(n int, at time.Time) {
		t.Helper()
		for range n {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Timestamp: at, Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	tail := func(from string) printed {
		t.Helper()
		return parsePrinted(t, runCLI(t, env, "tail", "--no-follow", "-o", "json", "--from", from).stdout)
	}
	put(10, time.Now().Add(-time.Hour))
	stream, _, _ := strings.Cut(tail("earliest").cursor, ":")
	c.DeleteRecords(t, topic, 0, 6)
	gap := tail(stream + ":0=2")
	if want := `{"type":"gap","partition":0,"from":2,"to":6,"reason":"retention"}` + "\n"; gap.count != 4 || len(gap.events) != 1 || gap.events[0] != want {
		t.Errorf("%+v, want %s", gap, want)
	}
	if again := tail(gap.cursor); again.count != 0 || len(again.events) != 0 || offsets(t, again.cursor) != offsets(t, gap.cursor) {
		t.Errorf("the next tail printed %+v", again)
	}

	// A tail from now, and a topic that is created anew under it.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begun := make(chan struct{})
	out, errs := &bytes.Buffer{}, &canceller{after: 1, cancel: sync.OnceFunc(func() { close(begun) })}
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, []string{"tail", "--count", "3"}, settings.MapEnv(env), strings.NewReader(""), out, errs)
	}()
	select {
	case <-begun: // it prints records
	case <-ctx.Done():
		t.Fatal("the tail does not begin")
	}
	c.Recreate(t, topic, 1)
	cl = c.Client(t, kgo.MetadataMinAge(10*time.Millisecond))
	put(3, time.Now().Add(time.Minute)) // later than a tail may take for what was written while it began
	if got := <-code; got != ExitOK || strings.Count(out.String(), "\n") != 3 || !strings.Contains(errs.String(), "reset: topic re-created") {
		t.Errorf("the tail of a topic that was created anew: exit code %d, %q, %s", got, out, errs)
	}
	reset := tail(gap.cursor)
	now, _, _ := strings.Cut(reset.cursor, ":")
	want := fmt.Sprintf(`{"type":"reset","reason":"other_stream","stream_id":%q,"previous_stream_id":%q}`+"\n", now, stream)
	if reset.count != 3 || len(reset.events) != 1 || reset.events[0] != want || now == stream {
		t.Errorf("%+v, want %s", reset, want)
	}
}

// Partitions that are added are told with where they begin. Which tail sees that happen is a matter of time, so it is made up.
func TestTailTellsProgramsOfPartitions(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(newPartitionsLine(&feed.Growth{Start: map[int32]int64{4: 0, 3: 7}}, 5))
	if want := `{"type":"partitions","count":5,"new":[{"partition":3,"from":7},{"partition":4,"from":0}]}`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
	for reason, word := range map[feed.ResetReason]string{
		feed.ResetTopicRecreated: "topic_recreated", feed.ResetOtherStream: "other_stream", feed.ResetTruncated: "truncated",
	} {
		if line := newResetLine(&feed.Reset{Reason: reason, Previous: "b"}, "a"); line != (resetLine{"reset", word, "a", "b"}) {
			t.Errorf("%v: %+v", reason, line)
		}
	}
}

// A line that is no record is told by its type, so no message may have it.
func TestTypesOfLinesAreNotThoseOfMessages(t *testing.T) {
	t.Parallel()
	for number := range dashstreampb.MessageType_name {
		if name := wire.TypeName(dashstreampb.MessageType(number)); slices.Contains([]string{lineGap, lineReset, linePartitions, lineCursor}, name) {
			t.Errorf("messages of type %d are %q, and so are other lines", number, name)
		}
	}
}

// The id of a stream may begin with a dash, and its cursor is a value all the same.
func TestCursorThatBeginsWithADash(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--from", "-_bcdefghijklmno:0=1"}, {"--from=-_bcdefghijklmno:0=1"}, {"--from", "--bcdefghijklmno:0=1"}} {
		cmd, _, err := Program{Args: append([]string{"tail"}, args...)}.prepare()
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if c, ok := cmd.(*tailCommand); !ok || c.From.cursor == nil {
			t.Errorf("%q: %+v", args, cmd)
		}
	}
}
