package gateway_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// chaos is a cluster that fails, producers, two gateways and clients of every
// kind that come and go. The oracle is what the producers had acknowledged: it
// shares no code with the feed.
type chaos struct {
	t       *testing.T
	cluster *kfake.Cluster
	topic   string
	seed    uint64

	mu sync.Mutex
	// log holds, by partition and offset, the number that the producer wrote.
	log map[int32]map[int64]uint64
	// removed is the log start that was asked for, by partition.
	removed map[int32]int64
	// partitions grows.
	partitions int32
}

func (c *chaos) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, stream)) }

func (c *chaos) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.cluster.ListenAddrs()...), kgo.MetadataMinAge(20 * time.Millisecond)}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

// produce writes numbered records until ctx ends.
func (c *chaos) produce(ctx context.Context, id int) {
	r := c.rand(uint64(1000 + id))
	cl := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(c.topic))
	tick := time.NewTicker(4 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(0); ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		p := r.Int32N(c.partitions)
		c.mu.Unlock()
		batch := make([]*kgo.Record, 1+r.IntN(20))
		for i := range batch {
			number := uint64(id)<<40 | n<<8 | uint64(i)
			thread := fmt.Sprintf("thread-%d", number%7)
			v := message(c.t, thread, []string{"red", "blue"}[number%2], 1, strconv.FormatUint(number, 10))
			batch[i] = &kgo.Record{Partition: p, Key: []byte(thread), Value: v, Headers: []kgo.RecordHeader{{Key: "n", Value: binary.BigEndian.AppendUint64(nil, number)}}}
		}
		for _, res := range cl.ProduceSync(context.WithoutCancel(ctx), batch...) {
			if res.Err != nil && strings.Contains(res.Err.Error(), "partitioning choice") {
				continue // this client does not know the new partition yet; nothing was sent
			}
			if res.Err != nil {
				c.t.Errorf("produce: %v", res.Err)
				return
			}
			c.mu.Lock()
			if c.log[p] == nil {
				c.log[p] = map[int64]uint64{}
			}
			c.log[p][res.Record.Offset] = binary.BigEndian.Uint64(res.Record.Headers[0].Value)
			c.mu.Unlock()
		}
	}
}

// trouble breaks things until ctx ends, and then mends them.
func (c *chaos) trouble(ctx context.Context) {
	r := c.rand(2)
	adm := kadm.NewClient(c.client())
	var faults []*kfake.FaultHandle
	defer func() {
		for _, f := range faults {
			f.Remove()
		}
	}()
	errs := []*kerr.Error{kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.FencedLeaderEpoch, kerr.UnknownServerError, kerr.RequestTimedOut, kerr.OffsetNotAvailable}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(r.IntN(40)) * time.Millisecond):
		}
		switch r.IntN(6) {
		case 0:
			c.cluster.ShufflePartitionLeaders()
		case 1, 2:
			c.mu.Lock()
			p := r.Int32N(c.partitions)
			c.mu.Unlock()
			faults = append(faults, c.cluster.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Topic: c.topic, Partitions: []int32{p}, Err: errs[r.IntN(len(errs))], Count: 1 + r.IntN(8),
			}))
		case 3:
			faults = append(faults, c.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: c.topic, Err: kerr.LeaderNotAvailable, Count: 1 + r.IntN(3)}))
		case 4: // retention takes the head of a partition
			c.mu.Lock()
			p := r.Int32N(c.partitions)
			n := int64(len(c.log[p]))
			at := c.removed[p] + r.Int64N(max(1, (n-c.removed[p])/3))
			// Known before it happens: a client may be told at once.
			c.removed[p] = max(c.removed[p], at)
			c.mu.Unlock()
			// It may fail for the other faults; then nothing was removed.
			_, _ = adm.DeleteRecords(ctx, kadm.Offsets{c.topic: {p: {Topic: c.topic, Partition: p, At: at}}})
		case 5:
			c.mu.Lock()
			n := c.partitions
			c.mu.Unlock()
			if n >= 5 || r.IntN(4) > 0 {
				continue
			}
			if _, err := adm.UpdatePartitions(ctx, int(n)+1, c.topic); err == nil {
				c.mu.Lock()
				c.partitions = n + 1
				c.mu.Unlock()
			}
		}
	}
}

