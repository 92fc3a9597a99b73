package gateway

import (
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
)

// hub knows all sessions and wakes those that new records concern.
type hub struct {
	cfg     Config
	feed    *feed.Feed
	log     *slog.Logger
	metrics *metrics
	encode  func(encoding, string) func(*feed.Segment, *feed.Filter) ([]byte, int)
	large   *largeFrames
	turns   *turns
	// ctx ends when the gateway has shut down.
	ctx context.Context
	// began is what a session counts time from: a clock that is set moves no time that
	// has passed.
	began time.Time

	filters feed.Filters
	due     chan []*session
	pace    pace
	catchUp *catchUp

	count atomic.Int64

	mu       sync.Mutex
	sessions map[*session]struct{}
	stopping bool
	// groups holds the subscribed sessions by what they ask for. A group that
	// asks for threads is found through byThread, so that a record costs only
	// those who get it; the others are looked at for every segment.
	groups   map[*feed.Filter]*group
	byThread map[string]map[*group]struct{}
	broad    map[*group]struct{}
}

// group is the sessions with one filter.
type group struct {
	filter   *feed.Filter
	sessions map[*session]struct{}
}

func newHub(ctx context.Context, cfg Config, f *feed.Feed, log *slog.Logger, m *metrics) *hub {
	return &hub{
		cfg: cfg, feed: f, log: log, metrics: m, encode: newEncoder(cfg.Limits, m.recordFaults, log).segment, large: newLargeFrames(largeFramesBytes),
		turns: newTurns(cfg.MaxConnectionsPerIP), ctx: ctx, began: time.Now(),
		due:      make(chan []*session, 64),
		catchUp:  newCatchUp(),
		sessions: map[*session]struct{}{},
		groups:   map[*feed.Filter]*group{},
		byThread: map[string]map[*group]struct{}{},
		broad:    map[*group]struct{}{},
	}
}

// run dispatches until ctx ends.
func (h *hub) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		wg.Go(func() { h.serve(ctx) })
	}
	wg.Go(func() { h.tick(ctx) })
	tail := h.feed.Tail()
	for {
		segs, all, err := tail.Next(ctx)
		if err != nil {
			break
		}
		h.pace.rounds.Add(1)
		h.dispatch(ctx, h.concerned(segs, all))
	}
	wg.Wait()
	// A claimed session has no worker but the one it was claimed for.
	for {
		select {
		case batch := <-h.due:
			for _, s := range batch {
				go s.work()
			}
		default:
			return
		}
	}
}

// serve writes to the sessions it is given, never waiting for one.
func (h *hub) serve(ctx context.Context) {
	var out outbox
	for {
		select {
		case <-ctx.Done():
			return
		case batch := <-h.due:
			began := time.Now()
			for _, s := range batch {
				s.workFast(&out)
			}
			out.reset()
			h.pace.busy.Add(int64(time.Since(began)))
		}
	}
}

// dispatch hands claimed sessions to the workers.
func (h *hub) dispatch(ctx context.Context, claimed []*session) {
	const share = 32
	for len(claimed) > 0 {
		n := min(share, len(claimed))
		select {
		case h.due <- claimed[:n:n]:
		case <-ctx.Done():
			// Shutting down: whoever is claimed is worked for all the same.
			for _, s := range claimed {
				go s.work()
			}
			return
		}
		claimed = claimed[n:]
	}
}

// concerned claims the parked sessions that want to see the segments.
func (h *hub) concerned(segs []*feed.Segment, all bool) []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	var claimed []*session
	if all {
		for _, g := range h.groups {
			claimed = g.claim(claimed)
		}
		return claimed
	}
	for g := range h.broad {
		if g.filter == nil || anyMatch(segs, g.filter) {
			claimed = g.claim(claimed)
		}
	}
	for _, s := range segs {
		if s.Growth != nil || s.Gap != nil {
			for _, g := range h.groups {
				claimed = g.claim(claimed)
			}
			continue
		}
		if len(h.byThread) == 0 {
			continue
		}
		s.Threads(func(t string) {
			for g := range h.byThread[t] {
				claimed = g.claim(claimed)
			}
		})
	}
	return claimed
}

func anyMatch(segs []*feed.Segment, f *feed.Filter) bool {
	for _, s := range segs {
		if s.Selects(f) {
			return true
		}
	}
	return false
}

// claim claims the group's parked sessions. One that is busy looks again itself
// before it parks.
func (g *group) claim(claimed []*session) []*session {
	for s := range g.sessions {
		if s.claim() {
			claimed = append(claimed, s)
		}
	}
	return claimed
}

// tick pings clients, ends those that are gone, and tells filtered ones how far
// the stream has come.
func (h *hub) tick(ctx context.Context) {
	ticker := time.NewTicker(h.cfg.ProgressInterval)
	defer ticker.Stop()
	lastPing := time.Now()
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-ticker.C:
		}
		ping := now.Sub(lastPing) >= h.cfg.PingInterval
		if ping {
			lastPing = now
		}
		var claimed []*session
		for _, s := range h.all() {
			switch {
			case !s.heartbeat(now, ping):
			case s.claim():
				claimed = append(claimed, s)
			default:
				// Its worker may wait for long, and a client that gets no ping
				// answers none.
				s.nudge()
			}
		}
		h.dispatch(ctx, claimed)
	}
}

