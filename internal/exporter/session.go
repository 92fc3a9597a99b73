package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 15 * time.Second
	// pollWait is how long a poll waits for records: so often does an idle loop go round.
	pollWait = 250 * time.Millisecond
	// pollRecords is how many records are handled in a row; a scrape waits for so many.
	pollRecords = 2000
	// leaveTimeout bounds the goodbye to the group.
	leaveTimeout = 5 * time.Second
	// fetchBytes bounds the answer of a broker, partitionBytes the share of one partition where others have records too,
	// batchBytes what a batch may decompress to.
	fetchBytes     = 16 << 20
	partitionBytes = 1 << 20
	batchBytes     = 64 << 20
)

// backoff grows, with half of it random, so that instances do not come back together.
func backoff(fails int) time.Duration {
	d := maxBackoff
	if fails < 9 {
		d = min(maxBackoff, minBackoff<<max(0, fails))
	}
	return d/2 + rand.N(d/2+1)
}

// session is one membership of the group, on one incarnation of the topic.
type session struct {
	e *Exporter
	// client is the member; questions asks what must not wait behind its long polls.
	client, questions *kgo.Client
	topicID           [16]byte

	// Of the group's callbacks, which do not overlap.
	commits map[int32]commit
	first   int

	committing sync.Mutex // held while a commit waits for its answer
	nextCommit time.Time
	ends       chan error // why the watch of the topic ends the session
}

var errRecreated = errors.New("the topic was created anew")

// session joins the group and handles records until ctx ends or it has to be joined anew.
func (e *Exporter) session(ctx context.Context) (err error) {
	s := &session{e: e, ends: make(chan error, 1)}
	if s.questions, err = kgo.NewClient(e.deps.Options...); err != nil {
		return fmt.Errorf("make Kafka client: %w", err)
	}
	defer s.questions.Close()
	if s.topicID, err = s.identity(ctx); err != nil {
		return err
	}
	e.incarnation(s.topicID)
	if s.client, err = kgo.NewClient(append(append([]kgo.Opt{}, e.deps.Options...), s.options()...)...); err != nil {
		return fmt.Errorf("make Kafka client: %w", err)
	}
	s.client.AddConsumeTopics(e.cfg.Topic) // from here on the group's callbacks come, which use the client
	e.setCurrent(s)
	defer e.setCurrent(nil)
	watch, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(watch) })
	defer func() {
		cancel()
		watching.Wait()
		s.leave()
	}()
	for ctx.Err() == nil {
		select {
		case err := <-s.ends:
			return err
		default:
		}
		if err := s.turn(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) options() []kgo.Opt {
	c := s.e.cfg
	return []kgo.Opt{
		kgo.ConsumerGroup(c.Group), kgo.SessionTimeout(c.SessionTimeout), kgo.RebalanceTimeout(c.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, c.SessionTimeout/3)),
		// What is handled is committed by us alone, and where a partition begins is our decision, never the client's.
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.OnOffsetsFetched(s.fetched), kgo.AdjustFetchOffsetsFn(s.begin),
		kgo.OnPartitionsAssigned(s.assigned), kgo.OnPartitionsRevoked(s.revoked), kgo.OnPartitionsLost(s.lost),
		kgo.KeepControlRecords(), // their offsets are passed like any other
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(partitionBytes), kgo.MaxDecompressBatchBytes(batchBytes),
	}
}

// identity asks which incarnation of the topic there is. Brokers before Kafka 2.8 give it no id.
func (s *session) identity(ctx context.Context) ([16]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.e.cfg.RequestTimeout)
	defer cancel()
	topics, err := kadm.NewClient(s.questions).ListTopics(ctx, s.e.cfg.Topic)
	if err != nil {
		return [16]byte{}, fmt.Errorf("topic %s: %w", s.e.cfg.Topic, err)
	}
	t, ok := topics[s.e.cfg.Topic]
	switch {
	case !ok:
		return [16]byte{}, fmt.Errorf("topic %s: %w", s.e.cfg.Topic, kerr.UnknownTopicOrPartition)
	case t.Err != nil:
		return [16]byte{}, fmt.Errorf("topic %s: %w", s.e.cfg.Topic, t.Err)
	}
	return t.ID, nil
}

// incarnation forgets what was known of another topic of the name.
func (e *Exporter) incarnation(id [16]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.topicID != id {
		clear(e.past)
		e.topicID = id
	}
}

func (e *Exporter) setCurrent(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current = s
}

