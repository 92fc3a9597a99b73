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
)

// Explained is an error with its likely cause and what to change. It wraps the error it explains.
type Explained struct {
	Err   error
	Cause string // what probably is wrong
	Fix   string // what to change; names the setting
}

// Error is the error, the cause and the fix, in one line.
func (e *Explained) Error() string {
	return fmt.Sprintf("%v (likely cause: %s; to do: %s)", e.Err, e.Cause, e.Fix)
}

// Unwrap returns the error that is explained.
func (e *Explained) Unwrap() error { return e.Err }

// Operation is what a client was doing, for the name of a missing permission.
type Operation string

// The operations.
const (
	OpConnect Operation = "connect"
	OpProduce Operation = "produce"
	OpConsume Operation = "consume"
	OpGroup   Operation = "consume as a group"
	OpInspect Operation = "describe topics"
	OpCreate  Operation = "create topics"
	OpAlter   Operation = "alter topics"
)

// Explain adds the likely cause and the setting to change to an error of a Kafka client. Errors that explain themselves,
// cancellation and nil come back as they are; errors that are joined are explained one by one. errors.Is and errors.As see
// through the result. Settings.Explain knows more: the values, and what was being done.
func Explain(err error) error { return explain(err, explainer{}) }

// Explain is the package's Explain with the values of the settings and the operation that failed.
func (s Settings) Explain(op Operation, err error) error {
	return explain(err, explainer{s: &s, op: op})
}

func explain(err error, x explainer) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*Explained](err); done {
		return err
	}
	// What only stands side by side may have a cause each.
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // a join that is wrapped is one error
		each := slices.Clone(joined.Unwrap())
		if len(each) > 1 && errors.Join(each...).Error() == err.Error() {
			for i := range each {
				each[i] = explain(each[i], x)
			}
			return errors.Join(each...)
		}
	}
	cause, fix := x.explain(err)
	if cause == "" {
		return err
	}
	return &Explained{Err: err, Cause: cause, Fix: fix}
}

// explainer holds what is known besides the error; s may be nil.
type explainer struct {
	s  *Settings
	op Operation
}

func (x explainer) explain(err error) (cause, fix string) {
	class := Classify(err)
	switch class {
	case ClassTLS:
		return x.tls(err)
	case ClassCredentials:
		return "the client could not obtain what it authenticates with",
			"check the files and endpoints of the KAFKA_SASL_* settings (for AWS_MSK_IAM, the AWS_* variables)"
	case ClassAuthentication:
		return x.authentication(err)
	case ClassAuthorization:
		return x.authorization(err)
	case ClassDNS:
		return x.name(err)
	case ClassRefused:
		if op := refusedDial(err); op != nil {
			err = op
		}
		return "nothing listens at " + address(err), "start the broker, or correct " + x.whereFrom(err)
	case ClassTimeout:
		return x.timeout(err)
	case ClassNetwork:
		return "the connection to the broker broke, or there is no route to it",
			"check the network, the broker, and KAFKA_BROKER_ADDRESS_FAMILY" + x.value(func(s *Settings) string { return string(s.AddressFamily) })
	case ClassUnknownTopic:
		return x.topicPhrase("the topic%s does not exist, or this user may not see it"),
			"run: dashstream topics ensure" + x.flags() + "; or correct KAFKA_TOPIC"
	case ClassTooLarge:
		return x.topicPhrase("a record is larger than max.message.bytes of the topic%s"), "run: dashstream topics ensure" + x.flags() + "; it says what to raise"
	case ClassUnsupported:
		return "the broker is too old, or lacks the feature", "use Apache Kafka 2.1 or later, or a compatible broker"
	}
	return x.broker(err)
}

func (x explainer) tls(err error) (cause, fix string) {
	if e, ok := errors.AsType[*ProtocolError](err); ok {
		if e.Spoken == "HTTP" {
			return e.Addr + " is a web server", "set KAFKA_BROKERS to a port of the broker"
		}
		return e.Addr + " is a TLS listener and the client does not encrypt",
			"set KAFKA_SECURITY_PROTOCOL" + x.protocol() + " to ssl or sasl_ssl"
	}
	addr := "the broker"
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		addr = e.Addr
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
			"use a name of the certificate in KAFKA_BROKERS and in the brokers' advertised.listeners; KAFKA_SSL_ENDPOINT_ALGORITHM=none turns the check off"
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
		return "the broker refuses the client's side of TLS, mostly because it wants a client certificate or does not trust the one it got",
			"set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION to a certificate that the broker trusts"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || isHangUp(err) {
		return addr + " does not speak TLS",
			"set KAFKA_SECURITY_PROTOCOL" + x.protocol() + " to plaintext or sasl_plaintext, or KAFKA_BROKERS to a TLS port"
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return addr + " accepts connections, but does not answer a TLS handshake: it probably does not speak TLS",
			"set KAFKA_SECURITY_PROTOCOL" + x.protocol() + " to plaintext or sasl_plaintext, or KAFKA_BROKERS to a TLS port"
	}
	return "the TLS handshake failed", "check the KAFKA_SSL_* settings and the broker's listener"
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
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		return "the broker closed the connection without an answer: the listener expects SASL or TLS and the client does not",
			"set KAFKA_SECURITY_PROTOCOL" + protocol + " to what the listener has"
	}
	if e, ok := errors.AsType[*HangUpError](err); ok && e.Handshake {
		return "the listener does not offer this SASL mechanism, or does not authenticate with SASL at all",
			"set KAFKA_SASL_MECHANISM" + mechanism + " and KAFKA_SECURITY_PROTOCOL" + protocol + " to what the listener has"
	}
	switch {
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "the listener does not offer this SASL mechanism", "set KAFKA_SASL_MECHANISM" + mechanism + " to one that it offers"
	case errors.Is(err, kerr.IllegalSaslState):
		return "the listener does not authenticate with SASL", "set KAFKA_SECURITY_PROTOCOL" + protocol + " to plaintext or ssl, or use a SASL listener"
	}
	switch {
	case x.s != nil && x.s.SASLMechanism == MechanismOAuthBearer:
		return "the broker does not accept the token: it is expired, or for another audience or scope",
			"check KAFKA_SASL_OAUTHBEARER_TOKEN_FILE, or the scope and the client of the token endpoint"
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
		resource = x.topicPhrase("topic%s")
		operation = x.topicPermission()
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		switch x.op {
		case OpProduce:
			// Brokers let whoever may write to some topic be an idempotent producer; this user may write to none.
			return x.lacks(user, "WRITE", x.topicPhrase("topic%s"),
				"; before Kafka 2.8, IDEMPOTENT_WRITE on the cluster as well")
		case OpCreate:
			operation = "CREATE"
		case OpAlter:
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
		return "ALTER and ALTER_CONFIGS"
	case OpInspect:
		return "DESCRIBE"
	default:
		return "DESCRIBE (READ to consume, WRITE to produce)"
	}
}

