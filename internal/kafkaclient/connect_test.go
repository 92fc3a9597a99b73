package kafkaclient_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// deadline is the longest any attempt in these tests may take, successful or not.
const deadline = 10 * time.Second

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// broker starts a cluster of one that is gone with the test.
func broker(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, kafkaclient.DefaultTopic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func at(addrs ...string) kafkaclient.Settings {
	s := kafkaclient.Default()
	s.Brokers = addrs
	return s
}

func client(t *testing.T, s kafkaclient.Settings, extra ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts, err := s.ClientOptions(slog.New(slog.DiscardHandler), "test")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(append(opts, extra...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// probe connects with the settings and asks for the topic.
func probe(t *testing.T, s kafkaclient.Settings) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	err := s.Probe(ctx, client(t, s), kafkaclient.OpInspect, s.Topic)
	if ctx.Err() != nil {
		t.Errorf("the attempt did not end within %s", deadline)
	}
	return err
}

// wantExplained checks the class and that the text tells a user what is wrong and what to change.
func wantExplained(t *testing.T, err error, class kafkaclient.Class, says ...string) {
	t.Helper()
	if got := kafkaclient.Classify(err); got != class {
		t.Errorf("class = %q, want %q: %v", got, class, err)
	}
	if _, ok := errors.AsType[*kafkaclient.Explained](err); !ok {
		t.Errorf("not explained: %v", err)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("no %q in: %v", s, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

func TestPlaintext(t *testing.T) {
	t.Parallel()
	c := broker(t)
	if err := probe(t, at(c.ListenAddrs()...)); err != nil {
		t.Fatal(err)
	}
}

// Nothing creates a topic by asking for it.
func TestUnknownTopicIsNotCreated(t *testing.T) {
	t.Parallel()
	c := broker(t, kfake.AllowAutoTopicCreation())
	s := at(c.ListenAddrs()...)
	s.Topic = "absent"
	for range 2 {
		wantExplained(t, probe(t, s), kafkaclient.ClassUnknownTopic, `topic "absent" does not exist`, "dashstream topics ensure", "KAFKA_TOPIC")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, other := certs.NewAuthority(t, "Our CA"), certs.NewAuthority(t, "Other CA")
	listen := func(t *testing.T, cert tls.Certificate) string {
		return broker(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}})).ListenAddrs()[0]
	}
	good := ours.Server(certs.Valid, "127.0.0.1", "localhost")
	with := func(addr, ca string) kafkaclient.Settings {
		s := at(addr)
		s.SecurityProtocol, s.SSLCALocation = kafkaclient.ProtocolSSL, ca
		return s
	}
	t.Run("trusted", func(t *testing.T) {
		t.Parallel()
		if err := probe(t, with(listen(t, good), ours.File())); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("by host name", func(t *testing.T) {
		t.Parallel()
		addr := strings.Replace(listen(t, good), "127.0.0.1", "localhost", 1)
		if err := probe(t, with(addr, ours.File())); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("authority unknown", func(t *testing.T) {
		t.Parallel()
		err := probe(t, with(listen(t, good), other.File()))
		wantExplained(t, err, kafkaclient.ClassTLS, "Our CA", "does not trust", "KAFKA_SSL_CA_LOCATION")
	})
	t.Run("system authorities", func(t *testing.T) {
		t.Parallel()
		err := probe(t, with(listen(t, good), ""))
		wantExplained(t, err, kafkaclient.ClassTLS, "does not trust", "KAFKA_SSL_CA_LOCATION", "now not set")
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		err := probe(t, with(listen(t, ours.Server(certs.Expired, "127.0.0.1")), ours.File()))
		wantExplained(t, err, kafkaclient.ClassTLS, "is valid only from", "renew", "clock")
	})
	t.Run("other host", func(t *testing.T) {
		t.Parallel()
		addr := listen(t, ours.Server(certs.Valid, "kafka.example"))
		err := probe(t, with(addr, ours.File()))
		wantExplained(t, err, kafkaclient.ClassTLS, `for kafka.example, not for "127.0.0.1"`, "KAFKA_SSL_ENDPOINT_ALGORITHM", "advertised.listeners")

		s := with(addr, ours.File())
		s.SSLEndpointAlgorithm = kafkaclient.EndpointNone
		if err := probe(t, s); err != nil {
			t.Errorf("endpoint algorithm none must take another host: %v", err)
		}
		s.SSLCALocation = other.File()
		wantExplained(t, probe(t, s), kafkaclient.ClassTLS, "does not trust")
	})
	t.Run("expired without host check", func(t *testing.T) {
		t.Parallel()
		s := with(listen(t, ours.Server(certs.Expired, "127.0.0.1")), ours.File())
		s.SSLEndpointAlgorithm = kafkaclient.EndpointNone
		wantExplained(t, probe(t, s), kafkaclient.ClassTLS, "is valid only from")
	})
	t.Run("plaintext client", func(t *testing.T) {
		t.Parallel()
		err := probe(t, at(listen(t, good)))
		// This server hangs up without a word; one that sends an alert is in TestOtherProtocols.
		if c := kafkaclient.Classify(err); c != kafkaclient.ClassAuthentication && c != kafkaclient.ClassTLS {
			t.Errorf("class %q", c)
		}
		wantExplained(t, err, kafkaclient.Classify(err), "KAFKA_SECURITY_PROTOCOL", "now plaintext")
	})
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ours, other := certs.NewAuthority(t, "Our CA"), certs.NewAuthority(t, "Other CA")
	addr := broker(t, kfake.TLS(&tls.Config{
		Certificates: []tls.Certificate{ours.Server(certs.Valid, "127.0.0.1")},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(),
	})).ListenAddrs()[0]
	s := at(addr)
	s.SecurityProtocol, s.SSLCALocation = kafkaclient.ProtocolSSL, ours.File()

	wantExplained(t, probe(t, s), kafkaclient.ClassTLS, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION")

	foreign := s
	foreign.SSLCertificateLocation, foreign.SSLKeyLocation = other.Client(certs.Valid, "client", "")
	wantExplained(t, probe(t, foreign), kafkaclient.ClassTLS, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION")

	plain := s
	plain.SSLCertificateLocation, plain.SSLKeyLocation = ours.Client(certs.Valid, "client", "")
	if err := probe(t, plain); err != nil {
		t.Errorf("plain key: %v", err)
	}

	encrypted := s
	encrypted.SSLCertificateLocation, encrypted.SSLKeyLocation = ours.Client(certs.Valid, "client", "hunter2")
	encrypted.SSLKeyPassword = kafkaclient.NewSecret("hunter2")
	if err := probe(t, encrypted); err != nil {
		t.Errorf("encrypted key: %v", err)
	}
	fromFile := encrypted
	fromFile.SSLKeyPassword, fromFile.SSLKeyPasswordFile = kafkaclient.Secret{}, writeFile(t, "password", "hunter2\n")
	if err := probe(t, fromFile); err != nil {
		t.Errorf("encrypted key, password from a file: %v", err)
	}
}

// Files that cannot be used stop the program before it connects, with the setting that names them.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	ours := certs.NewAuthority(t, "Our CA")
	cert, key := ours.Client(certs.Valid, "client", "")
	_, encrypted := ours.Client(certs.Valid, "client", "hunter2")
	_, otherKey := ours.Client(certs.Valid, "client", "")
	base := kafkaclient.Default()
	base.SecurityProtocol = kafkaclient.ProtocolSSL
	tests := []struct {
		name string
		set  func(*kafkaclient.Settings)
		says []string
	}{
		{"no CA file", func(s *kafkaclient.Settings) { s.SSLCALocation = "/no/such/ca.pem" }, []string{"KAFKA_SSL_CA_LOCATION", "no such file"}},
		{"CA is a directory", func(s *kafkaclient.Settings) { s.SSLCALocation = t.TempDir() }, []string{"KAFKA_SSL_CA_LOCATION", "directory"}},
		{"CA is a key", func(s *kafkaclient.Settings) { s.SSLCALocation = key }, []string{"KAFKA_SSL_CA_LOCATION", "no certificate in PEM form"}},
		{"CA is damaged", func(s *kafkaclient.Settings) {
			s.SSLCALocation = writeFile(t, "ca", "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n")
		}, []string{"KAFKA_SSL_CA_LOCATION", "cannot be read"}},
		{"endless CA", func(s *kafkaclient.Settings) { s.SSLCALocation = "/dev/zero" }, []string{"KAFKA_SSL_CA_LOCATION", "larger than 1 MiB"}},
		{"key of another", func(s *kafkaclient.Settings) { s.SSLCertificateLocation, s.SSLKeyLocation = cert, otherKey }, []string{"KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION"}},
		{"no password", func(s *kafkaclient.Settings) { s.SSLCertificateLocation, s.SSLKeyLocation = cert, encrypted }, []string{"KAFKA_SSL_KEY_LOCATION", "set KAFKA_SSL_KEY_PASSWORD"}},
		{"wrong password", func(s *kafkaclient.Settings) {
			s.SSLCertificateLocation, s.SSLKeyLocation, s.SSLKeyPassword = cert, encrypted, kafkaclient.NewSecret("hunter3")
		}, []string{"KAFKA_SSL_KEY_LOCATION", "password may be wrong"}},
		{"old encryption", func(s *kafkaclient.Settings) {
			s.SSLCertificateLocation = cert
			s.SSLKeyLocation = writeFile(t, "key", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n")
			s.SSLKeyPassword = kafkaclient.NewSecret("hunter2")
		}, []string{"KAFKA_SSL_KEY_LOCATION", "openssl pkcs8"}},
		{"not PEM", func(s *kafkaclient.Settings) {
			s.SSLCertificateLocation, s.SSLKeyLocation = cert, writeFile(t, "key", "hello")
		}, []string{"KAFKA_SSL_KEY_LOCATION"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := base
			tt.set(&s)
			_, err := s.ClientOptions(nil, "test")
			if err == nil {
				t.Fatal("no error")
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("no %q in: %v", says, err)
				}
			}
			if strings.Contains(err.Error(), "hunter") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// answer listens on a port where every connection is given to fn.
func answer(t *testing.T, fn func(net.Conn)) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go fn(conn)
		}
	}()
	return ln.Addr().String()
}

// reply reads what the client sends first and answers with text, then hangs up.
func reply(text string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, text) // the client may have hung up
	}
}

// replyBytewise answers as reply does, in as many packets as there are bytes.
func replyBytewise(text string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return
		}
		for i := range len(text) {
			if _, err := io.WriteString(conn, text[i:i+1]); err != nil {
				return // the client has hung up
			}
			time.Sleep(5 * time.Millisecond) // so that each is read by itself
		}
	}
}

func silence(conn net.Conn) {
	defer conn.Close()
	// Ends when the client hangs up.
	_, _ = io.Copy(io.Discard, conn)
}

func TestOtherProtocols(t *testing.T) {
	t.Parallel()
	// What some web servers answer where they find no version of HTTP: a status line is of HTTP/1.0.
	const page = "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head><title>Error response</title></head>\n</html>\n"
	tests := []struct {
		name   string
		listen func(net.Conn)
		tls    bool
		class  kafkaclient.Class
		says   []string
	}{
		{"plaintext to TLS that alerts", reply("\x15\x03\x03\x00\x02\x02\x46"), false, kafkaclient.ClassTLS,
			[]string{"is a TLS listener", "KAFKA_SECURITY_PROTOCOL", "to ssl, or to sasl_ssl", "now plaintext"}},
		{"plaintext to a web server", reply("HTTP/1.1 400 Bad Request\r\n\r\n"), false, kafkaclient.ClassTLS,
			[]string{"is a web server", "KAFKA_BROKERS"}},
		{"plaintext to a web server that sends a page alone", reply(page), false, kafkaclient.ClassTLS,
			[]string{"is a web server", "KAFKA_BROKERS"}},
		{"plaintext to a web server that sends byte by byte", replyBytewise("HTTP/1.1 400 Bad Request\r\n\r\n"), false, kafkaclient.ClassTLS,
			[]string{"is a web server", "KAFKA_BROKERS"}},
		{"plaintext to a listener that hangs up", reply(""), false, kafkaclient.ClassAuthentication,
			[]string{"expects SASL or TLS", "KAFKA_SECURITY_PROTOCOL"}},
		{"plaintext to silence", silence, false, kafkaclient.ClassTimeout, []string{"accepts connections, but does not answer", "KAFKA_BROKERS"}},
		{"TLS to plaintext that hangs up", reply(""), true, kafkaclient.ClassTLS,
			[]string{"does not speak TLS", "KAFKA_SECURITY_PROTOCOL", "to plaintext, or to sasl_plaintext", "now ssl"}},
		{"TLS to a web server", reply("HTTP/1.1 400 Bad Request\r\n\r\n"), true, kafkaclient.ClassTLS,
			[]string{"is a web server", "KAFKA_BROKERS"}},
		{"TLS to a web server that sends a page alone", reply(page), true, kafkaclient.ClassTLS,
			[]string{"is a web server", "KAFKA_BROKERS"}},
		{"TLS to something else", reply("220 mail.example ESMTP\r\n"), true, kafkaclient.ClassTLS,
			[]string{"does not speak TLS", "KAFKA_SECURITY_PROTOCOL"}},
		{"TLS to silence", silence, true, kafkaclient.ClassTLS, []string{"does not answer a TLS handshake", "KAFKA_SECURITY_PROTOCOL"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := at(answer(t, tt.listen))
			s.ConnectTimeout, s.RequestTimeout = settings.Seconds(time.Second), settings.Seconds(time.Second)
			if tt.tls {
				s.SecurityProtocol = kafkaclient.ProtocolSSL
			}
			wantExplained(t, probe(t, s), tt.class, tt.says...)
		})
	}
}

// A real broker that speaks plaintext, and a client that does not.
func TestTLSClientToPlaintextBroker(t *testing.T) {
	t.Parallel()
	s := at(broker(t).ListenAddrs()...)
	s.SecurityProtocol, s.ConnectTimeout = kafkaclient.ProtocolSSL, settings.Seconds(time.Second)
	wantExplained(t, probe(t, s), kafkaclient.ClassTLS, "speak TLS", "KAFKA_SECURITY_PROTOCOL", "now ssl")
}
