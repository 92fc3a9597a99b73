package redact

import (
	"strings"
	"unicode/utf8"
)

// named is the name of a field.
type named struct {
	text  string
	start int
	level level
	// prose: the name is somewhere in a sentence, so the value must be no word of the language.
	prose bool
	// above: the name ends the line before that of its separator.
	above bool
}

// maxClosers bounds what may stand between a name and its separator: spaces, quotes, the brackets of subscripts, marks of
// emphasis, the first half of an operator.
const maxClosers = 24

// nameBefore returns the name that ends before s[i], not yet what it says.
func (f *fieldScan) nameBefore(i int) named {
	s, end := f.s, i
closers:
	for end > 0 && i-end < maxClosers {
		switch s[end-1] {
		case ' ', '\t', '"', '\'', '`', ']', '[', '*', '?', '+', '!', '|', '\\':
			end--
		case ';', '2', '7':
			start := end
			for _, e := range escapedQuotes {
				start = min(start, len(strings.TrimSuffix(s[max(0, end-len(e)):end], e))+max(0, end-len(e)))
			}
			if start < end {
				end = start
				continue
			}
			fallthrough
		default:
			c, start, ok := percentBefore(s, end)
			if !ok || nameChars.has(c) {
				break closers
			}
			end = start
		}
	}
	return f.run(end)
}

// nameAt returns the name that ends right before s[i], but for a quote, and what it says.
func (f *fieldScan) nameAt(i int) named {
	if i > 0 && strings.IndexByte("\"'`*", f.s[i-1]) >= 0 {
		i--
	}
	n := f.run(i)
	if n.text != "" {
		n.level, _ = f.r.read(n.text)
	}
	return n
}

// run returns the run of the characters of names that ends before s[end].
func (f *fieldScan) run(end int) named {
	s, start := f.s, end
	for start > 0 && end-start < maxName && nameChars.has(s[start-1]) {
		if s[start-1] == '%' {
			c, next, ok := percent(s, start-1)
			if !ok {
				break
			}
			if !nameChars.has(c) && c != ' ' {
				return named{text: s[next:max(next, end)], start: next}
			}
		}
		start--
	}
	return named{text: s[start:end], start: start}
}

// otherName looks for the name of a field whose last word before the separator s[i], n, says nothing: a name of two words,
// a type behind the name, a remark in parentheses, or a name somewhere in the sentence.
func (f *fieldScan) otherName(n named, i int) named {
	s := f.s
	if n.start > 0 && s[n.start-1] == ' ' {
		if two := f.twoWords(n); two.level != harmless {
			return two
		}
	}
	if s[i] == '=' && i > 0 && s[i-1] == ' ' {
		if n.text == "" {
			n.start = skipBack(s, i)
		}
		if typed := f.typed(n); typed.level != harmless {
			return typed
		}
	}
	end := i
	for end > 0 && strings.IndexByte(" *\"'`", s[end-1]) >= 0 && i-end < 4 {
		end--
	}
	if end > 0 && (s[end-1] == ')' || s[end-1] == ']') {
		const bound = 32
		from := max(0, end-bound)
		if open := strings.LastIndexAny(s[from:end], "(["); open > 0 && s[from+open-1] == ' ' {
			n := f.nameAt(from + open - 1)
			if n.level == harmless {
				n = f.twoWords(n)
			}
			return n
		}
	}
	if s[i] == '=' || s[i] == ':' {
		if n.text == "" {
			if above := f.nameAbove(i); above.level != harmless {
				return above
			}
		}
		// What is left of a foreign name where it stops at other characters.
		if len(n.text) <= 1 || endsWithAny(n.text, "passe") {
			if foreign := f.foreignName(i); foreign.level != harmless {
				return foreign
			}
		}
		return f.phraseBefore(n, i)
	}
	return named{}
}

