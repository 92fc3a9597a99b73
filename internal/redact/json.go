package redact

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// maxNesting bounds JSON in strings of JSON; what is deeper is redacted as text.
const maxNesting = 4

// validJSON accepts what any reader may take for JSON, so also an object that has a name twice.
func validJSON(b []byte) bool {
	return jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true))
}

// looksLikeJSON reports an object or array, going by its first byte.
func looksLikeJSON(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n")
	return s != "" && (s[0] == '{' || s[0] == '[')
}

// document walks valid JSON and copies it, except for secrets.
type document struct {
	r       *Redactor
	src     []byte
	pos     int
	out     []byte
	copied  int // src up to here is in out
	nesting int
}

// json returns src itself if there is no secret in it.
func (r *Redactor) json(src []byte, l level, nesting int) []byte {
	d := document{r: r, src: src, nesting: nesting}
	d.value(l, "")
	if d.copied == 0 {
		return src
	}
	return append(d.out, src[d.copied:]...)
}

// substitute puts text in place of src[from:to].
func (d *document) substitute(from, to int, text []byte) {
	d.out = append(append(d.out, d.src[d.copied:from]...), text...)
	d.copied = to
}

func (d *document) skipSpace() {
	for d.pos < len(d.src) {
		switch d.src[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

// value walks one value; l and name are what the member that holds it says.
func (d *document) value(l level, name string) {
	d.skipSpace()
	switch d.src[d.pos] {
	case '{':
		d.object(l)
	case '[':
		d.pos++
		for d.skipSpace(); d.src[d.pos] != ']'; d.skipSpace() {
			if d.src[d.pos] == ',' {
				d.pos++
			}
			d.value(l, name)
		}
		d.pos++
	case '"':
		from := d.pos
		text := d.text()
		if redacted := d.r.field(l, name, text, d.nesting); redacted != text {
			d.substitute(from, d.pos, quote(redacted))
		}
	default:
		d.scalar(l)
	}
}

// text reads a string and returns what it says.
func (d *document) text() string {
	from := d.pos
	escaped := false
	for d.pos++; d.src[d.pos] != '"'; d.pos++ {
		if d.src[d.pos] == '\\' {
			escaped = true
			d.pos++
		}
	}
	d.pos++
	if !escaped {
		raw := d.src[from+1 : d.pos-1]
		return unsafe.String(unsafe.SliceData(raw), len(raw)) // src is not changed while this is in use
	}
	plain, _ := jsontext.AppendUnquote(nil, d.src[from:d.pos]) // valid JSON unquotes
	return string(plain)
}

func quote(s string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, s) // a lone surrogate became U+FFFD when it was read
	return quoted
}

// scalar walks a number or a literal. A number is a secret by its name or by a pattern of the caller.
func (d *document) scalar(l level) {
	from := d.pos
	for d.pos < len(d.src) && !strings.ContainsRune(",]} \t\r\n", rune(d.src[d.pos])) {
		d.pos++
	}
	raw := d.src[from:d.pos]
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		return
	}
	if l == sensitive || slices.ContainsFunc(d.r.patterns, func(p pattern) bool {
		m := p.FindIndex(raw)
		return m != nil && m[0] < m[1]
	}) {
		d.substitute(from, d.pos, quote(Mask))
	}
}

// object walks the members. Below a sensitive name everything is.
func (d *document) object(inherited level) {
	if inherited != sensitive {
		inherited = harmless
	}
	d.pos++
	names := map[string]bool{} // only once a name had to be changed
	var seen []string
	named := harmless // what a sibling says: {"name": "Authorization", "value": "…"}
	for d.skipSpace(); d.src[d.pos] != '}'; d.skipSpace() {
		if d.src[d.pos] == ',' {
			d.pos++
			d.skipSpace()
		}
		from := d.pos
		name := d.text()
		if redacted := d.r.text(name, maxNesting); redacted != name {
			if len(names) == 0 {
				for _, s := range seen {
					names[s] = true
				}
			}
			redacted = unused(names, redacted)
			d.substitute(from, d.pos, quote(redacted))
			names[redacted] = true
		} else if len(names) > 0 {
			if other := unused(names, name); other != name {
				d.substitute(from, d.pos, quote(other))
				name = other
			}
			names[name] = true
		}
		seen = append(seen, name)
		d.skipSpace()
		d.pos++ // the colon
		d.skipSpace()
		l := max(inherited, d.r.level(name))
		if name == "value" || name == "Value" {
			l = max(l, named)
		}
		if d.src[d.pos] == '"' && isNameOfValue(name) {
			mark := d.pos
			named = max(named, d.r.level(d.text()))
			d.pos = mark
		}
		d.value(l, name)
	}
	d.pos++
}

// isNameOfValue reports the members whose text names what the member "value" beside them holds.
func isNameOfValue(name string) bool {
	switch name {
	case "name", "Name", "key", "Key", "header", "field":
		return true
	}
	return false
}
