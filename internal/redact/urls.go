package redact

import "strings"

// minUserToken is the length from which a user without a password in a URL is taken for a token.
const minUserToken = 20

// matchUserinfo takes the password of scheme://user:password@host, also one with an unescaped @, :, /, ? or #, or a token
// there. What is behind the first / may be of the password only if what is before it is no host and port.
func matchUserinfo(s string, i int) (int, int, int, bool) {
	u := userinfo{s: s, at: -1, colon: -1}
	from := i + len("://")
	end := from
scan:
	for ; end < len(s); end++ {
		switch s[end] {
		case ' ', '\t', '\r', '\n', '"', '\'', '<', '>', '`', '\\':
			break scan
		case '/', '?', '#':
			if u.at >= 0 || u.colon < 0 || u.colon == from || s[from] == '[' || digits.run(s, u.colon+1) >= end {
				break scan
			}
		case '%':
			if c, next, ok := percent(s, end); ok {
				u.see(c, end, next)
			}
		default:
			u.see(s[end], end, end+1)
		}
	}
	return u.match(from, end)
}

// userinfo is what was seen of user:password@host.
type userinfo struct {
	s                   string
	at, colon, colonEnd int
}

func (u *userinfo) see(c byte, i, next int) {
	switch {
	case c == '@' && (u.at < 0 || next == i+1 || u.s[u.at] == '%'):
		u.at = i
	case c == ':' && u.colon < 0:
		u.colon, u.colonEnd = i, next
	}
}

func (u *userinfo) match(from, end int) (int, int, int, bool) {
	switch {
	case u.at < 0:
		return 0, 0, end, false
	case u.colon >= 0 && u.colon < u.at:
		return u.colonEnd, u.at, end, u.at > u.colonEnd
	default:
		return from, u.at, end, u.at-from >= minUserToken
	}
}

// matchEncodedUserinfo is matchUserinfo for a URL that is escaped as a whole: s[i:] is the end of its "://".
func matchEncodedUserinfo(s string, i int) (int, int, int, bool) {
	c, next, ok := percent(s, i)
	if !ok || c != '/' {
		return 0, 0, 0, false
	}
	if c, start, ok := percentBefore(s, i); !ok || c != '/' {
		return 0, 0, 0, false
	} else if c, _, ok := percentBefore(s, start); !ok || c != ':' {
		return 0, 0, 0, false
	}
	u := userinfo{s: s, at: -1, colon: -1}
	from := next
	end := from
	for end < len(s) && (nameChars.has(s[end]) || strings.IndexByte("~!*()+:@", s[end]) >= 0) {
		c, next := s[end], end+1
		if c == '%' {
			if d, after, ok := percent(s, end); ok {
				c, next = d, after
			}
		}
		if strings.IndexByte("/?#&\" \n", c) >= 0 {
			break
		}
		u.see(c, end, next)
		end = next
	}
	return u.match(from, end)
}

// maxDSN bounds the user and the password before a host in a data source name.
const maxDSN = 256

// matchDSN takes the password of user:password@tcp(host), as the MySQL driver of Go has it, and of user/password@host of
// Oracle's JDBC.
func matchDSN(s string, i int) (int, int, int, bool) {
	start := i
	for start > 0 && i-start < maxDSN && strings.IndexByte(" \t\r\n\"'`=", s[start-1]) < 0 {
		start--
	}
	colon := strings.IndexByte(s[start:i], ':')
	if colon < 0 || strings.Contains(s[start:i], "://") || strings.Contains(s[start:i], "mailto:") {
		return 0, 0, 0, false
	}
	return start + colon + 1, i, i + 1, start+colon+1 < i
}

// matchOracle takes the password of jdbc:oracle:thin:user/password@host.
func matchOracle(s string, i int) (int, int, int, bool) {
	from := i + len("jdbc:oracle:thin:")
	end := from
	for end < len(s) && strings.IndexByte(" \t\r\n\"'`<>", s[end]) < 0 {
		end++
	}
	at := strings.LastIndexByte(s[from:end], '@')
	slash := strings.IndexByte(s[from:end], '/')
	if slash < 0 || at < slash+2 {
		return 0, 0, end, false
	}
	return from + slash + 1, from + at, end, true
}