// leave gives the partitions back, with what was handled of them committed.
func (s *session) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	s.settleLetters(ctx)
	s.client.AllowRebalance()
	if err := s.client.LeaveGroupContext(ctx); err != nil {
		s.e.log.Warn("the group was left without its answer; it waits for the session timeout", "group", s.e.cfg.Group, "error", err)
	}
	s.client.CloseAllowingRebalance()
	s.committing.Lock() // a commit that was under way has its answer
	s.e.drop(nil, "")
}

// assigned takes up partitions; begin says where.
func (s *session) assigned(_ context.Context, _ *kgo.Client, given map[string][]int32) {
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := given[e.cfg.Topic]
	for _, id := range ids {
		s.client.ResumeFetchPartitions(map[string][]int32{e.cfg.Topic: {id}}) // it may have been taken away while it stood still
		e.parts[id] = &partition{id: id, next: -1, epoch: -1, committed: -1, backlog: -1, end: -1, tables: e.aggregator.Partition(id)}
	}
	e.accounts.rebalances.WithLabelValues("assigned").Add(float64(len(ids)))
	e.err, e.endsErr = nil, nil
	e.once.Do(func() { close(e.started) })
	e.log.Info("the group gave partitions to this process", "group", e.cfg.Group, "partitions", ids, "now", len(e.parts))
}

// revoked commits what was handled before another process goes on with it.
func (s *session) revoked(ctx context.Context, _ *kgo.Client, taken map[string][]int32) {
	ids := taken[s.e.cfg.Topic]
	if len(ids) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.e.cfg.RequestTimeout, s.e.cfg.SessionTimeout/2))
	defer cancel()
	s.settle()
	s.commitNow(ctx, ids)
	s.e.drop(ids, "revoked")
}

// lost forgets partitions that others may have already.
func (s *session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.e.drop(gone[s.e.cfg.Topic], "lost")
}

// drop forgets partitions, all where none are named.
func (e *Exporter) drop(ids []int32, how string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if how == "" {
		ids = e.assigned()
	} else {
		e.accounts.rebalances.WithLabelValues(how).Add(float64(len(ids)))
		e.log.Info("partitions were taken from this process", "group", e.cfg.Group, "partitions", ids, "how", how)
	}
	for _, id := range ids {
		if p := e.parts[id]; p != nil && p.next >= 0 && !p.rebuilding() {
			e.past[id] = max(e.past[id], p.next)
		}
		delete(e.parts, id)
		e.aggregator.Drop(id)
	}
}

// watch asks for the ends of the partitions and for the topic's identity, apart from the reading.
func (s *session) watch(ctx context.Context) {
	ticker := time.NewTicker(s.e.cfg.EndsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asked := time.Now()
		id, err := s.identity(ctx)
		if err == nil && id != s.topicID {
			err = errRecreated
		}
		if errors.Is(err, errRecreated) || errors.Is(err, kerr.UnknownTopicOrPartition) {
			select {
			case s.ends <- err:
			default:
			}
			return
		}
		var ends map[int32]int64
		if err == nil {
			qctx, cancel := context.WithTimeout(ctx, s.e.cfg.RequestTimeout)
			ends, err = s.list(qctx, (*kadm.Client).ListEndOffsets)
			cancel()
		}
		if ctx.Err() == nil {
			s.e.learnEnds(ends, asked, err)
		}
	}
}

// bounds asks where the log of a partition begins and ends.
func (s *session) bounds(ctx context.Context, id int32) (start, end int64, err error) {
	starts, startErr := s.list(ctx, (*kadm.Client).ListStartOffsets)
	ends, endErr := s.list(ctx, (*kadm.Client).ListEndOffsets)
	start, startKnown := starts[id]
	end, endKnown := ends[id]
	if !startKnown || !endKnown {
		return 0, 0, cmp.Or(startErr, endErr, errNotTold)
	}
	return start, end, nil
}

// learnEnds notes the ends of partitions; one that was not told is not known any more. err is why there is one that was not.
func (e *Exporter) learnEnds(ends map[int32]int64, asked time.Time, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err == nil:
		e.endsErr = nil
	case e.endsErr == nil:
		e.endsErr, e.endsErrSince = err, asked
	default:
		e.endsErr = err
	}
	for id, p := range e.parts {
		end, ok := ends[id]
		if !ok {
			p.end = -1
			continue
		}
		p.end, p.endAt = max(end, p.next), asked
		if p.next >= end && p.next >= 0 && !p.rebuilding() {
			p.tick(asked)
		}
	}
}

// fatal reports an error that only a new membership mends.
func fatal(err error) bool {
	return errors.Is(err, kgo.ErrClientClosed) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) ||
		kafkaclient.Classify(err) == kafkaclient.ClassAuthorization
}
