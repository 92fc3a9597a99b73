package wire

import (
	"math"
	"reflect"
	"sync"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A message of a few megabytes can take a hundred times that in memory: two
// bytes on the wire make an empty element of a repeated field, which is a
// struct of up to 200 bytes. The limit on bytes therefore does not bound
// memory, and a reader that is killed by one record is killed by it again
// after each restart. So a message large enough to matter is priced before it
// is unmarshalled.

const (
	// costFactor is how many times its size limit a message may take in
	// memory. Real messages take one to seven times their size.
	costFactor = 12
	// costFloor spares small limits: below it a message harms nobody.
	costFloor = 16 << 20

	// pointerCost is a slot of a growing slice of pointers, twice for growth.
	pointerCost = 2 * 8
	// stringCost is the same for slices of strings and byte slices.
	stringCost = 2 * 24
	// mapCost is a map with its first group of slots, entryCost a further slot
	// with its share of growth.
	mapCost   = 288
	entryCost = 64
)

// checkCost refuses a message that would take too much memory. It allocates
// nothing.
func checkCost(body []byte, l Limits) error {
	budget := max(costFactor*min(l.Decoded, math.MaxInt/costFactor), costFloor)
	t := costs()
	if len(body) <= budget/t.worst {
		return nil
	}
	if c := t.root.cost(body, budget, MaxDepth); c > budget {
		e := refuse(ReasonTooLarge, "message of %d bytes takes %d bytes of memory or more, the limit is %d", len(body), c, budget)
		e.Size, e.Limit = c, budget
		return e
	}
	return nil
}

// costTable is the price list, made from the schema and the generated types.
type costTable struct {
	root *costNode
	// worst is the highest price of one byte on the wire.
	worst int
}

// costNode prices one message type.
type costNode struct {
	size   int         // of the Go struct; 0 for a map entry
	fields []costField // by number
}

type costField struct {
	known bool
	each  int       // price of an occurrence, its content apart
	once  int       // price of the first occurrence in a message, beyond that
	perB  int       // price of a byte of its content, where it has no node
	node  *costNode // message, or map entry
}

var costs = sync.OnceValue(func() costTable {
	t := costTable{worst: 1}
	made := map[protoreflect.FullName]*costNode{}
	var add func(md protoreflect.MessageDescriptor) *costNode
	add = func(md protoreflect.MessageDescriptor) *costNode {
		if n := made[md.FullName()]; n != nil {
			return n
		}
		n := &costNode{}
		made[md.FullName()] = n
		if mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName()); err == nil {
			n.size = allocSize(int(reflect.TypeOf(mt.Zero().Interface()).Elem().Size()))
		}
		fields := md.Fields()
		for i := range fields.Len() {
			fd := fields.Get(i)
			f := costField{known: true, perB: 1}
			switch {
			case fd.Message() != nil:
				f.node = add(fd.Message())
				switch {
				case fd.IsMap():
					f.each, f.once = entryCost, mapCost
					if v := fd.MapValue().Message(); v != nil {
						// The value is made even where the entry has none, and
						// once where it has several: price it with the entry.
						size := add(v).size
						f.each += size
						f.node.fields[2].each = -size
					}
				case fd.IsList():
					f.each = pointerCost
				}
			case fd.Kind() == protoreflect.StringKind, fd.Kind() == protoreflect.BytesKind:
				f.each = 16
				if fd.IsList() {
					f.each = stringCost
				}
			case fd.IsList(): // numbers: at least a byte each on the wire, at most 8 in memory
				f.each, f.perB = 16, 16
			}
			if fd.ContainingOneof() != nil {
				f.each += 24 // the wrapper of the choice
			}
			for int(fd.Number()) >= len(n.fields) {
				n.fields = append(n.fields, costField{})
			}
			n.fields[fd.Number()] = f
			// Two bytes, tag and length, are the least that an occurrence takes.
			least := f.each + f.once
			if f.node != nil {
				least += f.node.size
			}
			t.worst = max(t.worst, (least+1)/2, f.perB)
		}
		return n
	}
	t.root = add((&pb.DashStreamMessage{}).ProtoReflect().Descriptor())
	return t
})

// allocSize is what the allocator sets aside for size bytes.
func allocSize(size int) int {
	return cap(append([]byte(nil), make([]byte, size)...))
}

// cost adds up what b takes as a message of n's type, and stops once that is
// above budget. What it cannot parse it leaves to the unmarshaller, which
// stops at the same place.
func (n *costNode) cost(b []byte, budget, depth int) int {
	total := n.size
	if depth == 0 {
		return total
	}
	w := fields{rest: b}
	var seen uint64 // fields of this message that were met, by number
	for total <= budget {
		before := len(w.rest)
		if !w.next() {
			break
		}
		var price costField
		if int(w.num) < len(n.fields) {
			price = n.fields[w.num]
			if price.once > 0 && seen&(1<<w.num) == 0 {
				seen |= 1 << w.num
				total += price.once
			}
		}
		switch {
		case w.typ != protowire.BytesType || !price.known:
			// A number, or unknown and kept as bytes.
			total += price.each + 2*(before-len(w.rest))
		case price.node != nil:
			total += price.each + price.node.cost(w.bytes, budget-total, depth-1)
		default:
			total += price.each + price.perB*len(w.bytes)
		}
	}
	return total
}
