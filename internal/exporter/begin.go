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
	starts, startErr := s.list(ctx, (*kadm.Client).ListStartOffsets)
	ends, endErr := s.list(ctx, (*kadm.Client).ListEndOffsets)
	asked := time.Now()

	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	fresh := first < 0
	if fresh {
		first = max(len(starts), len(ends))
	}
	s.first = first
	backlog, known := int64(0), 0
	for id := range wanted {
		p := s.e.parts[id]
		if p == nil {
			continue // taken away meanwhile
		}
		at := s.place(p, starts, ends)
		if at < 0 {
			return nil, fmt.Errorf("where partition %d begins and ends: %w", id, cmp.Or(startErr, endErr, errNotTold))
		}
		p.next = at
		if end, ok := ends[id]; ok {
			p.end, p.endAt = end, asked
			backlog, known = backlog+max(0, end-at), known+1
		}
		wanted[id] = kgo.NewOffset().At(at).WithEpoch(p.epoch)
	}
	s.e.accounts.startBacklog.Add(float64(backlog))
	log := s.e.log.Info
	if backlog > largeBacklog {
		log = s.e.log.Warn
	}
	log("partitions begin", "group", s.e.cfg.Group, "partitions", len(wanted), "backlog", backlog, "ends_known", known, "new_group", fresh)
	return offsets, nil
}

var errNotTold = errors.New("the broker did not say")

// largeBacklog is how many records may lie before the end at a start without a warning: about a minute's work.
const largeBacklog = 1_000_000

// place decides where a partition begins, -1 where that cannot be told now. mu is held.
func (s *session) place(p *partition, starts, ends map[int32]int64) int64 {
	start, startKnown := starts[p.id]
	end, endKnown := ends[p.id]
	c, ok := s.commits[p.id]
	switch {
	case !ok:
		return -1
	case c.offset >= 0 && len(c.note.TopicID) > 0 && !bytes.Equal(c.note.TopicID, s.topicID[:]):
		s.e.log.Warn("the topic was created anew since the group committed; it is read from its beginning", "partition", p.id, "committed", c.offset)
		s.e.accounts.lost.WithLabelValues(lostRecreated).Add(0)
		if !startKnown {
			return -1
		}
		p.committed = -1
		return start
	case c.offset >= 0:
		p.committed, p.epoch = c.offset, c.epoch
		p.clock = time.UnixMicro(c.note.ClockUS)
		if c.note.ClockUS <= 0 {
			p.clock = time.Time{}
		}
		if startKnown && c.offset < start {
			s.e.log.Warn("retention removed records before the group read them", "partition", p.id, "from", c.offset, "to", start)
			s.e.accounts.lost.WithLabelValues(lostRetention).Add(float64(start - c.offset))
			p.epoch = -1
			return start
		}
		if endKnown && c.offset > end {
			return s.cut(p, c.offset, end)
		}
		return c.offset
	case s.e.cfg.Reset == kafkaclient.ResetLatest && int(p.id) < s.first:
		if !endKnown {
			return -1
		}
		return end
	default:
		if !startKnown {
			return -1
		}
		return start
	}
}

// cut notes that the log ends before what was handled of it, and returns where it goes on.
func (s *session) cut(p *partition, from, end int64) int64 {
	s.e.log.Warn("the log was cut below what the group had handled; what is written there now is read", "partition", p.id, "position", from, "end", end)
	s.e.accounts.lost.WithLabelValues(lostTruncated).Add(float64(from - end))
	p.epoch, p.committed = -1, -1
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
