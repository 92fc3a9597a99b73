package redact

import "strings"

// escapedTags looks at elements of XML whose brackets are escaped: the value up to the next tag, or, if there is none, its
// first word.
func (f *fieldScan) escapedTags(open, closing string) {
	s := f.s
	at := strings.Index(s, open)
	for at >= 0 {
		start := at + len(open)
		next := strings.Index(s[start:], open)
		element := s[start:]
		if next >= 0 {
			next += start
			element = s[start:next]
		}
		at = next
		tag, _, ok := strings.Cut(element, closing)
		if !ok {
			continue
		}
		name := tag
		if end := strings.IndexAny(tag, " \t\r\n"); end >= 0 {
			name = tag[:end]
		}
		name = name[strings.IndexByte(name, ':')+1:]
		if name == "" || len(name) > maxName || nameChars.run(name, 0) < len(name) || strings.HasSuffix(tag, "/") {
			continue
		}
		value := element[len(tag)+len(closing):]
		if next < 0 {
			value = value[:endOfBare(value, 0)]
		}
		from := start + len(tag) + len(closing) + len(value) - len(strings.TrimLeft(value, " \t\r\n"))
		value = strings.TrimSpace(value)
		if value == "" {
			continue
		}
		switch l, _ := f.r.read(name); {
		case l == sensitive, l == suspect && looksSecret(value):
			f.secret(span{from, from + len(value)}, 0)
		}
	}
}
