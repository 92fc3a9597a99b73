package wire

const (
	// MaxProducerBytes is the largest frame that a producer writes.
	MaxProducerBytes = 1 << 20
	// DefaultMaxBytes is what readers accept: of a frame as stored, and of the
	// message in it once decompressed.
	DefaultMaxBytes = 10 << 20
	// CompressAbove is the size of a plain message, in bytes, above which
	// compressing it is tried.
	CompressAbove = 512
	// SchemaVersion is the newest schema version that this package reads. A
	// header's schema_version of 0 means 1.
	SchemaVersion = 1
	// MaxDepth bounds the nesting of messages in a frame, the outermost
	// counted. It is what protobuf readers of most languages accept.
	MaxDepth = 100
)

// Limits bounds one frame. Both are inclusive and in bytes; zero allows
// nothing, so start from [DefaultLimits].
type Limits struct {
	// Framed bounds the value as stored, framing byte included.
	Framed int
	// Decoded bounds the plain protobuf message.
	Decoded int
}

// DefaultLimits returns what every reader accepts unless configured otherwise.
func DefaultLimits() Limits {
	return Limits{Framed: DefaultMaxBytes, Decoded: DefaultMaxBytes}
}
