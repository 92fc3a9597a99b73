package settings_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/settings"
)

type colour string

func (c *colour) UnmarshalText(text []byte) error {
	return settings.OneOf(c, text, "red", "green")
}
func (colour) Allowed() string { return "red, green" }

type section struct {
	Host string           `name:"host" envs:"X_HOST"`
	Port uint16           `name:"port" envs:"X_PORT" min:"1"`
	Wait settings.Seconds `name:"wait" envs:"X_WAIT_SECS" min:"1" max:"3600"`
}

func (s section) Validate() error {
	if s.Host == "forbidden" {
		return &settings.Error{Name: "X_HOST", Value: s.Host, Reason: "forbidden"}
	}
	return nil
}

type config struct {
	Topic    string          `name:"topic" envs:"X_TOPIC,X_OLD_TOPIC" help:"Topic." group:"Names"`
	Colour   colour          `name:"colour" envs:"X_COLOUR" group:"Names"`
	Password settings.Secret `name:"password" envs:"X_PASSWORD,X_OLD_PASSWORD" help:"Password."`
	Size     int64           `name:"size" envs:"X_SIZE" min:"0" max:"10485760"`
	Ratio    float64         `name:"ratio" envs:"X_RATIO" min:"0" max:"1"`
	Redact   bool            `name:"redact" envs:"X_REDACT"`
	Hosts    []string        `name:"hosts" envs:"X_HOSTS"`
	Grace    time.Duration   `name:"grace" envs:"X_GRACE"`
	NoFlag   string          `envs:"X_NO_FLAG"`
	Plain    string          // not a setting
	Section  section         `group:"Section"`
	Sub      struct {
		Other string `name:"other" envs:"X_OTHER"`
	} `cmd:""`
	hidden string
}

func defaults() config {
	c := config{Topic: "t", Colour: "red", Redact: true, Size: 1, Grace: time.Second}
	c.Section = section{Host: "localhost", Port: 9092, Wait: settings.Seconds(10 * time.Second)}
	c.hidden = "-"
	return c
}

func load(t *testing.T, env, flags map[string]string) (config, []settings.Value, error) {
	t.Helper()
	c := defaults()
	values, err := settings.Load(&c, settings.Source{Env: settings.MapEnv(env), Flags: flags})
	return c, values, err
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		env, flags map[string]string
		want       string
		origin     settings.Origin
		from       string
	}{
		{"default", nil, nil, "t", settings.FromDefault, ""},
		{"env beats default", map[string]string{"X_TOPIC": "e"}, nil, "e", settings.FromEnv, "X_TOPIC"},
		{"alias", map[string]string{"X_OLD_TOPIC": "old"}, nil, "old", settings.FromEnv, "X_OLD_TOPIC"},
		{"empty env is unset", map[string]string{"X_TOPIC": ""}, nil, "t", settings.FromDefault, ""},
		{"blank env is unset", map[string]string{"X_TOPIC": " \t"}, nil, "t", settings.FromDefault, ""},
		{"empty canonical, set alias", map[string]string{"X_TOPIC": "", "X_OLD_TOPIC": "old"}, nil, "old", settings.FromEnv, "X_OLD_TOPIC"},
		{"same value twice", map[string]string{"X_TOPIC": "e", "X_OLD_TOPIC": "e"}, nil, "e", settings.FromEnv, "X_TOPIC"},
		{"flag beats env", map[string]string{"X_TOPIC": "e"}, map[string]string{"topic": "f"}, "f", settings.FromFlag, "--topic"},
		{"flag beats a quarrel of variables", map[string]string{"X_TOPIC": "e", "X_OLD_TOPIC": "o"}, map[string]string{"topic": "f"}, "f", settings.FromFlag, "--topic"},
		{"flag may be empty", map[string]string{"X_TOPIC": "e"}, map[string]string{"topic": ""}, "", settings.FromFlag, "--topic"},
		{"space around is not part of it", map[string]string{"X_TOPIC": " e\n"}, nil, "e", settings.FromEnv, "X_TOPIC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, values, err := load(t, tt.env, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			if c.Topic != tt.want {
				t.Errorf("Topic = %q, want %q", c.Topic, tt.want)
			}
			v := values[0]
			if v.Field.Env() != "X_TOPIC" || v.Text != tt.want || v.Origin != tt.origin || v.Name != tt.from {
				t.Errorf("value = %s %q %s %q, want %q %s %q", v.Field.Env(), v.Text, v.Origin, v.Name, tt.want, tt.origin, tt.from)
			}
		})
	}
}

