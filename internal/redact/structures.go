package redact

import (
	"iter"
	"strings"
)

// What objects and lists say of their members by structure, for values that are no JSON.

// HoldsNamed reports fields that hold what another beside them names: value, val.
func HoldsNamed(field string) bool { return ofValue(field) }

// NameBeside returns the name that an object has for what its field value holds: of its fields and their texts that which
// says most of a secret, as name does in {"name": "password", "value": "…"}, or none.
func (r *Redactor) NameBeside(fields iter.Seq2[string, string]) (name string) {
	most := harmless
	for field, text := range fields {
		if len(text) > maxName || !ofName(field) {
			continue
		}
		if l := r.level(text); l > most {
			most, name = l, text
		}
	}
	return name
}

// Element returns element n of the list of this name without its secrets. Before is the text of the element before it, last
// that none follows: both may say that the element is a secret, as in ["--password", "…"].
func (r *Redactor) Element(list, before, text string, n int, last bool) string {
	switch r.naming(list, before, n, last) {
	case ofUser:
		return r.userAndPassword(text, 0)
	case ofNext:
		return r.Field(before, text)
	}
	return r.Field(list, text)
}

// NameOfElement returns what an element of a list that is no text is named by: the element before it, or the list.
func (r *Redactor) NameOfElement(list, before string, n int, last bool) string {
	if r.naming(list, before, n, last) == ofNext {
		return before
	}
	return list
}

// naming asks the cheap questions first, since most elements name nothing.
func (r *Redactor) naming(list, before string, n int, last bool) naming {
	if before == "" || !userOptions[before] && r.level(before) <= r.level(list) || r.Sensitive(list) {
		return ofNone
	}
	return listOf(list).names(before, n, func() bool { return last })
}

// userAndPassword returns user:password without the password.
func (r *Redactor) userAndPassword(s string, nesting int) string {
	if colon, ok := passwordOf(s); ok {
		return s[:colon] + Mask
	}
	return r.text(s, nesting)
}

// list is what the name of a list says of its elements.
type list struct{ ofNames, flat bool }

func listOf(name string) list {
	return list{ofNames(name), strings.HasSuffix(strings.ToLower(name), "headers")}
}

// naming is what an element says of that behind it.
type naming uint8

const (
	ofNone naming = iota
	ofNext        // it names it
	ofUser        // it is the option for user:password
)

// names says what the text of the element before element n says of that.
func (l list) names(before string, n int, isLast func() bool) naming {
	switch {
	case before == "" || len(before) > maxName || l.ofNames:
		return ofNone
	case userOptions[before]:
		return ofUser
	case before[0] == '-', n == 1 && isLast(), l.flat && n%2 == 1:
		return ofNext
	}
	return ofNone
}
