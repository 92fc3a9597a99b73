package redact

import "strings"

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
	smalls     = charsOf("a-z")
	capitals   = charsOf("A-Z")
	upperAlnum = charsOf("0-9", "A-Z")
	alnum      = charsOf("0-9", "a-z", "A-Z")
	wordChars  = charsOf("0-9", "a-z", "A-Z", "_-")
	dotted     = charsOf("0-9", "a-z", "A-Z", "-._")
	base64     = charsOf("0-9", "a-z", "A-Z", "+/=")
	slashed    = charsOf("0-9", "a-z", "A-Z", "/_-")
	tokenChars = charsOf("0-9", "a-z", "A-Z", "._~+/=-:|%")
	nameChars  = charsOf("0-9", "a-z", "A-Z", "-._%")
	urlChars   = charsOf("0-9", "a-z", "A-Z", "-._~%+!*()/:@$=[]{}")
	// separators are where fields reads on.
	separators = charsOf("=:%<>,( ")
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

// isMixed reports small and capital letters and digits.
func isMixed(s string) bool {
	return hasAny(s, &digits) && hasAny(s, &smalls) && hasAny(s, &capitals)
}

// percent reads an escape of URLs at s[i], also one that was escaped again (%253D), and returns where it ends.
func percent(s string, i int) (c byte, next int, ok bool) {
	if s[i] != '%' {
		return 0, 0, false
	}
	for i++; strings.HasPrefix(s[i:], "25") && i+3 < len(s) && hexDigits.has(s[i+2]) && hexDigits.has(s[i+3]); i += 2 {
	}
	if i+1 >= len(s) || !hexDigits.has(s[i]) || !hexDigits.has(s[i+1]) {
		return 0, 0, false
	}
	return hexValue(s[i])<<4 | hexValue(s[i+1]), i + 2, true
}

// percentBefore reads the escape that ends before s[end], and returns where it begins.
func percentBefore(s string, end int) (c byte, start int, ok bool) {
	if end < 3 || !hexDigits.has(s[end-1]) || !hexDigits.has(s[end-2]) {
		return 0, 0, false
	}
	start = end - 2
	for start >= 3 && s[start-2:start] == "25" {
		start -= 2
	}
	if s[start-1] != '%' {
		return 0, 0, false
	}
	return hexValue(s[end-2])<<4 | hexValue(s[end-1]), start - 1, true
}

func hexValue(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	default:
		return lower(c) - 'a' + 10
	}
}
