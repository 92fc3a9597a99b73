package security

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/dashflow/dashstream/internal/testkafka/certs"
)

// mistake is a way not to connect.
type mistake struct {
	name string
	env  func(t *testing.T, b *broker) env
	// cause is a part of the likely cause that each of the four must tell, and setting what it must tell to change.
	cause, setting string
}

// sasl is the settings of the user for a listener.
func (b *broker) sasl(t *testing.T, listener, protocol string) env {
	t.Helper()
	return b.to(t, listener, protocol).with(password("SCRAM-SHA-256"))
}

const changeProtocol = "KAFKA_SECURITY_PROTOCOL"

var mistakes = []mistake{
	{"plaintext to a TLS listener", func(t *testing.T, b *broker) env { return b.to(t, "TLS", "plaintext") },
		"TLS listener", changeProtocol},
	{"plaintext to a SASL_PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.to(t, "SASL", "plaintext") },
		"expects SASL", changeProtocol},
	{"plaintext to a SASL_SSL listener", func(t *testing.T, b *broker) env { return b.to(t, "SASLTLS", "plaintext") },
		"TLS listener", changeProtocol},
	{"ssl to a PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.to(t, "PLAIN", "ssl") },
		"does not speak TLS", changeProtocol},
	{"ssl to a SASL_PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.to(t, "SASL", "ssl") },
		"does not speak TLS", changeProtocol},
	{"ssl to a SASL_SSL listener", func(t *testing.T, b *broker) env { return b.to(t, "SASLTLS", "ssl") },
		"expects SASL", changeProtocol},
	{"sasl_plaintext to a PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.sasl(t, "PLAIN", "sasl_plaintext") },
		"does not authenticate with SASL", changeProtocol},
	{"sasl_plaintext to an SSL listener", func(t *testing.T, b *broker) env { return b.sasl(t, "TLS", "sasl_plaintext") },
		"TLS listener", changeProtocol},
	{"sasl_plaintext to a SASL_SSL listener", func(t *testing.T, b *broker) env { return b.sasl(t, "SASLTLS", "sasl_plaintext") },
		"TLS listener", changeProtocol},
	{"sasl_ssl to a PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.sasl(t, "PLAIN", "sasl_ssl") },
		"does not speak TLS", changeProtocol},
	{"sasl_ssl to a SASL_PLAINTEXT listener", func(t *testing.T, b *broker) env { return b.sasl(t, "SASL", "sasl_ssl") },
		"does not speak TLS", changeProtocol},
	{"sasl_ssl to an SSL listener", func(t *testing.T, b *broker) env { return b.sasl(t, "TLS", "sasl_ssl") },
		"does not authenticate with SASL", changeProtocol},

	{"the certificate authority is another", func(t *testing.T, b *broker) env {
		return b.to(t, "TLS", "ssl").with(env{"KAFKA_SSL_CA_LOCATION": b.otherCA.File()})
	}, "does not trust", "KAFKA_SSL_CA_LOCATION"},
	{"no certificate authority is set, and the broker's is not one of the system", func(t *testing.T, b *broker) env {
		return b.to(t, "TLS", "ssl").with(env{"KAFKA_SSL_CA_LOCATION": ""})
	}, "does not trust", "KAFKA_SSL_CA_LOCATION"},
	{"the broker's certificate has expired", func(t *testing.T, b *broker) env { return b.to(t, "EXPIRED", "ssl") },
		"is valid only from", "renew the broker's certificate"},
	{"the broker's certificate is for another host", func(t *testing.T, b *broker) env { return b.to(t, "OTHERHOST", "ssl") },
		"is for kafka.example", "KAFKA_BROKERS"},
	{"the broker wants a client certificate, and there is none", func(t *testing.T, b *broker) env { return b.to(t, "MUTUAL", "ssl") },
		"client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION"},
	{"the client certificate is of an authority that the broker does not trust", func(t *testing.T, b *broker) env {
		return b.to(t, "MUTUAL", "ssl").with(certificate(b.otherCA, certs.Valid))
	}, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION"},
	{"the client certificate has expired", func(t *testing.T, b *broker) env {
		return b.to(t, "MUTUAL", "ssl").with(certificate(b.ca, certs.Expired))
	}, "client certificate", "KAFKA_SSL_CERTIFICATE_LOCATION"},

	{"wrong password, PLAIN", wrongPassword("PLAIN"), "password is wrong", "KAFKA_SASL_PASSWORD"},
	{"wrong password, SCRAM", wrongPassword("SCRAM-SHA-256"), "password is wrong", "KAFKA_SASL_PASSWORD"},
	{"unknown user, PLAIN", unknownUser("PLAIN"), "user", "KAFKA_SASL_USERNAME"},
	{"unknown user, SCRAM", unknownUser("SCRAM-SHA-512"), "user", "KAFKA_SASL_USERNAME"},
	{"a mechanism that the listener does not offer", func(t *testing.T, b *broker) env {
		return b.sasl(t, "SASL", "sasl_plaintext").with(env{"KAFKA_BROKERS": b.Brokers()[0]})
	}, "does not offer this SASL mechanism", "KAFKA_SASL_MECHANISM"},
	{"wrong client secret, OAUTHBEARER", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(b.oauth()).with(env{"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET": wrongSecret})
	}, "does not accept the client credentials", "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"},
	{"nothing listens at the token endpoint", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(b.oauth()).with(env{"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": "http://127.0.0.1:1/token"})
	}, "token endpoint cannot be reached", "KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL"},
	{"the token that the endpoint gives is not accepted by the broker", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(b.oauth()).with(env{"KAFKA_SASL_OAUTHBEARER_SCOPE": "expired"})
	}, "does not accept the token", "KAFKA_SASL_OAUTHBEARER_SCOPE"},

	{"the topic does not exist", func(t *testing.T, b *broker) env {
		return b.to(t, "SASL", "sasl_plaintext").with(password("PLAIN")).with(env{"KAFKA_TOPIC": b.topic + "-absent"})
	}, "does not exist", "KAFKA_TOPIC"},

	{"nothing listens at the port", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "plaintext").with(env{"KAFKA_BROKERS": "127.0.0.1:1"})
	},
		"nothing listens at 127.0.0.1:1", "KAFKA_BROKERS"},
	{"nothing listens at the address that the broker advertises", func(t *testing.T, b *broker) env { return b.to(t, "ASTRAY", "plaintext") },
		"nothing listens at 127.0.0.1:1", "advertised.listeners"},
	{"plaintext to a web server", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "plaintext").with(env{"KAFKA_BROKERS": webServer(t)})
	}, "web server", "KAFKA_BROKERS"},
	{"sasl_plaintext to a web server", func(t *testing.T, b *broker) env {
		return b.sasl(t, "PLAIN", "sasl_plaintext").with(env{"KAFKA_BROKERS": webServer(t)})
	}, "web server", "KAFKA_BROKERS"},
	{"ssl to a web server without TLS", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "ssl").with(env{"KAFKA_BROKERS": webServer(t)})
	}, "web server", "KAFKA_BROKERS"},
	{"ssl to a web server with TLS", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "ssl").with(env{"KAFKA_BROKERS": tlsWebServer(t, b)})
	}, "web server", "KAFKA_BROKERS"},
	{"plaintext to a web server that answers with a page alone", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "plaintext").with(env{"KAFKA_BROKERS": pageServer(t)})
	}, "web server", "KAFKA_BROKERS"},
	{"ssl to a web server that answers with a page alone", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "ssl").with(env{"KAFKA_BROKERS": pageServer(t)})
	}, "web server", "KAFKA_BROKERS"},
	{"plaintext to a port that hangs up", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "plaintext").with(env{"KAFKA_BROKERS": hangUp(t)})
	}, "expects SASL or TLS", changeProtocol},
	{"sasl_plaintext to a port that hangs up", func(t *testing.T, b *broker) env {
		return b.sasl(t, "SASL", "sasl_plaintext").with(env{"KAFKA_BROKERS": hangUp(t)})
	}, "expects TLS", changeProtocol},
	{"sasl_ssl to a TLS port that hangs up", func(t *testing.T, b *broker) env {
		return b.sasl(t, "SASLTLS", "sasl_ssl").with(env{"KAFKA_BROKERS": tlsHangUp(t, b)})
	}, "turns this client away", "KAFKA_BROKERS"},
	{"sasl_ssl to a port that hangs up", func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(password("PLAIN")).with(env{"KAFKA_BROKERS": onlyTLS(t)})
	}, "does not speak TLS", changeProtocol},
	{"plaintext to a port that accepts and is silent", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "plaintext").with(env{"KAFKA_BROKERS": silence(t)})
	}, "accepts connections, but does not answer", "KAFKA_BROKERS"},
	{"ssl to a port that accepts and is silent", func(t *testing.T, b *broker) env {
		return b.to(t, "PLAIN", "ssl").with(env{"KAFKA_BROKERS": silence(t)})
	}, "does not answer a TLS handshake", changeProtocol},
}

