package kafkaclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/settings"
)

func (x explainer) tls(err error) (cause, fix string) {
	if e, ok := errors.AsType[*ProtocolError](err); ok {
		if e.Spoken == "HTTP" {
			return x.webServer(e.Addr)
		}
		return e.Addr + " is a TLS listener and the client does not encrypt",
			"set KAFKA_SECURITY_PROTOCOL" + x.protocol() + " to ssl, or to sasl_ssl where the listener authenticates with SASL"
	}
	addr := "the broker"
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		addr, err = e.Addr, e.Err // not the deadline of a caller that waited for it
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := ""
		if unknown.Cert != nil {
			issuer = fmt.Sprintf(" (%q)", unknown.Cert.Issuer.String())
		}
		return fmt.Sprintf("the certificate of %s is signed by an authority%s that the client does not trust", addr, issuer),
			"set KAFKA_SSL_CA_LOCATION" + x.value(func(s *Settings) string { return s.SSLCALocation }) + " to the PEM file of that authority"
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the certificate of %s is for %s, not for %q", addr, namesOf(host.Certificate), host.Host),
			"use a name of the certificate in KAFKA_BROKERS and in the brokers' advertised.listeners (KAFKA_SSL_ENDPOINT_ALGORITHM=none turns the check off)"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired && invalid.Cert != nil {
			return fmt.Sprintf("a certificate of %s is valid only from %s to %s", addr,
					invalid.Cert.NotBefore.Format(time.RFC3339), invalid.Cert.NotAfter.Format(time.RFC3339)),
				"renew the broker's certificate, or set the clock of this machine"
		}
		return fmt.Sprintf("the certificate of %s cannot be used for a server", addr), "replace the broker's certificate"
	}
	if isRemoteAlert(err) {
		return x.clientCertificate(addr)
	}
	if not, ok := errors.AsType[tls.RecordHeaderError](err); ok && isHTTP(not.RecordHeader[:]) {
		return x.webServer(addr)
	}
	const plain = " to plaintext, or to sasl_plaintext where the listener authenticates with SASL, or KAFKA_BROKERS to a TLS port"
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || isHangUp(err) {
		return addr + " does not speak TLS", "set KAFKA_SECURITY_PROTOCOL" + x.protocol() + plain
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return addr + " accepts connections, but does not answer a TLS handshake: it probably does not speak TLS",
			"set KAFKA_SECURITY_PROTOCOL" + x.protocol() + plain
	}
	return "the TLS handshake failed", "check the KAFKA_SSL_* settings and the broker's listener"
}

func (x explainer) webServer(addr string) (cause, fix string) {
	return addr + " is a web server", "set KAFKA_BROKERS" + x.value(func(s *Settings) string { return s.Brokers.String() }) + " to a port of the broker"
}

// clientCertificate explains that a broker ended TLS when it had seen the client's side.
func (x explainer) clientCertificate(addr string) (cause, fix string) {
	const set = "set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION to a certificate that the broker trusts"
	switch {
	case x.s == nil:
		return "the broker refuses the client's side of TLS, mostly because it wants a client certificate or does not trust the one it got", set
	case x.s.SSLCertificateLocation == "":
		return addr + " wants a client certificate, and none is set", set
	}
	now := "KAFKA_SSL_CERTIFICATE_LOCATION" + x.value(func(s *Settings) string { return s.SSLCertificateLocation })
	if pair, err := x.s.loadCertificate(); err == nil && pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) {
		return "the client certificate was valid only until " + pair.Leaf.NotAfter.Format(time.RFC3339), "renew the certificate of " + now
	}
	return addr + " does not accept the client certificate, mostly because it does not trust the authority that signed it",
		"set " + now + " and KAFKA_SSL_KEY_LOCATION to a certificate that the broker trusts"
}

