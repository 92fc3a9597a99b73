package gateway

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/dashflow/dashstream/internal/feed"
)

const (
	// largeFrame is from how many bytes on a frame is made and held within
	// largeFramesBytes, for all sessions together.
	largeFrame       = 256 << 10
	largeFramesBytes = 64 << 20
	// largeFrameTerm is how long a client may take for such a frame while others
	// wait for room; largeFrameWait is how long they wait.
	largeFrameTerm = 20 * time.Second
	largeFrameWait = 60 * time.Second
)

// isLarge reports whether the frame of a segment may be a large one. Such a segment
// has one record, so its frame is the same for every filter that selects it.
func isLarge(enc encoding, seg *feed.Segment) bool {
	return len(seg.Records) == 1 && largeSize(enc, seg) > largeFrame
}

// largeSize is about what the frame of a segment takes.
func largeSize(enc encoding, seg *feed.Segment) int {
	if enc == encodingProto {
		return seg.Stored()
	}
	return seg.Decoded()
}

// largeFrames holds the large frames that are being written, and of those that were
// what there is room for.
type largeFrames struct {
	limit int64
	// making is held by whoever makes a frame: that takes several times its size.
	making chan struct{}

	mu      sync.Mutex
	bytes   int64
	waiting int
	held    map[largeKey]*lease
	// idle holds the leases that nobody uses, the one that was given back first in front.
	idle *list.List
	// freed is closed and replaced when there is room.
	freed chan struct{}
}

type largeKey struct {
	segment *feed.Segment
	enc     encoding
}

// lease is the right to hold a large frame, and the frame. All of it is guarded by
// the lock of [largeFrames].
type lease struct {
	key    largeKey
	bytes  int64
	uses   int
	place  *list.Element // among the idle ones
	frame  []byte
	broken error
	made   bool
}

func newLargeFrames(limit int64) *largeFrames {
	return &largeFrames{limit: limit, making: make(chan struct{}, 1), held: map[largeKey]*lease{}, idle: list.New(), freed: make(chan struct{})}
}

// acquire returns the lease of a frame, when there is room for one of the size that
// it may have at most. One frame there is always room for.
func (f *largeFrames) acquire(ctx context.Context, key largeKey, most int64) (*lease, error) {
	for first := true; ; first = false {
		f.mu.Lock()
		if !first {
			f.waiting--
		}
		l := f.held[key]
		if l == nil && f.room(most) {
			l = &lease{key: key, bytes: most}
			f.held[key] = l
			f.bytes += most
		}
		if l != nil {
			l.uses++
			if l.place != nil {
				f.idle.Remove(l.place)
				l.place = nil
			}
			f.mu.Unlock()
			return l, nil
		}
		f.waiting++
		freed := f.freed
		f.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			f.mu.Lock()
			f.waiting--
			f.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
}

// room makes room by forgetting frames that nobody uses. The caller holds f.mu.
func (f *largeFrames) room(n int64) bool {
	for f.bytes+n > f.limit && f.idle.Len() > 0 {
		f.drop(f.idle.Front().Value.(*lease))
	}
	return f.bytes == 0 || f.bytes+n <= f.limit
}

func (f *largeFrames) drop(l *lease) {
	if l.place != nil {
		f.idle.Remove(l.place)
		l.place = nil
	}
	delete(f.held, l.key)
	f.bytes -= l.bytes
}

// make makes the frame of a lease, once, and returns it.
func (f *largeFrames) make(ctx context.Context, l *lease, encode func() []byte) ([]byte, error) {
	if b, err, made := f.get(l); made {
		return b, err
	}
	select {
	case f.making <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-f.making }()
	if b, err, made := f.get(l); made {
		return b, err // by another meanwhile
	}
	b, err := contained(func() ([]byte, error) { return encode(), nil })
	f.mu.Lock()
	defer f.mu.Unlock()
	l.frame, l.broken, l.made = b, err, true
	f.bytes += int64(len(b)) - l.bytes
	l.bytes = int64(len(b))
	f.tell()
	return b, err
}

func (f *largeFrames) get(l *lease) (frame []byte, broken error, made bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.frame, l.broken, l.made
}

// release gives a lease back. A frame that was made stays while there is room.
func (f *largeFrames) release(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.uses--; l.uses > 0 {
		return
	}
	if l.frame == nil || f.bytes > f.limit {
		f.drop(l)
	} else {
		l.place = f.idle.PushBack(l)
	}
	f.tell()
}

// tell wakes those who wait for room. The caller holds f.mu.
func (f *largeFrames) tell() {
	close(f.freed)
	f.freed = make(chan struct{})
}

// wanted reports whether somebody waits for room.
func (f *largeFrames) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting > 0
}
