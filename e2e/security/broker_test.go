package security

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// The secrets of these tests. None may be printed by anybody.
const (
	adminSecret  = "tops3cret-admin"
	userSecret   = "tops3cret-user"
	wrongSecret  = "tops3cret-wrong"
	clientSecret = "tops3cret-client"
	secretMark   = "tops3cret" // what they have in common

	tokenMark = "eyJhbGciOiJub25lIn0." // what the tokens have in common
)

// appUser may do all that the minimal ACLs of the four allow, on the topic of the tests.
const appUser = "app"

// variants is how many users the broker knows besides, each with a part of the ACLs.
const variants = 24

func variantUser(i int) string { return fmt.Sprintf("user-%d", i) }

// listener is a port of the broker by its name: what it speaks, and how its certificate is wrong.
type listener struct {
	name, protocol string
	properties     map[string]string
}

var listeners = []listener{
	{"PLAIN", "PLAINTEXT", nil},
	{"TLS", "SSL", nil},
	{"MUTUAL", "SSL", map[string]string{
		"ssl.client.auth":             "required",
		"ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
	}},
	{"SASL", "SASL_PLAINTEXT", allMechanisms},
	{"SASLTLS", "SASL_SSL", allMechanisms},
	{"EXPIRED", "SSL", map[string]string{"ssl.keystore.location": "${DIR}/expired.pem"}},
	{"OTHERHOST", "SSL", map[string]string{"ssl.keystore.location": "${DIR}/otherhost.pem"}},
	{"ASTRAY", "PLAINTEXT", nil}, // advertises an address where nobody is
}

var allMechanisms = map[string]string{
	"sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
	"plain.sasl.jaas.config":         plainUsers(),
	"scram-sha-256.sasl.jaas.config": `org.apache.kafka.common.security.scram.ScramLoginModule required;`,
	"scram-sha-512.sasl.jaas.config": `org.apache.kafka.common.security.scram.ScramLoginModule required;`,
	"oauthbearer.sasl.jaas.config":   `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
}

// plainUsers is what the broker knows of PLAIN; it is admin itself.
func plainUsers() string {
	var b strings.Builder
	fmt.Fprintf(&b, `org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password=%q user_admin=%q user_%s=%q`,
		adminSecret, adminSecret, appUser, userSecret)
	for i := range variants {
		fmt.Fprintf(&b, ` user_%s=%q`, variantUser(i), userSecret)
	}
	return b.String() + ";"
}

// broker is the one that all the tests talk to.
type broker struct {
	*testkafka.Cluster
	ca, otherCA *certs.Authority
	idp         *httptest.Server
	topic       string
}

// startBroker starts it, or skips the test. The client listener of the cluster is for the administrator, and knows PLAIN only.
func startBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{ca: certs.NewAuthority(t, "Company CA"), otherCA: certs.NewAuthority(t, "Another CA")}
	listen := []string{"ADMIN://127.0.0.1:${PORT}", "CONTROLLER://127.0.0.1:${CONTROLLER_PORT}"}
	advertise := []string{"ADMIN://127.0.0.1:${PORT}"}
	protocols := []string{"ADMIN:SASL_PLAINTEXT", "CONTROLLER:SASL_PLAINTEXT"}
	properties := map[string]string{
		"inter.broker.listener.name":                       "ADMIN",
		"sasl.mechanism.inter.broker.protocol":             "PLAIN",
		"sasl.mechanism.controller.protocol":               "PLAIN",
		"authorizer.class.name":                            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                      "User:admin",
		"listener.name.admin.sasl.enabled.mechanisms":      "PLAIN",
		"listener.name.admin.plain.sasl.jaas.config":       plainUsers(),
		"listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
		"listener.name.controller.plain.sasl.jaas.config":  plainUsers(),
		"ssl.keystore.type":                                "PEM",
		"ssl.keystore.location":                            "${DIR}/broker.pem",
		"ssl.truststore.type":                              "PEM",
		"ssl.truststore.location":                          "${DIR}/ca.pem",
		// One that is kept from telling that it lives for two seconds, on a busy machine, is not to lose its partitions.
		"broker.session.timeout.ms": "60000",
	}
	var ports []string
	for _, l := range listeners {
		ports = append(ports, l.name)
		listen = append(listen, fmt.Sprintf("%s://127.0.0.1:${PORT_%s}", l.name, l.name))
		port := fmt.Sprintf("${PORT_%s}", l.name)
		if l.name == "ASTRAY" {
			port = "1"
		}
		advertise = append(advertise, fmt.Sprintf("%s://127.0.0.1:%s", l.name, port))
		protocols = append(protocols, l.name+":"+l.protocol)
		for k, v := range l.properties {
			properties["listener.name."+strings.ToLower(l.name)+"."+k] = v
		}
	}
	maps.Copy(properties, map[string]string{
		"listeners": strings.Join(listen, ","), "advertised.listeners": strings.Join(advertise, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
	})
	b.Cluster = testkafka.Start(t, testkafka.Options{
		Ports: ports, Properties: properties, Prepare: b.prepare,
		Security: []kgo.Opt{kgo.SASL(plain.Auth{User: "admin", Pass: adminSecret}.AsMechanism())},
	})
	b.idp = b.tokenEndpoint(t)
	b.topic = b.Topic(t, 1)
	return b
}

// prepare writes the key stores and adds the users of SCRAM.
func (b *broker) prepare(dir string) ([]string, error) {
	for name, cert := range map[string]struct {
		validity certs.Validity
		host     string
	}{
		"broker.pem":    {certs.Valid, "127.0.0.1"},
		"expired.pem":   {certs.Expired, "127.0.0.1"},
		"otherhost.pem": {certs.Valid, "kafka.example"},
	} {
		store, err := certs.KeyStore(b.ca.Server(cert.validity, cert.host))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), store, 0o600); err != nil {
			return nil, err
		}
	}
	user := fmt.Sprintf("[name=%s,password=%s]", appUser, userSecret)
	return []string{"--add-scram", "SCRAM-SHA-256=" + user, "--add-scram", "SCRAM-SHA-512=" + user},
		os.WriteFile(filepath.Join(dir, "ca.pem"), b.ca.PEM(), 0o600)
}

// tokenEndpoint exchanges client credentials for a token whose subject is the client. The scope expired gives one that is no
// longer valid.
func (b *broker) tokenEndpoint(t *testing.T) *httptest.Server {
	t.Helper()
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if secret != clientSecret {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, secret)
			return
		}
		ends := time.Now().Add(time.Hour)
		if r.FormValue("scope") == "expired" {
			ends = time.Now().Add(-time.Hour)
		}
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, testkafka.UnsecuredToken(id, ends))
	}))
	t.Cleanup(idp.Close)
	return idp
}
