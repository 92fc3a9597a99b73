package redact

import "strings"

// opening is the quote that a value begins with.
type opening struct {
	at          int // of the first character behind it
	quote       byte
	backslashes int    // before each quote, since the text was quoted before
	triple      bool   // """
	escape      string // what stands for the quote, if it is escaped otherwise: &quot;
	parens      bool   // it is within parentheses, where more quoted parts may follow
}

// escapedQuotes are what HTML, JSON and others write for a quote.
var escapedQuotes = []string{"&quot;", "&apos;", "&#34;", "&#39;", "&#x22;", "&#x27;", `\u0022`, `\u0027`, `\x22`, `\x27`}

// maxPrefix bounds what may stand between a separator and the quote of its value.
const maxPrefix = 80

// opens looks for a quote at s[i], behind what a program prints before one: b”, f"", name(name("")), (type)"", &"", []T{""}.
func (f *fieldScan) opens(i int) (opening, bool) {
	s := f.s
	i = skipSpaces(s, i)
	limit := min(len(s), i+maxPrefix)
	parens := false
	for i < limit {
		if q, ok := openingAt(s, i); ok {
			q.parens = parens
			return q, true
		}
		end := i
		for end < limit && (alnum.has(s[end]) || strings.IndexByte("_.:=", s[end]) >= 0) {
			end++
		}
		switch word := s[i:end]; {
		case end == limit:
			return opening{}, false
		case s[end] == '(' || s[end] == '{' && end > i:
			parens = true
			i = skipSpaces(s, end+1)
			if i < limit && digits.has(s[i]) { // string(7) "…"
				if close := digits.run(s, i); close < limit && s[close] == ')' && word != "" {
					i = skipSpaces(s, close+1)
				}
			}
		case s[end] == '[' && end+1 < limit && s[end+1] == ']', end > i && s[end] == ')':
			i = skipSpaces(s, end+1)
			if s[end] == '[' {
				i = end + 2
			}
		case word == "new" && s[end] == ' ':
			i = end + 1
		case end > i && end-i <= 2 && strings.Trim(strings.ToLower(word), "bufrl") == "":
			if _, ok := openingAt(s, end); !ok {
				return opening{}, false
			}
			i = end
		case end > i && s[end] == '{', end == i && strings.IndexByte("&@$*<", s[i]) >= 0:
			i = end + 1
		default:
			// A word right before a quote is its prefix or type.
			if end == i || i == 0 || strings.IndexByte("]*<", s[i-1]) < 0 {
				return opening{}, false
			}
			if s[i-1] == '<' {
				end = skipSpaces(s, end)
			}
			return openingAt(s, end)
		}
	}
	return opening{}, false
}

func openingAt(s string, i int) (opening, bool) {
	if i < len(s) && (s[i] == '&' || s[i] == '\\') {
		for _, e := range escapedQuotes {
			if strings.HasPrefix(s[i:], e) {
				return opening{at: i + len(e), quote: e[0], escape: e}, true
			}
		}
	}
	from := i
	for i < len(s) && s[i] == '\\' && i-from < 16 {
		i++
	}
	if i == len(s) || s[i] != '"' && s[i] != '\'' && s[i] != '`' {
		return opening{}, false
	}
	q := opening{at: i + 1, quote: s[i], backslashes: i - from}
	if q.backslashes == 0 && i+2 < len(s) && s[i+1] == q.quote && s[i+2] == q.quote {
		q.at, q.triple = i+3, true
	}
	return q, true
}

// quoted returns the value behind an opening quote and where to go on. To what is a secret for sure belongs what is joined
// to it ("a" + "b"); other values may have to be read again.
func (f *fieldScan) quoted(q opening, l level) (v span, next int) {
	s := f.s
	v = span{q.at, endOfQuoted(s, q)}
	for l == sensitive && v.end < len(s) {
		i := v.end + q.backslashes + 1
		switch {
		case q.triple:
			i += 2
		case q.escape != "":
			i = v.end + len(q.escape)
		}
		i = min(len(s), i)
		next, joined := openingAt(s, i)
		if !joined || next.quote != q.quote {
			plus := skipSpaces(s, i)
			switch {
			case plus < len(s) && s[plus] == '+':
				plus = skipSpaces(s, plus+1)
			case q.parens:
				plus = skipSpaces(s, skipLineEnd(s, plus))
			default:
				return v, v.end
			}
			if next, joined = openingAt(s, plus); !joined {
				break
			}
		}
		next.parens = q.parens
		q = next
		v.end = endOfQuoted(s, q)
	}
	return v, v.end
}

