package feed

import (
	"cmp"
	"fmt"
	"runtime/debug"
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
	// Epoch is the epoch of the leader that wrote what lies before Next, or a later
	// one whose log held it; -1 where not known.
	Epoch int32
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
	// maxRecord is what a record may decompress to for filters to look into it; 0
	// is the default.
	maxRecord int
	// decoded is what the records take once their values are decompressed.
	decoded int
	// owner accounts for the segment while it holds it; guarded by mu.
	owner holder

	mu     sync.Mutex
	frames map[FrameKey]*frame
	// order holds the keys of frames, oldest first, and frameBytes their size.
	order      []FrameKey
	frameBytes int64
	// whole remembers of some filters whether they select every record.
	whole map[*Filter]bool

	indexOnce sync.Once
	index     []recordIndex
	threads   map[string]struct{}
}

// holder keeps segments within a bound.
type holder interface {
	// grown is told when a cached frame adds to a segment's size.
	grown(n int64)
	// trim drops the oldest segments while there is too much.
	trim()
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

// Growth says that partitions became known: the topic has more of them now, or a
// broker has told where one begins and ends.
type Growth struct {
	// Start holds the first offset to read of every such partition. Only in the
	// hot tail it may be -1: the partition is there, its position is not known.
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
	err     error
	size    int64 // guarded by the segment's lock
}

// EncodeError says that the encoding of a segment panicked.
type EncodeError struct {
	// Panic is what it panicked with, Stack where.
	Panic any
	Stack []byte
}

func (e *EncodeError) Error() string { return fmt.Sprintf("encode segment: panic: %v", e.Panic) }

// Frame returns the encoding of the segment for a key and how many records are
// in it, made once by encode and shared from then on, also by filters that select
// every record. It is nil when no record matches the key's filter. When encode
// panics, everybody who waits for it gets an [EncodeError], and whoever comes later
// has it encoded anew.
func (s *Segment) Frame(k FrameKey, encode func(*Segment, *Filter) (data []byte, records int)) ([]byte, int, error) {
	if k.Filter != nil && s.selectsAll(k.Filter) {
		k.Filter = nil
	}
	s.mu.Lock()
	f := s.frames[k]
	if f == nil {
		if s.frames == nil {
			s.frames = make(map[FrameKey]*frame, 1)
		}
		f = &frame{}
		s.frames[k] = f
		s.order = append(s.order, k)
	}
	s.mu.Unlock()
	f.once.Do(func() {
		defer func() {
			if p := recover(); p != nil {
				f.data, f.records, f.err = nil, 0, &EncodeError{Panic: p, Stack: debug.Stack()}
				s.forget(k, f)
			}
		}()
		f.data, f.records = encode(s, k.Filter)
		s.grow(s.keep(k, f, int64(len(f.data))+frameOverhead))
	})
	return f.data, f.records, f.err
}

// selectsAll reports whether the filter selects every record, and there is one:
// then its frame is that of no filter.
func (s *Segment) selectsAll(f *Filter) bool {
	s.mu.Lock()
	all, known := s.whole[f]
	s.mu.Unlock()
	if known {
		return all
	}
	s.buildIndex()
	all = len(s.Records) > 0
	for i := range s.index {
		if all = all && f.match(&s.index[i]); !all {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.whole == nil || len(s.whole) >= maxFrames {
		s.whole = make(map[*Filter]bool, 1) // filters come and go
	}
	s.whole[f] = all
	return all
}

// forget takes back a frame that was not made.
func (s *Segment) forget(k FrameKey, f *frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frames[k] == f {
		delete(s.frames, k)
		s.order = slices.DeleteFunc(s.order, func(o FrameKey) bool { return o == k })
	}
}

const (
	// maxFrames and maxFrameBytes bound the encodings that are kept of one
	// segment, beside the newest: filters come and go, and a segment stays.
	maxFrames     = 16
	maxFrameBytes = 1 << 20
	frameOverhead = 96
)

// keep counts a new frame, forgets the oldest ones beyond the bounds, and
// returns by how much the segment grew.
func (s *Segment) keep(k FrameKey, f *frame, size int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frames[k] != f {
		return 0 // forgotten while it was encoded
	}
	before := s.frameBytes
	f.size = size
	s.frameBytes += size
	for len(s.order) > 1 && (len(s.order) > maxFrames || s.frameBytes > maxFrameBytes) {
		s.frameBytes -= s.frames[s.order[0]].size
		delete(s.frames, s.order[0])
		s.order = s.order[1:]
	}
	return s.frameBytes - before
}

func (s *Segment) grow(n int64) {
	s.mu.Lock()
	s.bytes.Add(n)
	owner := s.owner
	if owner != nil {
		owner.grown(n)
	}
	s.mu.Unlock()
	if owner != nil {
		// Nothing new may come for long, while filters come and go.
		owner.trim()
	}
}

// attach begins the accounting of the segment with its holder.
func (s *Segment) attach(h holder) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = h
	return s.bytes.Load()
}

// detach ends it and returns the segment's size.
func (s *Segment) detach() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = nil
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

// Selects reports whether the filter selects a record of the segment.
func (s *Segment) Selects(f *Filter) bool {
	if f == nil {
		return len(s.Records) > 0
	}
	s.buildIndex()
	for i := range s.index {
		if f.match(&s.index[i]) {
			return true
		}
	}
	return false
}

// Stored returns what the values of the records take as they are, Decoded what the
// records take once their values are decompressed, in bytes.
func (s *Segment) Stored() int {
	n := 0
	for i := range s.Records {
		n += len(s.Records[i].Value)
	}
	return n
}

// Decoded is described at [Segment.Stored].
func (s *Segment) Decoded() int { return s.decoded }

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
	// inner holds the distinct threads and tenants of a batch's events.
	inner []innerIndex
}

type innerIndex struct{ thread, tenant string }

// buildIndex peeks into each record once, for all filters.
func (s *Segment) buildIndex() {
	s.indexOnce.Do(func() {
		var p wire.Peeker
		s.index = make([]recordIndex, len(s.Records))
		s.threads = make(map[string]struct{}, 8)
		for i := range s.Records {
			x := indexRecord(&p, &s.Records[i], s.maxRecord)
			s.index[i] = x
			s.threads[string(x.thread)] = struct{}{}
			for _, e := range x.inner {
				s.threads[e.thread] = struct{}{}
			}
		}
		s.grow(int64(len(s.Records)) * 80)
	})
}

// indexRecord never fails: a record whose header cannot be read has its key as
// thread, no tenant, and MESSAGE_TYPE_UNSPECIFIED. The index is made once, for
// everybody, and by the dispatcher too: a panic here would leave it half made, or
// end the process.
func indexRecord(p *wire.Peeker, r *Record, maxRecord int) (x recordIndex) {
	x = recordIndex{thread: r.Key}
	defer func() {
		if recover() != nil {
			*p = wire.Peeker{} // it may be half way
			x = recordIndex{thread: r.Key}
		}
	}()
	// What lies here uncompressed costs nothing to look into, however large it is.
	pk, err := p.Peek(r.Value, wire.Limits{Framed: len(r.Value), Decoded: max(cmp.Or(maxRecord, wire.DefaultMaxBytes), len(r.Value))})
	if err != nil {
		return x
	}
	x.kind = pk.Kind
	x.tenant = slices.Clone(pk.TenantID)
	if len(pk.ThreadID) > 0 && string(pk.ThreadID) != string(r.Key) {
		x.thread = slices.Clone(pk.ThreadID)
	}
	// The headers of the events are authoritative; the batch's own fills in
	// what they leave out.
	for h, err := range pk.Events() {
		if err != nil {
			break
		}
		e := innerIndex{thread: string(h.ThreadID), tenant: string(h.TenantID)}
		if e.thread == "" {
			e.thread = string(x.thread)
		}
		if e.tenant == "" {
			e.tenant = string(x.tenant)
		}
		if !slices.Contains(x.inner, e) {
			x.inner = append(x.inner, e)
		}
	}
	return x
}

// segmenter cuts the records of fetched partitions into segments.
type segmenter struct {
	out []*Segment
	cur *Segment
	// maxRecord is Config.RecordBytes.
	maxRecord int
}

// add appends what was read of one partition.
func (b *segmenter) add(a fetched) {
	partition, from := a.partition, a.from
	if a.next <= from {
		return
	}
	for _, r := range a.records {
		rec := Record{Partition: partition, Offset: r.Offset, Timestamp: millis(r.Timestamp), Key: r.Key, Value: r.Value, Headers: r.Headers}
		weight := int(rec.size()) - len(rec.Value) + wire.DecodedSize(rec.Value, cmp.Or(b.maxRecord, wire.DefaultMaxBytes))
		if b.cur != nil && len(b.cur.Records) > 0 && b.cur.decoded+weight > segmentBytes {
			b.cut()
		}
		if b.cur == nil {
			b.cur = &Segment{maxRecord: b.maxRecord}
		}
		b.cur.Records = append(b.cur.Records, rec)
		b.cur.bytes.Add(rec.size())
		b.cur.decoded += weight
		b.move(Move{Partition: partition, From: from, Next: rec.Offset + 1, Epoch: r.LeaderEpoch})
		from = rec.Offset + 1
	}
	if from < a.next {
		if b.cur == nil {
			b.cur = &Segment{maxRecord: b.maxRecord}
		}
		b.move(Move{Partition: partition, From: from, Next: a.next, Epoch: a.epoch})
	}
}

func (b *segmenter) move(m Move) {
	if n := len(b.cur.Moves); n > 0 && b.cur.Moves[n-1].Partition == m.Partition {
		b.cur.Moves[n-1].Next, b.cur.Moves[n-1].Epoch = m.Next, m.Epoch
		return
	}
	b.cur.Moves = append(b.cur.Moves, m)
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
