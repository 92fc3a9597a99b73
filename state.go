package dashstream

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/statediff"
)

// maxStateBytes is the largest limit that can be set: what readers take, with room for the rest of the message.
const maxStateBytes = 9 << 20

// maxInitialStateBytes is the largest state that goes into GRAPH_START; a larger one follows it as a message of its own.
const maxInitialStateBytes = maxAttributeBytes

// Names on the wire.
const (
	initialStateAttribute = "initial_state_json"
	hashName              = "hash"
	hashJCS               = "jcs"
	// stateUnavailable is the code of the Error message that says that a run has a state which cannot be shown.
	stateUnavailable = "state_unavailable"
)

// stateStream is what readers know of a thread's state, if everything arrives.
type stateStream struct {
	mu sync.Mutex
	// base is what the next diff builds on: canonical JSON that was admitted to the queue, nil if there is none.
	base []byte
	// latest is the last state that the caller gave, admitted or not.
	latest jcs.Document
	// stale: the last state of the caller could not be sent, so base is behind.
	stale bool
	// healed is the value of thread.lost that the last snapshot made up for.
	healed uint64
	// checkpoint is the id of the last checkpoint, if base builds on it.
	checkpoint []byte
	diffs      int
}

// stateJSON turns a state into canonical JSON without secrets.
func (p *Producer) stateJSON(v any) (jcs.Document, error) {
	text, err := p.marshal(v, p.cfg.maxStateBytes)
	if err != nil {
		p.degrade(DegradedUnserializable)
		return jcs.Document{}, &stateError{reason: "unserializable", err: err}
	}
	if text.cut != nil {
		p.degrade(DegradedStateTooLarge)
		return jcs.Document{}, &stateError{reason: "too_large", err: fmt.Errorf("%d bytes as JSON, allowed %d", text.cut.Len, p.cfg.maxStateBytes)}
	}
	raw := text.json
	if p.redactor != nil {
		raw = p.redactor.Bytes(raw)
	}
	doc, err := jcs.Canonicalize(raw)
	if err != nil {
		p.degrade(DegradedUnserializable)
		return jcs.Document{}, &stateError{reason: "unserializable", err: err}
	}
	return doc, nil
}

// stateError is why a state cannot be sent.
type stateError struct {
	reason string
	err    error
}

func (e *stateError) Error() string { return e.reason + ": " + e.err.Error() }
func (e *stateError) Unwrap() error { return e.err }

// State publishes the state of the run: as the difference to the state before, or whole where that is smaller or where
// readers do not have the state before. A state equal to the one before publishes nothing.
//
// v is encoded as encoding/json does, at once and on this goroutine, so that it may be changed afterwards. That, and the
// comparison, cost about 20 ms for a state of 1 MB. The states of one thread are compared and published one after the
// other.
//
// Secrets are removed first: readers see differences between redacted states. Numbers keep all their digits; a state with
// a number that no 64-bit float holds is sent without a hash, since RFC 8785 has none for it.
//
// A state that cannot be encoded, or is larger than WithMaxStateBytes, is reported as unavailable, with the reason, and
// the next one that can be sent is sent whole.
func (r *Run) State(v any) {
	if r == nil || !r.p.cfg.state {
		return
	}
	if r.over(pb.MessageType_MESSAGE_TYPE_STATE_DIFF) {
		return
	}
	doc, err := r.p.stateJSON(v) // without the lock: methods of v may take their time, or use the run
	st := &r.th.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.over(pb.MessageType_MESSAGE_TYPE_STATE_DIFF) {
		return
	}
	if err != nil {
		st.stale = true
		r.emitStateUnavailable(err)
		return
	}
	r.publish(doc)
}

// over reports that the run has ended, and counts the message that is not made then: the state of the thread belongs to
// another run, or to none.
func (r *Run) over(kind pb.MessageType) bool {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if !r.ended {
		return false
	}
	c, reason := &r.p.counts[kind], DropRunEnded
	if r.p.closed {
		reason = DropClosed
	}
	c.Emitted++
	c.Dropped[reason]++
	return true
}

