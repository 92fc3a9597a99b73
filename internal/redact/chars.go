package redact

// charset is a set of bytes.
type charset [4]uint64

func charsOf(ranges ...string) charset {
	var c charset
	for _, r := range ranges {
		if len(r) == 3 && r[1] == '-' {
			for b := int(r[0]); b <= int(r[2]); b++ {
				c[b>>6] |= 1 << (b & 63)
			}
			continue
		}
		for i := range len(r) {
			c[r[i]>>6] |= 1 << (r[i] & 63)
		}
	}
	return c
}

func (c *charset) has(b byte) bool { return c[b>>6]&(1<<(b&63)) != 0 }

// run returns the index behind the bytes of the set that begin at s[i].
func (c *charset) run(s string, i int) int {
	for i < len(s) && c.has(s[i]) {
		i++
	}
	return i
}

var (
	digits     = charsOf("0-9")
	hexDigits  = charsOf("0-9", "a-f", "A-F")
	upperAlnum = charsOf("0-9", "A-Z")
	alnum      = charsOf("0-9", "a-z", "A-Z")
	wordChars  = charsOf("0-9", "a-z", "A-Z", "_-")
	dotted     = charsOf("0-9", "a-z", "A-Z", "-._")
	base64     = charsOf("0-9", "a-z", "A-Z", "+/=")
	slashed    = charsOf("0-9", "a-z", "A-Z", "/_-")
	tokenChars = charsOf("0-9", "a-z", "A-Z", "._~+/=-:|%")
	nameChars  = charsOf("0-9", "a-z", "A-Z", "-._")
	// keyBody is what a private key consists of between its markers, also with escaped line ends.
	keyBody = charsOf("0-9", "a-z", "A-Z", "+/= \t\r\n\\")
)

func hasAny(s string, c *charset) bool {
	for i := range len(s) {
		if c.has(s[i]) {
			return true
		}
	}
	return false
}
