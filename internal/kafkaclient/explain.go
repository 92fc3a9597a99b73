package kafkaclient

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Explained is an error with its likely cause and what to change. It wraps the error it explains. Neither text has a "; " of
// its own, which separates reasons where several stand on a line.
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
	OpAlter   Operation = "add partitions"
	OpConfigs Operation = "alter the configuration of topics"
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
	// Names of certificates, topics and files are others' words.
	one := strings.NewReplacer("; ", ", ")
	return &Explained{Err: err, Cause: one.Replace(x.asGiven(cause)), Fix: one.Replace(x.asGiven(fix))}
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
		return x.credentials(err)
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
			"run: dashstream topics ensure" + x.flags() + ", or correct KAFKA_TOPIC"
	case ClassTooLarge:
		return x.topicPhrase("a record is larger than max.message.bytes of the topic%s"), "run: dashstream topics ensure" + x.flags() + " (it says what to raise)"
	case ClassUnsupported:
		return "the broker is too old, or lacks the feature", "use Apache Kafka 2.1 or later, or a compatible broker"
	}
	return x.broker(err)
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
	return "no broker answered in time", "check that KAFKA_BROKERS" + x.value(func(s *Settings) string { return s.Brokers.String() }) +
		" can be reached from here, and has listeners for KAFKA_SECURITY_PROTOCOL" + x.protocol()
}

// whereFrom says which setting holds the address that failed: ours, or the one that a broker advertises.
func (x explainer) whereFrom(err error) string {
	addr := address(err)
	if x.s == nil || addr == "the broker" {
		return "KAFKA_BROKERS (or the brokers' advertised.listeners, when the address is not in it)"
	}
	host, port, splitErr := net.SplitHostPort(addr)
	if splitErr != nil { // a name that was looked up
		host = addr
	}
	for _, b := range x.s.Brokers {
		h, p, err := net.SplitHostPort(b)
		if err != nil || port != "" && p != port {
			continue
		}
		// A dial error has the resolved address, so a name in the list may stand for it.
		if h == host || net.ParseIP(h) == nil && net.ParseIP(host) != nil {
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
		return "fewer replicas are in sync than min.insync.replicas of the topic asks for", "bring the brokers back (nothing is written until then)"
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

// variable finds the names of settings in a text.
var variable = regexp.MustCompile(`\bKAFKA_[A-Z_]+\b`)

// asGiven calls the settings what the user called them.
func (x explainer) asGiven(text string) string {
	if x.s == nil || len(x.s.given) == 0 {
		return text
	}
	return variable.ReplaceAllStringFunc(text, func(name string) string { return cmp.Or(x.s.given[name], name) })
}

func (x explainer) topicPhrase(format string) string {
	if x.s == nil {
		return fmt.Sprintf(format, "")
	}
	return fmt.Sprintf(format, fmt.Sprintf(" %q", x.s.Topic))
}
