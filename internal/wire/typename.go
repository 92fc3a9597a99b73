package wire

import (
	"fmt"
	"strings"

	pb "github.com/dashflow/dashstream/dashstreampb"
)

const typePrefix = "MESSAGE_TYPE_"

// TypeName gives a message type as people and JSON write it: event, state_diff,
// and so on; "unknown" for a number without a name and for UNSPECIFIED.
func TypeName(t pb.MessageType) string {
	name, ok := pb.MessageType_name[int32(t)]
	if !ok || t == pb.MessageType_MESSAGE_TYPE_UNSPECIFIED {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(name, typePrefix))
}

// ParseMessageType reads a message type by its name, in any case, with or
// without the prefix MESSAGE_TYPE_; "unknown" is UNSPECIFIED.
func ParseMessageType(s string) (pb.MessageType, error) {
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), typePrefix)
	if name == "UNKNOWN" {
		return pb.MessageType_MESSAGE_TYPE_UNSPECIFIED, nil
	}
	if n, ok := pb.MessageType_value[typePrefix+name]; ok {
		return pb.MessageType(n), nil
	}
	return 0, fmt.Errorf("%q is no message type: want one of %s", Clip(s, 64), MessageTypeNames())
}

// MessageTypeNames lists what ParseMessageType takes, in the order of the
// numbers.
func MessageTypeNames() string {
	var names []string
	for n := int32(0); ; n++ {
		if _, ok := pb.MessageType_name[n]; !ok {
			return strings.Join(names, ", ")
		}
		names = append(names, TypeName(pb.MessageType(n)))
	}
}
