package redact

import (
	stdbase64 "encoding/base64"
	"strings"
)

// matchJWT takes a signed, unsigned or encrypted JSON Web Token: base64url parts, the first of which begins as {" does.
func matchJWT(s string, i int) (int, int, int, bool) {
	if s[i:i+3] != "eyJ" {
		return 0, 0, 0, false
	}
	header := wordChars.run(s, i)
	if header-i < 10 || header == len(s) || s[header] != '.' {
		return 0, 0, header, false
	}
	end := dotted.run(s, header)
	return i, end, end, end-header >= 6
}

// spaces returns the index behind at least one space at s[i].
func spaces(s string, i int) (int, bool) {
	from := i
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') && i-from < 16 {
		i++
	}
	return i, i > from
}

// matchBearer takes the credential behind the word, unless it is a word of prose.
func matchBearer(s string, i int) (int, int, int, bool) {
	from, ok := spaces(s, i+len("bearer"))
	if !ok || i > 0 && alnum.has(s[i-1]) {
		return 0, 0, 0, false
	}
	end := tokenChars.run(s, from)
	n := end - from
	return from, end, end, n >= 20 || n >= 8 && hasAny(s[from:end], &digits)
}

// matchBasic takes base64 that decodes to a user and a password.
func matchBasic(s string, i int) (int, int, int, bool) {
	from, ok := spaces(s, i+len("basic"))
	if !ok || i > 0 && alnum.has(s[i-1]) {
		return 0, 0, 0, false
	}
	end := base64.run(s, from)
	text := strings.TrimRight(s[from:end], "=")
	if len(text) < 4 || len(text) > 1024 {
		return from, end, end, len(text) > 1024
	}
	plain, err := stdbase64.RawStdEncoding.DecodeString(text)
	return from, end, end, err == nil && strings.Contains(string(plain), ":")
}

// maxMarker bounds the label of a PEM marker.
const maxMarker = 64

// matchPrivateKey takes a private key from its first marker to its last, or to the end of the text if it was cut off.
func matchPrivateKey(s string, i int) (int, int, int, bool) {
	label := s[i:min(len(s), i+maxMarker)]
	k := strings.Index(label, "PRIVATE KEY")
	if k < 0 || strings.ContainsAny(label[len("-----BEGIN"):k], "\n\\") {
		return 0, 0, 0, false
	}
	from := i + k + len("PRIVATE KEY")
	e := strings.Index(s[from:], "-- END") // SSH2 and PEM markers
	if p := strings.Index(s[from:], "--END"); e < 0 || p >= 0 && p < e {
		e = p
	}
	if e < 0 {
		return i, len(s), len(s), true
	}
	end := from + e + len("--END")
	for end < len(s) && s[end] != '-' && end-from-e < maxMarker && s[end] != '\n' {
		end++
	}
	for end < len(s) && s[end] == '-' {
		end++
	}
	return i, end, end, true
}

// matchPrivateKeyEnd takes what is left of a private key whose beginning was cut off.
func matchPrivateKeyEnd(s string, i int) (int, int, int, bool) {
	label := s[i:min(len(s), i+maxMarker)]
	k := strings.Index(label, "PRIVATE KEY")
	if k < 0 || strings.ContainsAny(label[len("-----END"):k], "\n\\") {
		return 0, 0, 0, false
	}
	end := i + k + len("PRIVATE KEY")
	for end < len(s) && (s[end] == '-' || alnum.has(s[end]) || s[end] == ' ') && end-i < maxMarker {
		end++
	}
	start := i
	for start > 0 && keyBody.has(s[start-1]) {
		start--
	}
	return start, end, end, true
}

// matchRest takes everything from here on.
func matchRest(s string, i int) (int, int, int, bool) { return i, len(s), len(s), true }

// minUserToken is the length from which a user without a password in a URL is taken for a token.
const minUserToken = 20

// matchUserinfo takes the password of scheme://user:password@host, also one with an unescaped @ or :, or a token there.
func matchUserinfo(s string, i int) (int, int, int, bool) {
	from := i + len("://")
	end, at, colon := from, -1, -1
scan:
	for ; end < len(s); end++ {
		switch s[end] {
		case ' ', '\t', '\r', '\n', '/', '?', '#', '"', '\'', '<', '>', '`', '\\':
			break scan
		case '@':
			at = end
		case ':':
			if colon < 0 {
				colon = end
			}
		}
	}
	switch {
	case at < 0:
		return 0, 0, end, false
	case colon >= 0 && colon < at:
		return colon + 1, at, end, at > colon+1
	default:
		return from, at, end, at-from >= minUserToken
	}
}

// matchTelegram takes the token of a bot: its number, a colon, and 35 characters.
func matchTelegram(s string, i int) (int, int, int, bool) {
	start := i
	for start > 0 && i-start < 12 && digits.has(s[start-1]) {
		start--
	}
	end := wordChars.run(s, i+1)
	return start, end, end, s[i:i+3] == ":AA" && i-start >= 8 && end-i > 32
}

// matchAzure takes a key of Azure's AI services, which has a signature in its middle.
func matchAzure(s string, i int) (int, int, int, bool) {
	if s[i:i+6] != "JQQJ99" {
		return 0, 0, 0, false
	}
	end := alnum.run(s, i)
	start := i
	for start > 0 && i-start < 64 && alnum.has(s[start-1]) {
		start--
	}
	return start, end, end, end-start >= 50
}

// matchUser takes the password of the option that curl and others have for user:password.
func matchUser(s string, i int) (int, int, int, bool) {
	if i > 0 && s[i-1] != ' ' && s[i-1] != '\t' && s[i-1] != '\n' {
		return 0, 0, 0, false
	}
	from := i + strings.IndexByte(s[i:], ' ') + 1
	for from < len(s) && (s[from] == '"' || s[from] == '\'') {
		from++
	}
	colon := nameChars.run(s, from)
	if colon == from || colon == len(s) || s[colon] != ':' {
		return 0, 0, colon, false
	}
	end := endOfBare(s, colon+1)
	return colon + 1, end, end, end > colon+1
}
