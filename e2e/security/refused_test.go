package security

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// refusal is a mistake that shows before anything is connected to.
type refusal struct {
	name string
	env  func(t *testing.T, b *broker) env
	says []string
}

var refusals = []refusal{
	{"Kerberos (`GSSAPI`)", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(env{"KAFKA_SASL_MECHANISM": "GSSAPI"})
	}, []string{"KAFKA_SASL_MECHANISM", "Kerberos is not supported"}},
	{"SASL without a mechanism", func(t *testing.T, b *broker) env { return b.to(t, "SASLTLS", "sasl_ssl") },
		[]string{"KAFKA_SASL_MECHANISM", "required with KAFKA_SECURITY_PROTOCOL=sasl_ssl"}},
	{"a mechanism that does not exist", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(env{"KAFKA_SASL_MECHANISM": "SCRAM"})
	}, []string{"KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"}},
	{"a protocol that does not exist", func(t *testing.T, b *broker) env { return b.to(t, "TLS", "tls") },
		[]string{"KAFKA_SECURITY_PROTOCOL", "plaintext, ssl, sasl_plaintext, sasl_ssl"}},
	{"a user without a password", func(t *testing.T, b *broker) env {
		return b.sasl(t, "SASLTLS", "sasl_ssl").with(env{"KAFKA_SASL_PASSWORD": ""})
	}, []string{"KAFKA_SASL_PASSWORD", "required"}},
	{"a user and a password, and no SASL", func(t *testing.T, b *broker) env {
		return b.sasl(t, "TLS", "ssl").with(env{"KAFKA_SASL_MECHANISM": ""})
	}, []string{"KAFKA_SASL_USERNAME", "does not authenticate"}},
	{"no such file of authorities", func(t *testing.T, b *broker) env {
		return b.to(t, "TLS", "ssl").with(env{"KAFKA_SSL_CA_LOCATION": filepath.Join(t.TempDir(), "ca.pem")})
	}, []string{"KAFKA_SSL_CA_LOCATION", "no such file"}},
	{"a client certificate without its key", func(t *testing.T, b *broker) env {
		return b.to(t, "MUTUAL", "ssl").with(certificate(b.ca, certs.Valid)).with(env{"KAFKA_SSL_KEY_LOCATION": ""})
	}, []string{"KAFKA_SSL_KEY_LOCATION"}},
	{"a wrong password of the key", func(t *testing.T, b *broker) env {
		cert, key := b.ca.Client(certs.Valid, appUser, clientSecret)
		return b.to(t, "MUTUAL", "ssl").with(env{
			"KAFKA_SSL_CERTIFICATE_LOCATION": cert, "KAFKA_SSL_KEY_LOCATION": key, "KAFKA_SSL_KEY_PASSWORD": wrongSecret,
		})
	}, []string{"KAFKA_SSL_KEY_LOCATION", "password may be wrong"}},
	{"a client secret that would go over the network in the clear", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(b.oauth()).with(env{"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "http://idp.example/token"})
	}, []string{"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "in the clear"}},
}

// What cannot work is refused by all four in the same words, before anything is done.
func testRefusals(t *testing.T, b *broker, found *findings) {
	for _, r := range refusals {
		told := ""
		for _, a := range actors {
			e := r.env(t, b)
			o := a.fails(t, e, "")
			leaksNothing(t, a.name, o.text)
			want := "exit 2"
			if a.name == "SDK" {
				want = "New fails"
				told = leveled(b, e, strings.TrimPrefix(o.text, "dashstream: "))
			}
			if o.how != want {
				t.Errorf("%s, %s: %s, want %s\n%s", r.name, a.name, o.how, want, o.text)
			}
			for _, says := range r.says {
				if !strings.Contains(o.text, says) {
					t.Errorf("%s, %s: no %q in:\n%s", r.name, a.name, says, o.text)
				}
			}
		}
		found.refusals = append(found.refusals, [2]string{r.name, told})
	}
}