// all returns the sessions of this moment.
func (h *hub) all() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.sessions))
}

// heartbeat queues what is due and reports whether the session has to be
// worked for.
func (s *session) heartbeat(now time.Time, ping bool) bool {
	due := false
	s.mu.Lock()
	if ping {
		switch {
		case s.enc == encodingSSE:
			s.control = append(s.control, ": ping\n\n"...)
		case now.Sub(s.hub.began)-time.Duration(s.lastHeard.Load()) > s.patience() && s.closing == nil:
			s.closing = &closeTimeout
		default:
			// The pong says that everything before the ping was read.
			s.control = binary.BigEndian.AppendUint64(appendWSHeader(s.control, opPing, 8), uint64(s.written.Load()))
		}
		due = true
	}
	filtered := s.filtered
	s.mu.Unlock()
	if filtered {
		s.tellProgress.Store(true)
		due = true
	}
	return due
}

// maxPatience bounds how long a client may say nothing while it has much to read.
const maxPatience = 5 * time.Minute

// patience is how long the client may say nothing: two ping intervals, and the time
// in which it has to read what was sent to it, at the slowest rate that is served,
// since the ping lies behind that.
func (s *session) patience() time.Duration {
	base := 2 * s.hub.cfg.PingInterval
	unread := float64(s.written.Load() - s.confirmed.Load())
	extra := float64(s.hub.cfg.SendTimeout) * unread / sliceBytes
	return max(base, min(maxPatience, base+time.Duration(min(extra, float64(maxPatience)))))
}

// pong notes how much the client has read at least.
func (s *session) pong(payload []byte) {
	if len(payload) != 8 {
		return // not the answer to a ping of ours
	}
	if n := int64(binary.BigEndian.Uint64(payload)); n > s.confirmed.Load() && n <= s.written.Load() {
		s.confirmed.Store(n)
	}
}

// add admits a session. It fails when the gateway is stopping.
func (h *hub) add(conn net.Conn, peer netip.Addr, enc encoding) (*session, bool) {
	limitUnsent(conn)
	s := &session{hub: h, conn: conn, try: newTryWriter(conn), enc: enc, peer: peer, done: make(chan struct{})}
	s.heard()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return nil, false
	}
	h.sessions[s] = struct{}{}
	h.counted()
	return s, true
}

// counted publishes the number of sessions. The caller holds h.mu.
func (h *hub) counted() {
	h.count.Store(int64(len(h.sessions)))
	h.metrics.clients.Set(float64(len(h.sessions)))
}

// join puts a session into the group of its filter.
func (h *hub) join(s *session, want *subscription) {
	f := h.filters.Acquire(want.threads, want.tenants, want.types)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaveGroup(s)
	s.filter = f
	s.mu.Lock()
	s.filtered = f != nil
	s.mu.Unlock()
	g := h.groups[f]
	if g == nil {
		g = &group{filter: f, sessions: map[*session]struct{}{}}
		h.groups[f] = g
		if threads := f.Threads(); len(threads) > 0 {
			for _, t := range threads {
				if h.byThread[t] == nil {
					h.byThread[t] = map[*group]struct{}{}
				}
				h.byThread[t][g] = struct{}{}
			}
		} else {
			h.broad[g] = struct{}{}
		}
	}
	g.sessions[s] = struct{}{}
	s.group = g
}

// leaveGroup takes a session out of its group, and the group away with its last
// session. The caller holds h.mu.
func (h *hub) leaveGroup(s *session) {
	g := s.group
	if g == nil {
		return
	}
	s.group = nil
	delete(g.sessions, s)
	h.filters.Release(s.filter)
	if len(g.sessions) > 0 {
		return
	}
	delete(h.groups, g.filter)
	delete(h.broad, g)
	for _, t := range g.filter.Threads() {
		delete(h.byThread[t], g)
		if len(h.byThread[t]) == 0 {
			delete(h.byThread, t)
		}
	}
}

// leave forgets a session that ended.
func (h *hub) leave(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leaveGroup(s)
	delete(h.sessions, s)
	h.counted()
}

// shutdown ends all sessions with a code that tells clients to come back, and
// waits for them until ctx ends; then it cuts them off.
func (h *hub) shutdown(ctx context.Context) {
	h.mu.Lock()
	h.stopping = true
	all := make([]*session, 0, len(h.sessions))
	for s := range h.sessions {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.close(closeRestart)
	}
	for _, s := range all {
		select {
		case <-s.done:
		case <-ctx.Done():
			_ = s.conn.Close() // whoever works for it sees the error and ends it
		}
	}
}

// ranges lists the partitions as hello and partitions frames tell them. What no
// broker has told is left out, since 0 would be an offset.
func (h *hub) ranges() []*streampb.PartitionRange {
	info, _ := h.feed.Info()
	out := make([]*streampb.PartitionRange, len(info.Partitions))
	for i, p := range info.Partitions {
		out[i] = &streampb.PartitionRange{Partition: proto.Int32(p.ID)}
		if p.Next >= 0 {
			out[i].Oldest, out[i].Latest = proto.Int64(p.Oldest), proto.Int64(p.Latest)
		}
	}
	return out
}
