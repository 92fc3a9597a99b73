package kafkaclient_test

import (
	"context"
	"crypto/tls"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// What a real broker says in all these cases, which a fake one only imitates. These tests run on Apache Kafka only.

const secured = "CLIENT://127.0.0.1:${PORT},INTERNAL://127.0.0.1:0,CONTROLLER://127.0.0.1:${CONTROLLER_PORT}"

// tlsProperties give the client listener the security, with a certificate for 127.0.0.1.
func tlsProperties(protocol string, more map[string]string) map[string]string {
	p := map[string]string{
		"listeners":                                    secured,
		"listener.security.protocol.map":               "CLIENT:" + protocol + ",INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":                   "INTERNAL",
		"listener.name.client.ssl.keystore.type":       "PEM",
		"listener.name.client.ssl.keystore.location":   "${DIR}/broker.pem",
		"listener.name.client.ssl.truststore.type":     "PEM",
		"listener.name.client.ssl.truststore.location": "${DIR}/ca.pem",
	}
	maps.Copy(p, more)
	return p
}

// keyStores writes what tlsProperties name.
func keyStores(t *testing.T, ca *certs.Authority) func(dir string) error {
	t.Helper()
	broker, err := certs.KeyStore(ca.Server(certs.Valid, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "broker.pem"), broker, 0o600); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o600)
	}
}

