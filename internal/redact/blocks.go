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
