package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Clients come back with the leader epoch of what they read last. Where another
// leader has followed since, it is asked where that epoch ends in its log, before
// more is read for them: below their position, what they read is gone (KIP-320).
// How far a past epoch reaches never changes under one leader, so an answer serves
// everybody.

// epochOf names an epoch of a partition.
type epochOf struct{ partition, epoch int32 }

// proof is where an epoch ends in the log of the leader of another, -1 where that
// cannot be told.
type proof struct {
	leaderEpoch int32
	end         int64
}

// proofs holds the answers of one generation.
type proofs struct {
	mu     sync.Mutex
	wanted map[epochOf]struct{}
	known  map[epochOf]proof
}

// spareProofs is how many answers are kept besides one for each partition.
const spareProofs = 4096

func newProofs() *proofs {
	return &proofs{wanted: map[epochOf]struct{}{}, known: map[epochOf]proof{}}
}

func (s *proofs) want(of epochOf) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[of] = struct{}{}
}

// take returns what is wanted, which is wanted no more, and makes room for the answers.
func (s *proofs) take(partitions int) []epochOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Collect(maps.Keys(s.wanted))
	clear(s.wanted)
	if len(s.known) > partitions+spareProofs {
		clear(s.known)
	}
	return out
}

func (s *proofs) learn(of epochOf, p proof) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[of] = p
}

func (s *proofs) get(of epochOf) (proof, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.known[of]
	return p, ok
}

// verdict is whether the log holds what lies before a position.
type verdict uint8

const (
	undecided verdict = iota
	// held: it does, or nobody can tell.
	held
	// lacking: other records are there now, or none.
	lacking
)

// verdict judges a position by what is known.
func (g *generation) verdict(id int32, at listed) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.parts[id]
	switch {
	case at.epoch < 0, p.leaderEpoch < 0:
		return held
	case at.epoch == p.leaderEpoch:
		return held // the log of a leader only grows
	case at.epoch == p.lastEpoch && at.offset <= p.next && !p.unproven:
		return held // what the live reader read of the same epoch is there
	case at.offset <= p.logStart:
		return held // retention took it, which a gap tells
	}
	proof, ok := g.proofs.get(epochOf{id, at.epoch})
	switch {
	case !ok || proof.leaderEpoch != p.leaderEpoch:
		return undecided
	case p.lacks(at.offset, proof.end):
		return lacking
	}
	return held
}

// judge judges positions, and asks the leaders about those that are not decided.
// It returns the partitions of which none has told, and whether the log lacks what
// lies before a position.
func (f *Feed) judge(ctx context.Context, g *generation, positions map[int32]listed) (open []int32, lacks bool) {
	look := func() {
		open = nil
		for p, at := range positions {
			switch g.verdict(p, at) {
			case undecided:
				open = append(open, p)
			case lacking:
				lacks = true
			case held:
			}
		}
	}
	if look(); lacks || len(open) == 0 {
		return open, lacks
	}
	for _, p := range open {
		g.proofs.want(epochOf{p, positions[p].epoch})
	}
	if _, err := f.proveOnce.do(ctx); err == nil {
		look()
	}
	return open, lacks
}

// prove asks for everything that is wanted. Callers share it.
func (f *Feed) prove() (struct{}, error) {
	g := f.gen.Load()
	ctx, cancel := context.WithTimeout(f.background, min(listTimeout, f.cfg.RequestTimeout))
	defer cancel()
	byBroker := map[int32][]fetchPosition{}
	wanted := g.proofs.take(g.count())
	g.mu.Lock()
	for _, of := range wanted {
		if p := g.parts[of.partition]; p.leader >= 0 {
			byBroker[p.leader] = append(byBroker[p.leader], fetchPosition{partition: p.id, offset: -1, leaderEpoch: p.leaderEpoch, lastEpoch: of.epoch}) // for many offsets
		}
	}
	g.mu.Unlock()
	var asking sync.WaitGroup
	for broker, positions := range byBroker {
		asking.Go(func() { f.proveOf(ctx, g, broker, positions) })
	}
	asking.Wait()
	return struct{}{}, nil
}

// proveOf asks one broker; a request holds a partition once.
func (f *Feed) proveOf(ctx context.Context, g *generation, broker int32, positions []fetchPosition) {
	for len(positions) > 0 && ctx.Err() == nil {
		asked := map[int32]bool{}
		var now, later []fetchPosition
		for _, pos := range positions {
			if asked[pos.partition] {
				later = append(later, pos)
				continue
			}
			asked[pos.partition] = true
			now = append(now, pos)
		}
		ends, err := f.epochEnds(ctx, g, f.questions, broker, now)
		if err != nil {
			f.observer.RequestError(err)
			f.lookAgain()
			return
		}
		for _, pos := range now {
			end, ok := ends[pos.partition]
			switch {
			case !ok:
				f.observer.PartitionError(pos.partition, fmt.Errorf("ask broker %d where epoch %d ends: it left the partition out", broker, pos.lastEpoch))
			case end.err != nil:
				f.observer.PartitionError(pos.partition, end.err)
				f.lookAgain() // leadership moved, or we have not heard of it yet
			default:
				g.proofs.learn(epochOf{pos.partition, pos.lastEpoch}, proof{leaderEpoch: pos.leaderEpoch, end: end.offset})
			}
		}
		positions = later
	}
}

// lookAgain has the metadata read soon.
func (f *Feed) lookAgain() {
	if s := f.super.Load(); s != nil {
		s.look()
	}
}

// proven returns what of a read the live reader has read too, since that is what it
// asks later leaders about, and an error where there is another leader since the read
// began, which may have other records.
func (h *history) proven(p int32, offset int64, epoch int32, segs []*Segment) ([]*Segment, error) {
	h.g.mu.Lock()
	defer h.g.mu.Unlock()
	at := h.g.parts[p]
	if at.leaderEpoch != epoch {
		return nil, fmt.Errorf("fetch partition %d at offset %d: another leader was elected meanwhile", p, offset)
	}
	for i, s := range segs {
		if m := s.Moves[0]; m.Next > at.next && at.next > offset {
			if m.From < at.next {
				segs[i] = s.before(at.next)
				i++
			}
			return segs[:i], nil
		}
	}
	return segs, nil
}