// vague are what the SDK may say instead where its time is over before, or in the very moment in which, its attempt to connect
// is: by default it has less for Close than for that.
var vague = map[string]string{
	"ssl to a port that accepts and is silent": "no broker answered",
}

func wrongPassword(mechanism string) func(t *testing.T, b *broker) env {
	return func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(password(mechanism)).with(env{"KAFKA_SASL_PASSWORD": wrongSecret})
	}
}

func unknownUser(mechanism string) func(t *testing.T, b *broker) env {
	return func(t *testing.T, b *broker) env {
		return b.to(t, "SASLTLS", "sasl_ssl").with(password(mechanism)).with(env{"KAFKA_SASL_USERNAME": "nobody"})
	}
}

// webServer is one as people meet it at a wrong port: it takes nothing for a request.
func webServer(t *testing.T) string {
	t.Helper()
	return listen(t, func(conn net.Conn) { refuse(conn) })
}

// tlsWebServer is one with a certificate that the client trusts.
func tlsWebServer(t *testing.T, b *broker) string {
	t.Helper()
	config := trusted(b)
	return listen(t, func(conn net.Conn) { refuse(tls.Server(conn, config)) })
}

func trusted(b *broker) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{b.ca.Server(certs.Valid, "127.0.0.1")}, MinVersion: tls.VersionTLS12}
}

