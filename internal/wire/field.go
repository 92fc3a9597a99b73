package wire

import "google.golang.org/protobuf/encoding/protowire"

// rawField is one field as it lies in a message.
type rawField struct {
	num    protowire.Number
	typ    protowire.Type
	varint uint64 // value of a varint
	bytes  []byte // content of a length-delimited field
	size   int    // bytes of the field, tag included
}

// nextField splits the first field off b, by the rules of proto.Unmarshal: what
// it takes, that takes, and the reverse. Where the length of a field runs past
// b, ok is false and f still names it and holds what there is.
func nextField(b []byte) (f rawField, rest []byte, ok bool) {
	tag, n := consumeVarint(b)
	if n < 0 {
		return f, nil, false
	}
	num := tag >> 3
	if num < uint64(protowire.MinValidNumber) || num > uint64(protowire.MaxValidNumber) {
		return f, nil, false
	}
	f.num, f.typ = protowire.Number(num), protowire.Type(tag&7)
	rest = b[n:]
	switch f.typ {
	case protowire.VarintType:
		f.varint, n = consumeVarint(rest)
	case protowire.BytesType:
		var size uint64
		size, n = consumeVarint(rest)
		if n < 0 {
			return f, nil, false
		}
		rest = rest[n:]
		if size > uint64(len(rest)) {
			f.bytes = rest
			return f, nil, false
		}
		f.bytes, n = rest[:size:size], int(size)
	default:
		n = protowire.ConsumeFieldValue(f.num, f.typ, rest)
	}
	if n < 0 {
		return f, nil, false
	}
	rest = rest[n:]
	f.size = len(b) - len(rest)
	return f, rest, true
}

func consumeVarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}
