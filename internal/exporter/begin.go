package exporter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// commitNote is what goes with a commit.
type commitNote struct {
	// TopicID is the incarnation of the topic.
	TopicID []byte `json:"topic_id,omitempty"`
	// First is how many partitions the topic had when the group first read it: one that came later is not skipped,
	// whatever the policy for new groups is.
	First int `json:"first_partitions,omitempty"`
	// Head is where the partition ended when the group first came to it.
	Head int64 `json:"head,omitempty"`
	// ClockUS is the partition's clock, in microseconds since the Unix epoch.
	ClockUS int64 `json:"clock_us,omitempty"`
}

func (n commitNote) String() string {
	b, err := json.Marshal(n)
	if err != nil {
		return ""
	}
	return string(b)
}

// parseNote reads a note; one of other programs says nothing.
func parseNote(text *string) (n commitNote) {
	if text == nil || json.Unmarshal([]byte(*text), &n) != nil {
		return commitNote{}
	}
	return n
}

// commit is what the group had committed of a partition when it was given to this process.
type commit struct {
	offset int64 // -1 for nothing
	epoch  int32
	note   commitNote
}

// fetched keeps what was committed, with its notes. That is called before begin; what a broker cannot tell is not in it.
func (s *session) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	s.commits = map[int32]commit{}
	add := func(p int32, offset int64, epoch int32, code int16, metadata *string) {
		if code == 0 {
			s.commits[p] = commit{offset: max(offset, -1), epoch: epoch, note: parseNote(metadata)}
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			add(p.Partition, p.Offset, p.LeaderEpoch, p.ErrorCode, p.Metadata)
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				add(p.Partition, p.Offset, p.LeaderEpoch, p.ErrorCode, p.Metadata)
			}
		}
	}
	return nil
}

// begin decides where to begin partitions that were given to this process. An error ends the membership, and all is asked
// anew.
func (s *session) begin(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	ctx, cancel := context.WithTimeout(ctx, s.e.cfg.RequestTimeout)
	defer cancel()
	wanted := offsets[s.e.cfg.Topic]
	if len(wanted) == 0 {
		return offsets, nil
	}
	first, err := s.firstPartitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("what group %s has committed: %w", s.e.cfg.Group, err)
	}
	b := bounds{}
	var startErr, endErr error
	b.starts, startErr = s.list(ctx, (*kadm.Client).ListStartOffsets)
	b.ends, endErr = s.list(ctx, (*kadm.Client).ListEndOffsets)
	asked := time.Now()
	b.kept = s.prove(ctx, wanted)
	b.rebuild = s.rebuildFrom(ctx, wanted)

	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	fresh := first < 0
	if fresh {
		first = max(len(b.starts), len(b.ends))
	}
	s.first = first
	backlog, known := int64(0), 0 // of these partitions, for the log
	for id := range wanted {
		p := s.e.parts[id]
		if p == nil {
			continue // taken away meanwhile
		}
		if !s.place(p, b) {
			return nil, fmt.Errorf("where partition %d begins and ends: %w", id, cmp.Or(startErr, endErr, errNotTold))
		}
		if end, ok := b.ends[id]; ok {
			p.end, p.endAt = end, asked
			p.backlog = max(0, end-p.countFrom)
			backlog, known = backlog+p.backlog, known+1
		}
		wanted[id] = kgo.NewOffset().At(p.next).WithEpoch(p.epoch)
	}
	log := s.e.log.Info
	if backlog > largeBacklog {
		log = s.e.log.Warn
	}
	log("partitions begin", "group", s.e.cfg.Group, "partitions", len(wanted), "backlog", backlog, "ends_known", known, "new_group", fresh)
	return offsets, nil
}

// bounds is what is known of the partitions when they begin.
type bounds struct {
	starts, ends map[int32]int64
	// kept is up to where the log holds what the leader of the committed epoch wrote (KIP-320).
	kept map[int32]int64
	// rebuild is the first offset of those that must be remembered.
	rebuild map[int32]int64
}

var errNotTold = errors.New("the broker did not say")

// largeBacklog is how many records may lie before the end at a start without a warning: about a minute's work.
const largeBacklog = 1_000_000

// place decides where a partition begins; false where that cannot be told now. mu is held.
func (s *session) place(p *partition, b bounds) bool {
	start, startKnown := b.starts[p.id]
	end, endKnown := b.ends[p.id]
	c, ok := s.commits[p.id]
	switch {
	case !ok:
		return false
	case c.offset >= 0 && len(c.note.TopicID) > 0 && !bytes.Equal(c.note.TopicID, s.topicID[:]):
		s.e.log.Warn("the topic was created anew since the group committed; it is read from its beginning", "partition", p.id, "committed", c.offset)
		p.beginAt(start, start, time.Time{})
		return startKnown
	case c.offset >= 0:
		s.placeCommitted(p, c, b)
		return true
	case s.e.cfg.Reset == kafkaclient.ResetLatest && int(p.id) < s.first:
		p.beginAt(end, end, time.Time{})
		return endKnown
	default:
		if int(p.id) < s.first {
			p.head = end
		}
		p.beginAt(start, start, time.Time{})
		return startKnown
	}
}

