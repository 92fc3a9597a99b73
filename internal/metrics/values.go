package metrics

import (
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// What stands for values that have no series of their own.
const (
	// Other is all that came when the bound was reached, or that cannot be a label.
	Other = "other"
	// Unknown is what was not said.
	Unknown = "unknown"
)

// maxValueBytes bounds a label's value.
const maxValueBytes = 128

// Values bounds what a label of free text can have: the first that come get a series each, the rest are [Other]. What was
// admitted stays, so that no series ends while it is counted. It is not for concurrent use.
type Values struct {
	bound    int
	overflow prometheus.Counter
	admitted map[string]string
}

// NewValues returns one that admits bound values beside [Other] and [Unknown]. overflow counts what became Other.
func NewValues(bound int, overflow prometheus.Counter) *Values {
	return &Values{bound: bound, overflow: overflow, admitted: make(map[string]string)}
}

// Bound is how many values a label can have.
func (v *Values) Bound() int { return v.bound + 2 }

// Of returns the label for a value. For a value that was admitted it allocates nothing.
func (v *Values) Of(value []byte) string {
	if s, ok := v.admitted[string(value)]; ok {
		return s
	}
	return v.admit(string(value))
}

// OfString is [Values.Of].
func (v *Values) OfString(value string) string {
	if s, ok := v.admitted[value]; ok {
		return s
	}
	return v.admit(strings.Clone(value))
}

func (v *Values) admit(value string) string {
	switch {
	case value == "":
		return Unknown
	case len(v.admitted) >= v.bound, len(value) > maxValueBytes, !utf8.ValidString(value):
		if v.overflow != nil {
			v.overflow.Inc()
		}
		return Other
	}
	v.admitted[value] = value
	return value
}
