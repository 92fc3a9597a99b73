package dashstream

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// maxSendBytes is the size of a message, in bytes, above which its largest values are cut before it is queued.
const maxSendBytes = 2 << 20

// Send sends any message. Its header must name the thread. The header's sequence, type, schema version and compression
// are set here, and where they are missing, the tenant, the timestamp and the message id. The message may be used again
// when Send returns: it is copied. Fields that this version does not know are left out of the copy, unless redaction is
// off: they cannot be redacted.
//
// A batch is sent as the events in it, each in the order of its own thread.
//
// Send does not wait for Kafka. A nil error says that the message has its place in the queue; see [Producer.Flush] and
// [Stats] for what became of it. Errors are [ErrQueueFull], [ErrClosed], [ErrStateOff] and [ErrInvalidMessage].
func (p *Producer) Send(m *pb.DashStreamMessage) error {
	if batch := m.GetEventBatch(); batch != nil {
		return p.sendBatch(batch)
	}
	it, err := p.accept(m)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.admitHeld(it)
}

// admitHeld admits an item of accept. p.mu is held.
func (p *Producer) admitHeld(it *item) error {
	defer p.release(it.thread)
	return p.admit(nil, it)
}

func (p *Producer) sendBatch(batch *pb.EventBatch) error {
	var errs []error
	var items []*item
	for i, e := range batch.GetEvents() {
		it, err := p.accept(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: e}})
		if err != nil {
			errs = append(errs, fmt.Errorf("event %d: %w", i, err))
			continue
		}
		items = append(items, it)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range items {
		if err := p.admitHeld(it); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// accept makes an item of a caller's message, or counts why not. The item holds its thread, so that it is not forgotten
// before the message is admitted.
func (p *Producer) accept(m *pb.DashStreamMessage) (*item, error) {
	kind := wire.KindOf(m)
	h := wire.HeaderOf(m)
	switch {
	case kind == pb.MessageType_MESSAGE_TYPE_UNSPECIFIED:
		// There is no account for a message of no type; the error is all the trace it leaves.
		return nil, fmt.Errorf("%w: it carries nothing", ErrInvalidMessage)
	case h == nil:
		return nil, p.refuse(kind, DropInvalid, fmt.Errorf("%w: %s without a header", ErrInvalidMessage, kind))
	case h.ThreadId == "":
		return nil, p.refuse(kind, DropInvalid, fmt.Errorf("%w: the header names no thread", ErrInvalidMessage))
	case !p.cfg.state && (kind == pb.MessageType_MESSAGE_TYPE_STATE_DIFF || kind == pb.MessageType_MESSAGE_TYPE_CHECKPOINT):
		return nil, p.refuse(kind, DropStateOff, ErrStateOff)
	}
	if d := m.GetStateDiff(); d != nil {
		for i, op := range d.GetOperations() {
			if op.GetEncoding() != pb.DiffOperation_VALUE_ENCODING_JSON {
				return nil, p.refuse(kind, DropInvalid, fmt.Errorf("%w: operation %d has encoding %s, allowed is JSON", ErrInvalidMessage, i, op.GetEncoding()))
			}
		}
	}
	if err := wire.CheckNesting(m); err != nil { // before it is copied: a value may hold itself
		return nil, p.refuse(kind, DropInvalid, fmt.Errorf("%w: %w", ErrInvalidMessage, err))
	}
	m = proto.CloneOf(m)
	if p.redactor != nil && dropUnknown(m.ProtoReflect()) && !p.unknownWarned.Swap(true) {
		p.logger.Warn("a message given to Send has fields that this version does not know; they cannot be redacted and are left out", "type", kind.String())
	}
	if proto.Size(m) > maxSendBytes {
		p.shorten(m, 4<<10, maxSendBytes)
	}
	thread := h.ThreadId
	h = wire.HeaderOf(m)
	_, us := p.now()
	ids := cleaner{r: p.redactor}
	if h.MessageId = ids.id(h.MessageId, wire.MessageIDBytes); h.MessageId == nil {
		h.MessageId = newID(us)
	}
	p.degradeBy(DegradedInvalidID, ids.invalidID)
	if h.TimestampUs == 0 {
		h.TimestampUs = us
	}
	if h.TenantId == "" {
		h.TenantId = p.cfg.kafka.TenantID
	}
	h.Type, h.SchemaVersion = kind, wire.SchemaVersion
	it := &item{kind: kind, header: h, msg: m, cost: itemOverhead + 512 + 2*proto.Size(m)}
	p.sort(it)
	p.mu.Lock()
	it.thread = p.threadFor(thread)
	p.hold(it.thread)
	p.mu.Unlock()
	h.ThreadId = it.thread.id
	if t := m.GetExecutionTrace(); t != nil {
		t.ThreadId = it.thread.id
	}
	return it, nil
}

// sort decides how important a caller's message is, and takes the state out of it if it must not be sent.
func (p *Producer) sort(it *item) {
	it.class = classNormal
	switch w := it.msg.GetMessage().(type) {
	case *pb.DashStreamMessage_Event:
		it.class = classOf(w.Event.GetEventType())
		if _, ok := w.Event.Attributes[initialStateAttribute]; ok {
			it.carriesState = p.cfg.state
			if !p.cfg.state {
				delete(w.Event.Attributes, initialStateAttribute)
			}
		}
	case *pb.DashStreamMessage_TokenChunk:
		if !w.TokenChunk.IsFinal {
			it.class = classDroppable
		}
	case *pb.DashStreamMessage_StateDiff, *pb.DashStreamMessage_Checkpoint:
		it.class, it.carriesState = classState, true
	case *pb.DashStreamMessage_ExecutionTrace:
		it.class = classState
		if !p.cfg.state {
			w.ExecutionTrace.FinalState = nil
		}
	}
}

// refuse counts a message that is not sent.
func (p *Producer) refuse(kind pb.MessageType, reason DropReason, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(kind) < typeCount {
		p.counts[kind].Emitted++
		p.counts[kind].Dropped[reason]++
	}
	return err
}
