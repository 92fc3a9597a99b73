package redact

import "strings"

// fields finds the values of sensitive names in text: name=value, name: value, "name": "value", name => value,
// <name>value</name> and --name value, also where quotes are escaped because the text was quoted before.
func (r *Redactor) fields(s string) []span {
	var out []span
	for i := 0; i < len(s); {
		switch s[i] {
		case '=', ':', '>', ' ':
			if v, next := r.fieldAt(s, i); next > i {
				if v.end > v.start {
					out = append(out, v)
				}
				i = next
				continue
			}
		}
		i++
	}
	return out
}

// fieldAt looks at the separator s[i]. It returns the value's bounds and where to go on, or next 0 if this is no field.
func (r *Redactor) fieldAt(s string, i int) (v span, next int) {
	name, before := nameBefore(s, i)
	if name == "" {
		return span{}, 0
	}
	switch s[i] {
	case '>':
		if before == 0 || s[before-1] != '<' {
			return span{}, 0
		}
	case ' ':
		if !strings.HasPrefix(name, "--") {
			return span{}, 0
		}
	}
	l := r.level(name)
	if l == harmless {
		return span{}, 0
	}
	v, next = value(s, i, name, l)
	text := s[v.start:v.end]
	switch {
	case text == "", text == Mask, directory(name, text):
		return span{}, next
	case l == suspect && !looksSecret(text):
		return span{}, 0
	}
	return v, next
}

// nameBefore returns the name that ends before the separator s[i], and where it begins. Quotes, their backslashes and
// spaces may stand between.
func nameBefore(s string, i int) (string, int) {
	end := i
	if s[i] != ' ' {
		for n := 0; end > 0 && (s[end-1] == ' ' || s[end-1] == '\t') && n < 8; n++ {
			end--
		}
	}
	if end > 0 && (s[end-1] == '"' || s[end-1] == '\'' || s[end-1] == '`') {
		end--
		for n := 0; end > 0 && s[end-1] == '\\' && n < 16; n++ {
			end--
		}
	}
	start := end
	for start > 0 && end-start < maxName && nameChars.has(s[start-1]) {
		start--
	}
	return s[start:end], start
}

// value returns the bounds of the value behind the separator s[i], and where to go on.
func value(s string, i int, name string, l level) (v span, next int) {
	separator := s[i]
	i++
	if (separator == '=' || separator == ':') && i < len(s) && (s[i] == '>' || s[i] == '=') {
		i++
	}
	for n := 0; i < len(s) && (s[i] == ' ' || s[i] == '\t') && n < 16; n++ {
		i++
	}
	if separator == '>' {
		end := strings.IndexByte(s[i:], '<')
		if end < 0 {
			end = len(s) - i
		}
		return span{i, i + end}, i + end
	}
	quote := i
	for quote < len(s) && s[quote] == '\\' && quote-i < 16 {
		quote++
	}
	if quote < len(s) && (s[quote] == '"' || s[quote] == '\'' || s[quote] == '`') {
		end := endOfQuoted(s, quote+1, s[quote], quote-i)
		return span{quote + 1, end}, end
	}
	if hasSuffix(compact(name), lineSuffixes) {
		end := i
		for end < len(s) && !strings.ContainsRune("\r\n\"'`", rune(s[end])) {
			end++
		}
		return span{i, end}, end
	}
	if l == suspect {
		// Not further than it can be a secret: what is none is read again.
		end := tokenChars.run(s, i)
		return span{i, end}, end
	}
	end := endOfBare(s, i)
	return span{i, end}, end
}

// endOfQuoted returns where the text ends whose opening quote had so many backslashes before it: at the same quote with as
// many, or at the end of a text that was cut off.
func endOfQuoted(s string, i int, quote byte, backslashes int) int {
	run := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			run++
			continue
		case quote:
			if run == backslashes || backslashes == 0 && run%2 == 0 || run < backslashes {
				return i - min(run, backslashes)
			}
		}
		run = 0
	}
	return i
}

// endOfBare returns where a value without quotes ends: at white space or a quote, and at punctuation if what follows it is
// not more of the value.
func endOfBare(s string, i int) int {
	for i < len(s) {
		if strings.HasPrefix(s[i:], Mask) {
			i += len(Mask)
			continue
		}
		switch s[i] {
		case ' ', '\t', '\r', '\n', '"', '\'', '`', '<', '>', '\\':
			return i
		case ',', ';', '&', ')', ']', '}', '|':
			if endsValue(s, i+1) {
				return i
			}
		}
		i++
	}
	return i
}

// endsValue reports whether s[i:], behind punctuation, is the end, white space, more closing punctuation or another field.
func endsValue(s string, i int) bool {
	if i == len(s) {
		return true
	}
	switch s[i] {
	case ' ', '\t', '\r', '\n', '"', '\'', '`', ',', ';', '&', ')', ']', '}', '\\', '<', '{', '[', '(':
		return true
	}
	end := i
	for end < len(s) && end-i < maxName && nameChars.has(s[end]) {
		end++
	}
	return end > i && end < len(s) && (s[end] == '=' || s[end] == ':')
}