// member is a client that remembers what it applied across its sessions.
type member struct {
	c      *chaos
	name   string
	filter *streampb.Filter
	want   func(number uint64) bool

	cursor *streampb.Start
	// from is where each partition began; at where it is.
	from, at map[int32]int64
	seen     map[int32]map[int64]bool
	gone     map[int32]map[int64]bool
}

// session is one connection. With all it ends when the client has caught up;
// otherwise after some frames.
func (m *member) session(ctx context.Context, s *server, protocol string, frames int, all bool) {
	t := m.c.t
	var cl *testclient.Client
	if protocol == "sse" {
		last := ""
		query := "?from=earliest"
		if m.from != nil {
			last = m.eventID()
		}
		for _, v := range m.filter.GetThreads() {
			query += "&thread=" + v
		}
		for _, v := range m.filter.GetTenants() {
			query += "&tenant=" + v
		}
		cl = testclient.SSE(t, s.URL, query, last)
	} else {
		var err error
		if cl, err = testclient.TryDial(t, s.URL, protocol, nil); err != nil {
			t.Errorf("%s: dial: %v", m.name, err)
			return
		}
		start := testclient.Earliest()
		if m.cursor != nil {
			start = m.cursor
		}
		cl.Subscribe(start, m.filter)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, cl.Close)()
	gaps := 0
	for n := 0; all || n < frames; n++ {
		before := len(cl.Records)
		if err := cl.Step(ctx); err != nil {
			if all {
				t.Errorf("%s (seed %d): %v; cursor %v", m.name, m.c.seed, err, cl.Positions)
			}
			return
		}
		m.apply(cl, cl.Records[before:], cl.Gaps[gaps:])
		gaps = len(cl.Gaps)
		if all && cl.CaughtUp > 0 {
			return
		}
	}
}

func (m *member) eventID() string {
	c := m.cursor.GetCursor()
	s := c.GetStreamId() + ":"
	for i, p := range c.GetPartitions() {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf("%d=%d", p.GetPartition(), p.GetNextOffset())
	}
	return s
}

// apply takes over what one frame brought, and then its cursor.
func (m *member) apply(cl *testclient.Client, records []*streampb.Record, gaps []*streampb.Gap) {
	t := m.c.t
	if len(cl.Positions) == 0 {
		return
	}
	if len(cl.Resets) > 0 {
		t.Fatalf("%s (seed %d): reset %v", m.name, m.c.seed, cl.Resets)
	}
	if m.from == nil {
		m.from, m.at, m.seen, m.gone = map[int32]int64{}, map[int32]int64{}, map[int32]map[int64]bool{}, map[int32]map[int64]bool{}
		for p, o := range cl.Positions {
			m.from[p], m.at[p] = o, o
		}
	}
	for _, r := range records {
		p, o := r.GetPartition(), r.GetOffset()
		if m.seen[p] == nil {
			m.seen[p] = map[int64]bool{}
		}
		if m.seen[p][o] {
			t.Fatalf("%s (seed %d): partition %d offset %d came twice", m.name, m.c.seed, p, o)
		}
		m.seen[p][o] = true
	}
	for _, g := range gaps {
		p := g.GetPartition()
		if m.gone[p] == nil {
			m.gone[p] = map[int64]bool{}
		}
		for o := g.GetFrom(); o < g.GetTo(); o++ {
			m.gone[p][o] = true
		}
		m.c.mu.Lock()
		if g.GetReason() != streampb.Gap_REASON_RETENTION || g.GetTo() > m.c.removed[p] {
			t.Errorf("%s (seed %d): gap %v, but retention took only what lies below %d", m.name, m.c.seed, g, m.c.removed[p])
		}
		m.c.mu.Unlock()
	}
	for p, o := range cl.Positions {
		if _, known := m.from[p]; !known {
			m.from[p] = 0 // a partition that was added is read from its start
		}
		m.at[p] = o
	}
	m.cursor = cl.Resume()
}

