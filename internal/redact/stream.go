package redact

import (
	"strings"
	"unicode/utf8"
)

// Stream redacts a text that comes in pieces, such as the tokens of a model, with secrets across pieces. It gives out a
// word only when the next has begun, since until then it may be the beginning of a secret; characters outside ASCII end a
// word. It is not safe for concurrent use.
type Stream struct {
	r *Redactor
	// context is the end of what was given out, as it came.
	context string
	// masked: the end of context lies in a secret, which has been shown as Mask.
	masked bool
	// held is what was not given out yet.
	held string
	// inKey: everything up to the end of a private key is a secret. inWord: everything up to the end of the word is.
	inKey, inWord bool
}

const (
	// maxContext is how far back a stream remembers, in bytes: enough for the name of a field and words before its value.
	maxContext = 256
	// maxWord is the longest word that is held back whole. Of a longer one it is decided by its beginning what it is.
	maxWord = 4096
)

// NewStream returns a stream of this redactor.
func (r *Redactor) NewStream() *Stream { return &Stream{r: r} }

// Push takes the next piece and returns what can be given out now, which may be nothing.
func (s *Stream) Push(piece string) string {
	s.held += piece
	var out strings.Builder
	for s.step(&out, false) {
	}
	return out.String()
}

// Close returns the rest.
func (s *Stream) Close() string {
	var out strings.Builder
	for s.step(&out, true) {
	}
	return out.String()
}

// step gives out a part of what is held and reports whether more may follow at once.
func (s *Stream) step(out *strings.Builder, last bool) bool {
	switch {
	case s.held == "":
		return false
	case s.inKey:
		return s.skipKey(last)
	case s.inWord:
		end := strings.IndexFunc(s.held, endsWord)
		if end < 0 {
			s.held = ""
			return false
		}
		s.held, s.inWord = s.held[end:], false
		return true
	}
	switch i := keyMarker(s.held); {
	case i == 0:
		return s.beginKey(out, last)
	case i > 0:
		return s.give(out, i, false, false)
	case last:
		return s.give(out, len(s.held), false, true)
	}
	cut := 0
	if i := strings.LastIndexFunc(s.held, endsWord); i >= 0 {
		_, size := utf8.DecodeRuneInString(s.held[i:])
		cut = i + size
	}
	if cut == 0 && len(s.held) > maxWord {
		return s.give(out, len(s.held), true, false)
	}
	if i := strings.LastIndex(s.held[:cut], "----"); i >= 0 && i+len("---- ") == cut {
		cut = i // perhaps the beginning of a marker
	}
	return cut > 0 && s.give(out, cut, false, false)
}

func endsWord(c rune) bool { return c <= ' ' || c >= utf8.RuneSelf }

// keyMarker returns where the first marker begins that may be of a private key.
func keyMarker(text string) int {
	i := strings.Index(text, "-----BEGIN")
	if j := strings.Index(text, "---- BEGIN"); i < 0 || j >= 0 && j < i {
		return j
	}
	return i
}

// beginKey looks at the marker that held begins with.
func (s *Stream) beginKey(out *strings.Builder, last bool) bool {
	const begin = len("-----BEGIN")
	label := s.held[begin:min(len(s.held), maxMarker)]
	if end := strings.IndexAny(label, "\n\\"); end >= 0 {
		label, last = label[:end], true
	}
	if i := strings.Index(label, "PRIVATE KEY"); i >= 0 {
		out.WriteString(Mask)
		s.held, s.inKey, s.context, s.masked = s.held[begin+i:], true, "", false
		return true
	}
	if !last && len(s.held) < maxMarker && !strings.Contains(label, "----") {
		return false
	}
	return s.give(out, begin, false, false) // of something else
}

// skipKey swallows a private key up to and with its last marker.
func (s *Stream) skipKey(last bool) bool {
	i := strings.Index(s.held, "-----END")
	if j := strings.Index(s.held, "---- END"); i < 0 || j >= 0 && j < i {
		i = j
	}
	if i < 0 {
		s.held = s.held[max(0, len(s.held)-len("-----EN")):]
		return false
	}
	s.held = s.held[i:]
	const end = len("-----END")
	j := strings.Index(s.held[end:], "----")
	if j < 0 && len(s.held) < maxMarker && !last {
		return false
	}
	rest := s.held[end:]
	if j >= 0 {
		rest = strings.TrimLeft(rest[j:], "-")
		if rest == "" && !last {
			return false // perhaps more dashes
		}
	}
	s.held, s.inKey = rest, false
	return true
}

// give redacts the next n bytes in their context and gives them out. within says that they end within a word, last that
// nothing follows.
func (s *Stream) give(out *strings.Builder, n int, within, last bool) bool {
	all, from := s.context+s.held[:n], len(s.context)
	s.held = s.held[n:]
	at, masked := from, s.masked
	s.masked = false
	for _, sp := range merge(s.r.scan(all, !last)) {
		if sp.end <= from {
			continue
		}
		out.WriteString(all[at:max(sp.start, from)])
		if sp.start >= from || !masked {
			out.WriteString(Mask)
		}
		at = sp.end
		s.masked = sp.end == len(all)
	}
	out.WriteString(all[at:])
	s.inWord = within && s.masked
	keep := max(0, len(all)-maxContext)
	for keep > 0 && keep < len(all) && !utf8.RuneStart(all[keep]) {
		keep++
	}
	s.context = all[keep:]
	return true
}
