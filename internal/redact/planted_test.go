package redact_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/redact"
)

// notInStreams are notations that a stream gives out before it can know: the name
// follows the value, or lies behind more than one word that is neither.
var notInStreams = []string{
	`{'value': 'swordfish', 'name': 'password'}`, "- value: swordfish\n  name: DB_PASSWORD\n", `<add value="swordfish" key="ApiKey"/>`,
	`&lt;a&gt;&lt;ns:password enc="x"&gt; swordfish &lt;/ns:password&gt;&lt;/a&gt;`, `x [["api-key", "swordfish`,
}

// Invariants: whatever stands around a secret, in lines of their own, in each
// notation that is known, it does not survive: as a text, as bytes, and as a stream
// that is cut at any place, in two or in pieces. What comes out of a stream comes
// out of it again.
func FuzzPlanted(f *testing.F) {
	var planted []struct{ text, secret string }
	for _, name := range slices.Sorted(maps.Keys(leaks)) {
		for _, text := range leaks[name] {
			for _, secret := range []string{word, "hunter2x"} {
				if strings.Contains(text, secret) {
					planted = append(planted, struct{ text, secret string }{text, secret})
				}
			}
		}
	}
	forms := byForm()
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		planted = append(planted, struct{ text, secret string }{forms[name], forms[name]})
	}
	for i := range planted {
		f.Add(uint16(i), "The agent looks it up.", "Then it answers.", uint16(i*7), uint8(i))
	}
	r := redact.New(redact.Options{})
	f.Fuzz(func(t *testing.T, pick uint16, before, after string, at uint16, size uint8) {
		p := planted[int(pick)%len(planted)]
		before, after = prose(before, p.secret), prose(after, p.secret)
		text := before + "\n\n" + p.text + "\n\n" + after
		cut := int(at) % (len(text) + 1)
		s := r.NewStream()
		two := s.Push(text[:cut]) + s.Push(text[cut:]) + s.Close()
		whole := stream(r, text, len(text))
		for how, got := range map[string]string{"text": r.Text(text), "bytes": string(r.Bytes([]byte(text))), "stream": whole, "stream in two": two, "stream in pieces": stream(r, text, int(size)+1)} {
			if strings.HasPrefix(how, "stream") && slices.Contains(notInStreams, p.text) {
				continue
			}
			if strings.Contains(got, p.secret) {
				t.Fatalf("%s (cut at %d, pieces of %d): %q became %q", how, cut, int(size)+1, text, got)
			}
			if strings.HasPrefix(how, "stream") {
				if again := r.Text(got); strings.Contains(again, p.secret) {
					t.Fatalf("%s: %q, then %q", how, got, again)
				}
			}
		}
		if again := r.Text(r.Text(text)); again != r.Text(text) {
			t.Fatalf("%q became %q, then %q", text, r.Text(text), again)
		}
	})
}

// prose keeps the words and full stops of a text: what else could stand around a
// secret may say that it is none, such as a quote that begins before it.
func prose(s, secret string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == ' ', r == '.', r == '\n', r > 0x7f && r != '\uFFFD':
			return r
		}
		return -1
	}, s)
	return strings.ReplaceAll(s, secret, "")
}
