package feed

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// Record is one record of the log. It is shared by all readers and never
// changed.
type Record struct {
	Partition int32
	Offset    int64
	// Timestamp is Kafka's, in milliseconds since the Unix epoch.
	Timestamp int64
	Key       []byte
	// Value is the stored frame (see package wire). It may be nil.
	Value   []byte
	Headers []kgo.RecordHeader
}

// recordOverhead is what a record costs in memory besides its key and value.
const recordOverhead = 152

// headerOverhead is what a header costs besides its key and value.
const headerOverhead = 40

func (r *Record) size() int64 {
	n := int64(len(r.Key)+len(r.Value)) + recordOverhead
	for _, h := range r.Headers {
		n += int64(len(h.Key)+len(h.Value)) + headerOverhead
	}
	return n
}

// Move says that a segment covers the offsets From ≤ offset < Next of a
// partition. Offsets in that range without a record hold none in the log
// either: transaction markers, or records that compaction took.
type Move struct {
	Partition  int32
	From, Next int64
}

// segmentBytes is the size at which records go into another segment. One
// segment becomes one frame to a client, so it is also about what a slow client
// can hold of our memory.
const segmentBytes = 64 << 10

// Segment is a run of records that goes out together, or one [Gap] or
// [Growth]. Segments are shared by all readers and never change, but for the
// frames that are cached with them.
type Segment struct {
	Records []Record
	Moves   []Move
	Gap     *Gap
	Growth  *Growth

	seq   uint64
	bytes atomic.Int64
	// grown is told when a cached frame adds to the segment's size.
	grown func(n int64)

	mu     sync.Mutex
	frames map[FrameKey]*frame

	indexOnce sync.Once
	index     []recordIndex
	threads   map[string]struct{}
}

// Gap says that the records From ≤ offset < To of a partition will not come.
type Gap struct {
	Partition int32
	From, To  int64
	Reason    GapReason
}

// GapReason says why records will not come.
type GapReason uint8

const (
	// GapRetention: the log no longer holds them.
	GapRetention GapReason = iota + 1
	// GapUnreadable: the broker holds them but what it returns cannot be read,
	// for example after a checksum error.
	GapUnreadable
)

func (r GapReason) String() string {
	switch r {
	case GapRetention:
		return "retention"
	case GapUnreadable:
		return "unreadable"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}

// Growth says that the topic has more partitions now.
type Growth struct {
	// Start holds the first offset to read of every new partition.
	Start map[int32]int64
}

// FrameKey identifies one encoding of a segment: what a gateway sends to all
// clients that have the same filter and the same encoding.
type FrameKey struct {
	Filter   *Filter
	Encoding uint8
}

type frame struct {
	once    sync.Once
	data    []byte
	records int
}

// Frame returns the encoding of the segment for a key and how many records are
// in it, made once by encode and shared from then on. It is nil when no record
// matches the key's filter.
func (s *Segment) Frame(k FrameKey, encode func(*Segment, *Filter) (data []byte, records int)) ([]byte, int) {
	s.mu.Lock()
	f := s.frames[k]
	if f == nil {
		if s.frames == nil {
			s.frames = make(map[FrameKey]*frame, 1)
		}
		f = &frame{}
		s.frames[k] = f
	}
	s.mu.Unlock()
	f.once.Do(func() {
		f.data, f.records = encode(s, k.Filter)
		s.grow(int64(len(f.data)) + 64)
	})
	return f.data, f.records
}

func (s *Segment) grow(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes.Add(n)
	if s.grown != nil {
		s.grown(n)
	}
}

// detach ends the accounting of the segment with its holder and returns its
// size.
func (s *Segment) detach() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grown = nil
	return s.bytes.Load()
}

// Matching calls fn with each record that the filter selects. A nil filter
// selects all.
func (s *Segment) Matching(f *Filter, fn func(*Record)) {
	if f == nil {
		for i := range s.Records {
			fn(&s.Records[i])
		}
		return
	}
	s.buildIndex()
	for i := range s.Records {
		if f.match(&s.index[i]) {
			fn(&s.Records[i])
		}
	}
}

