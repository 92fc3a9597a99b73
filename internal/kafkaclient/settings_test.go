package kafkaclient_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// The names and defaults that users' deployments depend on.
func TestFieldNamesAndDefaults(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"KAFKA_BROKERS":                  "localhost:9092",
		"KAFKA_TOPIC":                    "dashstream-quality",
		"KAFKA_DLQ_TOPIC":                "",
		"KAFKA_GROUP_ID":                 "",
		"KAFKA_TENANT_ID":                "default",
		"KAFKA_AUTO_OFFSET_RESET":        "earliest",
		"KAFKA_ON_DECODE_ERROR":          "skip",
		"KAFKA_SECURITY_PROTOCOL":        "plaintext",
		"KAFKA_SASL_MECHANISM":           "",
		"KAFKA_SASL_USERNAME":            "",
		"KAFKA_SASL_PASSWORD":            "",
		"KAFKA_SSL_CA_LOCATION":          "",
		"KAFKA_SSL_CERTIFICATE_LOCATION": "",
		"KAFKA_SSL_KEY_LOCATION":         "",
		"KAFKA_SSL_KEY_PASSWORD":         "",
		"KAFKA_SSL_ENDPOINT_ALGORITHM":   "https",
		"KAFKA_BROKER_ADDRESS_FAMILY":    "any",
		"KAFKA_LAG_CHECK_INTERVAL_SECS":  "10",
		"KAFKA_LAG_STALE_PARTITION_SECS": "60",
	}
	s := kafkaclient.Default()
	fields, err := settings.Fields(&s)
	if err != nil {
		t.Fatal(err)
	}
	aliases := map[string]string{}
	for _, f := range fields {
		if def, ok := want[f.Env()]; ok && def != f.Default {
			t.Errorf("%s: default %q, want %q", f.Env(), f.Default, def)
		}
		delete(want, f.Env())
		for _, a := range f.Envs[1:] {
			aliases[a] = f.Env()
		}
		// A flag is its variable in small letters, so that nobody has to look it up.
		if flag := strings.ReplaceAll(strings.ToLower(f.Env()), "_", "-"); f.Flag != flag {
			t.Errorf("%s: flag %q, want %q", f.Env(), f.Flag, flag)
		}
		if f.Help == "" || f.Group == "" {
			t.Errorf("%s: no help or no group", f.Env())
		}
		if secret := strings.HasSuffix(f.Env(), "PASSWORD") || strings.Contains(f.Env(), "SECRET") && !strings.HasSuffix(f.Env(), "_FILE"); secret && !f.Secret {
			t.Errorf("%s: must be a secret", f.Env())
		}
	}
	for env := range want {
		t.Errorf("%s: no such setting", env)
	}
	if aliases["KAFKA_BOOTSTRAP_SERVERS"] != "KAFKA_BROKERS" || aliases["DASHSTREAM_TOPIC"] != "KAFKA_TOPIC" {
		t.Errorf("aliases = %v", aliases)
	}
	if err := kafkaclient.Default().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestFromEnv(t *testing.T) {
	t.Parallel()
	s, err := kafkaclient.FromEnv(settings.MapEnv(map[string]string{
		"KAFKA_BOOTSTRAP_SERVERS":       "a:1, b ,[::1]:3,::1,a:1,",
		"DASHSTREAM_TOPIC":              "events",
		"KAFKA_SECURITY_PROTOCOL":       "SASL_SSL",
		"KAFKA_SASL_MECHANISM":          "scram-sha-512",
		"KAFKA_SASL_USERNAME":           "u",
		"KAFKA_SASL_PASSWORD":           "hunter2",
		"KAFKA_LAG_CHECK_INTERVAL_SECS": "30",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a:1", "b:9092", "[::1]:3", "[::1]:9092"}; !slices.Equal(s.Brokers, want) {
		t.Errorf("Brokers = %q, want %q", s.Brokers, want)
	}
	if s.Topic != "events" || s.DeadLetterTopic() != "events-dlq" {
		t.Errorf("topics %q, %q", s.Topic, s.DeadLetterTopic())
	}
	if s.SecurityProtocol != kafkaclient.ProtocolSASLSSL || s.SASLMechanism != kafkaclient.MechanismScramSHA512 {
		t.Errorf("security %q %q", s.SecurityProtocol, s.SASLMechanism)
	}
	if s.LagCheckInterval.Duration() != 30*time.Second || s.SASLPassword.Reveal() != "hunter2" {
		t.Error("interval or password not taken")
	}
}

// Every bad value or combination is refused before any I/O, by an error that names the variable.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	scram := "KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=SCRAM-SHA-256 KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p "
	oauth := "KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=OAUTHBEARER "
	client := oauth + "KAFKA_SASL_OAUTHBEARER_CLIENT_ID=i KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET=hunter2 "
	msk := "KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=AWS_MSK_IAM "
	tests := []struct{ env, name, says string }{
		{"KAFKA_BROKERS=,", "KAFKA_BROKERS", "no broker"},
		{"KAFKA_BROKERS=host:0", "KAFKA_BROKERS", "not from 1 to 65535"},
		{"KAFKA_BROKERS=host:65536", "KAFKA_BROKERS", "not from 1 to 65535"},
		{"KAFKA_BROKERS=host:kafka", "KAFKA_BROKERS", "not from 1 to 65535"},
		{"KAFKA_BROKERS=:9092", "KAFKA_BROKERS", "not a host name"},
		{"KAFKA_BROKERS=a:1:2", "KAFKA_BROKERS", "not host:port"},
		{"KAFKA_BROKERS=[zz::1]:9092", "KAFKA_BROKERS", "not an IPv6 address"},
		{"KAFKA_BROKERS=SASL_SSL://host:9092", "KAFKA_BROKERS", "write host:port and set KAFKA_SECURITY_PROTOCOL"},
		{"KAFKA_BROKERS=ho/st:9092", "KAFKA_BROKERS", "not a host name"},
		{"KAFKA_TOPIC=a/b", "KAFKA_TOPIC", "letters, digits"},
		{"KAFKA_TOPIC=..", "KAFKA_TOPIC", "must not be named"},
		{"KAFKA_TOPIC=" + strings.Repeat("t", 250), "KAFKA_TOPIC", "at most 249"},
		{"KAFKA_TOPIC=" + strings.Repeat("t", 247), "KAFKA_DLQ_TOPIC", "at most 249"},
		{"KAFKA_DLQ_TOPIC=dashstream-quality", "KAFKA_DLQ_TOPIC", "must not go to the topic they come from"},
		{"KAFKA_DLQ_TOPIC=a:b", "KAFKA_DLQ_TOPIC", "letters, digits"},
		{"KAFKA_GROUP_ID=a\x01b", "KAFKA_GROUP_ID", "printable"},
		{"KAFKA_TENANT_ID=" + strings.Repeat("é", 257), "KAFKA_TENANT_ID", "printable"},
		{"KAFKA_AUTO_OFFSET_RESET=oldest", "KAFKA_AUTO_OFFSET_RESET", "earliest, latest"},
		{"KAFKA_ON_DECODE_ERROR=stop", "KAFKA_ON_DECODE_ERROR", "skip, pause"},
		{"KAFKA_SECURITY_PROTOCOL=tls", "KAFKA_SECURITY_PROTOCOL", "plaintext, ssl, sasl_plaintext, sasl_ssl"},
		{"KAFKA_BROKER_ADDRESS_FAMILY=ipv6", "KAFKA_BROKER_ADDRESS_FAMILY", "any, v4, v6"},
		{"KAFKA_SSL_ENDPOINT_ALGORITHM=off", "KAFKA_SSL_ENDPOINT_ALGORITHM", "https, none"},
		{"KAFKA_LAG_CHECK_INTERVAL_SECS=0", "KAFKA_LAG_CHECK_INTERVAL_SECS", "below the minimum"},
		{"KAFKA_LAG_CHECK_INTERVAL_SECS=99999999999999999999", "KAFKA_LAG_CHECK_INTERVAL_SECS", "too long"},
		{"KAFKA_LAG_STALE_PARTITION_SECS=0", "KAFKA_LAG_STALE_PARTITION_SECS", "below the minimum"},
		{"KAFKA_SESSION_TIMEOUT_SECS=1", "KAFKA_SESSION_TIMEOUT_SECS", "below the minimum"},
		{"KAFKA_CONNECT_TIMEOUT_SECS=0", "KAFKA_CONNECT_TIMEOUT_SECS", "below the minimum"},

		{"KAFKA_SECURITY_PROTOCOL=sasl_ssl", "KAFKA_SASL_MECHANISM", "required"},
		{"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=DIGEST-MD5", "KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256"},
		{"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=GSSAPI", "KAFKA_SASL_MECHANISM", "Kerberos is not supported"},
		{"KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_MECHANISM", "does not authenticate"},
		{"KAFKA_SASL_PASSWORD=hunter2", "KAFKA_SASL_PASSWORD", "does not authenticate"},
		{"KAFKA_SASL_USERNAME=u KAFKA_SECURITY_PROTOCOL=ssl", "KAFKA_SASL_USERNAME", "does not authenticate"},
		{"KAFKA_SECURITY_PROTOCOL=sasl_plaintext KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_USERNAME=u", "KAFKA_SASL_PASSWORD", "required"},
		{"KAFKA_SECURITY_PROTOCOL=sasl_plaintext KAFKA_SASL_MECHANISM=PLAIN KAFKA_SASL_PASSWORD=hunter2", "KAFKA_SASL_USERNAME", "required"},
		{scram + "KAFKA_SASL_PASSWORD_FILE=/f", "KAFKA_SASL_PASSWORD", "unset one of them"},
		{scram + "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=/f", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", "does not use it"},

		{oauth, "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", "required"},
		{oauth + "KAFKA_SASL_USERNAME=u KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=/f", "KAFKA_SASL_USERNAME", "does not use it"},
		{client, "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "required"},
		{client + "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=/f", "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", "not both"},
		{client + "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=http://idp.example/token", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "in the clear"},
		{client + "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=https://u:hunter2@idp.example/token", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "user name or password in it"},
		{client + "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=idp.example", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "not a URL"},
		{oauth + "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=https://idp.example/t KAFKA_SASL_OAUTHBEARER_CLIENT_ID=i", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "required"},
		{oauth + "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=/f KAFKA_SASL_OAUTHBEARER_EXTENSIONS=a", "KAFKA_SASL_OAUTHBEARER_EXTENSIONS", "not key=value"},

		{"KAFKA_SECURITY_PROTOCOL=sasl_plaintext KAFKA_SASL_MECHANISM=AWS_MSK_IAM", "KAFKA_SECURITY_PROTOCOL", "TLS only"},
		{msk + "AWS_ACCESS_KEY_ID=i", "AWS_SECRET_ACCESS_KEY", "required"},
		{msk + "AWS_WEB_IDENTITY_TOKEN_FILE=/f", "AWS_ROLE_ARN", "required"},

		{"KAFKA_SSL_CA_LOCATION=/ca", "KAFKA_SSL_CA_LOCATION", "does not encrypt"},
		{"KAFKA_SSL_ENDPOINT_ALGORITHM=none", "KAFKA_SSL_ENDPOINT_ALGORITHM", "does not encrypt"},
		{"KAFKA_SECURITY_PROTOCOL=ssl KAFKA_SSL_CERTIFICATE_LOCATION=/c", "KAFKA_SSL_KEY_LOCATION", "required"},
		{"KAFKA_SECURITY_PROTOCOL=ssl KAFKA_SSL_KEY_LOCATION=/k", "KAFKA_SSL_CERTIFICATE_LOCATION", "required"},
		{"KAFKA_SECURITY_PROTOCOL=ssl KAFKA_SSL_KEY_PASSWORD=hunter2", "KAFKA_SSL_KEY_PASSWORD", "no KAFKA_SSL_KEY_LOCATION"},
		{"KAFKA_BROKERS=a:1 KAFKA_BOOTSTRAP_SERVERS=b:1", "KAFKA_BROKERS", "another name"},
	}
	for _, tt := range tests {
		env := map[string]string{}
		for pair := range strings.FieldsSeq(tt.env) {
			k, v, _ := strings.Cut(pair, "=")
			env[k] = v
		}
		_, err := kafkaclient.FromEnv(settings.MapEnv(env))
		found := false
		for _, e := range settings.Errors(err) {
			found = found || e.Name == tt.name && strings.Contains(e.Error(), tt.says)
		}
		if tt.env == "KAFKA_BROKERS=," {
			// A list of nothing is an error, not the default.
			found = found && err != nil
		}
		if !found {
			t.Errorf("%s: got %v, want %s: …%s…", tt.env, err, tt.name, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret: %v", tt.env, err)
		}
	}
}

// A URL pasted whole is refused without a piece of its password, and told where the user belongs.
func TestBrokersWithAPassword(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"kafka://u:hunt,er2@host:9092", "u:hunt,er2@host", "a:1,u:hunt,er2@b:1"} {
		_, err := kafkaclient.FromEnv(settings.MapEnv(map[string]string{"KAFKA_BROKERS": text}))
		if err == nil || strings.Contains(err.Error(), "hunt") || strings.Contains(err.Error(), "er2") || !strings.Contains(err.Error(), "KAFKA_SASL_PASSWORD_FILE") {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Nor when a program made the list.
	s := kafkaclient.Default()
	s.Brokers = kafkaclient.Brokers{"u:hunter2@host:9092"}
	if err := s.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

// A bad topic is one mistake, though another name is made from it.
func TestABadTopicIsOneMistake(t *testing.T) {
	t.Parallel()
	_, err := kafkaclient.FromEnv(settings.MapEnv(map[string]string{"KAFKA_TOPIC": "a/b"}))
	if got := settings.Errors(err); len(got) != 1 || got[0].Name != "KAFKA_TOPIC" {
		t.Errorf("got %v", err)
	}
}

// What a hint says can be pasted into a shell.
func TestCommandFlags(t *testing.T) {
	t.Parallel()
	for want, env := range map[string]map[string]string{
		"": nil,
		" --kafka-brokers a:1,b:2 --kafka-topic events":        {"KAFKA_BROKERS": "a:1,b:2", "KAFKA_TOPIC": "events"},
		" --kafka-brokers '[::1]:9' --kafka-dlq-topic letters": {"KAFKA_BROKERS": "[::1]:9", "KAFKA_DLQ_TOPIC": "letters"},
	} {
		s, err := kafkaclient.FromEnv(settings.MapEnv(env))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CommandFlags(); got != want {
			t.Errorf("%v: %q, want %q", env, got, want)
		}
	}
}

func TestGoodCombinations(t *testing.T) {
	t.Parallel()
	for _, env := range []string{
		"KAFKA_SECURITY_PROTOCOL=ssl",
		"KAFKA_SECURITY_PROTOCOL=SSL KAFKA_SSL_CERTIFICATE_LOCATION=/c KAFKA_SSL_KEY_LOCATION=/k KAFKA_SSL_KEY_PASSWORD=p",
		"KAFKA_SECURITY_PROTOCOL=sasl_plaintext KAFKA_SASL_MECHANISM=plain KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD=p",
		"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=SCRAM-SHA-512 KAFKA_SASL_USERNAME=u KAFKA_SASL_PASSWORD_FILE=/f",
		"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=OAUTHBEARER KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=/f",
		"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=OAUTHBEARER KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL=http://127.0.0.1:1/t KAFKA_SASL_OAUTHBEARER_CLIENT_ID=i KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE=/f KAFKA_SASL_OAUTHBEARER_EXTENSIONS=logicalCluster=lkc-1,identityPoolId=pool-1",
		"KAFKA_SECURITY_PROTOCOL=sasl_ssl KAFKA_SASL_MECHANISM=AWS_MSK_IAM",
		// Variables of another tool on the same machine are no mistake here.
		"AWS_ACCESS_KEY_ID=i AWS_PROFILE=p AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=maybe",
	} {
		vars := map[string]string{}
		for pair := range strings.FieldsSeq(env) {
			k, v, _ := strings.Cut(pair, "=")
			vars[k] = v
		}
		if _, err := kafkaclient.FromEnv(settings.MapEnv(vars)); err != nil {
			t.Errorf("%s: %v", env, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	if got := s.Warnings(); len(got) != 0 {
		t.Errorf("defaults warn: %q", got)
	}
	s.SecurityProtocol, s.SASLMechanism = kafkaclient.ProtocolSASLPlaintext, kafkaclient.MechanismPlain
	if got := s.Warnings(); len(got) != 1 || !strings.Contains(got[0], "unencrypted") {
		t.Errorf("got %q", got)
	}
	s.SecurityProtocol, s.SSLEndpointAlgorithm = kafkaclient.ProtocolSSL, kafkaclient.EndpointNone
	if got := s.Warnings(); len(got) != 1 || !strings.Contains(got[0], "KAFKA_SSL_ENDPOINT_ALGORITHM=none") {
		t.Errorf("got %q", got)
	}
}

// The startup line says where and how, with the deadlines, and never a secret.
func TestLogValue(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	s.SecurityProtocol, s.SASLMechanism = kafkaclient.ProtocolSASLSSL, kafkaclient.MechanismPlain
	s.SASLUsername, s.SASLPassword, s.GroupID = "u", kafkaclient.NewSecret("hunter2"), "g"
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("start", "kafka", s)
	fmt.Fprintf(&out, "%v %+v %#v", s, s, s)
	for _, want := range []string{"brokers=localhost:9092", "topic=dashstream-quality", "dlq_topic=dashstream-quality-dlq",
		"security_protocol=sasl_ssl", "sasl_mechanism=PLAIN", "group_id=g", "auto_offset_reset=earliest", "connect_timeout=10s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("the log shows the password")
	}
}

func FuzzBrokers(f *testing.F) {
	// Any text either is refused or gives a list that parses to itself, with a port and a host in every item.
	for _, seed := range []string{"a:1", "a,b", "[::1]:9092", "::1", "a:1,a:1", "http://x", "[fe80::1%eth0]:1", ":", "[", "a:b:c", "é:1", ",,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again kafkaclient.Brokers
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if len(b) == 0 {
			t.Fatal("an empty list without an error")
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || !slices.Equal(b, again) {
			t.Fatalf("%q gives %q, which gives %q, %v", text, b, again, err)
		}
	})
}
