package settings

import (
	"fmt"
	"strings"
)

// Error is one setting with a value that cannot be used.
type Error struct {
	// Name is where the value came from: a variable or a flag ("--kafka-topic"); for a rule of which
	// no value is the cause, the canonical variable.
	Name string
	// Value is the text found there, masked when it is secret. It is shortened to a printable line.
	Value string
	// Reason says what is wrong with it.
	Reason string
	// Allowed says what may be written, where there is more to say than Reason does.
	Allowed string
	// Err is the cause that Reason tells of, for errors.Is; it may be nil.
	Err error
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error gives name, value, reason and what is allowed in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Name)
	if e.Value != "" {
		fmt.Fprintf(&b, "=%q", shorten(maskUserinfo(e.Value)))
	}
	return b.String() + ": " + e.Why()
}

// Why gives the reason and what is allowed, for where name and value are shown already.
func (e *Error) Why() string {
	why := maskUserinfo(e.Reason) // it may quote the value
	if e.Allowed != "" {
		why += "; allowed: " + e.Allowed
	}
	return why
}

// Errors returns the single *Error values joined in err, in order. It is empty for an error of another kind.
func Errors(err error) []*Error {
	var out []*Error
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand: errors.As would stop at the first.
	case nil:
	case *Error:
		out = append(out, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			out = append(out, Errors(inner)...)
		}
	case interface{ Unwrap() error }:
		out = Errors(e.Unwrap())
	}
	return out
}

const maxShown = 120 // runes of a bad value shown in an error: it may be a whole file pasted into a variable

func shorten(s string) string {
	n := 0
	for i := range s {
		if n == maxShown {
			return s[:i] + "…"
		}
		n++
	}
	return s
}
