package redact

import (
	"strings"
	"unicode/utf8"
)

// fieldScan reads the fields of a text: a name, what separates it from its value, the value. A step is taken at each
// separator, which looks back for the name, a bounded way, and forward for the value. What was found to be a secret is not
// read again.
type fieldScan struct {
	r *Redactor
	s string
	// more: the text goes on behind s, which ends with a word or within one.
	more bool
	out  []span
	// tag is where the last tag of XML begins.
	tag int
	// hints is where the first hint of the name of a secret ends and the last.
	hints span
	// bare is where the last value without quotes that was only looked at ends: what begins in it ends there, too.
	bare int
	// name and value are the last fields that name or hold what another beside them holds or names.
	name, value sibling
}

func (r *Redactor) fields(s string, hints span, more bool) []span {
	f := fieldScan{r: r, s: s, hints: hints, more: more, tag: -1}
	for i := 0; i < len(s); {
		if !separators.has(s[i]) {
			i++
			continue
		}
		i = max(i+1, f.at(i))
	}
	f.escapedTags("&lt;", "&gt;")
	f.escapedTags(`\u003c`, `\u003e`)
	f.escapedTags(`\u003C`, `\u003E`)
	return f.out
}

// at looks at the separator s[i] and returns where to go on, or less to go on behind it.
func (f *fieldScan) at(i int) int {
	switch f.s[i] {
	case '=', ':':
		return f.assigned(i, i+1)
	case '%':
		if c, next, ok := percent(f.s, i); ok && (c == '=' || c == ':') {
			return f.assigned(i, next)
		}
	case '<':
		f.tag = i
	case '>':
		return f.closed(i)
	case ' ':
		return f.spaced(i)
	case ',':
		return f.paired(i)
	case '(':
		return f.called(i)
	}
	return 0
}

// maxBack is how far before its separator a name may be.
const maxBack = 144

// hinted reports that the name of a secret may be within so many bytes before s[i].
func (f *fieldScan) hinted(i, within int) bool {
	return f.r.names != nil || f.hints.start <= i && i-f.hints.end <= within
}

// secret notes a value and returns where to go on.
func (f *fieldScan) secret(v span, next int) int {
	if v.end > v.start && f.s[v.start:v.end] != Mask {
		f.out = append(f.out, v)
	}
	return next
}

// assigned looks at name = value and name: value. The separator is s[i:behind].
func (f *fieldScan) assigned(i, behind int) int {
	n := f.nameBefore(i)
	hinted := f.hinted(i, maxBack)
	if n.text != "" {
		if hinted {
			n.level, _ = f.r.read(n.text)
		}
		if n.level == harmless && (ofName(n.text) || ofValue(n.text)) {
			two := f.twoWords(n) // API key
			if two.level == harmless {
				f.sibling(n.text, n.start, f.look(behind))
				return 0
			}
			n = two
		}
	}
	if n.level == harmless && hinted {
		n = f.otherName(n, i)
	}
	if n.level == harmless {
		return 0
	}
	v, next := f.valueOf(n, i, behind)
	if end := f.restInQuotes(n, i, v); end > v.end {
		v.end, next = end, end
	}
	text := f.s[v.start:v.end]
	switch {
	case text == "", text == Mask, directory(n.text, text):
		return next
	case n.prose && !noWord(text) && !f.quotedWord(v), n.level == suspect && !looksSecret(text):
		return 0
	}
	return f.secret(v, next)
}

// quotedWord reports a word that stands in quotes of its own.
func (f *fieldScan) quotedWord(v span) bool {
	return v.start > 0 && v.end < len(f.s) && strings.IndexByte("\"'`", f.s[v.end]) >= 0 && f.s[v.start-1] == f.s[v.end]
}

// spaced looks at --name value, at sentences as in "the password is", and at the password '…' of SQL.
func (f *fieldScan) spaced(i int) int {
	s := f.s
	if i == 0 || i+1 == len(s) || !f.hinted(i, maxBack) {
		return 0
	}
	switch s[i+1] {
	case 'i', 'w', 't':
		for _, verb := range []string{"is ", "was ", "to "} {
			if strings.HasPrefix(s[i+1:], verb) {
				return f.said(i, i+1+len(verb), verb == "to ")
			}
		}
	case '"', '\'', '`':
		if next := f.told(i); next > 0 {
			return next
		}
	}
	if !nameChars.has(s[i-1]) {
		return 0
	}
	n := f.run(i)
	switch {
	case strings.HasPrefix(n.text, "-") && (n.start == 0 || !alnum.has(s[n.start-1])), n.text == "password" && f.inNetrc(n.start):
	default:
		return 0
	}
	if n.level = f.r.level(n.text); n.level == harmless {
		return 0
	}
	v, next := f.valueOf(n, i, i+1)
	if n.level == suspect && !looksSecret(s[v.start:v.end]) || strings.HasPrefix(s[v.start:v.end], "--") {
		return 0
	}
	return f.secret(v, next)
}

