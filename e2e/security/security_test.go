package security

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// slack is how much longer than promised an answer may take on a machine that is busy with other tests.
const slack = 4

// TestSecurity is all of them, on one broker, and compares docs/security.md with what they found.
func TestSecurity(t *testing.T) {
	b := startBroker(t)
	b.allow(t, []string{"User:" + appUser, "User:ANONYMOUS"}, kadm.ACLPatternPrefixed, []string{b.topic},
		kadm.OpRead, kadm.OpWrite, kadm.OpDescribeConfigs)
	var found findings
	t.Run("works", func(t *testing.T) { testWays(t, b, &found) })
	t.Run("acls", func(t *testing.T) { testACLs(t, b, &found) })
	t.Run("mistakes", func(t *testing.T) { testMistakes(t, b, &found) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, b, &found) })
	t.Run("recovery", func(t *testing.T) { testRecovery(t, b) })
	switch part := flag.Lookup("test.run").Value.String(); {
	case t.Failed():
	case strings.Contains(part, "/"):
		t.Logf("%s is not compared: only a part of the tests ran", page)
	default:
		found.compare(t)
	}
}

// allow grants the operations on the topics to each user.
func (b *broker) allow(t *testing.T, users []string, pattern kadm.ACLPattern, topics []string, operations ...kadm.ACLOperation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	acls := kadm.NewACLs().Topics(topics...).Operations(operations...).Allow(users...).AllowHosts("*").ResourcePatternType(pattern)
	results, err := b.Admin(t).CreateACLs(ctx, acls)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// to is the settings that reach a listener, with TLS where the protocol has that.
func (b *broker) to(t *testing.T, listener, protocol string) env {
	t.Helper()
	e := env{"KAFKA_BROKERS": b.Addr(t, listener), "KAFKA_TOPIC": b.topic, "KAFKA_SECURITY_PROTOCOL": protocol}
	if protocol == "ssl" || protocol == "sasl_ssl" {
		e["KAFKA_SSL_CA_LOCATION"] = b.ca.File()
	}
	return e
}

func password(mechanism string) env {
	return env{"KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USERNAME": appUser, "KAFKA_SASL_PASSWORD": userSecret}
}

func (b *broker) oauth() env {
	return env{
		"KAFKA_SASL_MECHANISM":                      "OAUTHBEARER",
		"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": b.idp.URL,
		"KAFKA_SASL_OAUTHBEARER_CLIENT_ID":          appUser,
		"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET":      clientSecret,
	}
}

func certificate(ca *certs.Authority, validity certs.Validity) env {
	cert, key := ca.Client(validity, appUser, "")
	return env{"KAFKA_SSL_CERTIFICATE_LOCATION": cert, "KAFKA_SSL_KEY_LOCATION": key}
}

// way is a way to connect that works.
type way struct {
	name string
	env  func(t *testing.T, b *broker) env
}

func ways() []way {
	all := []way{
		{"`plaintext`", func(t *testing.T, b *broker) env { return b.to(t, "PLAIN", "plaintext") }},
		{"`ssl`", func(t *testing.T, b *broker) env { return b.to(t, "TLS", "ssl") }},
		{"`ssl`, not checking the host name (`KAFKA_SSL_ENDPOINT_ALGORITHM=none`)", func(t *testing.T, b *broker) env {
			return b.to(t, "OTHERHOST", "ssl").with(env{"KAFKA_SSL_ENDPOINT_ALGORITHM": "none"})
		}},
		{"`ssl` with a client certificate", func(t *testing.T, b *broker) env {
			return b.to(t, "MUTUAL", "ssl").with(certificate(b.ca, certs.Valid))
		}},
	}
	for _, p := range []struct{ protocol, listener string }{{"sasl_plaintext", "SASL"}, {"sasl_ssl", "SASLTLS"}} {
		for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
			all = append(all, way{"`" + p.protocol + "`, `" + mechanism + "`", func(t *testing.T, b *broker) env {
				return b.to(t, p.listener, p.protocol).with(password(mechanism))
			}})
		}
		all = append(all, way{"`" + p.protocol + "`, `OAUTHBEARER` with client credentials", func(t *testing.T, b *broker) env {
			return b.to(t, p.listener, p.protocol).with(b.oauth())
		}})
	}
	return append(all, way{"`sasl_ssl`, `OAUTHBEARER` with a token file", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(env{
			"KAFKA_SASL_MECHANISM":              "OAUTHBEARER",
			"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE": writeFile(t, testkafka.UnsecuredToken(appUser, time.Now().Add(time.Hour))),
		})
	}})
}

// Whatever the broker asks for, each of the four can do its work with the same settings.
func testWays(t *testing.T, b *broker, found *findings) {
	b.CreateTopic(t, b.topic+"-dlq", 1, nil)
	for i, w := range ways() {
		found.ways = append(found.ways, w.name)
		t.Run(strings.ReplaceAll(w.name, "`", ""), func(t *testing.T) {
			t.Parallel()
			// With all that can be logged, nothing of it may be a secret.
			e, thread := w.env(t, b).with(env{"DASHSTREAM_LOG_LEVEL": "debug"}), "thread-of-way-"+string(rune('a'+i))
			for _, a := range actors {
				a.works(t, e, thread)
			}
		})
	}
}

// Whatever the mistake, each of the four tells its user in time what is likely wrong and which setting to change, and no
// secret.
func testMistakes(t *testing.T, b *broker, found *findings) {
	for _, m := range mistakes {
		row := found.row(m.name)
		for j, a := range actors {
			t.Run(m.name+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				o, e := m.isTold(t, b, a)
				row[j] = o.shown(b, e)
			})
		}
		t.Run(m.name+"/"+sdkAsked, func(t *testing.T) {
			t.Parallel()
			m.isTold(t, b, actor{sdkAsked, nil, sdkAsks, dashstream.DefaultFlushTimeout})
		})
	}
}

// isTold checks what one of the four is told.
func (m mistake) isTold(t *testing.T, b *broker, a actor) (outcome, env) {
	t.Helper()
	e := m.env(t, b).with(env{"DASHSTREAM_LOG_LEVEL": "debug"}) // nothing that can be logged may be a secret
	began := time.Now()
	o := a.fails(t, e, m.cause)
	if took := time.Since(began); took > slack*a.within {
		t.Errorf("told after %v, promised within %v", took, a.within)
	}
	leaksNothing(t, a.name, o.text)
	told, cause := o.explanation(), m.cause
	if other, ok := vague[m.name]; ok && strings.HasPrefix(a.name, "SDK") && strings.Contains(told.cause, other) {
		cause = other
	}
	if !strings.Contains(told.cause, cause) || !strings.Contains(told.fix, m.setting) {
		t.Errorf("%s: %s\nlikely cause: %q, want %q\nto do: %q, want %q\nall of it:\n%s", a.name, o.how, told.cause, cause, told.fix, m.setting, o.text)
	}
	return o, e
}
