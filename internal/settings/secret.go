package settings

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// Mask is what every printed form of a set secret shows.
const Mask = "******"

// userinfo matches what stands before the @ of a URL or of an address: people paste whole URLs, with their passwords,
// into settings that want something else. It reaches to the last @, since a password may hold anything; to hide too much
// of a value that is none does no harm.
var userinfo = regexp.MustCompile(`(\w+://|[^\s,"'/:@]+:).*@`)

// maskUserinfo hides the password in a text with USER:PASSWORD@HOST.
func maskUserinfo(text string) string { return userinfo.ReplaceAllString(text, "${1}"+Mask+"@") }

// Secret is a value that prints as Mask in every form: all fmt verbs, slog, JSON and text. Only Reveal gives the value.
// The zero value is an unset secret.
//
// The value sits behind a pointer because fmt prints unexported fields of other structs without asking their methods:
// it then shows an address, never the text.
type Secret struct {
	value *string
}

// NewSecret returns a secret that holds value; an empty value is an unset secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal returns the value itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet reports whether the secret holds a value.
func (s Secret) IsSet() bool { return s.value != nil }

// Equal compares values; == would compare addresses.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String returns Mask, or nothing for an unset secret.
func (s Secret) String() string {
	if s.value == nil {
		return ""
	}
	return Mask
}

// GoString is String, so that %#v does not show the value.
func (s Secret) GoString() string { return fmt.Sprintf("settings.Secret(%q)", s.String()) }

// Format writes String whatever the verb, since fmt prints the raw operand for a verb that does not fit its type.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	switch verb {
	case 'q':
		text = fmt.Sprintf("%q", text)
	case 'v':
		if f.Flag('#') {
			text = s.GoString()
		}
	}
	// fmt.State keeps write errors to itself.
	_, _ = io.WriteString(f, text)
}

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String; encoding/json uses it too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes text as the value, unchanged.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
