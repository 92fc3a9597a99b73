package wire

import (
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
	// memory. Real messages take one to six times their size.
	costFactor = 8
	// costFloor spares small limits: below it a message harms nobody.
	costFloor = 16 << 20

	// pointerCost is a slot of a growing slice of pointers, twice for growth.
	pointerCost = 2 * 8
	// stringCost is the same for slices of strings and byte slices.
	stringCost = 2 * 24
	// entryCost is a map's slot with its share of growth.
	entryCost = 160
)

// checkCost refuses a message that would take too much memory. It allocates
// nothing.
func checkCost(body []byte, l Limits) error {
	budget := max(costFactor*l.Decoded, costFloor)
	t := costs()
	if len(body) <= budget/t.worst {
		return nil
	}
	if c := t.root.cost(body, budget, MaxDepth); c > budget {
		e := tooLarge("message that takes memory", c, budget)
		e.Detail = Clip(e.Detail, maxDetailBytes)
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
			n.size = int(reflect.TypeOf(mt.Zero().Interface()).Elem().Size())
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
					f.each = entryCost
					if v := fd.MapValue().Message(); v != nil {
						f.each += add(v).size // made even where the entry has no value
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
			least := f.each
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

// cost adds up what b takes as a message of n's type, and stops once that is
// above budget. What it cannot parse it leaves to the unmarshaller, which
// stops at the same place.
func (n *costNode) cost(b []byte, budget, depth int) int {
	total := n.size
	for len(b) > 0 && total <= budget {
		f, rest, ok := nextField(b)
		if !ok || depth == 0 {
			return total
		}
		b = rest
		var price costField
		if int(f.num) < len(n.fields) {
			price = n.fields[f.num]
		}
		switch {
		case !price.known || f.typ != protowire.BytesType:
			total += price.each + 2*f.size // as unknown bytes, or one number
		case price.node != nil:
			total += price.each + price.node.cost(f.bytes, budget-total, depth-1)
		default:
			total += price.each + price.perB*len(f.bytes)
		}
	}
	return total
}