// endOfQuoted returns where a quoted text ends: at the same quote with as many backslashes, or at the end of a text that was
// cut off.
func endOfQuoted(s string, q opening) int {
	i, run := q.at, 0
	if q.escape != "" {
		if end := strings.Index(s[i:], q.escape); end >= 0 {
			return i + end
		}
		return len(s)
	}
	if q.triple {
		if end := strings.Index(s[i:], strings.Repeat(string(q.quote), 3)); end >= 0 {
			return i + end
		}
		return len(s)
	}
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			run++
			continue
		case q.quote:
			if run == q.backslashes || q.backslashes == 0 && run%2 == 0 || run < q.backslashes {
				return i - min(run, q.backslashes)
			}
		}
		run = 0
	}
	return i
}

func skipSpaces(s string, i int) int {
	for n := 0; i < len(s) && (s[i] == ' ' || s[i] == '\t') && n < 16; n++ {
		i++
	}
	return i
}

func skipLineEnd(s string, i int) int {
	for n := 0; i < len(s) && (s[i] == '\r' || s[i] == '\n') && n < 2; n++ {
		i++
	}
	return i
}

// skipTag skips a tag or an anchor of YAML: !!str, &name.
func skipTag(s string, i int) int {
	if i == len(s) || s[i] != '!' && s[i] != '&' {
		return i
	}
	const bound = 40
	end := i + 1
	for end < len(s) && end-i < bound && (nameChars.has(s[end]) || s[end] == '!') {
		end++
	}
	if end == i+1 || end == len(s) || s[end] != ' ' {
		return i
	}
	if behind := skipSpaces(s, end); behind < len(s) && strings.IndexByte("=\r\n,", s[behind]) < 0 {
		return behind
	}
	return i
}

// valueOf returns the bounds of the value behind the separator s[i:behind], and where to go on.
func (f *fieldScan) valueOf(n named, i, behind int) (v span, next int) {
	s := f.s
	separator := s[i]
	i = behind
	if (separator == '=' || separator == ':') && i < len(s) && (s[i] == '>' || s[i] == '=') {
		i++
	}
	i = skipSpaces(s, i)
	for k := 0; i < len(s) && s[i] == '*' && k < 3; k++ { // emphasis
		i = skipSpaces(s, i+1)
	}
	if separator == '%' || i < len(s) && s[i] == '%' {
		return f.encoded(i)
	}
	if n.prose {
		v := f.word(i)
		return v, v.end
	}
	if tagged := skipTag(s, i); separator == ':' && tagged > i {
		if v, next := f.plain(n, separator, tagged); v.end > v.start {
			return v, next
		}
		end := endOfBare(s, i)
		return span{i, end}, end
	}
	return f.plain(n, separator, i)
}

// plain returns the bounds of the value at s[i], and where to go on.
func (f *fieldScan) plain(n named, separator byte, i int) (v span, next int) {
	s := f.s
	i = skipEscapedSpace(s, i)
	if i < len(s) && separator == ':' && !n.above && strings.IndexByte("\r\n|>#", s[i]) >= 0 {
		return f.below(n, i)
	}
	if i < len(s) && separator == '=' && (s[i] == '\n' || s[i] == '\r') || n.above {
		return f.underneath(n, i)
	}
	if q, ok := f.opens(i); ok {
		if !f.closes(n, q) {
			// What stands apart from an empty value was perhaps given out before by a stream, and so is no prefix.
			if v, next := f.quoted(q, n.level); v.end > v.start || !strings.Contains(s[i:q.at], " ") {
				return v, next
			}
		}
		if _, direct := openingAt(s, i); direct {
			return span{i, i}, 0
		}
	}
	if strings.HasPrefix(s[i:], Mask) {
		end := endOfBare(s, i)
		return span{i, end}, end
	}
	switch {
	case ofLine(n.text):
		end := i
		for end < len(s) && strings.IndexByte("\r\n\"'`", s[end]) < 0 {
			end++
		}
		return span{i, end}, end
	case n.level == suspect:
		// Not further than it can be a secret: what is none is read again.
		end := tokenChars.run(s, i)
		return span{i, end}, end
	}
	if i < len(s) && s[i] == '<' {
		i++
	}
	if end, ok := f.bracketed(i); ok {
		return span{i, end}, end
	}
	end := endOfBare(s, i)
	const bound = 32
	if end-i <= bound {
		if word, _, _ := strings.Cut(s[i:end], "["); noSecrets[strings.ToLower(word)] {
			return span{i, i}, 0
		}
	}
	return span{i, end}, end
}