// publish sends a state. st.mu is held.
func (r *Run) publish(doc jcs.Document) {
	p, th, st := r.p, r.th, &r.th.state
	st.latest = doc
	for {
		p.mu.Lock()
		lost := th.lost
		p.mu.Unlock()
		snapshot := st.base == nil || st.stale || lost != st.healed
		if !snapshot && bytes.Equal(st.base, doc.JSON) {
			return
		}
		diff, full := r.newDiff(doc, snapshot)
		var checkpoint *item
		var id []byte
		if n := p.cfg.checkpointEvery; n > 0 && (st.diffs+1)%n == 0 {
			checkpoint, id = r.newCheckpoint(doc)
		}
		sent, retry := r.emitState(diff, checkpoint, lost)
		if retry {
			continue // something was lost meanwhile: a diff would not do any more
		}
		if !sent {
			return // base stays; what was lost is remembered by the thread
		}
		st.base, st.stale = doc.JSON, false
		st.diffs++
		if full {
			st.healed, st.checkpoint = lost, nil
		}
		if checkpoint != nil {
			st.checkpoint = id
		}
		return
	}
}

// emitState admits a diff and, in the same step, the checkpoint that follows it.
func (r *Run) emitState(diff, checkpoint *item, lost uint64) (sent, retry bool) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.th.lost != lost {
		return false, true
	}
	r.touch()
	if p.admit(r, diff) != nil {
		return false, false
	}
	if checkpoint != nil {
		_ = p.admit(r, checkpoint) // if there is no room, the thread knows that it lost state
	}
	return true, false
}

// newDiff makes the message for a state, and says whether it holds all of it.
func (r *Run) newDiff(doc jcs.Document, snapshot bool) (it *item, full bool) {
	st := &r.th.state
	it, _ = r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_STATE_DIFF, classState)
	it.headers, it.clean, it.carriesState = r.headers, true, true
	d := &pb.StateDiff{Header: it.header}
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_StateDiff{StateDiff: d}}
	if sum, ok := doc.Hash(); ok {
		d.StateHash = sum[:]
	}
	if !snapshot {
		ops := statediff.Diff(st.base, doc.JSON)
		size := 0
		for _, op := range ops {
			size += op.Size()
		}
		if size < len(doc.JSON) {
			d.BaseCheckpointId = st.checkpoint
			d.Operations = operations(ops)
			it.cost += size + len(ops)*operationOverhead
			return it, false
		}
	}
	d.FullState = doc.JSON
	it.cost += len(doc.JSON)
	return it, true
}

// operationOverhead is about what an operation takes in memory beside its text, in bytes.
const operationOverhead = 120

func operations(ops []statediff.Op) []*pb.DiffOperation {
	all := make([]pb.DiffOperation, len(ops))
	out := make([]*pb.DiffOperation, len(ops))
	for i, op := range ops {
		o := &all[i]
		switch op.Kind {
		case statediff.Add:
			o.Op = pb.DiffOperation_OP_TYPE_ADD
		case statediff.Remove:
			o.Op = pb.DiffOperation_OP_TYPE_REMOVE
		case statediff.Replace:
			o.Op = pb.DiffOperation_OP_TYPE_REPLACE
		}
		o.Path, o.Value = op.Path, op.Value
		out[i] = o
	}
	return out
}

func (r *Run) newCheckpoint(doc jcs.Document) (it *item, id []byte) {
	it, t := r.p.newItem(r.th, pb.MessageType_MESSAGE_TYPE_CHECKPOINT, classState)
	id = newID(t.UnixMicro())
	it.headers, it.clean, it.carriesState = r.headers, true, true
	it.cost += len(doc.JSON)
	sum := sha256.Sum256(doc.JSON)
	c := &pb.Checkpoint{
		Header:       it.header,
		CheckpointId: id,
		State:        doc.JSON,
		StateType:    "json",
		Checksum:     sum[:],
	}
	if doc.Exact {
		c.Metadata = map[string]string{hashName: hashJCS} // the text is canonical, so its hash is the state's
	}
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: c}}
	return it, id
}

