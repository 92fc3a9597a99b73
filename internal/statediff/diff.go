package statediff

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the operation of an [Op]. Moves and copies are not produced: they make a reader search.
type Kind uint8

// The operations.
const (
	Add Kind = iota
	Remove
	Replace
)

// Op is one operation of a patch.
type Op struct {
	Kind Kind
	// Path is a JSON Pointer (RFC 6901). An element added at the end of a list is addressed by its index, not by "-", so
	// that a list of another length is noticed.
	Path string
	// Value is canonical JSON, nil for Remove. It aliases the state it was taken from.
	Value []byte
}

// opOverhead is roughly what an operation costs beside its path and value, in bytes on the wire.
const opOverhead = 8

// Size is roughly what the operation costs on the wire, in bytes.
func (o Op) Size() int { return opOverhead + len(o.Path) + len(o.Value) }

// Diff returns operations that turn base into next, in order, none if they are equal. Both must be the JSON of a
// jcs.Document. A changed value whose own operations would cost more than the value is replaced whole.
func Diff(base, next []byte) []Op {
	var d differ
	d.value(base, next)
	return d.ops
}

type differ struct {
	ops  []Op
	size int // of ops
	path []byte
}

func (d *differ) emit(kind Kind, value []byte) {
	op := Op{Kind: kind, Path: string(d.path), Value: value}
	d.ops = append(d.ops, op)
	d.size += op.Size()
}

// at calls emit or recurses with one more token on the path.
func (d *differ) atIndex(i int, f func()) {
	mark := len(d.path)
	d.path = strconv.AppendInt(append(d.path, '/'), int64(i), 10)
	f()
	d.path = d.path[:mark]
}

func (d *differ) atName(quoted []byte, f func()) {
	mark := len(d.path)
	d.path = appendName(append(d.path, '/'), quoted)
	f()
	d.path = d.path[:mark]
}

// appendName appends a member's name as a token of a JSON Pointer.
func appendName(dst, quoted []byte) []byte {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(quoted, '\\') >= 0 {
		name, _ = jsontext.AppendUnquote(nil, quoted) // canonical JSON unquotes
	}
	for _, c := range name {
		switch c {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func (d *differ) value(base, next []byte) {
	if bytes.Equal(base, next) {
		return
	}
	if base[0] != next[0] || next[0] != '{' && next[0] != '[' {
		d.emit(Replace, next)
		return
	}
	count, size := len(d.ops), d.size
	if next[0] == '{' {
		d.object(members(base), members(next))
	} else {
		d.list(elements(base), elements(next))
	}
	whole := Op{Kind: Replace, Path: string(d.path), Value: next}
	if d.size-size > whole.Size() {
		d.ops, d.size = append(d.ops[:count], whole), size+whole.Size()
	}
}

func (d *differ) object(base, next []member) {
	base, next = trimMembers(base, next)
	old := make(map[string][]byte, len(base))
	for _, m := range base {
		old[string(m.name)] = m.value
	}
	kept := make(map[string]bool, len(next))
	for _, m := range next {
		if _, ok := old[string(m.name)]; ok {
			kept[string(m.name)] = true
		}
	}
	for _, m := range base {
		if !kept[string(m.name)] {
			d.atName(m.name, func() { d.emit(Remove, nil) })
		}
	}
	for _, m := range next {
		d.atName(m.name, func() {
			if v, ok := old[string(m.name)]; ok {
				d.value(v, m.value)
			} else {
				d.emit(Add, m.value)
			}
		})
	}
}

func trimMembers(a, b []member) (_, _ []member) {
	for len(a) > 0 && len(b) > 0 && a[0].equal(b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1].equal(b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}

func (m member) equal(o member) bool {
	return bytes.Equal(m.name, o.name) && bytes.Equal(m.value, o.value)
}