// placeCommitted begins a partition where the group had come to.
func (s *session) placeCommitted(p *partition, c commit, b bounds) {
	start, startKnown := b.starts[p.id]
	end, endKnown := b.ends[p.id]
	kept, proven := b.kept[p.id]
	p.committed, p.head = c.offset, c.note.Head
	clock := time.Time{}
	if c.note.ClockUS > 0 {
		clock = time.UnixMicro(c.note.ClockUS)
	}
	at := c.offset
	switch {
	case startKnown && at < start:
		s.e.log.Warn("retention removed records before the group read them", "partition", p.id, "from", at, "to", start)
		s.e.accounts.lost.WithLabelValues(lostRetention).Add(float64(start - at))
		p.beginAt(start, start, clock)
		return
	case endKnown && at > end:
		at = s.cut(p, at, end)
	case proven && at > kept:
		at = s.cut(p, at, kept)
	case !proven && c.epoch >= 0:
		// The client asks the leader, again where it must; it can do so for the position alone.
		p.epoch = c.epoch
		p.beginAt(at, at, clock)
		return
	}
	from, ok := b.rebuild[p.id]
	if !ok || !startKnown {
		from = at
	}
	p.beginAt(at, max(start, from, at-rebuildRecords), clock)
}

// cut notes that the log ends before what was handled of it, and returns where it goes on.
func (s *session) cut(p *partition, from, end int64) int64 {
	s.e.log.Warn("the log was cut below what the group had handled; what is written there now is read", "partition", p.id, "position", from, "end", end)
	s.e.accounts.lost.WithLabelValues(lostTruncated).Add(float64(from - end))
	p.epoch, p.committed = -1, -1
	delete(s.e.past, p.id) // these offsets have other records now
	return end
}

// firstPartitions returns how many partitions the topic had when the group first read it, as its commits say; 0 where they
// do not, and -1 where there are none.
func (s *session) firstPartitions(ctx context.Context) (int, error) {
	all, err := kadm.NewClient(s.questions).FetchOffsetsForTopics(ctx, s.e.cfg.Group, s.e.cfg.Topic)
	if err != nil {
		return 0, err
	}
	if err := all.Error(); err != nil {
		return 0, err
	}
	first := -1
	for _, o := range all[s.e.cfg.Topic] {
		if o.At < 0 {
			continue
		}
		n := parseNote(&o.Metadata).First
		if first < 0 || n > 0 && (first == 0 || n < first) {
			first = n
		}
	}
	return first, nil
}

// list asks for offsets of all partitions and returns those that were told.
func (s *session) list(ctx context.Context, ask func(*kadm.Client, context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	listed, err := ask(kadm.NewClient(s.questions), ctx, s.e.cfg.Topic)
	out := map[int32]int64{}
	for _, o := range listed[s.e.cfg.Topic] {
		if o.Err == nil && o.Offset >= 0 {
			out[o.Partition] = o.Offset
		} else if err == nil {
			err = o.Err
		}
	}
	return out, err
}

// rebuildRecords bounds what is read again of a partition for what must be remembered of it.
const rebuildRecords = 50_000

// rebuildFrom asks where the records begin that must be remembered: those within the timeout of a session before the group's
// last commits.
func (s *session) rebuildFrom(ctx context.Context, wanted map[int32]kgo.Offset) map[int32]int64 {
	oldest := int64(0)
	for id := range wanted {
		if us := s.commits[id].note.ClockUS; us > 0 && (oldest == 0 || us < oldest) {
			oldest = us
		}
	}
	if oldest == 0 {
		return nil
	}
	since := time.UnixMicro(oldest).Add(-s.e.cfg.Aggregate.SessionTimeout).UnixMilli()
	from, err := s.list(ctx, func(adm *kadm.Client, ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return adm.ListOffsetsAfterMilli(ctx, since, topics...)
	})
	if err != nil {
		s.e.log.Warn("what came before is not remembered: sessions under way begin anew", "error", s.e.deps.Explain(err))
	}
	return from
}

// prove asks the leaders up to where their logs hold what was handled; those that do not say are not in the answer.
func (s *session) prove(ctx context.Context, wanted map[int32]kgo.Offset) map[int32]int64 {
	var req kadm.OffsetForLeaderEpochRequest
	for id := range wanted {
		if c := s.commits[id]; c.offset >= 0 && c.epoch >= 0 {
			req.Add(s.e.cfg.Topic, id, c.epoch)
		}
	}
	kept := map[int32]int64{}
	if len(req) == 0 {
		return kept
	}
	resp, err := kadm.NewClient(s.questions).OffsetForLeaderEpoch(ctx, req)
	if err != nil {
		s.e.log.Debug("leader epochs cannot be asked for", "error", err)
	}
	for id, o := range resp[s.e.cfg.Topic] {
		if o.Err == nil && o.EndOffset >= 0 {
			kept[id] = o.EndOffset
		}
	}
	return kept
}