// twoWords joins a word with that before it: API key.
func (f *fieldScan) twoWords(n named) named {
	if n.start == 0 || f.s[n.start-1] != ' ' || n.text == "" {
		return named{}
	}
	first := f.run(n.start - 1)
	if first.text == "" {
		return named{}
	}
	two := named{text: f.s[first.start : n.start+len(n.text)], start: first.start}
	l, ending := f.r.read(two.text)
	if ending && (f.r.level(first.text) == harmless || endsWithAny(n.text, "key", "token", "phrase")) {
		two.level = l
	}
	return two
}

// typed returns the name before a type: "password string =" and "password: T =".
func (f *fieldScan) typed(n named) named {
	switch strings.ToLower(n.text) {
	case "string", "str", "bytes", "byte":
		if before := f.nameBefore(n.start); before.text != "" {
			before.level, _ = f.r.read(before.text)
			if before.level != harmless {
				return before
			}
		}
	}
	const bound = 40
	i := n.start
	for i > 0 && n.start-i < bound && (nameChars.has(f.s[i-1]) || strings.IndexByte(" []|*<>?&", f.s[i-1]) >= 0) {
		i--
	}
	if i == 0 || f.s[i-1] != ':' {
		return named{}
	}
	before := f.nameBefore(i - 1)
	if before.text != "" {
		before.level, _ = f.r.read(before.text)
	}
	return before
}

// phraseBefore looks for a name in the sentence before s[i]: "the password of the database".
func (f *fieldScan) phraseBefore(n named, i int) named {
	const bound = 64
	if !f.hinted(i, bound) {
		return named{}
	}
	s, start := f.s, i
	for start > 0 && i-start < bound && (nameChars.has(s[start-1]) && s[start-1] != '.' || s[start-1] == ' ' || s[start-1] >= 0x80) {
		start--
	}
	phrase := strings.TrimSpace(s[start:i])
	for _, verb := range []string{" is", " was", " are"} {
		phrase = strings.TrimSuffix(phrase, verb)
	}
	l, _ := f.r.read(phrase)
	return named{text: phrase, start: start, level: l, prose: true}
}

// nameAbove returns the name that ends the line before that of the separator s[i]: an equals sign that begins its line, or
// a separator that has it for itself. Other colons begin a definition, several equals signs underline a heading.
func (f *fieldScan) nameAbove(i int) named {
	s := f.s
	if i+1 < len(s) && s[i+1] == '=' {
		return named{}
	}
	if s[i] == ':' {
		if behind := skipSpaces(s, i+1); behind == len(s) || s[behind] != '\n' && s[behind] != '\r' {
			return named{}
		}
	}
	end := i
	for end > 0 && i-end < maxClosers && (s[end-1] == ' ' || s[end-1] == '\t') {
		end--
	}
	if end == 0 || s[end-1] != '\n' {
		return named{}
	}
	above := f.nameAt(len(strings.TrimRight(s[:end-1], " \t\r")))
	above.above = true
	return above
}

// foreignNames are names of more than one word, or with letters outside ASCII.
var foreignNames = []string{"mot de passe", "contraseña", "contrasen\u0303a"}

// foreignName returns the one that ends before the separator s[i], but for spaces, also such as French has there, quotes and
// marks of emphasis.
func (f *fieldScan) foreignName(i int) named {
	before := f.s[:i]
	for i-len(before) < maxClosers && before != "" {
		last := before[len(before)-1]
		if strings.IndexByte(" \t*\"'`", last) >= 0 {
			before = before[:len(before)-1]
			continue
		}
		if last < utf8.RuneSelf {
			break
		}
		space := strings.TrimSuffix(strings.TrimSuffix(before, "\u00a0"), "\u202f")
		if len(space) == len(before) {
			break
		}
		before = space
	}
	for _, name := range foreignNames {
		if endsWithAny(before, name) {
			start := len(before) - len(name)
			return named{text: before[start:], start: start, level: sensitive}
		}
	}
	return named{}
}
