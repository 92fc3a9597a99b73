package wire

import (
	"iter"
	"unicode/utf8"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Peeked is what [Peek] finds. Its slices alias the frame or, where that is
// compressed, memory of the [Peeker].
type Peeked struct {
	// Kind is which message the frame carries, whatever its header claims.
	Kind pb.MessageType
	// Framing is how the message was laid in the value.
	Framing Framing
	// The header of the message; that of a batch is only its envelope.
	PeekedHeader
	// Message is the plain protobuf message.
	Message []byte

	// run is the part of Message that makes up the message of this Kind.
	run []byte
}

// PeekedHeader is a header as it lies in its message.
type PeekedHeader struct {
	// Present is false if there is no header at all; the rest is then zero.
	Present bool

	Type        pb.MessageType
	Compression pb.CompressionType // as the header says; see Peeked.Framing
	// SchemaVersion is 1 where the producer left 0.
	SchemaVersion uint32
	MessageID     []byte // see MessageKey
	ParentID      []byte
	TenantID      []byte
	ThreadID      []byte
	Sequence      uint64 // 0 means missing
	TimestampUS   int64  // microseconds since the Unix epoch
}

// Peek reads the header of a frame. It allocates nothing for a plain frame;
// for a compressed one it allocates the message, which a [Peeker] does not.
//
// Where [Decode] succeeds, Peek reports the same header. Where Decode fails,
// Peek may succeed: it does not read the body, nor refuse a newer schema
// version. With ReasonMalformed or ReasonMissingHeader the result still holds
// what was read before the fault, for error messages and dead letters only:
// its text may then not be UTF-8.
func Peek(frame []byte, l Limits) (Peeked, error) {
	var p Peeker
	return p.Peek(frame, l)
}

// Peeker peeks at one frame after another and keeps the memory that compressed
// ones need. The zero value is ready. It is not safe for concurrent use.
type Peeker struct {
	// Legacy makes it take what [DecodeLegacy] takes.
	Legacy bool

	plain []byte
}

// Peek is the package's [Peek]. The result is valid until the next call.
func (p *Peeker) Peek(frame []byte, l Limits) (Peeked, error) {
	body, framing, err := unframe(frame, l, p.Legacy)
	if err != nil {
		return Peeked{Framing: framing}, err
	}
	if framing.Compressed() {
		if cap(p.plain) > maxPooledBytes {
			p.plain = nil // one large message must not hold its memory for good
		}
		p.plain, err = Decompress(p.plain[:0], body, l.Decoded)
		if err != nil {
			return Peeked{Framing: framing}, err
		}
		body = p.plain
	}
	res := Peeked{Framing: framing, Message: body}
	if !res.read() {
		return res, refuse(ReasonMalformed, "message of %d bytes: not protobuf, or cut off", len(body))
	}
	h := &res.PeekedHeader
	if !h.Present {
		if res.Kind == pb.MessageType_MESSAGE_TYPE_UNSPECIFIED {
			return res, refuse(ReasonMissingHeader, "the message is of no known kind")
		}
		return res, refuse(ReasonMissingHeader, "%s without a header", TypeName(res.Kind))
	}
	if !utf8.Valid(h.ThreadID) {
		return res, refuse(ReasonMalformed, "thread_id of %d bytes is not UTF-8", len(h.ThreadID))
	}
	if !utf8.Valid(h.TenantID) {
		return res, refuse(ReasonMalformed, "tenant_id of %d bytes is not UTF-8", len(h.TenantID))
	}
	return res, nil
}

// read walks the message and reports whether it could to the end. It follows
// proto.Unmarshal to the letter, since producers in the field and hostile ones
// may send what no marshaller writes: a later kind replaces an earlier one,
// occurrences of one kind are merged, so are those of its header, and in a
// header the last value of a field counts.
func (p *Peeked) read() bool {
	w := fields{rest: p.Message}
	for {
		at := w.rest
		ok := w.next()
		if w.typ == protowire.BytesType && w.num >= 1 && w.num <= lastKind {
			if kind := pb.MessageType(w.num); kind != p.Kind {
				p.Kind, p.PeekedHeader, p.run = kind, PeekedHeader{}, at
			}
			if !p.readBody(w.bytes) {
				p.finish()
				return false
			}
		}
		if !ok {
			p.finish()
			return w.ended()
		}
	}
}

const (
	lastKind = protowire.Number(pb.MessageType_MESSAGE_TYPE_EXECUTION_TRACE)

	// The same in every message.
	headerNumber = 1
	// In an EventBatch.
	eventsNumber = 2
)

// readBody merges the headers of a message into h and reports whether the
// message could be walked to its end.
func (h *PeekedHeader) readBody(b []byte) bool {
	w := fields{rest: b}
	for {
		ok := w.next()
		if w.num == headerNumber && w.typ == protowire.BytesType {
			h.Present = true
			if !h.readHeader(w.bytes) {
				return false
			}
		}
		if !ok {
			return w.ended()
		}
	}
}

func (h *PeekedHeader) readHeader(b []byte) bool {
	w := fields{rest: b}
	for w.next() {
		switch w.typ {
		case protowire.VarintType:
			switch w.num {
			case 2:
				h.TimestampUS = int64(w.varint)
			case 5:
				h.Sequence = w.varint
			case 6:
				h.Type = pb.MessageType(w.varint)
			case 8:
				h.Compression = pb.CompressionType(w.varint)
			case 9:
				h.SchemaVersion = uint32(w.varint)
			}
		case protowire.BytesType:
			switch w.num {
			case 1:
				h.MessageID = w.bytes
			case 3:
				h.TenantID = w.bytes
			case 4:
				h.ThreadID = w.bytes
			case 7:
				h.ParentID = w.bytes
			}
		}
	}
	return w.ended()
}

func (h *PeekedHeader) finish() {
	if h.Present && h.SchemaVersion == 0 {
		h.SchemaVersion = 1
	}
}

// Events iterates over the headers of the events in a batch, in order, without
// allocating; for another kind there are none. Present is false for an event
// without a header. A batch that cannot be walked to its end yields, last, an
// error with ReasonMalformed. Valid as long as p is.
func (p *Peeked) Events() iter.Seq2[PeekedHeader, error] {
	return func(yield func(PeekedHeader, error) bool) { p.eachEvent(yield) }
}

// Headers is [Peeker.Peek] and [Peeked.Events] in one, for a caller that wants
// only the events. An error of Peek is yielded in place of headers.
func (p *Peeker) Headers(frame []byte, l Limits) iter.Seq2[PeekedHeader, error] {
	return func(yield func(PeekedHeader, error) bool) {
		res, err := p.Peek(frame, l)
		if err != nil {
			yield(PeekedHeader{}, err)
			return
		}
		res.eachEvent(yield)
	}
}

// Headers is [Peeker.Headers] with memory of its own.
func Headers(frame []byte, l Limits) iter.Seq2[PeekedHeader, error] {
	return new(Peeker).Headers(frame, l)
}

func (p *Peeked) eachEvent(yield func(PeekedHeader, error) bool) {
	if p.Kind != pb.MessageType_MESSAGE_TYPE_EVENT_BATCH {
		return
	}
	const batchNumber = protowire.Number(pb.MessageType_MESSAGE_TYPE_EVENT_BATCH)
	w := fields{rest: p.run}
	for {
		ok := w.next()
		if w.num == batchNumber && w.typ == protowire.BytesType {
			switch eachEventOf(w.bytes, yield) {
			case walkStopped:
				return
			case walkBroken:
				yield(PeekedHeader{}, errBatch())
				return
			}
		}
		if !ok {
			if !w.ended() {
				yield(PeekedHeader{}, errBatch())
			}
			return
		}
	}
}

type walkEnd int

const (
	walkDone    walkEnd = iota // to the end of a sound message
	walkStopped                // by the caller
	walkBroken                 // by bytes that are no message
)

func eachEventOf(batch []byte, yield func(PeekedHeader, error) bool) walkEnd {
	w := fields{rest: batch}
	for {
		ok := w.next()
		if w.num == eventsNumber && w.typ == protowire.BytesType {
			var h PeekedHeader
			sound := h.readBody(w.bytes)
			h.finish()
			if (sound && ok || h.Present) && !yield(h, nil) {
				return walkStopped
			}
			if !sound {
				return walkBroken
			}
		}
		if !ok {
			if w.ended() {
				return walkDone
			}
			return walkBroken
		}
	}
}

func errBatch() error {
	return refuse(ReasonMalformed, "event batch: not protobuf, or cut off")
}