// closes reports that the quote behind the separator is not that of a value but ends the text the name stands in, as in
// input("Password: ").
func (f *fieldScan) closes(n named, q opening) bool {
	s := f.s
	if n.start > 0 && s[n.start-1] == q.quote && strings.IndexByte(s[n.start+len(n.text):q.at-1], q.quote) < 0 {
		return true
	}
	if q.triple || q.at < len(s) && strings.IndexByte(")],;} \r\n", s[q.at]) < 0 {
		return false
	}
	line := s[q.at:endOfQuoted(s, q)]
	return strings.Contains(line, "\n") || q.at+len(line) == len(s)
}

// skipEscapedSpace skips line ends that a text has as \n since it was quoted before, if anything follows them.
func skipEscapedSpace(s string, i int) int {
	for from := i; i < len(s) && s[i] == '\\' && i-from < 64; {
		end := i
		for end < len(s) && s[end] == '\\' {
			end++
		}
		if end == len(s) || strings.IndexByte("nrt", s[end]) < 0 {
			return i
		}
		i = skipSpaces(s, end+1)
	}
	return i
}

// bracketed returns where a list, an object or a block ends that begins at s[i], also one that was cut off.
func (f *fieldScan) bracketed(i int) (end int, ok bool) {
	s := f.s
	if i+1 >= len(s) {
		return 0, false
	}
	switch first := s[skipSpaces(s, i+1)%len(s)]; {
	case s[i] == '{':
	case s[i] == '[' && strings.IndexByte("\"'`{[(\r\n\\bu", first) >= 0:
	case s[i] == '[':
		const bound = 256
		end := strings.IndexAny(s[i:min(len(s), i+bound)], "]\n")
		return i + end + 1, end > 0 && s[i+end] == ']'
	default:
		return 0, false
	}
	depth, quote := 0, byte(0)
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != 0:
			if i+1 < len(s) && s[i+1] != quote {
				i++
			} else if i+1 < len(s) && s[i-1] != '\\' {
				i++
			}
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' && (i == 0 || !alnum.has(s[i-1]) || s[i-1] == 'b' || s[i-1] == 'u'):
			quote = c
		case c == '{' || c == '[' || c == '(':
			depth++
		case c == '}' || c == ']' || c == ')':
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
	}
	return len(s), true
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
		case ' ', '\t', '\r', '\n', '"', '\'', '`', '<', '>':
			return i
		case ',', ';', '&', ')', ']', '}', '|':
			if endsValue(s, i+1) {
				return i
			}
		case '\\':
			end := i
			for end < len(s) && s[end] == '\\' {
				end++
			}
			if end < len(s) && strings.IndexByte("\"'`nrt", s[end]) >= 0 {
				return i
			}
			i = end
			continue
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

// encoded returns the bounds of a value that is escaped as in URLs.
func (f *fieldScan) encoded(i int) (v span, next int) {
	s := f.s
	for range 4 { // spaces and a quote
		c, next, ok := byte(0), 0, false
		if i < len(s) {
			c, next, ok = percent(s, i)
		}
		if !ok || c != ' ' && c != '"' && c != '\'' && c != '\n' && c != '\r' {
			break
		}
		i = next
	}
	end := i
	for ; end < len(s) && urlChars.has(s[end]); end++ {
		if c, next, ok := percent(s, end); ok {
			if strings.IndexByte("&\"' \r\n;}],", c) >= 0 {
				break
			}
			end = next - 1
		}
	}
	return span{i, end}, max(end, i)
}