// told looks at a name and a quoted word: #define PASSWORD "…", PASSWORD '…' (SQL), invalid password "…". Behind secret and
// credential, as a rule, stands their name.
func (f *fieldScan) told(i int) int {
	s := f.s
	n := f.nameAt(i)
	if n.level == harmless {
		n = f.twoWords(n)
	}
	if n.level != sensitive || endsWithAny(n.text, "secret", "secrets", "credential", "credentials", "cookie", "authorization") {
		return 0
	}
	start := i + 2
	for end := start; end < len(s) && end-start < maxWord; end++ {
		switch s[end] {
		case s[i+1]:
			return f.secret(span{start, end}, end)
		case ' ', '\t', '\r', '\n', '"', '\'', '`':
			return 0
		}
	}
	return 0
}

// inNetrc reports that the word at i follows those of .netrc.
func (f *fieldScan) inNetrc(i int) bool {
	const bound = 128
	before := f.s[max(0, i-bound):i]
	return strings.Contains(before, "machine ") && strings.Contains(before, "login ")
}

// said looks at the sentence "name is value": the value is in quotes, or no word of the language.
func (f *fieldScan) said(i, behind int, adjacent bool) int {
	n := f.nameAt(i)
	if n.level == harmless {
		if two := f.twoWords(n); two.level != harmless || adjacent {
			n = two
		} else {
			n = f.phraseBefore(n, i)
		}
	}
	if n.level == harmless {
		return 0
	}
	if q, ok := f.opens(behind); ok && !n.prose {
		v, next := f.quoted(q, suspect)
		if v.end < len(f.s) && !strings.Contains(f.s[v.start:v.end], "\n") {
			return f.secret(v, next)
		}
	}
	v := f.word(behind)
	if !noWord(f.s[v.start:v.end]) {
		return 0
	}
	return f.secret(v, v.end)
}

// word returns the word of a sentence at i, without the punctuation and quotes around it.
func (f *fieldScan) word(i int) span {
	for i < len(f.s) && strings.IndexByte("\"'`*_ (", f.s[i]) >= 0 {
		i++
	}
	end := i
	for end < len(f.s) && f.s[end] > ' ' && f.s[end] < utf8.RuneSelf && strings.IndexByte("\"'`<>", f.s[end]) < 0 {
		end++
	}
	for end > i && strings.IndexByte(".,;:!?)*", f.s[end-1]) >= 0 {
		end--
	}
	return span{i, end}
}

// closed looks at the '>' behind the tag of an element, and at name -> value.
func (f *fieldScan) closed(i int) int {
	s := f.s
	if i > 1 && s[i-1] == '-' && s[i-2] == ' ' {
		n := f.nameBefore(i - 1)
		if n.text != "" && f.r.level(n.text) == sensitive {
			n.level = sensitive
			return f.secret(f.valueOf(n, i, i+1))
		}
	}
	if f.tag < 0 {
		return 0
	}
	start := f.tag + 1
	f.tag = -1
	end := start
	for end < i && end-start < maxName && (nameChars.has(s[end]) || s[end] == ':') {
		end++
	}
	name := s[start:end]
	name = name[strings.IndexByte(name, ':')+1:]
	if name == "" || s[i-1] == '/' {
		return 0
	}
	v := span{i + 1, len(s)}
	if cdata := "<![CDATA["; strings.HasPrefix(s[v.start:], cdata) {
		v.start += len(cdata)
		if end := strings.Index(s[v.start:], "]]>"); end >= 0 {
			v.end = v.start + end
		}
	} else if end := strings.IndexByte(s[v.start:], '<'); end >= 0 {
		v.end = v.start + end
	}
	text := strings.TrimSpace(s[v.start:v.end])
	l, _ := f.r.read(name)
	if f.name.value.start > start {
		l = max(l, f.name.level) // <param name="password">
	}
	switch {
	case text == "":
	case l == sensitive, l == suspect && looksSecret(text):
		v.start += strings.Index(s[v.start:v.end], text)
		return f.secret(span{v.start, v.start + len(text)}, v.end)
	case l == harmless && (ofName(name) || ofValue(name) || name == "string" && f.name.isKey):
		f.sibling(name, start, v)
		f.name.isKey = name == "key"
	}
	return 0
}

// called looks at setName("value").
func (f *fieldScan) called(i int) int {
	if i == 0 || !alnum.has(f.s[i-1]) || !f.hinted(i, maxBack) {
		return 0
	}
	q, ok := f.opens(i + 1)
	if !ok {
		return 0
	}
	n := f.nameAt(i)
	if n.level != sensitive || asks(n.text) {
		return 0
	}
	return f.secret(f.quoted(q, n.level))
}

// asks reports functions that are given what to look for and not the secret itself.
func asks(name string) bool {
	name = strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	for _, verb := range []string{"get", "read", "fetch", "load", "find", "lookup", "prompt", "ask", "input", "enter", "has", "is", "list", "delete", "create", "generate"} {
		if strings.HasPrefix(name, verb) {
			return true
		}
	}
	return false
}