// MayMatch reports whether the filter can select a record of the segment. It
// costs a look-up for each thread of the filter, not a look at each record.
func (s *Segment) MayMatch(f *Filter) bool {
	if len(s.Records) == 0 {
		return false
	}
	if f == nil || len(f.threads) == 0 {
		return true
	}
	s.buildIndex()
	for t := range f.threads {
		if _, ok := s.threads[t]; ok {
			return true
		}
	}
	return false
}

// Threads calls fn with each distinct thread id in the segment.
func (s *Segment) Threads(fn func(string)) {
	s.buildIndex()
	for t := range s.threads {
		fn(t)
	}
}

// recordIndex is what filters look at.
type recordIndex struct {
	thread []byte
	tenant []byte
	kind   dashstreampb.MessageType
	// more holds the further threads of a batch that mixes them.
	more [][]byte
}

// buildIndex peeks into each record once, for all filters.
func (s *Segment) buildIndex() {
	s.indexOnce.Do(func() {
		var p wire.Peeker
		s.index = make([]recordIndex, len(s.Records))
		s.threads = make(map[string]struct{}, 8)
		for i := range s.Records {
			x := indexRecord(&p, &s.Records[i])
			s.index[i] = x
			s.threads[string(x.thread)] = struct{}{}
			for _, t := range x.more {
				s.threads[string(t)] = struct{}{}
			}
		}
		s.grow(int64(len(s.Records)) * 80)
	})
}

// indexRecord never fails: a record whose header cannot be read has its key as
// thread, no tenant, and MESSAGE_TYPE_UNSPECIFIED.
func indexRecord(p *wire.Peeker, r *Record) recordIndex {
	x := recordIndex{thread: r.Key}
	pk, err := p.Peek(r.Value, wire.DefaultLimits())
	if err != nil {
		return x
	}
	x.kind = pk.Kind
	x.tenant = slices.Clone(pk.TenantID)
	if len(pk.ThreadID) > 0 && string(pk.ThreadID) != string(r.Key) {
		x.thread = slices.Clone(pk.ThreadID)
	}
	if pk.Kind == dashstreampb.MessageType_MESSAGE_TYPE_EVENT_BATCH {
		for h, err := range pk.Events() {
			if err != nil {
				break
			}
			if t := h.ThreadID; string(t) != string(x.thread) && !slices.ContainsFunc(x.more, func(m []byte) bool { return string(m) == string(t) }) {
				x.more = append(x.more, slices.Clone(t))
			}
		}
	}
	return x
}

// segmenter cuts the records of fetched partitions into segments.
type segmenter struct {
	out []*Segment
	cur *Segment
}

// add appends the records of one partition, which cover from ≤ offset < next.
func (b *segmenter) add(partition int32, from, next int64, records []*kgo.Record) {
	if next <= from {
		return
	}
	for _, r := range records {
		rec := Record{Partition: partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value, Headers: r.Headers}
		if b.cur != nil && len(b.cur.Records) > 0 && b.cur.bytes.Load()+rec.size() > segmentBytes {
			b.cut()
		}
		if b.cur == nil {
			b.cur = &Segment{}
		}
		b.cur.Records = append(b.cur.Records, rec)
		b.cur.bytes.Add(rec.size())
		b.move(partition, from, rec.Offset+1)
		from = rec.Offset + 1
	}
	if from < next {
		if b.cur == nil {
			b.cur = &Segment{}
		}
		b.move(partition, from, next)
	}
}

func (b *segmenter) move(p int32, from, next int64) {
	if n := len(b.cur.Moves); n > 0 && b.cur.Moves[n-1].Partition == p {
		b.cur.Moves[n-1].Next = next
		return
	}
	b.cur.Moves = append(b.cur.Moves, Move{Partition: p, From: from, Next: next})
}

func (b *segmenter) cut() {
	if b.cur != nil {
		b.out = append(b.out, b.cur)
		b.cur = nil
	}
}

// segments ends the segmenter and returns what it made.
func (b *segmenter) segments() []*Segment {
	b.cut()
	return b.out
}