func TestEveryKind(t *testing.T) {
	t.Parallel()
	c, _, err := load(t, map[string]string{
		"X_COLOUR": "GREEN", "X_PASSWORD": " s p ", "X_SIZE": "10485760", "X_RATIO": "0.25", "X_REDACT": "Off",
		"X_HOSTS": "a, b,,", "X_GRACE": "1m", "X_NO_FLAG": "n", "X_HOST": "h", "X_PORT": "65535", "X_WAIT_SECS": "1m30s",
		"X_OTHER": "belongs to a command",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config{Topic: "t", Colour: "green", Size: 10485760, Ratio: 0.25, Grace: time.Minute, NoFlag: "n", hidden: "-"}
	want.Section = section{Host: "h", Port: 65535, Wait: settings.Seconds(90 * time.Second)}
	if c.Password.Reveal() != " s p " {
		t.Errorf("a secret must be taken as it is, got %q", c.Password.Reveal())
	}
	if !slices.Equal(c.Hosts, []string{"a", "b"}) {
		t.Errorf("Hosts = %q", c.Hosts)
	}
	c.Password, c.Hosts = settings.Secret{}, nil
	if fmt.Sprintf("%#v", c) != fmt.Sprintf("%#v", want) {
		t.Errorf("got  %#v\nwant %#v", c, want)
	}
}

// Each bad value is refused with the name it came from, the value and what is allowed, and all of them at once.
func TestBadValues(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, value, says string }{
		{"X_COLOUR", "blue", `X_COLOUR="blue": not one of red, green`},
		{"X_SIZE", "10485761", `X_SIZE="10485761": above the maximum; allowed: a whole number, from 0 to 10485760`},
		{"X_SIZE", "-1", "below the minimum"},
		{"X_SIZE", "9223372036854775808", "too large"},
		{"X_SIZE", "1e3", "not a whole number"},
		{"X_RATIO", "NaN", "not a finite number"},
		{"X_RATIO", "1.5", "above the maximum"},
		{"X_REDACT", "maybe", "neither yes nor no"},
		{"X_PORT", "0", "below the minimum"},
		{"X_PORT", "65536", "too large"},
		{"X_PORT", "-1", "not a whole number of 0 or more"},
		{"X_WAIT_SECS", "0", "below the minimum"},
		{"X_WAIT_SECS", "0.5", "below the minimum"},
		{"X_WAIT_SECS", "-5", "negative"},
		{"X_WAIT_SECS", "-5s", "negative"},
		{"X_WAIT_SECS", "1e300", "too long"},
		{"X_WAIT_SECS", "inf", "not a finite"},
		{"X_WAIT_SECS", "soon", "not a duration"},
		{"X_GRACE", "10", "not a duration"},
	}
	env := map[string]string{}
	for _, tt := range tests {
		env[tt.name] = tt.value
		_, _, err := load(t, map[string]string{tt.name: tt.value}, nil)
		if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), tt.name+"=") {
			t.Errorf("%s=%s: got error %v, want %q", tt.name, tt.value, err, tt.says)
		}
	}
	c, values, err := load(t, env, nil)
	if got := settings.Errors(err); len(got) != len(env) {
		t.Errorf("%d bad settings gave %d errors: %v", len(env), len(got), err)
	}
	if fmt.Sprintf("%#v", c) != fmt.Sprintf("%#v", defaults()) {
		t.Errorf("bad values must leave the defaults, got %#v", c)
	}
	if len(values) != 12 {
		t.Errorf("the list must have every setting also on error, got %d", len(values))
	}
}