// refuse answers whatever comes as a web server does.
func refuse(conn net.Conn) { answer(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") }

// pageServer is a web server that takes what has no version of HTTP for a request of HTTP/0.9, which is answered without a
// status line.
func pageServer(t *testing.T) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		answer(conn, "<!DOCTYPE HTML>\n<html><head><title>Error response</title></head></html>\n")
	})
}

// hangUp ends each connection when it has heard something, tlsHangUp when that is what TLS protects.
func hangUp(t *testing.T) string {
	t.Helper()
	return listen(t, func(conn net.Conn) { answer(conn, "") })
}

func tlsHangUp(t *testing.T, b *broker) string {
	t.Helper()
	config := trusted(b)
	return listen(t, func(conn net.Conn) { answer(tls.Server(conn, config), "") })
}

// answer says the text to whatever comes first.
func answer(conn net.Conn, text string) {
	if _, err := conn.Read(make([]byte, 4096)); err == nil {
		_, _ = io.WriteString(conn, text) // the client may have hung up
	}
}

// onlyTLS hangs up, and fails the test where a client that is to encrypt begins with anything else: a password could follow.
func onlyTLS(t *testing.T) string {
	t.Helper()
	const handshake = 22
	return listen(t, func(conn net.Conn) {
		first := make([]byte, 1)
		if _, err := conn.Read(first); err == nil && first[0] != handshake {
			t.Errorf("a client that is to encrypt sends the byte %d first, not that of a TLS handshake", first[0])
		}
	})
}

// silence accepts connections and says nothing.
func silence(t *testing.T) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn) // ends when the client hangs up
	})
}

// listen gives each connection to fn and closes it behind it.
func listen(t *testing.T, fn func(net.Conn)) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				fn(conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}
