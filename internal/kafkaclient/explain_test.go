package kafkaclient_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

func refused(addr string) error {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		panic(err)
	}
	return &net.OpError{Op: "dial", Net: "tcp", Addr: tcp, Err: syscall.ECONNREFUSED}
}

// remoteAlert is what the TLS library makes of an alert of the other side.
var remoteAlert = &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}

func TestExplainNamesTheSetting(t *testing.T) {
	t.Parallel()
	ca := certs.NewAuthority(t, "CA")
	withCertificate := func(validity certs.Validity) func(*kafkaclient.Settings) {
		return func(s *kafkaclient.Settings) {
			s.SecurityProtocol = kafkaclient.ProtocolSSL
			s.SSLCertificateLocation, s.SSLKeyLocation = ca.Client(validity, "client", "")
		}
	}
	none := func(*kafkaclient.Settings) {}
	tests := []struct {
		name string
		set  func(*kafkaclient.Settings)
		op   kafkaclient.Operation
		err  error
		says []string
		not  string
	}{
		{"an address of the list", func(s *kafkaclient.Settings) { s.Brokers = []string{"10.0.0.1:9092"} }, kafkaclient.OpConnect,
			refused("10.0.0.1:9092"), []string{"nothing listens at 10.0.0.1:9092", "correct KAFKA_BROKERS (now 10.0.0.1:9092)"}, "advertised"},
		{"another port of the same host", func(s *kafkaclient.Settings) { s.Brokers = []string{"10.0.0.1:9092"} }, kafkaclient.OpConnect,
			refused("10.0.0.1:9093"), []string{"nothing listens at 10.0.0.1:9093", "advertised.listeners", "a broker gave it"}, "(now"},
		{"an address behind a name of the list", func(s *kafkaclient.Settings) { s.Brokers = []string{"kafka.example:9092"} }, kafkaclient.OpConnect,
			refused("10.0.0.1:9092"), []string{"correct KAFKA_BROKERS (now kafka.example:9092)"}, "advertised"},
		{"no client certificate", none, kafkaclient.OpConnect, remoteAlert,
			[]string{"wants a client certificate, and none is set", "set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION"}, "expired"},
		{"a foreign client certificate", withCertificate(certs.Valid), kafkaclient.OpConnect, remoteAlert,
			[]string{"does not accept the client certificate", "set KAFKA_SSL_CERTIFICATE_LOCATION (now /"}, "until"},
		{"an expired client certificate", withCertificate(certs.Expired), kafkaclient.OpConnect, remoteAlert,
			[]string{"the client certificate was valid only until", "renew the certificate of KAFKA_SSL_CERTIFICATE_LOCATION (now /"}, "trust"},
		{"no SASL over TLS", func(s *kafkaclient.Settings) { s.SecurityProtocol = kafkaclient.ProtocolSSL }, kafkaclient.OpConnect,
			&kgo.ErrFirstReadEOF{}, []string{"expects SASL", "set KAFKA_SECURITY_PROTOCOL (now ssl) to sasl_ssl"}, "TLS"},
		{"SASL without TLS", func(s *kafkaclient.Settings) { s.SecurityProtocol = kafkaclient.ProtocolSASLPlaintext }, kafkaclient.OpConnect,
			&kgo.ErrFirstReadEOF{}, []string{"expects TLS", "or it is no Kafka broker", "set KAFKA_SECURITY_PROTOCOL (now sasl_plaintext) to sasl_ssl, or to ssl", "KAFKA_BROKERS (now localhost:9092)"},
			"to what the listener has"},
		{"SASL over TLS", func(s *kafkaclient.Settings) { s.SecurityProtocol = kafkaclient.ProtocolSASLSSL }, kafkaclient.OpConnect,
			&kgo.ErrFirstReadEOF{}, []string{"turns this client away", "or is no Kafka broker", "log of the broker", "KAFKA_BROKERS (now localhost:9092)"}, "KAFKA_SECURITY_PROTOCOL"},
		{"a handshake that was cut, and a caller whose time was up", none, kafkaclient.OpProduce,
			kafkaclient.WithFailure(context.DeadlineExceeded, &kafkaclient.HandshakeError{Addr: "10.0.0.1:9092", Err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}),
			[]string{"10.0.0.1:9092 does not speak TLS"}, "does not answer"},
		{"a topic that may be another", none, kafkaclient.OpConsume, kerr.TopicAuthorizationFailed,
			[]string{`lacks the permission READ on topic "dashstream-quality" to consume`, "add an ACL that allows READ", "or correct KAFKA_TOPIC"}, ""},
		{"time is up", none, kafkaclient.OpConnect, syscall.ETIMEDOUT, []string{"KAFKA_BROKERS (now localhost:9092)", "KAFKA_SECURITY_PROTOCOL (now plaintext)"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := kafkaclient.Default()
			tt.set(&s)
			err := s.Explain(tt.op, fmt.Errorf("wrapped: %w", tt.err))
			e, ok := errors.AsType[*kafkaclient.Explained](err)
			if !ok {
				t.Fatalf("not explained: %v", err)
			}
			text := e.Cause + " | " + e.Fix
			for _, says := range tt.says {
				if !strings.Contains(text, says) {
					t.Errorf("no %q in: %s", says, text)
				}
			}
			if tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q in: %s", tt.not, text)
			}
		})
	}
}

