package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dashflow/dashstream/internal/redact"
)

// Secrets are put together here, so that no scanner of this repository takes them for real ones.
func letters(n int) string { return strings.Repeat("aB3dE5gH7j", n/10+1)[:n] }
func hexes(n int) string   { return strings.Repeat("0a1b2c3d4e", n/10+1)[:n] }
func uppers(n int) string  { return strings.Repeat("A1B2C3D4E5", n/10+1)[:n] }

func jwt() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(`{"sub":"1234567890"}`) + "." + letters(43)
}

func pem(label, newline string) string {
	lines := []string{"-----BEGIN " + label + "-----"}
	for range 8 {
		lines = append(lines, letters(63)+"/")
	}
	return strings.Join(append(lines, "-----END "+label+"-----"), newline)
}

// byForm is secrets that are known wherever they stand.
func byForm() map[string]string {
	return map[string]string{
		"openai":              "sk-" + letters(48),
		"openai project":      "sk-proj-" + letters(60) + "_-" + letters(60),
		"openai service":      "sk-svcacct-" + letters(60),
		"openai admin":        "sk-admin-" + letters(60),
		"anthropic":           "sk-ant-api03-" + letters(80) + "-AA",
		"openrouter":          "sk-or-v1-" + hexes(64),
		"google":              "AIza" + letters(35),
		"google oauth":        "ya29." + letters(60),
		"google client":       "GOCSPX-" + letters(28),
		"aws":                 "AKIA" + uppers(16),
		"aws temporary":       "ASIA" + uppers(16),
		"github":              "ghp_" + letters(36),
		"github oauth":        "gho_" + letters(36),
		"github user":         "ghu_" + letters(36),
		"github server":       "ghs_" + letters(36),
		"github refresh":      "ghr_" + letters(36),
		"github fine-grained": "github_pat_" + letters(22) + "_" + letters(59),
		"gitlab":              "glpat-" + letters(20),
		"gitlab routable":     "glpat-" + letters(27) + ".01." + hexes(9),
		"slack bot":           "xoxb-123456789012-1234567890123-" + letters(24),
		"slack user":          "xoxp-123456789012-" + letters(24),
		"slack app":           "xapp-1-A1234567890-" + letters(24),
		"slack webhook":       "https://hooks.slack.com/services/T00000000/B00000000/" + letters(24),
		"stripe":              "sk_live_" + letters(24),
		"stripe restricted":   "rk_live_" + letters(24),
		"stripe webhook":      "whsec_" + letters(32),
		"hugging face":        "hf_" + letters(34),
		"groq":                "gsk_" + letters(52),
		"xai":                 "xai-" + letters(80),
		"replicate":           "r8_" + letters(37),
		"perplexity":          "pplx-" + letters(48),
		"nvidia":              "nvapi-" + letters(64),
		"npm":                 "npm_" + letters(36),
		"pypi":                "pypi-AgEIcHlwaS5vcmc" + letters(60),
		"sendgrid":            "SG." + letters(22) + "." + letters(43),
		"twilio":              "SK" + hexes(32),
		"databricks":          "dapi" + hexes(32),
		"databricks regional": "dapi" + hexes(32) + "-2",
		"digitalocean":        "dop_v1_" + hexes(64),
		"shopify":             "shpat_" + hexes(32),
		"vault":               "hvs." + letters(90),
		"langsmith":           "lsv2_pt_" + hexes(32) + "_" + hexes(10),
		"pinecone":            "pcsk_" + letters(60),
		"tavily":              "tvly-" + letters(32),
		"telegram":            "1234567890:AA" + letters(33),
		"azure":               letters(52) + "JQQJ99BAACYeBjFXJ3w3AAABACOG" + letters(4),
		"square":              "sq0atp-" + letters(22),
		"square secret":       "sq0csp-" + letters(43),
		"doppler":             "dp.pt." + letters(43),
		"doppler service":     "dp.st.dev_x." + letters(43),
		"voyage":              "pa-" + letters(43),
		"firebase":            "AAAA" + letters(7) + ":APA91b" + letters(134),
		"jwt":                 jwt(),
		"unsigned jwt":        strings.Join(strings.Split(jwt(), ".")[:2], ".") + ".",
		"bearer":              "Bearer " + letters(32),
		"basic":               "Basic " + base64.StdEncoding.EncodeToString([]byte("aladdin:opensesame")),
		"rsa key":             pem("RSA PRIVATE KEY", "\n"),
		"key":                 pem("PRIVATE KEY", "\r\n"),
		"encrypted key":       pem("ENCRYPTED PRIVATE KEY", "\n"),
		"openssh key":         pem("OPENSSH PRIVATE KEY", "\n"),
		"pgp key":             pem("PGP PRIVATE KEY BLOCK", "\n"),
		"key, escaped lines":  pem("EC PRIVATE KEY", `\n`),
		"key, twice escaped":  pem("EC PRIVATE KEY", `\\n`),
		"key on one line":     pem("PRIVATE KEY", " "),
	}
}

