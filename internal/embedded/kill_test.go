package embedded_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/embedded"
)

// The tests of this file kill a real process. It is this test binary, started again with childDir set.
const (
	childDir    = "EMBEDDED_TEST_CHILD_DIR"
	childListen = "EMBEDDED_TEST_CHILD_LISTEN"
	childFsync  = "EMBEDDED_TEST_CHILD_FSYNC"

	killTopic      = "killed"
	killPartitions = 3
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(runChild(dir, os.Getenv(childListen), os.Getenv(childFsync) != ""))
	}
	os.Exit(m.Run())
}

// runChild serves the directory until standard input ends. A line of input starts a producer in the same process, which
// reports every acknowledged record on standard output.
func runChild(dir, listen string, fsync bool) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "child:", err); return 1 }
	began := time.Now()
	b, err := embedded.Start(context.Background(), embedded.Options{
		DataDir: dir, Listen: listen, Fsync: fsync, SegmentBytes: 8 << 10, RetentionInterval: 5 * time.Millisecond,
	})
	if err != nil {
		return fail(err)
	}
	fmt.Printf("addr %s %d\n", b.Addr(), time.Since(began).Microseconds())
	in := bufio.NewScanner(os.Stdin)
	var cl *kgo.Client
	for in.Scan() {
		if cl, err = kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Millisecond), kgo.MaxBufferedRecords(200)); err != nil {
			return fail(err)
		}
		prefix := in.Text()
		for p := range int32(killPartitions) {
			go func() {
				for i := 0; ; i++ {
					value := fmt.Sprintf("%s.%d.%d.%s", prefix, p, i, rand.Text()+rand.Text())
					cl.Produce(context.Background(), &kgo.Record{Topic: killTopic, Partition: p, Value: []byte(value)}, func(r *kgo.Record, err error) {
						if err == nil {
							fmt.Printf("ack %d %d %s\n", r.Partition, r.Offset, r.Value) // one write, so one line even when killed
						}
					})
				}
			}()
		}
	}
	return 0 // without closing: only the kill tests use it
}

// child is a running broker process.
type child struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	out     *bufio.Scanner
	addr    string
	started time.Duration // what Start took
}

func startChild(t *testing.T, dir, listen string, fsync bool) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), childDir+"="+dir, childListen+"="+listen)
	if fsync {
		c.cmd.Env = append(c.cmd.Env, childFsync+"=1")
	}
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(stdout)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() }) // the test may have done it
	if !c.out.Scan() {
		t.Fatalf("the broker process said nothing: %v, %v", c.out.Err(), c.cmd.Wait())
	}
	var micros int64
	if _, err := fmt.Sscanf(c.out.Text(), "addr %s %d", &c.addr, &micros); err != nil {
		t.Fatalf("the broker process said %q: %v", c.out.Text(), err)
	}
	c.started = time.Duration(micros) * time.Microsecond
	return c
}

// kill ends the process with SIGKILL.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

type position struct {
	partition int32
	offset    int64
}

// ledger is what the log must hold: every record that was acknowledged, or read once.
type ledger struct {
	records map[position]string
	acked   int
}

// collect kills the child after so many acknowledgements and takes those that came out before it died.
func (l *ledger) collect(t *testing.T, c *child, killAfter int) {
	t.Helper()
	for n := 0; c.out.Scan(); n++ {
		if n == killAfter {
			c.kill(t)
		}
		var at position
		var value string
		if _, err := fmt.Sscanf(c.out.Text(), "ack %d %d %s", &at.partition, &at.offset, &value); err != nil {
			t.Fatalf("the broker process said %.80q: %v", c.out.Text(), err)
		}
		l.note(t, at, value)
		l.acked++
	}
	c.cmd.Wait() // killed
}

func (l *ledger) note(t *testing.T, at position, value string) {
	t.Helper()
	if had, ok := l.records[at]; ok && had != value {
		t.Fatalf("partition %d offset %d held %.20q and now %.20q: an offset was used twice", at.partition, at.offset, had, value)
	}
	l.records[at] = value
}

// verify reads the whole log and compares it with the ledger. Records below the log start may be gone; retention may be
// raising it meanwhile. It returns the log starts found at the beginning.
func (l *ledger) verify(t *testing.T, addr string) map[int32]int64 {
	t.Helper()
	cl := client(t, addr)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	list := func(fn func(context.Context, ...string) (kadm.ListedOffsets, error)) map[int32]int64 {
		t.Helper()
		listed, err := fn(within(t), killTopic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		at := make(map[int32]int64)
		listed.Each(func(o kadm.ListedOffset) { at[o.Partition] = o.Offset })
		return at
	}
	starts, ends := list(adm.ListStartOffsets), list(adm.ListEndOffsets)
	seen := make(map[position]string)
	next := make(map[int32]int64)
	from := make(map[int32]kgo.Offset)
	for p, start := range starts {
		next[p] = start
		from[p] = kgo.NewOffset().At(start)
	}
	reader := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{killTopic: from}))
	defer reader.Close()
	removed := starts // the log starts as last asked for
	reached := func() bool {
		for p, end := range ends {
			if max(next[p], removed[p]) < end {
				return false
			}
		}
		return true
	}
	deadline := time.Now().Add(wait)
	for !reached() {
		if time.Now().After(deadline) {
			t.Fatalf("read up to %v in %v; the log is %v to %v", next, wait, removed, ends)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		fetches := reader.PollFetches(ctx)
		cancel()
		fetches.EachError(func(_ string, p int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("read partition %d: %v", p, err)
			}
		})
		if fetches.NumRecords() == 0 {
			removed = list(adm.ListStartOffsets)
		}
		for _, r := range fetches.Records() {
			if r.Offset != next[r.Partition] {
				if removed = list(adm.ListStartOffsets); r.Offset < next[r.Partition] || r.Offset > removed[r.Partition] {
					t.Fatalf("partition %d: offset %d follows %d; the log starts at %d", r.Partition, r.Offset, next[r.Partition]-1, removed[r.Partition])
				}
			}
			next[r.Partition] = r.Offset + 1
			at := position{r.Partition, r.Offset}
			seen[at] = string(r.Value)
			l.note(t, at, string(r.Value))
		}
	}
	removed = list(adm.ListStartOffsets)
	for at := range l.records {
		if _, ok := seen[at]; !ok && at.offset >= removed[at.partition] {
			t.Fatalf("partition %d offset %d was acknowledged and is gone; the log is %v to %v", at.partition, at.offset, removed, ends)
		}
	}
	return starts
}

