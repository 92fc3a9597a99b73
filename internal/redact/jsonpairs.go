package redact

import "strings"

// pair is what an object says of a name and a value that are members of their own: {"name": "password", "value": "…"}.
type pair struct {
	named level
	// values are the changes in values that came before a name.
	values []run
}

// member walks the value of a member.
func (d *document) member(p *pair, l level, name string) {
	if l != sensitive {
		switch {
		case d.src[d.pos] == '"' && ofName(name):
			mark := d.pos
			if text := d.text(); len(text) <= maxName {
				p.named = max(p.named, d.r.level(text))
			}
			d.pos = mark
		case ofValue(name) && p.named == sensitive:
			l = sensitive
		case ofValue(name):
			l = max(l, p.named)
			d.pending++
			from := len(d.changes)
			d.value(l, name)
			d.pending--
			p.values = append(p.values, run{from, len(d.changes)})
			return
		}
	}
	d.value(l, name)
}

// settle masks values whose name came behind them.
func (d *document) settle(p pair) {
	switch p.named {
	case sensitive:
		d.late = append(d.late, p.values...)
	case suspect:
		for _, v := range p.values {
			if v.to != v.from+1 {
				continue
			}
			if c := d.changes[v.from]; d.src[c.from] == '"' && looksSecret(strings.Trim(string(d.src[c.from:c.to]), `"`)) {
				d.late = append(d.late, v)
			}
		}
	}
}

// array walks the elements. One may be named by that before it: ["Authorization", "…"], ["--password", "…"].
func (d *document) array(inherited level, name string) {
	d.pos++
	list := listOf(name)
	before := "" // the text of the last element
	for n := 0; ; n++ {
		d.skipSpace()
		if d.src[d.pos] == ']' {
			d.pos++
			return
		}
		if n > 0 {
			d.pos++ // the comma
			d.skipSpace()
		}
		l := inherited
		if l != sensitive {
			switch list.names(before, n, d.isLast) {
			case ofUser:
				if d.src[d.pos] == '"' {
					before = ""
					d.userAndPassword()
					continue
				}
				fallthrough
			case ofNext:
				l = max(l, d.r.level(before))
			}
		}
		before = ""
		if d.src[d.pos] == '"' {
			mark := d.pos
			if text := d.text(); len(text) <= maxName {
				before = text
			}
			d.pos = mark
		}
		d.value(l, name)
	}
}

// isLast reports that the element at pos, which is a list or has no elements, is the last.
func (d *document) isLast() bool {
	mark := d.pos
	defer func() { d.pos = mark }()
	switch d.src[d.pos] {
	case '[':
		return true
	case '{':
		return false
	case '"':
		d.text()
	default:
		for strings.IndexByte(",]} \t\r\n", d.src[d.pos]) < 0 {
			d.pos++
		}
	}
	d.skipSpace()
	return d.src[d.pos] == ']'
}

// userAndPassword walks the string user:password.
func (d *document) userAndPassword() {
	from := d.pos
	text := d.text()
	if redacted := d.r.userAndPassword(text, d.nesting); redacted != text {
		d.leaf(from, d.pos, quote(redacted))
		return
	}
	d.leaf(from, d.pos, nil)
}
