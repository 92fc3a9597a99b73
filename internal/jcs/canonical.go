package jcs

import (
	"bytes"
	"crypto/sha256"

	"github.com/go-json-experiment/json/jsontext"
)

// Document is a JSON value in canonical form: members sorted by name in UTF-16 order, no white space, the shortest
// strings and, where they are exact, the shortest numbers.
type Document struct {
	// JSON is the canonical text.
	JSON []byte
	// Exact reports that every number is a double, so that JSON is exactly what RFC 8785 prescribes.
	Exact bool
}

// Canonicalize returns the canonical form of src, which it does not change and whose memory it does not keep. The error
// is for text that is not one JSON value, is not UTF-8 throughout, nests deeper than 10000, or has an object with the
// same name twice.
func Canonicalize(src []byte) (Document, error) {
	v := jsontext.Value(bytes.Clone(src))
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return Document{}, err
	}
	out, exact := canonicalNumbers(v)
	return Document{JSON: out, Exact: exact}, nil
}

// Hash returns the SHA-256 of the canonical text; ok is false for an inexact document.
func (d Document) Hash() (sum [sha256.Size]byte, ok bool) {
	if !d.Exact {
		return sum, false
	}
	return sha256.Sum256(d.JSON), true
}

// canonicalNumbers rewrites each number that a double holds exactly. src is canonical but for its numbers.
func canonicalNumbers(src []byte) (out []byte, exact bool) {
	exact = true
	copied := 0
	for i := 0; i < len(src); {
		switch c := src[i]; {
		case c == '"':
			i = endOfString(src, i)
		case c == '-' || '0' <= c && c <= '9':
			end := endOfNumber(src, i)
			text, ok := canonicalNumber(src[i:end])
			switch {
			case !ok:
				exact = false
			case text != nil:
				out = append(append(out, src[copied:i]...), text...)
				copied = end
			}
			i = end
		default:
			i++
		}
	}
	if copied == 0 {
		return src, exact
	}
	return append(out, src[copied:]...), exact
}

// endOfString returns the index behind the string that begins at src[i].
func endOfString(src []byte, i int) int {
	for i++; src[i] != '"'; i++ {
		if src[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func endOfNumber(src []byte, i int) int {
	for i < len(src) {
		switch c := src[i]; {
		case '0' <= c && c <= '9', c == '-', c == '+', c == '.', c == 'e', c == 'E':
			i++
		default:
			return i
		}
	}
	return i
}
