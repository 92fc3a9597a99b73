package redact

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
)

// pattern is a pattern of the caller.
type pattern = *regexp.Regexp

// Options adds to the built-in rules. The zero value adds nothing.
type Options struct {
	// Patterns are secrets by their form: every match is replaced. In JSON they see each string without its quotes, and
	// each number; see also [Redactor.Number]. They should not match [Mask].
	Patterns []*regexp.Regexp
	// Names are sensitive names of fields, compared without regard to case and separators. They follow the rule of the
	// built-in ones: "ssn" is also user_ssn and ssn_new, but neither lesson nor ssn_count.
	Names []string
}

// Redactor removes secrets. It is safe for concurrent use; the zero value has the built-in rules.
type Redactor struct {
	patterns []pattern
	names    []string
}

// New returns a redactor with the built-in rules and those of opts.
func New(opts Options) *Redactor {
	r := &Redactor{patterns: append([]pattern(nil), opts.Patterns...)}
	for _, n := range opts.Names {
		var w words
		w.read(n)
		if w.n > 0 {
			r.names = append(r.names, string(w.buf[:w.n]))
		}
	}
	return r
}

// Sensitive reports whether the name of a field makes its value a secret.
func (r *Redactor) Sensitive(name string) bool { return r.level(name) == sensitive }

// Number reports whether a number is a secret: by the name of its field, or by a pattern of the caller.
func (r *Redactor) Number(name string, text func() string) bool {
	return r.Sensitive(name) || len(r.patterns) > 0 && r.matches([]byte(text()))
}

// matches reports that a pattern of the caller finds something.
func (r *Redactor) matches(b []byte) bool {
	return slices.ContainsFunc(r.patterns, func(p pattern) bool {
		m := p.FindIndex(b)
		return m != nil && m[0] < m[1]
	})
}

// Text returns s without its secrets. A text that is a JSON object or array stays one.
func (r *Redactor) Text(s string) string { return r.text(s, 0) }

// Field returns the value of a named field without its secrets: all of it if the name is sensitive.
func (r *Redactor) Field(name, value string) string { return r.field(r.level(name), name, value, 0) }

// Bytes is Text for a value that may be JSON of any kind, text, or neither. It returns b itself if there is no secret.
func (r *Redactor) Bytes(b []byte) []byte {
	for range maxRounds {
		if validJSON(b) {
			redacted := r.json(b, harmless, 0)
			if len(redacted) == len(b) && bytes.Equal(redacted, b) {
				return b
			}
			b = redacted
			continue
		}
		s := string(b)
		redacted := replace(s, r.scan(s, false))
		if redacted == s {
			return b
		}
		b = []byte(redacted)
	}
	return b
}

// FieldBytes is Bytes for the value of a named field: of a sensitive one, JSON keeps its shape and loses all its text and
// numbers, and anything else is replaced whole.
func (r *Redactor) FieldBytes(name string, b []byte) []byte {
	l := r.level(name)
	switch {
	case len(b) == 0:
		return b
	case validJSON(b):
		return r.json(b, l, 0)
	case l == sensitive:
		return []byte(Mask)
	default:
		return r.Bytes(b)
	}
}

func (r *Redactor) field(l level, name, value string, nesting int) string {
	switch {
	case value == "" || value == Mask:
		return value
	case l == sensitive && !directory(name, value):
		return Mask
	case l == suspect && looksSecret(value):
		return Mask
	default:
		return r.text(value, nesting)
	}
}

// maxRounds bounds how often a text is read: a secret may come to light only when another beside it is gone, such as the
// rest of a password that held something that looks like a key.
const maxRounds = 8

func (r *Redactor) text(s string, nesting int) string {
	for range maxRounds {
		redacted := r.once(s, nesting)
		if redacted == s {
			break
		}
		s = redacted
	}
	return s
}

func (r *Redactor) once(s string, nesting int) string {
	if nesting < maxNesting && looksLikeJSON(s) {
		if b := []byte(s); validJSON(b) {
			return string(r.json(b, harmless, nesting+1))
		}
	}
	return replace(s, r.scan(s, false))
}

// unused returns the name, or the name with a number if it is in use: an object must not get the same name twice.
func unused(used map[string]bool, name string) string {
	out := name
	for n := 2; used[out]; n++ {
		out = name + "#" + strconv.Itoa(n)
	}
	return out
}
