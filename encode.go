package dashstream

import (
	"errors"

	"github.com/dashflow/dashstream/internal/wire"
)

// encode makes the frame of a message that left the queue. It returns the message that the frame holds: nil if it was
// settled instead, another one if a state that does not fit had to be replaced by the news that there is none.
func (p *Producer) encode(it *item) ([]byte, *item) {
	if it.attrs != nil {
		it.own.body.Attributes = attributes(it.attrs)
	}
	keep := p.cleanAttributes(it)
	if !it.clean {
		c := cleaner{r: p.redactor}
		c.message(it.msg)
		p.degradeBy(DegradedInvalidUTF8, c.invalidUTF8)
		p.degradeBy(DegradedInvalidID, c.invalidID)
	}
	keep()
	frame, err := p.encoder.Append(nil, it.msg, maxFrameBytes)
	if err == nil {
		return frame, it
	}
	var refused *wire.Error
	if !errors.As(err, &refused) || refused.Reason != wire.ReasonTooLarge {
		p.logger.Error("a message could not be encoded", "type", it.kind.String(), "thread_id", it.thread.id, "error", err)
		p.finish(it, dropped(DropInvalid))
		return nil, nil
	}
	if isState(it) {
		return p.replaceState(it)
	}
	for _, limit := range []int{64 << 10, 4 << 10, 512} {
		if p.shorten(it.msg, limit, maxFrameBytes) == 0 {
			continue
		}
		p.lostInitialState(it)
		if frame, err = p.encoder.Append(nil, it.msg, maxFrameBytes); err == nil {
			return frame, it
		}
	}
	if e := it.msg.GetEvent(); e != nil {
		p.omitAttributes(e, maxFrameBytes)
		p.lostInitialState(it)
		if frame, err = p.encoder.Append(nil, it.msg, maxFrameBytes); err == nil {
			return frame, it
		}
	}
	p.finish(it, dropped(DropTooLarge))
	return nil, nil
}

func (p *Producer) degradeBy(d Degradation, n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	p.degraded[d] += uint64(n)
	p.mu.Unlock()
}

// cleanAttributes takes the attributes that are clean already out of the message's sight, and returns how to bring them
// back.
func (p *Producer) cleanAttributes(it *item) (restore func()) {
	restore = func() {}
	for _, a := range it.attrs {
		if !a.clean {
			continue
		}
		key, previous := a.Key, restore
		v := it.own.body.Attributes[key]
		delete(it.own.body.Attributes, key)
		restore = func() {
			previous()
			it.own.body.Attributes[key] = v
		}
	}
	return restore
}
