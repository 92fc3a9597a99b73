package redact

import "strings"

// below returns a value on the next line or lines: the block below a name that begins its line (YAML), a line in a fence
// (Markdown), or a line of one word. s[i] is the end of the line, or what introduces the block.
func (f *fieldScan) below(n named, i int) (v span, next int) {
	s := f.s
	none := span{i, i}
	const bound = 120
	end := strings.IndexByte(s[i:min(len(s), i+bound)], '\n')
	if end < 0 || s[i] != '\n' && s[i] != '\r' && s[i] != '#' && strings.Trim(s[i:i+end], "|>+-0123456789 \t\r") != "" {
		if s[i] == '#' || s[i] == '\r' || s[i] == '\n' || end < 0 && len(s)-i < bound && strings.Trim(s[i:], "|>+-0123456789 \t") == "" {
			return none, 0
		}
		end := endOfBare(s, i)
		if s[i] == '>' {
			end = endOfBare(s, i+1)
		}
		return span{i, end}, end
	}
	i += end + 1
	if i < len(s) && strings.Trim(lineAt(s, i), " \t\r") == "" {
		i += len(lineAt(s, i))
		i = min(len(s), i+1)
	}
	if strings.HasPrefix(s[i:], "```") {
		i = min(len(s), i+len(lineAt(s, i))+1)
		v = span{i, i + len(strings.TrimRight(lineAt(s, i), "\r"))}
		return v, v.end
	}
	if column, begins := f.column(n.start); begins {
		if v := f.block(i, column); v.end > v.start {
			return v, v.end
		}
	}
	if q, ok := openingAt(s, skipSpaces(s, i)); ok {
		return f.quoted(q, n.level)
	}
	line := lineAt(s, i)
	word := strings.TrimRight(strings.TrimLeft(line, " \t"), "\r")
	from := i + strings.Index(line, word)
	if word == "" || strings.ContainsAny(word, " \t") || strings.HasSuffix(word, ":") || f.more && i+len(line) == len(s) {
		return none, 0
	}
	if end := nameChars.run(word, 0); end > 0 && end < len(word)-1 && (word[end] == ':' || word[end] == '=' && word[end+1] != '=') {
		return none, 0 // another field
	}
	end = endOfBare(s, from)
	return span{from, end}, end
}

// underneath returns the value behind an equals sign that ends its line at s[i], or behind a separator whose name is on the
// line above: one in quotes that is indented; below a name above also a line of one word, or a first word that is none of
// the language.
func (f *fieldScan) underneath(n named, i int) (v span, next int) {
	s := f.s
	from := skipSpaces(s, skipLineEnd(s, i))
	if q, ok := openingAt(s, from); ok && (n.above || s[from-1] == ' ' || s[from-1] == '\t') {
		return f.quoted(q, n.level)
	}
	if !n.above || strings.HasPrefix(s[from:], Mask) {
		return span{i, i}, 0
	}
	end := endOfBare(s, from)
	line := lineAt(s, from)
	complete := !f.more || from+len(line) < len(s) || strings.HasSuffix(line, "\r")
	alone := complete && strings.TrimRight(line, " \t\r") == s[from:end]
	if !alone && !noWord(s[from:end]) {
		return span{i, i}, 0
	}
	return span{from, end}, end
}

// restInQuotes returns where the value of "name=value" ends whose quotes are around the name, too: behind its spaces, unless
// another field or an option follows. A stream takes what it has of such a text.
func (f *fieldScan) restInQuotes(n named, separator int, v span) (end int) {
	s := f.s
	if n.level != sensitive || n.start == 0 || strings.IndexByte("\"'`", s[n.start-1]) < 0 ||
		s[separator] != '=' || n.start+len(n.text) != separator || v.start != separator+1 || v.end == len(s) || s[v.end] != ' ' {
		return v.end
	}
	const bound = 128
	rest := s[v.end:min(len(s), v.end+bound)]
	if i := strings.IndexByte(rest, '\n'); i >= 0 {
		rest = rest[:i]
	}
	closing := strings.IndexByte(rest, s[n.start-1])
	switch {
	case closing >= 0:
		rest = strings.TrimRight(rest[:closing], `\`)
	case !f.more || v.end+len(rest) < len(s):
		return v.end
	}
	if i := strings.Index(rest, " -"); i >= 0 {
		rest = rest[:i]
	}
	if strings.ContainsAny(rest, "=:") {
		return v.end
	}
	return v.end + len(rest)
}

func lineAt(s string, i int) string {
	if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
		return s[i : i+end]
	}
	return s[i:]
}

// column returns how far from the beginning of its line the name at s[i] is, and whether only marks of lists, quotes and
// emphasis stand before it.
func (f *fieldScan) column(i int) (column int, begins bool) {
	const bound = 80
	start := i
	for start > 0 && i-start < bound && strings.IndexByte(" \t-\"'*", f.s[start-1]) >= 0 {
		start--
	}
	quotes := 0
	for quotes < i-start && strings.IndexByte("\"'*", f.s[i-1-quotes]) >= 0 {
		quotes++
	}
	return i - start - quotes, start == 0 || f.s[start-1] == '\n'
}

// block returns the lines from s[i] on that stand further right than column, or are elements of a list at it.
func (f *fieldScan) block(i, column int) span {
	s := f.s
	first := i + len(lineAt(s, i)) - len(strings.TrimLeft(lineAt(s, i), " \t"))
	end := i
	for i < len(s) {
		line := lineAt(s, i)
		text := strings.TrimLeft(line, " \t")
		indent := len(line) - len(text)
		switch {
		case strings.Trim(text, "\r") == "":
		case indent > column, indent == column && strings.HasPrefix(text, "- "):
			end = i + len(strings.TrimRight(line, "\r"))
		default:
			i = len(s)
			continue
		}
		i = min(len(s), i+len(line)+1)
	}
	return span{min(first, end), end}
}
