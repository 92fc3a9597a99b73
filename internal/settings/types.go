package settings

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Allower is a type that says in words what may be written for it.
type Allower interface {
	Allowed() string
}

// Seconds is a duration whose text is a number of seconds ("10", "0.5"), as variables named *_SECS have it, or a Go
// duration ("10s", "1m30s"). It is never negative.
type Seconds time.Duration

// Duration returns s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// Allowed implements Allower.
func (Seconds) Allowed() string { return "seconds (10, 0.5) or a duration (10s, 1m30s)" }

// String is the number of seconds.
func (s Seconds) String() string {
	return strconv.FormatFloat(time.Duration(s).Seconds(), 'f', -1, 64)
}

// MarshalText is String.
func (s Seconds) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText refuses what is not a number, negative or beyond a time.Duration.
func (s *Seconds) UnmarshalText(text []byte) error {
	str := strings.TrimSpace(string(text))
	if n, err := strconv.ParseFloat(str, 64); err == nil {
		switch {
		case math.IsNaN(n) || math.IsInf(n, 0):
			return fmt.Errorf("not a finite number of seconds")
		case n < 0:
			return fmt.Errorf("negative")
		case n >= math.MaxInt64/float64(time.Second):
			return fmt.Errorf("too long")
		}
		*s = Seconds(math.Round(n * float64(time.Second)))
		return nil
	}
	d, err := time.ParseDuration(str)
	if err != nil {
		return fmt.Errorf("not a duration")
	}
	if d < 0 {
		return fmt.Errorf("negative")
	}
	*s = Seconds(d)
	return nil
}

// OneOf sets dst to the value that text spells, in any case, or returns an error that lists the values.
func OneOf[T ~string](dst *T, text []byte, values ...T) error {
	got := strings.TrimSpace(string(text))
	for _, v := range values {
		if strings.EqualFold(got, string(v)) {
			*dst = v
			return nil
		}
	}
	return fmt.Errorf("not one of %s", Words(values...))
}

// Words joins values for an Allowed text.
func Words[T ~string](values ...T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}
