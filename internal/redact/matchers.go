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

// spaces returns the index behind at least one space at s[i], also one that is escaped as in URLs.
func spaces(s string, i int) (int, bool) {
	if strings.HasPrefix(s[i:], "%20") {
		return i + len("%20"), true
	}
	end := skipSpaces(s, i)
	return end, end > i
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
	const bound = 1024
	return from, end, end, end-from > bound || isUserAndPassword(s[from:end])
}

// isUserAndPassword reports base64 of user:password.
func isUserAndPassword(s string) bool {
	s = strings.TrimRight(s, "=")
	if len(s) < 4 {
		return false
	}
	plain, err := stdbase64.RawStdEncoding.DecodeString(s)
	return err == nil && strings.Contains(string(plain), ":")
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

// matchPrivateKeyBody takes what follows a marker that has lost its beginning.
func matchPrivateKeyBody(s string, i int) (int, int, int, bool) {
	from := i + len("private key-----")
	if s[i:i+len("PRIVATE KEY")] != "PRIVATE KEY" || strings.Contains(s[max(0, i-maxMarker):i], "--END") {
		return 0, 0, 0, false
	}
	end := keyBody.run(s, from)
	const bound = 16
	return from, end, end, end-from >= bound
}

// matchPrivateKeyBase64 takes base64 of the PEM of a private key, but not of a certificate.
func matchPrivateKeyBase64(s string, i int) (int, int, int, bool) {
	if s[i:i+len("LS0tLS1CRUdJTi")] != "LS0tLS1CRUdJTi" {
		return 0, 0, 0, false
	}
	end := base64.run(s, i)
	head := s[i:min(end, i+maxMarker)]
	plain, err := stdbase64.RawStdEncoding.DecodeString(strings.TrimRight(head[:len(head)/4*4], "="))
	return i, end, end, err == nil && strings.Contains(string(plain), "PRIVATE KEY")
}

// matchRest takes everything from here on.
func matchRest(s string, i int) (int, int, int, bool) { return i, len(s), len(s), true }

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

// matchFirebase takes a token or a server key of Firebase Cloud Messaging: an id, a colon, APA91b and more than a hundred
// characters.
func matchFirebase(s string, i int) (int, int, int, bool) {
	if s[i:i+len(":APA91b")] != ":APA91b" {
		return 0, 0, 0, false
	}
	start := i
	for start > 0 && i-start < 32 && wordChars.has(s[start-1]) {
		start--
	}
	end := wordChars.run(s, i+1)
	const bound = 60
	return start, end, end, i-start >= 8 && end-i > bound
}

// matchKeyParameter takes the parameter key of a URL where it looks like an API key: of small and capital letters and
// digits, or a long word of letters and digits. Keys of sorting, caches and databases are words, numbers and UUIDs.
func matchKeyParameter(s string, i int) (int, int, int, bool) {
	if s[i] == ';' && !strings.HasSuffix(s[:i], "&amp") {
		return 0, 0, 0, false
	}
	from := i + len("?key=")
	end := wordChars.run(s, from)
	v := s[from:end]
	const minMixed, minWord = 20, 30
	ok := len(v) >= minMixed && isMixed(v) ||
		len(v) >= minWord && alnum.run(v, 0) == len(v) && hasAny(v, &digits) && strings.Trim(v, "0123456789") != ""
	return from, end, end, ok
}

// matchWiFi takes the password of WIFI:T:WPA;S:name;P:password;; whatever the order of its fields.
func matchWiFi(s string, i int) (int, int, int, bool) {
	from := i + len("WIFI:")
	if s[i:from] != "WIFI:" || i > 0 && alnum.has(s[i-1]) {
		return 0, 0, 0, false
	}
	const bound = 256
	for from+1 < len(s) && from-i < bound && capitals.has(s[from]) && s[from+1] == ':' {
		end := from + 2
		for end < len(s) && end-from < bound && s[end] != ';' && s[end] != '\n' {
			if s[end] == '\\' && end+1 < len(s) {
				end++
			}
			end++
		}
		end = min(end, len(s))
		if s[from] == 'P' {
			return from + 2, end, end, end > from+2
		}
		if end == len(s) || s[end] != ';' {
			break
		}
		from = end + 1
	}
	return 0, 0, 0, false
}