// TestKilledAtAnyMoment kills the broker under load, again and again. Every acknowledged record is there, offsets have no
// gap and are never used twice, with retention and without, with fsync and without.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	for _, tc := range []struct {
		name    string
		configs map[string]string
		fsync   bool
	}{
		{name: "all kept"},
		{name: "retention by size", configs: map[string]string{"retention.bytes": "20000"}},
		{name: "retention by age", configs: map[string]string{"retention.ms": "50"}},
		{name: "fsync", fsync: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := ledger{records: make(map[position]string)}
			lastStart := make(map[int32]int64)
			var restarts []time.Duration
			id := ""
			removed := func() bool { return slices.Max([]int64{lastStart[0], lastStart[1], lastStart[2]}) > 0 }
			round := 0
			// A machine with much to do writes little in a round: then there are more, for
			// retention to have something.
			for ; round < rounds || len(tc.configs) > 0 && !removed() && round < 10*rounds; round++ {
				c := startChild(t, dir, "127.0.0.1:0", tc.fsync)
				if got := clusterID(t, dir); id != "" && got != id {
					t.Errorf("the cluster id changed after kill %d, which loses nothing", round)
				}
				id = clusterID(t, dir)
				if round == 0 {
					createTopic(t, client(t, c.addr), killTopic, killPartitions, tc.configs)
				} else {
					restarts = append(restarts, c.started)
				}
				for p, start := range l.verify(t, c.addr) {
					if start < lastStart[p] {
						t.Errorf("partition %d starts at %d; it started at %d before", p, start, lastStart[p])
					}
					lastStart[p] = start
				}
				fmt.Fprintf(c.stdin, "%s-%d\n", strings.ReplaceAll(tc.name, " ", "-"), round)
				l.collect(t, c, mathrand.IntN(300))
			}
			// The last word is an orderly start and stop in this process.
			b := start(t, embedded.Options{DataDir: dir})
			if b.ClusterID() != id {
				t.Error("the cluster id changed after the last kill, which loses nothing")
			}
			l.verify(t, b.Addr())
			stop(t, b)
			b = start(t, embedded.Options{DataDir: dir})
			l.verify(t, b.Addr())
			slices.Sort(restarts)
			t.Logf("%d kills, %d records acknowledged; start after a kill took %v at the median, %v at most",
				round, l.acked, restarts[len(restarts)/2], restarts[len(restarts)-1])
			if len(tc.configs) > 0 && !removed() {
				t.Error("retention removed nothing, so the test proves nothing about it")
			}
		})
	}
}

// TestProducerOutlivesBroker: a client of another process goes on over kills of the broker. Nothing it got acknowledged is
// missing, and nothing is there twice or out of order.
func TestProducerOutlivesBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := startChild(t, dir, "127.0.0.1:0", false)
	addr := c.addr
	createTopic(t, client(t, addr), killTopic, 1, nil)
	cl := client(t, addr, kgo.ProducerLinger(time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
		kgo.RecordDeliveryTimeout(wait), kgo.RecordRetries(1_000_000), kgo.MetadataMinAge(10*time.Millisecond))

	const perRound = 500
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	var want []string
	for round := range rounds {
		var acks sync.WaitGroup
		half := make(chan struct{})
		for i := range perRound {
			value := fmt.Sprintf("%d.%d", round, i)
			want = append(want, value)
			acks.Add(1)
			cl.Produce(t.Context(), &kgo.Record{Topic: killTopic, Value: []byte(value)}, func(_ *kgo.Record, err error) {
				defer acks.Done()
				if err != nil {
					t.Errorf("record %s: %v", value, err)
				}
				if i == perRound/2 {
					close(half)
				}
			})
			if i == perRound/4 {
				time.Sleep(time.Duration(mathrand.IntN(3000)) * time.Microsecond) // where in a request the kill falls is what varies
			}
		}
		<-half
		c.kill(t)
		c.cmd.Wait() // killed
		c = startChild(t, dir, addr, false)
		acks.Wait()
	}
	var got []string
	for _, r := range readAll(t, addr, killTopic) {
		got = append(got, string(r.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log has %d records, want the %d sent, once and in order", len(got), len(want))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("first difference at offset %d: %s, want %s", i, got[i], want[i])
			}
		}
	}
}
