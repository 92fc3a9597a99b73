package dashstream

import "strings"

// secretTail holds back the end of a stream of text while a secret may be coming: the last word, or all since the first
// marker of a private key.
type secretTail struct{ held string }

// maxHeld bounds what is held back, in bytes. No credential that is one word is longer; a private key may be.
const (
	maxHeldWord = 512
	maxHeldKey  = 16 << 10
)

const keyMarker = "-----BEGIN "

// push takes the next text and returns what may go out now.
func (t *secretTail) push(text string) (out string) {
	all := t.held + text
	cut := len(all)
	if i := strings.LastIndex(all, keyMarker); i >= 0 && strings.Contains(all[i:min(len(all), i+64)], "PRIVATE KEY") {
		rest := all[i+len(keyMarker):]
		if e := strings.Index(rest, "-----END "); (e < 0 || strings.Count(rest[e:], "-----") < 2) && len(all)-i < maxHeldKey {
			cut = i
		}
	}
	if cut == len(all) {
		word := strings.LastIndexAny(all, " \t\r\n") + 1
		if suspicious(all[word:]) && len(all)-word < maxHeldWord {
			cut = word
		}
	}
	t.held = all[cut:]
	return all[:cut]
}

// rest returns what is held back when nothing more comes.
func (t *secretTail) rest() string {
	out := t.held
	t.held = ""
	return out
}

// suspicious reports whether a word that is not complete may become a secret. Words of prose, which models produce most of
// the time, have neither digits nor punctuation inside.
func suspicious(word string) bool {
	return strings.ContainsAny(word, "0123456789_-=:/@+")
}
