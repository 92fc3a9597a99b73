package redact

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// maxNesting bounds JSON in strings of JSON; what is deeper is redacted as text.
const maxNesting = 4

// validJSON accepts what any reader may take for JSON, so also an object that has a name twice.
func validJSON(b []byte) bool {
	// What does not begin as JSON, such as most ids, is told apart without a parser
	// and its error.
	first := bytes.TrimLeft(b, " \t\r\n")
	if len(first) == 0 || strings.IndexByte(`{["-0123456789tfn`, first[0]) < 0 {
		return false
	}
	return jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true))
}

// looksLikeJSON reports an object or array, going by its first byte.
func looksLikeJSON(s string) bool {
	s = strings.TrimLeft(s, " \t\r\n")
	return s != "" && (s[0] == '{' || s[0] == '[')
}

// document walks valid JSON and notes what to change. All else of it is copied.
type document struct {
	r       *Redactor
	src     []byte
	pos     int
	changes []change
	nesting int
	// pending is within how many values the walk is whose name may come behind them: {"value": "…", "name": "password"}.
	pending int
	// late are runs of changes of which that turned out.
	late []run
}

// change puts text in place of src[from:to]. A leaf that is kept, so far, has none.
type change struct {
	from, to int
	text     []byte
	leaf     bool
}

// run is changes[from:to].
type run struct{ from, to int }

// json returns src itself if there is no secret in it.
func (r *Redactor) json(src []byte, l level, nesting int) []byte {
	d := document{r: r, src: src, nesting: nesting}
	d.value(l, "")
	return d.apply()
}

func (d *document) apply() []byte {
	d.maskLate()
	var out []byte
	copied := 0
	for _, c := range d.changes {
		if c.text != nil {
			out = append(append(out, d.src[copied:c.from]...), c.text...)
			copied = c.to
		}
	}
	if copied == 0 {
		return d.src
	}
	return append(out, d.src[copied:]...)
}

// maskLate masks the leaves of late. Runs lie within each other or apart; each leaf is looked at once.
func (d *document) maskLate() {
	if len(d.late) == 0 {
		return
	}
	slices.SortFunc(d.late, func(a, b run) int { return a.from - b.from })
	done := 0
	for _, l := range d.late {
		for n := max(done, l.from); n < l.to; n++ {
			if d.changes[n].leaf {
				d.changes[n].text = quote(Mask)
			}
		}
		done = max(done, l.to)
	}
}

func (d *document) substitute(from, to int, text []byte) {
	d.changes = append(d.changes, change{from, to, text, false})
}

// leaf notes a string or a number. No text keeps it.
func (d *document) leaf(from, to int, text []byte) {
	if text != nil || d.pending > 0 {
		d.changes = append(d.changes, change{from, to, text, true})
	}
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
		d.array(l, name)
	case '"':
		from := d.pos
		text := d.text()
		if redacted := d.r.field(l, name, text, d.nesting); redacted != text {
			d.leaf(from, d.pos, quote(redacted))
		} else if text != "" {
			d.leaf(from, d.pos, nil)
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
	if l == sensitive || d.r.matches(raw) {
		d.leaf(from, d.pos, quote(Mask))
		return
	}
	d.leaf(from, d.pos, nil)
}

// object walks the members. Below a sensitive name everything is.
func (d *document) object(inherited level) {
	if inherited != sensitive {
		inherited = harmless
	}
	d.pos++
	names := map[string]bool{} // only once a name had to be changed
	var seen []string
	var pair pair
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
		d.member(&pair, max(inherited, d.r.level(name)), name)
	}
	d.pos++
	d.settle(pair)
}