func TestBadFlagIsNamedAsFlag(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, map[string]string{"X_SIZE": "5"}, map[string]string{"size": "many"})
	if err == nil || !strings.HasPrefix(err.Error(), `--size="many": not a whole number`) {
		t.Errorf("got %v", err)
	}
}

func TestAliasesThatDiffer(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, map[string]string{"X_TOPIC": "a", "X_OLD_TOPIC": "b"}, nil)
	if err == nil || !strings.Contains(err.Error(), `X_TOPIC="a": X_OLD_TOPIC is another name`) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("got %v", err)
	}
	_, _, err = load(t, map[string]string{"X_PASSWORD": "hunter2", "X_OLD_PASSWORD": "hunter3"}, nil)
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("two passwords must be refused and not shown, got %v", err)
	}
}

// A rule names the setting as the user did, and its value is marked.
func TestRulesNameWhatWasWritten(t *testing.T) {
	t.Parallel()
	for want, flags := range map[string]map[string]string{"--host": {"host": "forbidden"}, "X_HOST": nil} {
		env := map[string]string{"X_HOST": "forbidden"}
		_, values, err := load(t, env, flags)
		got := settings.Errors(err)
		if len(got) != 1 || got[0].Name != want {
			t.Errorf("got %v, want one error about %s", err, want)
		}
		marked := 0
		for _, v := range values {
			if v.Err != nil && v.Field.Env() == "X_HOST" && v.Err == got[0] {
				marked++
			} else if v.Err != nil {
				t.Errorf("%s is marked: %v", v.Field.Env(), v.Err)
			}
		}
		if marked != 1 {
			t.Errorf("the value is not marked: %+v", values)
		}
	}
}

// Who looks at the list must see what was written, not the default that it gave way to.
func TestLoadListsWhatItRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env, flags map[string]string
		at         int
		want       settings.Value
	}{
		{map[string]string{"X_COLOUR": "pink"}, nil, 1, settings.Value{Text: "pink", Origin: settings.FromEnv, Name: "X_COLOUR"}},
		{nil, map[string]string{"size": "-1"}, 3, settings.Value{Text: "-1", Origin: settings.FromFlag, Name: "--size"}},
		{map[string]string{"X_TOPIC": "a", "X_OLD_TOPIC": "b"}, nil, 0, settings.Value{Text: "a", Origin: settings.FromEnv, Name: "X_TOPIC"}},
	} {
		_, values, err := load(t, tt.env, tt.flags)
		v := values[tt.at]
		if v.Text != tt.want.Text || v.Origin != tt.want.Origin || v.Name != tt.want.Name || v.Err == nil || v.Err.Error() != err.Error() {
			t.Errorf("%s: %q from %s %s, error %v; want %q from %s %s, error %v",
				v.Field.Env(), v.Text, v.Origin, v.Name, v.Err, tt.want.Text, tt.want.Origin, tt.want.Name, err)
		}
	}
}