func TestApacheSASL(t *testing.T) {
	t.Parallel()
	ca := certs.NewAuthority(t, "CA")
	stores := keyStores(t, ca)
	c := testkafka.Start(t, testkafka.Options{
		Properties: tlsProperties("SASL_SSL", map[string]string{
			"listener.name.client.sasl.enabled.mechanisms":        "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
			"listener.name.client.plain.sasl.jaas.config":         `org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="adminpw" user_bob="hunter2";`,
			"listener.name.client.scram-sha-256.sasl.jaas.config": `org.apache.kafka.common.security.scram.ScramLoginModule required;`,
			"listener.name.client.oauthbearer.sasl.jaas.config":   `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
			"authorizer.class.name":                               "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"super.users":                                         "User:admin;User:ANONYMOUS",
		}),
		Prepare: func(dir string) ([]string, error) {
			return []string{"--add-scram", "SCRAM-SHA-256=[name=admin,password=adminpw]"}, stores(dir)
		},
		Security: []kgo.Opt{
			kgo.DialTLSConfig(&tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}),
			kgo.SASL(plain.Auth{User: "admin", Pass: "adminpw"}.AsMechanism()),
		},
	})
	topic := c.Topic(t, 1)
	as := func(m kafkaclient.SASLMechanism, user, password string) kafkaclient.Settings {
		s := sasl(c.Brokers()[0], m, user, password)
		s.SecurityProtocol, s.SSLCALocation, s.Topic = kafkaclient.ProtocolSASLSSL, ca.File(), topic
		return s
	}
	withToken := func(subject string, expires time.Time) kafkaclient.Settings {
		s := as(kafkaclient.MechanismOAuthBearer, "", "")
		s.OAuthTokenFile = writeFile(t, "token", testkafka.UnsecuredToken(subject, expires))
		return s
	}
	for name, s := range map[string]kafkaclient.Settings{
		"PLAIN":       as(kafkaclient.MechanismPlain, "admin", "adminpw"),
		"SCRAM":       as(kafkaclient.MechanismScramSHA256, "admin", "adminpw"),
		"OAUTHBEARER": withToken("admin", time.Now().Add(time.Hour)),
	} {
		if err := probe(t, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	wantExplained(t, probe(t, as(kafkaclient.MechanismPlain, "admin", "hunter2wrong")), kafkaclient.ClassAuthentication, "password is wrong", "KAFKA_SASL_PASSWORD")
	wantExplained(t, probe(t, as(kafkaclient.MechanismScramSHA256, "admin", "hunter2wrong")), kafkaclient.ClassAuthentication, "password is wrong", "KAFKA_SASL_PASSWORD")
	wantExplained(t, probe(t, as(kafkaclient.MechanismScramSHA256, "nobody", "hunter2")), kafkaclient.ClassAuthentication, "KAFKA_SASL_USERNAME")
	wantExplained(t, probe(t, as(kafkaclient.MechanismScramSHA512, "admin", "adminpw")), kafkaclient.ClassAuthentication, "does not offer this SASL mechanism", "now SCRAM-SHA-512")
	wantExplained(t, probe(t, withToken("admin", time.Now().Add(-time.Hour))), kafkaclient.ClassAuthentication, "does not accept the token")

	plaintext := at(c.Brokers()[0])
	wantExplained(t, probe(t, plaintext), kafkaclient.Classify(probe(t, plaintext)), "KAFKA_SECURITY_PROTOCOL", "now plaintext")
	noSASL := plaintext
	noSASL.SecurityProtocol, noSASL.SSLCALocation = kafkaclient.ProtocolSSL, ca.File()
	wantExplained(t, probe(t, noSASL), kafkaclient.ClassAuthentication, "SASL", "KAFKA_SECURITY_PROTOCOL", "now ssl")
	noTLS := sasl(c.Brokers()[0], kafkaclient.MechanismPlain, "admin", "hunter2")
	noTLS.RequestTimeout = settings.Seconds(2 * time.Second)
	err := probe(t, noTLS)
	wantExplained(t, err, kafkaclient.Classify(err), "KAFKA_SECURITY_PROTOCOL", "now sasl_plaintext")

	// A user without any permission: the broker does not even say whether the topic exists.
	bob := as(kafkaclient.MechanismPlain, "bob", "hunter2")
	wantExplained(t, probe(t, bob), kafkaclient.ClassAuthorization, `user "bob" lacks`, "DESCRIBE", topic)
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	allow := kadm.NewACLs().Topics(topic).Operations(kadm.OpDescribe).Allow("User:bob").AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := c.Admin(t).CreateACLs(ctx, allow); err != nil {
		t.Fatal(err)
	}
	testkafka.Eventually(t, "bob may describe the topic", func(context.Context) error { return probe(t, bob) })
	err = client(t, bob).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr()
	wantExplained(t, bob.Explain(kafkaclient.OpProduce, err), kafkaclient.ClassAuthorization, "lacks the permission WRITE on topic", topic)
	_, err = adminOf(t, bob).CreateTopic(ctx, 1, 1, nil, "new")
	wantExplained(t, bob.Explain(kafkaclient.OpCreate, err), kafkaclient.ClassAuthorization, "CREATE")
}

func TestApacheMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := certs.NewAuthority(t, "CA"), certs.NewAuthority(t, "Other CA")
	stores := keyStores(t, ca)
	certFile, keyFile := ca.Client(certs.Valid, "client", "hunter2")
	s := at("filled in below")
	s.SecurityProtocol, s.SSLCALocation = kafkaclient.ProtocolSSL, ca.File()
	s.SSLCertificateLocation, s.SSLKeyLocation, s.SSLKeyPassword = certFile, keyFile, kafkaclient.NewSecret("hunter2")
	plainCert, plainKey := ca.Client(certs.Valid, "client", "")
	pair, err := tls.LoadX509KeyPair(plainCert, plainKey)
	if err != nil {
		t.Fatal(err)
	}
	c := testkafka.Start(t, testkafka.Options{
		Properties: tlsProperties("SSL", map[string]string{"listener.name.client.ssl.client.auth": "required"}),
		Prepare:    func(dir string) ([]string, error) { return nil, stores(dir) },
		Security:   []kgo.Opt{kgo.DialTLSConfig(&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})},
	})
	s.Brokers, s.Topic = c.Brokers(), c.Topic(t, 1)
	if err := probe(t, s); err != nil {
		t.Errorf("encrypted key: %v", err)
	}
	none := s
	none.SSLCertificateLocation, none.SSLKeyLocation, none.SSLKeyPassword = "", "", kafkaclient.Secret{}
	wantExplained(t, probe(t, none), kafkaclient.ClassTLS, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION")
	foreign := none
	foreign.SSLCertificateLocation, foreign.SSLKeyLocation = other.Client(certs.Valid, "client", "")
	wantExplained(t, probe(t, foreign), kafkaclient.ClassTLS, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION")
	untrusted := s
	untrusted.SSLCALocation = other.File()
	wantExplained(t, probe(t, untrusted), kafkaclient.ClassTLS, "does not trust", "KAFKA_SSL_CA_LOCATION")
}

// A plaintext listener of a real broker, and clients that expect more of it.
func TestPlaintextListener(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := at(c.Brokers()...)
	s.Topic = c.Topic(t, 1)
	if err := probe(t, s); err != nil {
		t.Fatal(err)
	}
	encrypted := s
	encrypted.SecurityProtocol, encrypted.ConnectTimeout = kafkaclient.ProtocolSSL, settings.Seconds(2*time.Second)
	wantExplained(t, probe(t, encrypted), kafkaclient.ClassTLS, "speak TLS", "KAFKA_SECURITY_PROTOCOL", "now ssl")
	authenticated := sasl(c.Brokers()[0], kafkaclient.MechanismPlain, "alice", "hunter2")
	wantExplained(t, probe(t, authenticated), kafkaclient.ClassAuthentication, "SASL", "KAFKA_SECURITY_PROTOCOL")
	s.Topic = c.TopicName(t)
	wantExplained(t, probe(t, s), kafkaclient.ClassUnknownTopic, "does not exist", "dashstream topics ensure")
}
