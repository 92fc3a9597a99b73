package httpserve

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// What a token can be, in bytes.
const (
	MinTokenBytes = 8
	MaxTokenBytes = 4096
)

// CheckToken says why a text is no token that clients could show.
func CheckToken(token string) error {
	if len(token) < MinTokenBytes || len(token) > MaxTokenBytes {
		return fmt.Errorf("a token of %d bytes: want %d to %d", len(token), MinTokenBytes, MaxTokenBytes)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has a space, a line break or another character that no header can carry: want printable ASCII")
	}
	return nil
}

// BearerToken returns the token in a request's header "Authorization: Bearer …"; given tells whether there is such a header,
// of whatever scheme. Of another scheme the token is empty.
func BearerToken(r *http.Request) (token string, given bool) {
	h := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(h, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", h != ""
	}
	return strings.TrimSpace(token), true
}

// SameSecret compares in constant time, the length included.
func SameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