// A URL that was pasted whole keeps its password to itself, whether it is refused or taken.
func TestPasswordsInURLsAreMasked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"kafka://u:s3cret@host:1":      "kafka://******@host:1",
		"u:s3cret@host:1":              "u:******@host:1",
		"a:1, u:s3,cr@et@host":         "a:******@host",
		"https://s3cret@host/path?q=1": "https://******@host/path?q=1",
		"host:1,[::1]:2":               "host:1,[::1]:2",
		"user@host":                    "user@host",
	} {
		_, values, err := load(t, map[string]string{"X_TOPIC": text}, nil)
		if err != nil || values[0].Text != want {
			t.Errorf("%q is shown as %q, want %q; error %v", text, values[0].Text, want, err)
		}
		_, values, err = load(t, map[string]string{"X_COLOUR": text}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3") || values[1].Text != want {
			t.Errorf("%q is refused as %v, listed as %q, want %q", text, err, values[1].Text, want)
		}
		_, _, err = load(t, map[string]string{"X_TOPIC": text, "X_OLD_TOPIC": text + "?"}, nil)
		if err == nil || strings.Contains(err.Error(), "s3") {
			t.Errorf("two names: %v", err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, map[string]string{"X_HOST": "forbidden", "X_COLOUR": "blue"}, nil)
	if got := settings.Errors(err); len(got) != 2 {
		t.Errorf("a bad setting elsewhere must not hide what Validate says: %v", err)
	}
	_, _, err = load(t, map[string]string{"X_HOST": "forbidden", "X_PORT": "no"}, nil)
	if got := settings.Errors(err); len(got) != 1 || got[0].Name != "X_PORT" {
		t.Errorf("Validate must not be asked about a struct that could not be read: %v", err)
	}
}

type checked struct {
	A string `name:"a" envs:"X_A"`
	B int    `name:"b" envs:"X_B"`
}

func (c checked) Validate() error { return errors.New("Validate was asked") }
func (c checked) ValidateFields() error {
	if c.A == "bad" {
		return &settings.Error{Name: "X_A", Value: c.A, Reason: "bad"}
	}
	return nil
}

// A setting that cannot be read hides no other mistake, and gives rise to none that nobody made.
func TestValidateFields(t *testing.T) {
	t.Parallel()
	var c checked
	_, err := settings.Load(&c, settings.Source{Env: settings.MapEnv(map[string]string{"X_A": "bad", "X_B": "no"})})
	if got := settings.Errors(err); len(got) != 2 || strings.Contains(err.Error(), "Validate was asked") {
		t.Errorf("got %v", err)
	}
	c = checked{}
	if _, err := settings.Load(&c, settings.Source{}); err == nil || !strings.Contains(err.Error(), "Validate was asked") {
		t.Errorf("got %v", err)
	}
}

func TestDeclarationMistakes(t *testing.T) {
	t.Parallel()
	mistakes := []any{
		config{},
		(*config)(nil),
		new(int),
		&struct {
			A chan int `envs:"A"`
		}{},
		&struct {
			A int `envs:"A" min:"x"`
		}{},
		&struct {
			A string `envs:"A" min:"1"`
		}{},
		&struct {
			A string `envs:"a b"`
		}{},
		&struct {
			A string `envs:"A"`
			B string `envs:"B,A"`
		}{},
		&struct {
			A string `envs:"A" name:"x"`
			B string `envs:"B" name:"x"`
		}{},
	}
	for i, m := range mistakes {
		if _, err := settings.Load(m, settings.Source{}); err == nil {
			t.Errorf("mistake %d: no error", i)
		}
	}
}

// A secret must not show in any form, also not as an unexported field, where fmt does not ask its methods.
func TestSecretCannotBePrinted(t *testing.T) {
	t.Parallel()
	const text = "hunter2"
	s := settings.NewSecret(text)
	type outer struct {
		Shown  settings.Secret
		hidden settings.Secret
		list   []settings.Secret
	}
	o := outer{s, s, []settings.Secret{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "%c", "%U", "%e", "%b", "%10.3v", "%w"} {
		for _, v := range []any{s, &s, o, &o, []settings.Secret{s}, map[string]settings.Secret{"k": s}, struct{ any }{s}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, fmt.Errorf("wrapped: %v %w", s, errors.New("x")))
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("m", "secret", s, "pointer", &s, "outer", o)
	}
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": s, "o": o, "p": &s}); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{text, "68756e7465", "68756E7465", "104 117 110", "aHVudGVy"} {
		if i := strings.Index(out.String(), form); i >= 0 {
			t.Errorf("the secret shows as %q: …%s…", form, out.String()[max(0, i-60):i+20])
		}
	}
	if !strings.Contains(out.String(), settings.Mask) {
		t.Error("a set secret must show as the mask")
	}
	if got := fmt.Sprintf("%v|%s", settings.Secret{}, settings.NewSecret("")); got != "|" {
		t.Errorf("an unset secret must show as nothing, got %q", got)
	}
	if s.Reveal() != text || !s.IsSet() || settings.NewSecret("").IsSet() || !s.Equal(settings.NewSecret(text)) {
		t.Error("Reveal, IsSet or Equal is wrong")
	}
}

func TestSecretIsMaskedInList(t *testing.T) {
	t.Parallel()
	_, values, err := load(t, map[string]string{"X_PASSWORD": "hunter2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprintf("%+v", values), "hunter2") {
		t.Error("the list shows the secret")
	}
	if values[2].Text != settings.Mask || values[2].Name != "X_PASSWORD" {
		t.Errorf("value = %+v", values[2])
	}
}

func TestErrorIsOnePrintableLine(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, map[string]string{"X_COLOUR": strings.Repeat("é\n\x1b[2J", 1<<16)}, nil)
	text := err.Error()
	if len(text) > 1024 || strings.ContainsAny(text, "\n\x1b") {
		t.Errorf("error of %d bytes: %.80q", len(text), text)
	}
}

func TestReference(t *testing.T) {
	t.Parallel()
	c := struct {
		Topic    string          `name:"topic" envs:"X_TOPIC,X_OLD" help:"The topic | stream." group:"One"`
		Password settings.Secret `envs:"X_PASSWORD" help:"The password."`
		Dead     string          `name:"dead" envs:"X_DEAD" group:"One" unset:"<X_TOPIC>-dlq"`
		Size     int             `name:"size" envs:"X_SIZE" group:"One" unset:"that of the profile"`
	}{Topic: "t", Password: settings.NewSecret("hunter2")}
	fields, err := settings.Fields(&c)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := settings.Reference(&b, fields); err != nil {
		t.Fatal(err)
	}
	want := "## One\n\n" +
		"| Variable | Flag | Default | Meaning | Allowed |\n|---|---|---|---|---|\n" +
		"| `X_TOPIC` (alias `X_OLD`) | `--topic` | `t` | The topic \\| stream. |  |\n" +
		"| `X_DEAD` | `--dead` | &lt;X_TOPIC&gt;-dlq |  |  |\n" +
		"| `X_SIZE` | `--size` | that of the profile |  | a whole number |\n\n" +
		"| Variable | Flag | Default | Meaning | Allowed |\n|---|---|---|---|---|\n" +
		"| `X_PASSWORD` |  | `******` | The password. Never printed. |  |\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	known := []string{"DASHSTREAM_TOPIC", "KAFKA_TOPIC"}
	got := settings.Unknown([]string{
		"DASHSTREAM_TOPIC", "DASHSTREAM_TOPICS", "DASHSTREAM_ENTIRELY_OTHER", "KAFKA_TOPIX", "PATH",
		// What Kubernetes sets in every pod beside a service of our name.
		"DASHSTREAM_SERVICE_HOST", "DASHSTREAM_SERVICE_PORT", "DASHSTREAM_SERVICE_PORT_HTTP", "DASHSTREAM_PORT",
		"DASHSTREAM_GATEWAY_PORT_3002_TCP", "DASHSTREAM_GATEWAY_PORT_3002_TCP_ADDR",
		"DASHSTREAM_TEST_KAFKA",
	}, known)
	want := []settings.UnknownVariable{{Name: "DASHSTREAM_ENTIRELY_OTHER"}, {Name: "DASHSTREAM_TOPICS", Nearest: "DASHSTREAM_TOPIC"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSecondsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"10": "10", "0.5": "0.5", "1m30s": "90", "250ms": "0.25", " 7 ": "7"} {
		var s settings.Seconds
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != want {
			t.Errorf("%q gives %q, %v; want %q", text, s.String(), err, want)
		}
	}
}
