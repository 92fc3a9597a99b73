package jcs

import (
	"bytes"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// plainDigits is how many digits an integer may have that is its own canonical form: all below 2^53.
const plainDigits = 15

// canonicalNumber returns how RFC 8785 writes the number, nil if that is how it is written. ok is false if the canonical
// text would denote another number.
func canonicalNumber(text []byte) (canonical []byte, ok bool) {
	if isPlain(text) {
		return nil, true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, false
	}
	if f == 0 {
		f = 0 // RFC 8785 has no negative zero
	}
	canonical = []byte(jsontext.Float(f).String())
	if f == 0 {
		canonical = []byte("0")
	}
	if !sameNumber(text, canonical) {
		return nil, false
	}
	if bytes.Equal(text, canonical) {
		return nil, true
	}
	return canonical, true
}

func isPlain(text []byte) bool {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) > plainDigits || len(digits) < len(text) && digits[0] == '0' {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// sameNumber compares two JSON numbers as decimals, without rounding.
func sameNumber(a, b []byte) bool {
	da, db := parseDecimal(a), parseDecimal(b)
	if len(da.digits) == 0 && len(db.digits) == 0 {
		return true // both are zero, whatever the sign
	}
	return da.ok && db.ok && da.negative == db.negative && da.exponent == db.exponent && bytes.Equal(da.digits, db.digits)
}

// decimal is ±digits × 10^exponent, without zeros at either end of digits; zero has none.
type decimal struct {
	negative bool
	digits   []byte
	exponent int64
	ok       bool
}

func parseDecimal(text []byte) decimal {
	d := decimal{ok: true}
	if text[0] == '-' {
		d.negative, text = true, text[1:]
	}
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		var err error
		d.exponent, err = strconv.ParseInt(string(text[i+1:]), 10, 32)
		d.ok = err == nil
		text = text[:i]
	}
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	d.exponent -= int64(len(fraction))
	d.digits = bytes.TrimLeft(append(bytes.Clone(whole), fraction...), "0")
	trimmed := bytes.TrimRight(d.digits, "0")
	d.exponent += int64(len(d.digits) - len(trimmed))
	d.digits = trimmed
	return d
}
