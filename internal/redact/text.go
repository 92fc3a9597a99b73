package redact

import (
	"slices"
	"strings"
)

// span is a secret in a text.
type span struct{ start, end int }

// scan finds the secrets of a text that is not JSON. more says that the text goes on, so that a line at its end may not be
// complete.
func (r *Redactor) scan(s string, more bool) []span {
	var out []span
	var hints span
	if builtin().finds(s) {
		out, hints = scanForms(s)
	}
	if hints.end > 0 || r.names != nil {
		out = append(out, r.fields(s, hints, more)...)
	}
	for _, p := range r.patterns {
		for _, m := range p.FindAllStringIndex(s, -1) {
			if m[0] < m[1] {
				out = append(out, span{m[0], m[1]})
			}
		}
	}
	return out
}

// scanForms finds what is known by its form, and where the first hint of a name ends and the last.
func scanForms(s string) (out []span, hints span) {
	a := builtin()
	var read [1 << 8]int // by rule, as found counts them: how far it has looked
	aws := false
	state := uint16(0)
	for i := range len(s) {
		state = a.step(state, s[i])
		for _, n := range a.found[state] {
			if int(n) >= len(rules) {
				if hints.end == 0 {
					hints.start = i + 1
				}
				hints.end = i + 1
				continue
			}
			rule := &rules[n]
			at := i + 1 - len(rule.literal)
			if at < read[n] {
				continue
			}
			start, end, reached, ok := rule.match(s, at)
			read[n] = reached
			if !ok {
				continue
			}
			out = append(out, span{start, end})
			aws = aws || rule.literal == "akia" || rule.literal == "asia"
		}
	}
	if aws {
		out = append(out, secretAccessKeys(s)...)
	}
	return out, hints
}

// secretAccessKeys finds what looks like the other half of an AWS access key, for a text that has the first half: 40
// characters of base64 with large and small letters.
func secretAccessKeys(s string) []span {
	var out []span
	for i := 0; i < len(s); {
		if !base64.has(s[i]) {
			i++
			continue
		}
		end := base64.run(s, i)
		word := strings.TrimRight(s[i:end], "=")
		if eq := strings.LastIndexByte(word, '='); eq >= 0 { // name=value
			word, i = word[eq+1:], i+eq+1
		}
		if len(word) == 40 && strings.ToLower(word) != word && strings.ToUpper(word) != word {
			out = append(out, span{i, i + 40})
		}
		i = end
	}
	return out
}

// merge sorts spans and makes those that touch or overlap one.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	out := spans[:0]
	for _, sp := range spans {
		if n := len(out); n > 0 && sp.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, sp.end)
			continue
		}
		out = append(out, sp)
	}
	return out
}

// replace returns s with each secret replaced by Mask.
func replace(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	copied := 0
	for _, sp := range merge(spans) {
		b.WriteString(s[copied:sp.start])
		b.WriteString(Mask)
		copied = sp.end
	}
	b.WriteString(s[copied:])
	return b.String()
}