// core is the part of a secret that must not be left anywhere.
func core(secret string) string {
	secret = strings.TrimSpace(secret)
	if i := strings.LastIndexAny(secret, " "); i >= 0 && !strings.HasPrefix(secret, "-----") {
		secret = secret[i+1:]
	}
	if strings.HasPrefix(secret, "-----") {
		return letters(40)
	}
	return secret[max(0, len(secret)-12):]
}

func TestTextByForm(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	contexts := []string{"%s", "use %s please", "key:%s,", "(%s)", `{"note":"%s"}`, "a\n%s\nb", "https://api.example.com/v1?k=%s&x=1", "«%s»", `["%s"]`}
	for name, secret := range byForm() {
		for _, c := range contexts {
			in := fmt.Sprintf(c, secret)
			if strings.HasPrefix(c, "{") || strings.HasPrefix(c, "[") {
				quoted, _ := json.Marshal(secret)
				in = fmt.Sprintf(strings.ReplaceAll(c, `"%s"`, `%s`), quoted)
			}
			got := r.Text(in)
			if strings.Contains(got, core(secret)) || !strings.Contains(got, redact.Mask) {
				t.Errorf("%s: %q became %q", name, in, got)
			}
			if again := r.Text(got); again != got {
				t.Errorf("%s: %q became %q, then %q", name, in, got, again)
			}
		}
	}
}