func (x explainer) name(err error) (cause, fix string) {
	family := x.value(func(s *Settings) string { return string(s.AddressFamily) })
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the host name %q cannot be looked up", dns.Name), "correct " + x.whereFrom(err)
	}
	return address(err) + " has no address of the wanted family", "correct KAFKA_BROKER_ADDRESS_FAMILY" + family
}

func (x explainer) timeout(err error) (cause, fix string) {
	if silent, ok := errors.AsType[*SilentError](err); ok {
		return silent.Addr + " accepts connections, but does not answer: it hangs, is overloaded, or is no broker",
			"look at that broker, or correct " + x.whereFrom(silent)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return address(err) + " does not answer: a firewall drops the packets, or the host is down",
			"check the network, or correct " + x.whereFrom(err)
	}
	if errors.Is(err, kgo.ErrRecordTimeout) {
		return "the broker did not confirm the record in time", "check the broker, and the errors logged before this one"
	}
	where := x.value(func(s *Settings) string { return s.Brokers.String() })
	return "no broker answered in time", "check that KAFKA_BROKERS can be reached from here" + where
}

// whereFrom says which setting holds the address that failed: ours, or the one that a broker advertises.
func (x explainer) whereFrom(err error) string {
	addr := address(err)
	if x.s == nil || addr == "the broker" {
		return "KAFKA_BROKERS (or the brokers' advertised.listeners, when the address is not in it)"
	}
	host := addr
	if h, _, splitErr := net.SplitHostPort(addr); splitErr == nil {
		host = h
	}
	for _, b := range x.s.Brokers {
		// A dial error has the resolved address, so a name in the list may stand for it.
		h, _, splitErr := net.SplitHostPort(b)
		if splitErr == nil && (h == host || net.ParseIP(h) == nil && net.ParseIP(host) != nil) {
			return fmt.Sprintf("KAFKA_BROKERS (now %s)", x.s.Brokers)
		}
	}
	return fmt.Sprintf("the brokers' advertised.listeners: %s is not in KAFKA_BROKERS (%s), a broker gave it", addr, x.s.Brokers)
}

// address is the other end of the connection that failed.
func address(err error) string {
	if silent, ok := errors.AsType[*SilentError](err); ok {
		return silent.Addr
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Name
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		return op.Addr.String()
	}
	if a, ok := errors.AsType[*net.AddrError](err); ok {
		return a.Addr
	}
	return "the broker"
}

// broker explains answers of a broker whose class alone does not say enough.
func (x explainer) broker(err error) (cause, fix string) {
	switch {
	case errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return "fewer replicas are in sync than min.insync.replicas of the topic asks for", "bring the brokers back; nothing is written until then"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "the cluster has fewer brokers than the replication factor", "lower --replication, use --profile default on a cluster with one broker, or start more brokers"
	case errors.Is(err, kerr.InvalidTopicException):
		return x.topicPhrase("the cluster does not take the name%s: perhaps another topic has the same, but for dots in the place of underscores"), "choose another name"
	case errors.Is(err, kerr.InvalidPartitions):
		return "the cluster does not take this number of partitions", "choose another with --partitions"
	case errors.Is(err, kerr.PolicyViolation):
		return "the cluster has a policy that forbids this topic", "ask who runs the cluster for the policy, and create the topic accordingly"
	case errors.Is(err, kerr.InvalidSessionTimeout):
		return "the broker does not allow this session timeout", "set KAFKA_SESSION_TIMEOUT_SECS within group.min.session.timeout.ms and group.max.session.timeout.ms"
	case errors.Is(err, kerr.InvalidGroupID):
		return "the broker does not accept the group id", "correct KAFKA_GROUP_ID" + x.value(func(s *Settings) string { return s.GroupID })
	}
	return "", ""
}

func (x explainer) flags() string {
	if x.s == nil {
		return ""
	}
	return x.s.CommandFlags()
}

func (x explainer) protocol() string {
	return x.value(func(s *Settings) string { return string(s.SecurityProtocol) })
}

// value shows what a setting holds now, when the settings are known.
func (x explainer) value(of func(*Settings) string) string {
	if x.s == nil {
		return ""
	}
	v := of(x.s)
	if v == "" {
		return " (now not set)"
	}
	return fmt.Sprintf(" (now %s)", v)
}

func (x explainer) topicPhrase(format string) string {
	if x.s == nil {
		return fmt.Sprintf(format, "")
	}
	return fmt.Sprintf(format, fmt.Sprintf(" %q", x.s.Topic))
}