// isHangUp reports a connection that the other side closed.
func isHangUp(err error) bool { return classifyNetwork(err) == ClassNetwork }

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func namesOf(cert *x509.Certificate) string {
	if cert == nil {
		return "another host"
	}
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	const shown = 5
	switch {
	case len(names) == 0:
		return "no host at all"
	case len(names) > shown:
		return strings.Join(names[:shown], ", ") + ", …"
	default:
		return strings.Join(names, ", ")
	}
}

func (x explainer) authentication(err error) (cause, fix string) {
	mechanism := x.value(func(s *Settings) string { return string(s.SASLMechanism) })
	protocol := x.protocol()
	hangUp, hungUp := errors.AsType[*HangUpError](err)
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok && !hungUp || hungUp && hangUp.First {
		return x.noAnswer(protocol)
	}
	if hungUp && hangUp.Handshake {
		return "the listener does not offer this SASL mechanism, or does not authenticate with SASL at all",
			"set KAFKA_SASL_MECHANISM" + mechanism + " and KAFKA_SECURITY_PROTOCOL" + protocol + " to what the listener has"
	}
	switch {
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the listener does not offer this SASL mechanism", "set KAFKA_SASL_MECHANISM" + mechanism + " to one that it offers"
	case errors.Is(err, kerr.IllegalSaslState):
		without := "plaintext or ssl"
		switch {
		case x.s == nil:
		case x.s.SecurityProtocol.TLS():
			without = "ssl"
		default:
			without = "plaintext"
		}
		return "the listener does not authenticate with SASL",
			"set KAFKA_SECURITY_PROTOCOL" + protocol + " to " + without + ", or KAFKA_BROKERS to a listener with SASL"
	}
	switch {
	case x.s != nil && x.s.SASLMechanism == MechanismOAuthBearer:
		const cause = "the broker does not accept the token: it is expired, or for another audience or scope"
		if x.s.OAuthTokenFile != "" {
			return cause, "put a token for this cluster into KAFKA_SASL_OAUTHBEARER_TOKEN_FILE" + x.value(func(s *Settings) string { return s.OAuthTokenFile })
		}
		return cause, "check KAFKA_SASL_OAUTHBEARER_SCOPE" + x.value(func(s *Settings) string { return s.OAuthScope }) +
			", KAFKA_SASL_OAUTHBEARER_CLIENT_ID" + x.value(func(s *Settings) string { return s.OAuthClientID }) + " and what the token endpoint gives it"
	case x.s != nil && x.s.SASLMechanism == MechanismAWSMSKIAM:
		return "the cluster does not accept the AWS identity, or its policy lacks kafka-cluster:Connect",
			"check the AWS_* variables and the IAM policy"
	}
	if _, ok := errors.AsType[*HangUpError](err); ok {
		return "the user name or password is wrong, or the listener has no such user, no such mechanism, or no SASL",
			"check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD, KAFKA_SASL_MECHANISM" + mechanism + " and KAFKA_SECURITY_PROTOCOL" + protocol
	}
	return "the user name or password is wrong, or the user does not exist for this mechanism",
		"check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM" + mechanism
}

// noAnswer explains that the other side closed the connection when it had heard the first request. It may be what the client
// does not do already.
func (x explainer) noAnswer(protocol string) (cause, fix string) {
	const closed = "the broker closed the connection without an answer: "
	const setProtocol = "set KAFKA_SECURITY_PROTOCOL"
	var encrypts, authenticates bool
	elsewhere := "KAFKA_BROKERS"
	if x.s != nil {
		encrypts, authenticates = x.s.SecurityProtocol.TLS(), x.s.SecurityProtocol.SASL()
		elsewhere += x.value(func(s *Settings) string { return s.Brokers.String() })
	}
	switch {
	case encrypts && authenticates:
		return closed + "it turns this client away before it knows who that is (a limit on connections, a proxy, a firewall), or is no Kafka broker",
			"check the log of the broker, and that " + elsewhere + " is a port of one"
	case encrypts:
		return closed + "the listener expects SASL, and the client does not authenticate",
			setProtocol + protocol + " to sasl_ssl, and KAFKA_SASL_MECHANISM to what the listener offers"
	case authenticates:
		return closed + "the listener expects TLS, and the client does not encrypt, or it is no Kafka broker",
			setProtocol + protocol + " to sasl_ssl, or to ssl where the listener does not authenticate with SASL, or " + elsewhere + " to a port of the broker"
	}
	return closed + "the listener expects SASL or TLS and the client does not",
		setProtocol + protocol + " to what the listener has: sasl_plaintext, ssl or sasl_ssl"
}