func TestTextKeepsWhatIsNoSecret(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for _, in := range []string{
		"", "hello", "The password is on the note.", "risk-management-and-more-2024-edition", "task-0123456789-abcdefgh",
		"basic understanding of things", "Basic authentication is old", "bearer of bad news", "bearer authentication",
		"https://example.com:8080/path?page=2", "http://localhost:9092/", "ssh://git@github.com/a/b",
		"max_tokens: 4096, prompt_tokens=12", "first token: hello", "token=<|endoftext|>", "PWD=/home/agent",
		"cache_key=user:42", "primary key: id", "author: somebody", "key: value", "a secretary: Bob",
		"sha256:" + hexes(64), "9007199254740993", "550e8400-e29b-41d4-a716-446655440000",
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "sk-fading-circle-animation-css",
		"next_token", "monkey: banana", "hockey=fun", "eyJ is how they begin", "AKIA is a prefix",
		`{"prompt_tokens":12,"completion_tokens":3,"finish_reason":"stop","key":"value","n":1.0}`,
	} {
		if got := r.Text(in); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestTextByName(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for in, want := range map[string]string{
		`password=hunter2`:                        `password=[REDACTED]`,
		`password = hunter2 and more`:             `password = [REDACTED] and more`,
		`DB_PASSWORD: hunter2`:                    `DB_PASSWORD: [REDACTED]`,
		`export API_KEY='hunter2'`:                `export API_KEY='[REDACTED]'`,
		`{'password': 'hunter2', 'user': 'bob'}`:  `{'password': '[REDACTED]', 'user': 'bob'}`,
		`say "password": "hun\"ter2", "a": "b"`:   `say "password": "[REDACTED]", "a": "b"`,
		`"{\"password\": \"hunter2\", \"a\":1}"`:  `"{\"password\": \"[REDACTED]\", \"a\":1}"`,
		`\\\"secret\\\":\\\"hunter2\\\",`:         `\\\"secret\\\":\\\"[REDACTED]\\\",`,
		`?user=bob&password=hun,ter2&x=1`:         `?user=bob&password=[REDACTED]&x=1`,
		`Server=db;Password=hun;ter2;Timeout=3`:   `Server=db;Password=[REDACTED];Timeout=3`,
		`AccountName=a;AccountKey=abc+/==;End=x`:  `AccountName=a;AccountKey=[REDACTED];End=x`,
		`map[password:hunter2 user:bob]`:          `map[password:[REDACTED] user:bob]`,
		`:password => "hunter2"`:                  `:password => "[REDACTED]"`,
		`<password>hunter2</password>`:            `<password>[REDACTED]</password>`,
		`curl -u bob:hunter2 https://x`:           `curl -u bob:[REDACTED] https://x`,
		`curl --user "bob:hunter2" https://x`:     `curl --user "bob:[REDACTED]" https://x`,
		`passwort: hunter2`:                       `passwort: [REDACTED]`,
		`x-functions-key: hunter2`:                `x-functions-key: [REDACTED]`,
		`mysql --password hunter2 --user bob`:     `mysql --password [REDACTED] --user bob`,
		`mysql --password=hunter2 --user bob`:     `mysql --password=[REDACTED] --user bob`,
		"Authorization: Digest a=b, c=d\nHost: x": "Authorization: [REDACTED]\nHost: x",
		"Cookie: a=b; c=d\r\nHost: x":             "Cookie: [REDACTED]\r\nHost: x",
		`curl -H "X-Api-Key: hunter2" http://x`:   `curl -H "X-Api-Key: [REDACTED]" http://x`,
		`Ocp-Apim-Subscription-Key: hunter2`:      `Ocp-Apim-Subscription-Key: [REDACTED]`,
		`AZURE_OPENAI_KEY=hunter2`:                `AZURE_OPENAI_KEY=[REDACTED]`,
		`COHERE_API_KEY=hunter2`:                  `COHERE_API_KEY=[REDACTED]`,
		`mistralKey: hunter2`:                     `mistralKey: [REDACTED]`,
		`aws_secret_access_key=hunter2`:           `aws_secret_access_key=[REDACTED]`,
		`password_hash=hunter2`:                   `password_hash=[REDACTED]`,
		`password2=hunter2`:                       `password2=[REDACTED]`,
		`token=abcdefghijklmnop`:                  `token=[REDACTED]`,
		`vault_token: "hvtoken1234567890"`:        `vault_token: "[REDACTED]"`,
		`password="never closed`:                  `password="[REDACTED]`,
		`password=[REDACTED]`:                     `password=[REDACTED]`,
		`password=[REDACTED]tail`:                 `password=[REDACTED]`,
		`postgres://bob:hunter2@db:5432/x`:        `postgres://bob:[REDACTED]@db:5432/x`,
		`redis://:hunter2@cache`:                  `redis://:[REDACTED]@cache`,
		`amqp://bob:p@ss:w@mq/`:                   `amqp://bob:[REDACTED]@mq/`,
		`https://` + letters(32) + `@git.dev/x`:   `https://[REDACTED]@git.dev/x`,
		"PuTTY-User-Key-File-3: rsa\nAAAA":        "[REDACTED]",
		"-----BEGIN PRIVATE KEY-----\nMIIEvQIBAD": "[REDACTED]",
		"x: MIIEvQ\n-----END PRIVATE KEY-----, y": "x:[REDACTED], y",
	} {
		if got := r.Text(in); got != want {
			t.Errorf("%q became\n%q, want\n%q", in, got, want)
		}
		if got := r.Text(want); got != want {
			t.Errorf("%q became %q the second time", want, got)
		}
	}
}

func TestSecretAccessKeyBesideItsID(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	id, secret := "AKIA"+uppers(16), letters(38)+"/+"
	if got := r.Text(id + ":" + secret); strings.Contains(got, secret[:8]) {
		t.Errorf("the secret is left: %q", got)
	}
	if got := r.Text(id + " sha1 " + hexes(40)); !strings.Contains(got, hexes(40)) {
		t.Errorf("a SHA-1 is taken for a secret: %q", got)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	key := "sk-ant-api03-" + letters(80)
	for in, want := range map[string]string{
		`{"password":"x"}`: `{"password":"[REDACTED]"}`,
		`{"password":12345,"n":9007199254740993,"f":1.50}`:                        `{"password":"[REDACTED]","n":9007199254740993,"f":1.50}`,
		`{"password":null,"secret":true,"a":""}`:                                  `{"password":null,"secret":true,"a":""}`,
		`{"credentials":{"user":"bob","ids":[1,"x"]}}`:                            `{"credentials":{"user":"[REDACTED]","ids":["[REDACTED]","[REDACTED]"]}}`,
		`{"a":[{"apiKey":"x"},{"api_key":"y"},{"API-KEY":"z"}]}`:                  `{"a":[{"apiKey":"[REDACTED]"},{"api_key":"[REDACTED]"},{"API-KEY":"[REDACTED]"}]}`,
		`{ "text" : "see ` + key + `" , "n" : 1 }`:                                `{ "text" : "see [REDACTED]" , "n" : 1 }`,
		`{"` + key + `":1,"` + key + `x":2}`:                                      `{"[REDACTED]":1,"[REDACTED]#2":2}`,
		`{"` + key + `":1,"[REDACTED]":2}`:                                        `{"[REDACTED]":1,"[REDACTED]#2":2}`,
		`{"[REDACTED]":2,"` + key + `":1}`:                                        `{"[REDACTED]":2,"[REDACTED]#2":1}`,
		`{"headers":[{"name":"Authorization","value":"x"}]}`:                      `{"headers":[{"name":"Authorization","value":"[REDACTED]"}]}`,
		`{"arguments":"{\"password\":\"x\",\"n\":1.0}"}`:                          `{"arguments":"{\"password\":\"[REDACTED]\",\"n\":1.0}"}`,
		`{"token":"hello","access_token":"x","tokens":["a"],"max_tokens":10}`:     `{"token":"hello","access_token":"[REDACTED]","tokens":["a"],"max_tokens":10}`,
		`{"\u0070assword":"x"}`:                                                   `{"\u0070assword":"[REDACTED]"}`,
		`{"pem":"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"}`: `{"pem":"[REDACTED]\n"}`,
		`{"dsn":"postgres://u:p@h/d"}`:                                            `{"dsn":"postgres://u:[REDACTED]@h/d"}`,
		`{"Cookie":["a=b","c=d"]}`:                                                `{"Cookie":["[REDACTED]","[REDACTED]"]}`,
		`[]`:                                                                      `[]`,
		`{}`:                                                                      `{}`,
		`"password=x"`:                                                            `"password=[REDACTED]"`,
		`12`:                                                                      `12`,
	} {
		got := string(r.Bytes([]byte(in)))
		if got != want {
			t.Errorf("%s became\n%s, want\n%s", in, got, want)
		}
		if again := string(r.Bytes([]byte(got))); again != got {
			t.Errorf("%s became %s the second time", got, again)
		}
	}
}

func TestBytesThatAreNoJSON(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{})
	for in, want := range map[string]string{
		"{broken password=x":          "{broken password=[REDACTED]",
		"\xff\x00 password=x \xfe":    "\xff\x00 password=[REDACTED] \xfe",
		`{"password":"x"`:             `{"password":"[REDACTED]"`,
		`{"a":1} {"password":"x"}`:    `{"a":1} {"password":"[REDACTED]"}`,
		"ghp_" + letters(36) + "\xff": "[REDACTED]\xff",
	} {
		if got := string(r.Bytes([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	unchanged := []byte("nothing here")
	if got := r.Bytes(unchanged); &got[0] != &unchanged[0] {
		t.Error("bytes without a secret were copied")
	}
}

func TestField(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{Names: []string{"SSN", "employee-number"}})
	for _, tt := range []struct{ name, in, want string }{
		{"password", "x", redact.Mask},
		{"clientSecret", "x", redact.Mask},
		{"password", "", ""},
		{"token", "hello", "hello"},
		{"token", "abcdefghijklmnop", redact.Mask},
		{"message", "password=x", "password=" + redact.Mask},
		{"user_ssn", "123", redact.Mask},
		{"EmployeeNumber", "7", redact.Mask},
		{"PWD", "/home/agent", "/home/agent"},
		{"note", "my ssn: 123", "my ssn: " + redact.Mask},
	} {
		if got := r.Field(tt.name, tt.in); got != tt.want {
			t.Errorf("%s %q became %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
	for in, want := range map[string]string{`{"a":"x","n":1}`: `{"a":"[REDACTED]","n":"[REDACTED]"}`, "raw": redact.Mask, "": ""} {
		if got := string(r.FieldBytes("secret", []byte(in))); got != want {
			t.Errorf("secret %s became %s, want %s", in, got, want)
		}
	}
}

func TestPatternsOfTheCaller(t *testing.T) {
	t.Parallel()
	r := redact.New(redact.Options{Patterns: []*regexp.Regexp{regexp.MustCompile(`\b\d{4}-\d{4}\b`), regexp.MustCompile(`^42\d*$`), regexp.MustCompile(`x*`)}})
	if got := r.Text("card 1234-5678."); got != "card [REDACTED]." {
		t.Errorf("text: %q", got)
	}
	if got := string(r.Bytes([]byte(`{"n":4211,"m":11,"s":"1234-5678"}`))); got != `{"n":"[REDACTED]","m":11,"s":"[REDACTED]"}` {
		t.Errorf("JSON: %s", got)
	}
}

// Invariants: valid JSON stays valid JSON of the same kind, valid UTF-8 stays valid UTF-8, and a second time changes
// nothing.
func FuzzRedact(f *testing.F) {
	for _, texts := range leaks {
		for _, s := range texts {
			f.Add(s)
			quoted, _ := json.Marshal([]any{s, map[string]string{"name": "password", "value": s}, map[string]any{"value": []string{s}, "name": s}})
			f.Add(string(quoted))
		}
	}
	for _, s := range byForm() {
		f.Add(s)
		quoted, _ := json.Marshal(map[string]string{"text": s, "password": s, s: "x"})
		f.Add(string(quoted))
	}
	for _, s := range []string{
		`password=`, `"password":"`, `{"password":[1,2,{"a":1.0}]}`, `\"secret\":\"x\\\"`, `token=abcdefghijklmnop`, `--password x`,
		`<password>x`, `postgres://u:p@h`, `{"a":"{\"password\":\"x\"}"}`, `Authorization: x`, `[REDACTED]`, `password=[REDACTED]x`, `{"password":"a","password":"b"}`,
	} {
		f.Add(s)
	}
	r := redact.New(redact.Options{})
	f.Fuzz(func(t *testing.T, in string) {
		text := r.Text(in)
		bytes := string(r.Bytes([]byte(in)))
		if utf8.ValidString(in) && (!utf8.ValidString(text) || !utf8.ValidString(bytes)) {
			t.Fatalf("%q became invalid UTF-8: %q, %q", in, text, bytes)
		}
		if json.Valid([]byte(in)) && utf8.ValidString(in) {
			if !json.Valid([]byte(bytes)) {
				t.Fatalf("%q became invalid JSON: %q", in, bytes)
			}
			if c := strings.TrimLeft(in, " \t\r\n"); (c[0] == '{' || c[0] == '[') && !json.Valid([]byte(text)) {
				t.Fatalf("%q became invalid JSON: %q", in, text)
			}
		}
		if again := r.Text(text); again != text {
			t.Fatalf("%q became %q, then %q", in, text, again)
		}
		if again := string(r.Bytes([]byte(bytes))); again != bytes {
			t.Fatalf("%q became %q, then %q", in, bytes, again)
		}
	})
}

func BenchmarkShortText(b *testing.B) {
	r := redact.New(redact.Options{})
	in := "The agent looks up the weather in Berlin."
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.Text(in)
	}
}

// BenchmarkFields is a text with many fields, some of them secrets.
func BenchmarkFields(b *testing.B) {
	r := redact.New(redact.Options{})
	in := strings.Repeat(`2026-11-25T10:00:00Z level=info msg="request done" method=POST path=/v1/chat status=200 duration=12ms token_count=812 user="bob", headers: {'Accept': '*/*', 'X-Api-Key': 'hunter2'}
`, 50)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.Text(in)
	}
}

func BenchmarkState(b *testing.B) {
	r := redact.New(redact.Options{})
	var items []string
	for i := range 10_000 {
		items = append(items, fmt.Sprintf(`{"role":"user","content":"message number %d about tokens and keys"}`, i))
	}
	in := []byte(`{"history":[` + strings.Join(items, ",") + `]}`)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.Bytes(in)
	}
}

func BenchmarkID(b *testing.B) {
	r := redact.New(redact.Options{})
	id := []byte{0x8f, 0x1b, 0x03, 0x9a, 0x77, 0x61, 0x40, 0x5e, 0xb2, 0x18, 0xc4, 0xd0, 0xee, 0x2f, 0x95, 0x6a}
	b.ReportAllocs()
	for b.Loop() {
		r.Bytes(id)
	}
}
