package redact_test

import (
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/redact"
)

// stream pushes a text in pieces of a size.
func stream(r *redact.Redactor, text string, size int) string {
	s := r.NewStream()
	var out strings.Builder
	for len(text) > 0 {
		n := min(size, len(text))
		out.WriteString(s.Push(text[:n]))
		text = text[n:]
	}
	out.WriteString(s.Close())
	return out.String()
}

func TestStreamFindsSecretsInPieces(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for name, secret := range byForm() {
		text := "It is " + secret + " , and that is all.\nNothing else."
		for size := 1; size <= 40; size++ {
			got := stream(r, text, size)
			if strings.Contains(got, core(secret)) || !strings.Contains(got, redact.Mask) {
				t.Errorf("%s in pieces of %d: %q", name, size, got)
			}
			if !strings.HasPrefix(got, "It is ") || !strings.HasSuffix(got, " , and that is all.\nNothing else.") {
				t.Errorf("%s in pieces of %d: %q lost more than the secret", name, size, got)
			}
		}
	}
	for text, want := range map[string]string{
		"my password: hunter2 is old":                     "my password: [REDACTED] is old",
		`the "password": "correct horse", ok`:             `the "password": "[REDACTED]", ok`,
		"Cookie: a=b; c=d\nHost: x":                       "Cookie: [REDACTED]\nHost: x",
		"api_key\n=\nhunter2x end":                        "api_key\n=\n[REDACTED] end",
		"password\r\n=\r\nhunter\r\nend":                  "password\r\n=\r\n[REDACTED]\r\nend",
		"password\n=\nhunter\nend":                        "password\n=\n[REDACTED]\nend",
		"mot de passe : hunter, oui":                      "mot de passe : [REDACTED], oui",
		"see https://x/?key=" + letters(24) + "&a=b":      "see https://x/?key=[REDACTED]&a=b",
		"a WIFI:T:WPA;S:my net;P:hunter2;; code":          "a WIFI:T:WPA;S:my net;P:[REDACTED];; code",
		"a very long word " + strings.Repeat("w", 10_000): "a very long word " + strings.Repeat("w", 10_000),
		"key sk-ant-" + letters(10_000) + " end":          "key [REDACTED] end",
	} {
		for size := 1; size <= 40; size++ {
			if got := stream(r, text, size); got != want {
				t.Errorf("in pieces of %d: %.200q, want %.200q", size, got, want)
				break
			}
		}
	}
}

func TestStreamKeepsWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	text := "Hello, world! a_b-c/d 12+3=15; see https://example.com:80/x?y=1.\n\t日本語のテキスト、続く。 Ende -----BEGIN CERTIFICATE-----\nMIIB -----BEGIN x"
	for size := 1; size <= len(text); size++ {
		if got := stream(r, text, size); got != text {
			t.Errorf("in pieces of %d: %q", size, got)
		}
	}
}

// A reader should see words as they come, also of a language without spaces.
func TestStreamHoldsBackAWord(t *testing.T) {
	t.Parallel()
	s := redact.New(redact.Options{}).NewStream()
	for _, step := range []struct{ in, out string }{{"Hel", ""}, {"lo", ""}, {" wor", "Hello "}, {"ld\n", "world\n"}, {"日本", "日本"}, {"x", ""}, {"語", "x語"}} {
		if got := s.Push(step.in); got != step.out {
			t.Errorf("%q gave %q, want %q", step.in, got, step.out)
		}
	}
}

// Invariants: what has no secret comes out as it is; what comes out is never more than what went in, but for masks; no
// panic; the size of the pieces does not matter for a text without secrets.
func FuzzStream(f *testing.F) {
	for _, s := range byForm() {
		f.Add("a "+s+" b", uint8(3))
	}
	for _, texts := range leaks {
		for _, s := range texts {
			f.Add(s, uint8(4))
		}
	}
	for _, s := range readable {
		f.Add(s, uint8(2))
	}
	f.Add("password: x y", uint8(1))
	f.Add("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY----- x", uint8(2))
	f.Add("-----BEGIN -----BEGIN PRIVATE KEY----- -----END", uint8(2))
	r := redact.New(redact.Options{})
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		got := stream(r, text, int(size)+1)
		if whole := stream(r, text, len(text)+1); whole == text && r.Text(text) == text && got != text {
			t.Fatalf("%q without a secret became %q in pieces of %d", text, got, int(size)+1)
		}
	})
}
