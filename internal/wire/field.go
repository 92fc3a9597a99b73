package wire

import "google.golang.org/protobuf/encoding/protowire"

// fields walks the fields of a message by the rules of proto.Unmarshal: what it
// takes, that takes, and the reverse. It neither copies nor allocates.
type fields struct {
	rest []byte // what is not walked yet

	// The current field.
	num    protowire.Number
	typ    protowire.Type
	varint uint64 // value of a varint
	bytes  []byte // content of a length-delimited field
}

// next moves to the next field and reports whether there is a sound one. At
// the end rest is empty and num 0. Where the length of the last field runs past the
// end, num names it and bytes holds what there is.
func (w *fields) next() bool {
	b := w.rest
	// What nearly every field is: a tag of one byte, and a varint or a length
	// of one.
	if len(b) >= 2 && b[0] >= 1<<3 && b[0] < 0x80 {
		switch protowire.Type(b[0] & 7) {
		case protowire.VarintType:
			if b[1] < 0x80 {
				w.num, w.typ, w.varint = protowire.Number(b[0]>>3), protowire.VarintType, uint64(b[1])
				w.rest = b[2:]
				return true
			}
		case protowire.BytesType:
			if n := 2 + int(b[1]); b[1] < 0x80 && n <= len(b) {
				w.num, w.typ, w.bytes = protowire.Number(b[0]>>3), protowire.BytesType, b[2:n:n]
				w.rest = b[n:]
				return true
			}
		}
	}
	return w.nextSlow()
}

func (w *fields) nextSlow() bool {
	w.num, w.typ, w.bytes = 0, 0, nil
	if len(w.rest) == 0 {
		return false
	}
	tag, n := protowire.ConsumeVarint(w.rest)
	if n < 0 {
		return false
	}
	num := tag >> 3
	if num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		return false
	}
	b := w.rest[n:]
	switch typ := protowire.Type(tag & 7); typ {
	case protowire.VarintType:
		w.varint, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		size, m := protowire.ConsumeVarint(b)
		if m < 0 {
			return false
		}
		b = b[m:]
		w.num, w.typ = protowire.Number(num), typ
		if size > uint64(len(b)) {
			w.bytes = b
			return false
		}
		w.bytes, n = b[:size:size], int(size)
	default:
		n = protowire.ConsumeFieldValue(protowire.Number(num), typ, b)
	}
	if n < 0 {
		return false
	}
	w.num, w.typ = protowire.Number(num), protowire.Type(tag&7)
	w.rest = b[n:]
	return true
}

// ended reports whether the walk came to the end of a sound message.
func (w *fields) ended() bool { return len(w.rest) == 0 }
