package dashstream

import "google.golang.org/protobuf/reflect/protoreflect"

// dropUnknown takes out of a message, at every depth, the fields that its descriptor does not know, and reports whether
// there were any. What they hold, and so what of it is a secret, cannot be told.
func dropUnknown(m protoreflect.Message) (dropped bool) {
	if len(m.GetUnknown()) > 0 {
		m.SetUnknown(nil)
		dropped = true
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			if fd.MapValue().Message() == nil {
				return true
			}
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				dropped = dropUnknown(v.Message()) || dropped
				return true
			})
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				dropped = dropUnknown(v.List().Get(i).Message()) || dropped
			}
		default:
			dropped = dropUnknown(v.Message()) || dropped
		}
		return true
	})
	return dropped
}