// A setting is called what its user called it.
func TestExplainUsesTheNameThatWasGiven(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	_, err := settings.Load(&s, settings.Source{
		Env:   settings.MapEnv(map[string]string{"KAFKA_BOOTSTRAP_SERVERS": "10.0.0.1:9092", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_PASSWORD_FILE": "/run/password"}),
		Flags: map[string]string{"kafka-security-protocol": "sasl_ssl", "kafka-sasl-username": "alice"},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := s
	before.GivenAs("KAFKA_TOPIC", "WithTopic")
	for _, tt := range []struct {
		err  error
		says string
	}{
		{refused("10.0.0.1:9092"), "correct KAFKA_BOOTSTRAP_SERVERS (now 10.0.0.1:9092)"},
		{kerr.SaslAuthenticationFailed, "check --kafka-sasl-username, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM (now PLAIN)"},
		{kerr.IllegalSaslState, "set --kafka-security-protocol (now sasl_ssl) to"},
		{kerr.UnknownTopicOrPartition, "or correct KAFKA_TOPIC"}, // what was said of a copy
	} {
		if err := s.Explain(kafkaclient.OpConnect, tt.err); !strings.Contains(err.Error(), tt.says) {
			t.Errorf("no %q in: %v", tt.says, err)
		}
	}
	if err := before.Explain(kafkaclient.OpConnect, kerr.UnknownTopicOrPartition); !strings.Contains(err.Error(), "or correct WithTopic") {
		t.Error(err)
	}
}

// Reasons that stand on one line are separated by "; ".
func TestExplanationsHaveNoSeparator(t *testing.T) {
	t.Parallel()
	errs := []error{
		refused("10.0.0.1:9093"), remoteAlert, &kgo.ErrFirstReadEOF{}, kgo.ErrRecordTimeout, syscall.ECONNRESET, syscall.ETIMEDOUT,
		&kafkaclient.ProtocolError{Spoken: "HTTP"}, &kafkaclient.ProtocolError{Spoken: "TLS"},
		&kafkaclient.HangUpError{Handshake: true}, &kafkaclient.HangUpError{}, &kafkaclient.ChallengeError{Err: errors.New("x")},
		&kafkaclient.CredentialsError{Err: errors.New("x")}, &kafkaclient.CredentialsError{Err: &settings.Error{Name: "KAFKA_SASL_PASSWORD_FILE"}},
		&kafkaclient.HandshakeError{Err: x509.UnknownAuthorityError{Cert: &x509.Certificate{Issuer: pkix.Name{CommonName: "a; b"}}}},
		&kafkaclient.HandshakeError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}},
		&kafkaclient.HandshakeError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}},
	}
	for code := int16(-1); code < 300; code++ {
		if err := kerr.ErrorForCode(code); err != nil {
			errs = append(errs, err)
		}
	}
	s := kafkaclient.Default()
	for _, err := range errs {
		for _, op := range []kafkaclient.Operation{kafkaclient.OpProduce, kafkaclient.OpConsume, kafkaclient.OpCreate, kafkaclient.OpAlter} {
			e, ok := errors.AsType[*kafkaclient.Explained](s.Explain(op, err))
			if ok && strings.Contains(e.Cause+e.Fix, "; ") {
				t.Errorf("%v: %s | %s", err, e.Cause, e.Fix)
			}
		}
	}
}
