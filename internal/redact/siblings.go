package redact

import "strings"

// sibling is a field that names what another beside it holds, or holds what another names.
type sibling struct {
	value span
	level level // of a name
	isKey bool  // of an element <key>
}

// maxApart is how far two such fields may be from each other.
const maxApart = 200

// beside reports that the field that begins at s[i] may belong to the same object as the value.
func (f *fieldScan) beside(v span, i int) bool {
	if v.end == 0 || i < v.end || i-v.end > maxApart {
		return false
	}
	between := f.s[v.end:i]
	return !strings.ContainsAny(between, "{})") && !strings.Contains(between, "\n-") && !strings.Contains(between, "/>")
}

// look returns the value at s[i], behind a separator, without taking it.
func (f *fieldScan) look(i int) span {
	s := f.s
	if i < len(s) && (s[i] == '>' || s[i] == '=') {
		i++
	}
	i = skipSpaces(s, i)
	if q, ok := f.opens(i); ok {
		return span{q.at, endOfQuoted(s, q)}
	}
	if i < len(s) && strings.IndexByte("[{(", s[i]) >= 0 {
		return span{i, i}
	}
	if i >= f.bare {
		f.bare = endOfBare(s, i)
	}
	return span{i, f.bare}
}

// sibling takes a field that is one of two.
func (f *fieldScan) sibling(name string, start int, v span) {
	text := f.s[v.start:v.end]
	if ofValue(name) || name == "string" {
		if f.beside(f.name.value, start) {
			f.hold(f.name.level, v)
		}
		f.value = sibling{value: v}
		return
	}
	f.name = sibling{value: v}
	if len(text) <= maxName {
		f.name.level, _ = f.r.read(text)
	}
	if f.name.level == harmless {
		return
	}
	if f.beside(f.value.value, start) {
		f.hold(f.name.level, f.value.value)
	}
	// A part of a form has its value behind an empty line.
	rest := strings.TrimLeft(f.s[v.end:min(len(f.s), v.end+8)], `"'`)
	if strings.HasPrefix(rest, "\r\n\r\n") || strings.HasPrefix(rest, "\n\n") {
		i := v.end + strings.IndexByte(f.s[v.end:], '\n')
		i += 1 + strings.IndexByte(f.s[i+1:], '\n') + 1
		f.hold(f.name.level, span{i, i + len(strings.TrimRight(lineAt(f.s, i), "\r"))})
	}
}

func (f *fieldScan) hold(l level, v span) {
	if text := f.s[v.start:v.end]; l == sensitive || l == suspect && looksSecret(text) {
		f.secret(v, 0)
	}
}

// ofNames reports fields that list names of fields, so that a second name in them is not the value of the first.
func ofNames(name string) bool {
	name = strings.ToLower(name)
	for _, s := range []string{
		"required", "enum", "field", "column", "key", "names", "allow", "expose", "include", "exclude", "ignore", "omit", "pick", "select",
		"mask", "redact", "sensitive", "scope", "tags", "types", "param", "vary", "order", "props", "args_schema", "missing", "options",
	} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// userOptions are those of curl and others for user:password.
var userOptions = set("-u", "-U", "--user", "--proxy-user")

// passwordOf returns the password of user:password.
func passwordOf(s string) (start int, ok bool) {
	colon := strings.IndexByte(s, ':')
	if colon <= 0 || colon+1 == len(s) || digits.run(s, colon+1) == len(s) && digits.run(s, 0) == colon {
		return 0, false // two numbers are a user and a group
	}
	return colon + 1, true
}

// paired looks at the comma of ("name", "value"), of ["name", "value"] and of "--name", "value".
func (f *fieldScan) paired(i int) int {
	s := f.s
	if i == 0 || s[i-1] != '"' && s[i-1] != '\'' || !f.hinted(i, maxBack) {
		return 0
	}
	quote, end := s[i-1], i-1
	for end > 0 && s[end-1] == '\\' && i-end < 16 {
		end--
	}
	n := f.run(end)
	open := n.start - 1
	if n.text == "" || open < 0 || s[open] != quote {
		return 0
	}
	q, ok := f.opens(i + 1)
	if !ok {
		return f.pairedList(n, open, skipSpaces(s, i+1))
	}
	if userOptions[n.text] {
		v, next := f.quoted(q, suspect)
		if from, ok := passwordOf(s[v.start:v.end]); ok {
			return f.secret(span{v.start + from, v.end}, next)
		}
		return 0
	}
	n.level, _ = f.r.read(n.text)
	if n.level == harmless {
		return 0
	}
	v, next := f.quoted(q, suspect)
	if n.level == suspect && !looksSecret(s[v.start:v.end]) || n.text[0] != '-' && !f.isPair(open, v.end, q) {
		return 0
	}
	return f.secret(v, next)
}

// pairedList looks at ["name", ["value"]].
func (f *fieldScan) pairedList(n named, open, i int) int {
	if i == len(f.s) || f.s[i] != '[' || open == 0 || f.s[open-1] != '[' && f.s[open-1] != '(' || f.r.level(n.text) != sensitive {
		return 0
	}
	if end, ok := f.bracketed(i); ok {
		return f.secret(span{i, end}, end)
	}
	return 0
}

// isPair reports that a name whose quote is at s[open] and a value that ends at s[end] are all that is in their brackets, or
// the first two arguments of a function.
func (f *fieldScan) isPair(open, end int, q opening) bool {
	s := f.s
	for n := 0; open > 0 && n < 24 && (s[open-1] == '\\' || s[open-1] == ' ' || s[open-1] == 'b' || s[open-1] == 'u'); n++ {
		open--
	}
	if open == 0 {
		return false
	}
	behind := skipSpaces(s, min(len(s), end+q.backslashes+1))
	closed := behind == len(s) && !f.more || behind < len(s) && strings.IndexByte("]})", s[behind]) >= 0
	switch s[open-1] {
	case '(':
		return closed || open > 1 && alnum.has(s[open-2])
	case '[', '{':
		field := skipBack(s, open-1)
		if field > 0 && (s[field-1] == ':' || s[field-1] == '=') {
			return closed && !ofNames(f.nameBefore(field-1).text)
		}
		return closed
	}
	return false
}

func skipBack(s string, i int) int {
	for n := 0; i > 0 && s[i-1] == ' ' && n < 16; n++ {
		i--
	}
	return i
}