// check compares with the oracle: between start and cursor, each record that
// matches came, or is in a gap; nothing else came.
func (m *member) check() {
	t := m.c.t
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	for p := range m.c.partitions {
		if m.at[p] != int64(len(m.c.log[p])) {
			t.Errorf("%s (seed %d): partition %d: the cursor is at %d, the log ends at %d", m.name, m.c.seed, p, m.at[p], len(m.c.log[p]))
		}
		for o := m.from[p]; o < m.at[p]; o++ {
			number, ok := m.c.log[p][o]
			if !ok {
				t.Errorf("seed %d: the oracle has no partition %d offset %d", m.c.seed, p, o)
				return
			}
			seen, gone := m.seen[p][o], m.gone[p][o]
			switch {
			case seen && gone, seen && !m.want(number):
				t.Errorf("%s (seed %d): partition %d offset %d came (gap %v, matches %v)", m.name, m.c.seed, p, o, gone, m.want(number))
				return
			case !seen && !gone && m.want(number):
				t.Errorf("%s (seed %d): partition %d offset %d neither came nor was named in a gap (start %d, end %d, removed %d)", m.name, m.c.seed, p, o, m.from[p], m.at[p], m.c.removed[p])
				return
			}
		}
	}
}

// TestChaos runs with DASHSTREAM_TEST_SEED, or a new seed each time, which a
// failure prints.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	if s := os.Getenv("DASHSTREAM_TEST_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("DASHSTREAM_TEST_SEED: %v", err)
		}
	}
	t.Logf("seed %d", seed)
	c := &chaos{t: t, topic: "events", seed: seed, log: map[int32]map[int64]uint64{}, removed: map[int32]int64{}, partitions: 3}
	c.cluster = testkafka.NewFake(t, kfake.NumBrokers(3), kfake.SeedTopics(3, c.topic))
	// A tail and a cache so small that clients leave them all the time.
	small := func(cfg *gateway.Config) { cfg.Feed.TailBytes, cfg.Feed.CacheBytes = 1<<20, 1<<20 }
	servers := []*server{startOn(t, c.cluster.ListenAddrs(), c.topic, small), startOn(t, c.cluster.ListenAddrs(), c.topic, small)}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var writers, readers sync.WaitGroup
	for id := range 3 {
		writers.Go(func() { c.produce(ctx, id) })
	}
	writers.Go(func() { c.trouble(ctx) })

	all := func(uint64) bool { return true }
	members := []*member{
		{name: "everything", want: all}, {name: "everything too", want: all}, {name: "and again", want: all},
		{name: "one thread", filter: &streampb.Filter{Threads: []string{"thread-3"}}, want: func(n uint64) bool { return n%7 == 3 }},
		{name: "one tenant", filter: &streampb.Filter{Tenants: []string{"blue"}}, want: func(n uint64) bool { return n%2 == 1 }},
		{name: "both", filter: &streampb.Filter{Threads: []string{"thread-1", "thread-2"}, Tenants: []string{"red"}}, want: func(n uint64) bool { return (n%7 == 1 || n%7 == 2) && n%2 == 0 }},
	}
	for i, m := range members {
		m.c = c
		r := c.rand(uint64(100 + i))
		readers.Go(func() {
			for ctx.Err() == nil {
				m.session(ctx, servers[r.IntN(2)], []string{"dashstream.v1+proto", "dashstream.v1+json", "sse"}[r.IntN(3)], 1+r.IntN(60), false)
			}
		})
	}
	writers.Wait()
	readers.Wait()
	if t.Failed() {
		return
	}
	for i, m := range members {
		m.session(t.Context(), servers[i%2], []string{"dashstream.v1+proto", "dashstream.v1+json", "sse"}[i%3], 0, true)
		m.check()
	}
	total := 0
	for _, l := range c.log {
		total += len(l)
	}
	t.Logf("%d records in %d partitions, removed %v", total, c.partitions, c.removed)
}