// Checkpoint publishes the whole state, whatever is due, and returns the id under which it can be found. It returns nil
// if nothing was published: the state is unavailable, there is no room, or state streaming is off.
func (r *Run) Checkpoint(v any) (id []byte) {
	if r == nil || !r.p.cfg.state {
		return nil
	}
	if r.over(pb.MessageType_MESSAGE_TYPE_CHECKPOINT) {
		return nil
	}
	doc, err := r.p.stateJSON(v) // without the lock, as for State
	st := &r.th.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if r.over(pb.MessageType_MESSAGE_TYPE_CHECKPOINT) {
		return nil
	}
	if err != nil {
		st.stale = true
		r.emitStateUnavailable(err)
		return nil
	}
	st.latest = doc
	it, id := r.newCheckpoint(doc)
	p := r.p
	p.mu.Lock()
	lost := r.th.lost
	r.touch()
	err = p.admit(r, it)
	p.mu.Unlock()
	if err != nil {
		return nil
	}
	st.base, st.stale, st.healed = doc.JSON, false, lost
	st.checkpoint = id
	return bytes.Clone(id)
}

// emitStateUnavailable says that the run has a state which cannot be shown.
func (r *Run) emitStateUnavailable(cause error) {
	it := r.p.newStateUnavailable(r.th, cause)
	it.headers = r.headers
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.touch()
	_ = r.p.admit(r, it) // counted
}

func (p *Producer) newStateUnavailable(th *thread, cause error) *item {
	reason := "unserializable"
	var se *stateError
	if errors.As(cause, &se) {
		reason, cause = se.reason, se.err
	}
	it, _ := p.newItem(th, pb.MessageType_MESSAGE_TYPE_ERROR, classState)
	detail := clip(cause.Error(), 1024)
	it.cost += len(detail)
	it.msg = &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Error{Error: &pb.Error{
		Header:    it.header,
		ErrorCode: stateUnavailable,
		Message:   "The state of the run is not available: " + detail,
		Context:   map[string]string{"reason": reason},
		Severity:  pb.Error_SEVERITY_WARNING,
	}}}
	return it
}

// isState reports messages that are state and nothing else.
func isState(it *item) bool {
	return it.kind == pb.MessageType_MESSAGE_TYPE_STATE_DIFF || it.kind == pb.MessageType_MESSAGE_TYPE_CHECKPOINT
}

// replaceState puts the news that a state is too large in the place of that state: under its sequence, since later ones
// may be on their way.
func (p *Producer) replaceState(it *item) ([]byte, *item) {
	p.degrade(DegradedStateTooLarge)
	news := p.newStateUnavailable(it.thread, &stateError{reason: "too_large", err: fmt.Errorf("its message does not fit in %d bytes, compressed", maxFrameBytes)})
	news.headers = it.headers
	p.mu.Lock()
	news.header.Sequence = it.header.Sequence
	c := &p.counts[news.kind]
	c.Emitted++
	c.InFlight++
	p.inFlight++
	p.hold(news.thread)
	news.round = it.round
	for _, w := range p.waiters {
		if news.round <= w.round {
			w.remaining++
		}
	}
	news.size = news.cost
	p.handed.push(news)
	p.sending++
	p.sendingBytes += news.size
	p.settle(it, dropped(DropTooLarge))
	p.mu.Unlock()
	return p.encode(news)
}

// lostInitialState notes that GRAPH_START had to be sent without the state in it.
func (p *Producer) lostInitialState(it *item) {
	if !it.carriesState {
		return
	}
	if v, ok := it.msg.GetEvent().GetAttributes()[initialStateAttribute]; ok && v.GetMapValue() == nil {
		return
	}
	p.mu.Lock()
	it.carriesState = false
	it.thread.lost++
	p.mu.Unlock()
	p.degrade(DegradedStateTooLarge)
}

// heal publishes the whole state once more if readers may not have it, before the run ends. st.mu is held.
func (r *Run) heal() {
	st := &r.th.state
	if st.latest.JSON == nil || st.stale {
		return
	}
	r.p.mu.Lock()
	lost := r.th.lost
	r.p.mu.Unlock()
	if lost != st.healed || !bytes.Equal(st.base, st.latest.JSON) {
		r.publish(st.latest)
	}
}

// forget gives up the state when the last run of the thread has ended.
func (st *stateStream) forget() {
	st.base, st.latest, st.checkpoint, st.stale = nil, jcs.Document{}, nil, false
}
