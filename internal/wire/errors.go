package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Reason says why a value was refused. The set is closed and its words are
// stable: they are metric labels and part of the stream protocol.
type Reason string

const (
	// ReasonEmpty: the value is null or has no bytes.
	ReasonEmpty Reason = "empty"
	// ReasonTooLarge: the frame, its message, or what it would take in memory
	// is above the limit.
	ReasonTooLarge Reason = "too_large"
	// ReasonUnknownFraming: the first byte is neither 0x00 nor 0x01.
	ReasonUnknownFraming Reason = "unknown_framing"
	// ReasonDecompress: not exactly one sound zstd frame of declared size.
	ReasonDecompress Reason = "decompress"
	// ReasonMalformed: not a protobuf message of this schema.
	ReasonMalformed Reason = "malformed"
	// ReasonMissingHeader: a message, or an event of a batch, has no header.
	ReasonMissingHeader Reason = "missing_header"
	// ReasonSchemaVersion: the message is of a newer schema.
	ReasonSchemaVersion Reason = "schema_version"
	// ReasonUnsupportedEncoding: content in an encoding that is not read.
	ReasonUnsupportedEncoding Reason = "unsupported_encoding"
	// ReasonInvalidJSON: content that must be JSON is not.
	ReasonInvalidJSON Reason = "invalid_json"
	// ReasonInvalidID: an identifier of the wrong size.
	ReasonInvalidID Reason = "invalid_id"
	// ReasonInternal: a fault of the reader, not of the value.
	ReasonInternal Reason = "internal"
	// ReasonOther: an error that is not of this package.
	ReasonOther Reason = "other"
)

// Reasons lists every reason, for metrics that must exist before they move.
func Reasons() []Reason {
	return []Reason{
		ReasonEmpty, ReasonTooLarge, ReasonUnknownFraming, ReasonDecompress, ReasonMalformed, ReasonMissingHeader,
		ReasonSchemaVersion, ReasonUnsupportedEncoding, ReasonInvalidJSON, ReasonInvalidID, ReasonInternal, ReasonOther,
	}
}

// Error is every refusal of this package.
type Error struct {
	Reason Reason
	// Detail says what was found and what is allowed. It is bounded, valid
	// UTF-8, and holds no message content.
	Detail string
	// Size and Limit are set for ReasonTooLarge, in bytes.
	Size, Limit int
	// Version is the schema version found, for ReasonSchemaVersion.
	Version uint32
	// Err is the cause below, if there is one.
	Err error
}

func (e *Error) Error() string {
	return "wire: " + string(e.Reason) + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason of an error of this package, however wrapped,
// [ReasonOther] for another error and "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonOther
}

// refuse makes an Error; a cause among args is kept for Unwrap.
func refuse(r Reason, format string, args ...any) *Error {
	e := &Error{Reason: r}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.Err = err
		}
	}
	e.Detail = Clip(fmt.Sprintf(format, args...), maxDetailBytes)
	return e
}

func tooLarge(what string, size, limit int) *Error {
	return &Error{
		Reason: ReasonTooLarge,
		Detail: fmt.Sprintf("%s of %d bytes, the limit is %d", what, size, limit),
		Size:   size,
		Limit:  limit,
	}
}

const maxDetailBytes = 512

// Clip returns s as valid UTF-8 of at most limit bytes, for text from outside
// that goes into an error, a log line or a header. It cuts between runes,
// replaces each invalid byte by U+FFFD, and ends a cut text with "…" where
// that fits. Its cost is bounded by limit, not by s.
func Clip[T ~string | ~[]byte](s T, limit int) string {
	const ellipsis = "…"
	if limit <= 0 {
		return ""
	}
	// A rune that the limit splits must not be mistaken for invalid bytes, so
	// look a little past it.
	text := string(s[:min(len(s), limit)+min(max(len(s)-limit, 0), utf8.UTFMax)])
	if len(text) <= limit && utf8.ValidString(text) {
		return text
	}
	out := make([]byte, 0, min(limit, 3*len(text)))
	fits := 0 // length of out that still leaves room for the ellipsis
	for i, r := range text {
		if len(out)+utf8.RuneLen(r) > limit || i >= limit {
			if fits+len(ellipsis) <= limit {
				return string(append(out[:fits], ellipsis...))
			}
			return string(out)
		}
		out = utf8.AppendRune(out, r)
		if len(out)+len(ellipsis) <= limit {
			fits = len(out)
		}
	}
	return string(out)
}