// credentials explains that there is nothing to authenticate with.
func (x explainer) credentials(err error) (cause, fix string) {
	if file, ok := errors.AsType[*settings.Error](err); ok {
		return file.Name + " cannot be used", "correct " + file.Name + ", or what the file holds"
	}
	endpoint, ok := errors.AsType[*tokenEndpointError](err)
	switch {
	case ok && endpoint.status != "":
		return "the token endpoint does not accept the client credentials, or does not give them this scope",
			"check KAFKA_SASL_OAUTHBEARER_CLIENT_ID" + x.value(func(s *Settings) string { return s.OAuthClientID }) +
				", KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET and KAFKA_SASL_OAUTHBEARER_SCOPE" + x.value(func(s *Settings) string { return s.OAuthScope })
	case ok:
		return "the token endpoint cannot be reached, or is none",
			"correct KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL" + x.value(func(s *Settings) string { return withoutUser(s.OAuthTokenEndpointURL) })
	case x.s != nil && x.s.SASLMechanism == MechanismAWSMSKIAM:
		return "no credentials of AWS could be obtained", "check the AWS_* variables"
	}
	return "the client could not obtain what it authenticates with",
		"check the files and endpoints of the KAFKA_SASL_* settings (for AWS_MSK_IAM, the AWS_* variables)"
}

// authorization names the permission by what was refused and what was being done.
func (x explainer) authorization(err error) (cause, fix string) {
	user := "this user"
	if x.s != nil && x.s.SASLUsername != "" {
		user = fmt.Sprintf("user %q", x.s.SASLUsername)
	}
	resource, operation := "the cluster", "DESCRIBE"
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		resource, operation = "the consumer group", "READ"
		if x.s != nil && x.s.GroupID != "" {
			resource = fmt.Sprintf("consumer group %q", x.s.GroupID)
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		// Whoever may not describe a topic gets the same answer for one that does not exist.
		return x.lacks(user, x.topicPermission(), x.topicPhrase("topic%s"), ", or correct KAFKA_TOPIC")
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		switch x.op {
		case OpProduce:
			// Brokers let whoever may write to some topic be an idempotent producer; this user may write to none.
			return x.lacks(user, "WRITE", x.topicPhrase("topic%s"),
				" (before Kafka 2.8, IDEMPOTENT_WRITE on the cluster as well)")
		case OpCreate:
			operation = "CREATE"
		case OpAlter:
			operation = "ALTER"
		case OpConfigs:
			operation = "ALTER_CONFIGS"
		}
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		resource, operation = "the transactional id", "WRITE"
	}
	return x.lacks(user, operation, resource, "")
}

func (x explainer) lacks(user, operation, resource, more string) (cause, fix string) {
	doing := ""
	if x.op != "" {
		doing = " to " + string(x.op)
	}
	return fmt.Sprintf("%s lacks the permission %s on %s%s", user, operation, resource, doing),
		fmt.Sprintf("add an ACL that allows %s on %s%s", operation, resource, more)
}

func (x explainer) topicPermission() string {
	switch x.op {
	case OpProduce:
		return "WRITE"
	case OpConsume, OpGroup:
		return "READ"
	case OpCreate:
		return "CREATE"
	case OpAlter:
		return "ALTER"
	case OpConfigs:
		return "ALTER_CONFIGS"
	case OpInspect:
		return "DESCRIBE"
	default:
		return "DESCRIBE (READ to consume, WRITE to produce)"
	}
}
