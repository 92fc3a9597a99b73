package kafkaclient

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/dashflow/dashstream/internal/settings"
)

// SecurityProtocol says whether a connection is encrypted and authenticated.
type SecurityProtocol string

// The protocols, in Kafka's words.
const (
	ProtocolPlaintext     SecurityProtocol = "plaintext"
	ProtocolSSL           SecurityProtocol = "ssl"
	ProtocolSASLPlaintext SecurityProtocol = "sasl_plaintext"
	ProtocolSASLSSL       SecurityProtocol = "sasl_ssl"
)

var protocols = []SecurityProtocol{ProtocolPlaintext, ProtocolSSL, ProtocolSASLPlaintext, ProtocolSASLSSL}

// UnmarshalText takes a protocol in any case.
func (p *SecurityProtocol) UnmarshalText(text []byte) error {
	return settings.OneOf(p, text, protocols...)
}

// Allowed implements settings.Allower.
func (SecurityProtocol) Allowed() string { return settings.Words(protocols...) }

// TLS reports whether the protocol encrypts.
func (p SecurityProtocol) TLS() bool { return p == ProtocolSSL || p == ProtocolSASLSSL }

// SASL reports whether the protocol authenticates with SASL.
func (p SecurityProtocol) SASL() bool { return p == ProtocolSASLPlaintext || p == ProtocolSASLSSL }

// SASLMechanism is a way to authenticate; empty is none.
type SASLMechanism string

// The mechanisms, by their registered names.
const (
	MechanismPlain       SASLMechanism = "PLAIN"
	MechanismScramSHA256 SASLMechanism = "SCRAM-SHA-256"
	MechanismScramSHA512 SASLMechanism = "SCRAM-SHA-512"
	MechanismOAuthBearer SASLMechanism = "OAUTHBEARER"
	MechanismAWSMSKIAM   SASLMechanism = "AWS_MSK_IAM"
	// MechanismGSSAPI is known, so that Validate can say why it does not work.
	MechanismGSSAPI SASLMechanism = "GSSAPI"
)

var mechanisms = []SASLMechanism{MechanismPlain, MechanismScramSHA256, MechanismScramSHA512, MechanismOAuthBearer, MechanismAWSMSKIAM}

// UnmarshalText takes a mechanism in any case; empty text is none.
func (m *SASLMechanism) UnmarshalText(text []byte) error {
	if strings.TrimSpace(string(text)) == "" {
		*m = ""
		return nil
	}
	if settings.OneOf(m, text, MechanismGSSAPI) == nil {
		return nil
	}
	return settings.OneOf(m, text, mechanisms...)
}

// Allowed implements settings.Allower.
func (SASLMechanism) Allowed() string { return settings.Words(mechanisms...) }

// usesPassword reports whether the mechanism takes a user name and a password.
func (m SASLMechanism) usesPassword() bool {
	return m == MechanismPlain || m == MechanismScramSHA256 || m == MechanismScramSHA512
}

// OffsetReset is where a consumer begins that has no committed offset.
type OffsetReset string

// The two ends of a partition.
const (
	ResetEarliest OffsetReset = "earliest"
	ResetLatest   OffsetReset = "latest"
)

// UnmarshalText takes either word in any case.
func (r *OffsetReset) UnmarshalText(text []byte) error {
	return settings.OneOf(r, text, ResetEarliest, ResetLatest)
}

// Allowed implements settings.Allower.
func (OffsetReset) Allowed() string { return settings.Words(ResetEarliest, ResetLatest) }

// DecodePolicy is what a consumer does with a record that it cannot decode.
type DecodePolicy string

// The policies.
const (
	DecodeSkip  DecodePolicy = "skip"
	DecodePause DecodePolicy = "pause"
)

// UnmarshalText takes either word in any case.
func (p *DecodePolicy) UnmarshalText(text []byte) error {
	return settings.OneOf(p, text, DecodeSkip, DecodePause)
}

// Allowed implements settings.Allower.
func (DecodePolicy) Allowed() string { return settings.Words(DecodeSkip, DecodePause) }

// EndpointAlgorithm says whether a broker's certificate must be for its host name.
type EndpointAlgorithm string

// The algorithms, in librdkafka's words.
const (
	EndpointHTTPS EndpointAlgorithm = "https"
	EndpointNone  EndpointAlgorithm = "none"
)

// UnmarshalText takes either word in any case.
func (a *EndpointAlgorithm) UnmarshalText(text []byte) error {
	return settings.OneOf(a, text, EndpointHTTPS, EndpointNone)
}

// Allowed implements settings.Allower.
func (EndpointAlgorithm) Allowed() string { return settings.Words(EndpointHTTPS, EndpointNone) }

// AddressFamily restricts the addresses of a broker's host name.
type AddressFamily string

// The families, in librdkafka's words.
const (
	FamilyAny AddressFamily = "any"
	FamilyV4  AddressFamily = "v4"
	FamilyV6  AddressFamily = "v6"
)

// UnmarshalText takes a family in any case.
func (f *AddressFamily) UnmarshalText(text []byte) error {
	return settings.OneOf(f, text, FamilyAny, FamilyV4, FamilyV6)
}

// Allowed implements settings.Allower.
func (AddressFamily) Allowed() string { return settings.Words(FamilyAny, FamilyV4, FamilyV6) }

// network is the name that package net has for the family.
func (f AddressFamily) network() string {
	switch f {
	case FamilyV4:
		return "tcp4"
	case FamilyV6:
		return "tcp6"
	default:
		return "tcp"
	}
}

// defaultPort is what a broker without a port means, as in librdkafka.
const defaultPort = "9092"

// Brokers is a list of host:port, normalised: every item has a port, none appears twice.
type Brokers []string

// Allowed implements settings.Allower.
func (Brokers) Allowed() string {
	return "a comma-separated list of host:port; IPv6 addresses in brackets; the port is 9092 when left out"
}

// String joins the list with commas.
func (b Brokers) String() string { return strings.Join(b, ",") }

// MarshalText is String.
func (b Brokers) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText parses and normalises a list; it must have at least one broker.
func (b *Brokers) UnmarshalText(text []byte) error {
	// Items are not quoted back where one may hold a password, or a piece of one that has a comma.
	if strings.Contains(string(text), "@") {
		return errUserinfo
	}
	list := Brokers{}
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		broker, err := normaliseBroker(item)
		if err != nil {
			return err
		}
		if !slices.Contains(list, broker) {
			list = append(list, broker)
		}
	}
	if len(list) == 0 {
		return errors.New("no broker")
	}
	*b = list
	return nil
}

var errUserinfo = errors.New("a user does not belong here; write host:port, and set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD or KAFKA_SASL_PASSWORD_FILE")

func normaliseBroker(item string) (string, error) {
	if strings.Contains(item, "@") {
		return "", errUserinfo
	}
	if scheme, _, found := strings.Cut(item, "://"); found {
		return "", fmt.Errorf("%q has the prefix %q; write host:port and set KAFKA_SECURITY_PROTOCOL", item, scheme+"://")
	}
	host, port := item, defaultPort
	switch {
	case net.ParseIP(item) != nil: // a bare IPv6 address has colons, but no port
	case strings.HasPrefix(item, "[") && strings.HasSuffix(item, "]"):
		host = item[1 : len(item)-1]
	case strings.Contains(item, ":"):
		var err error
		if host, port, err = net.SplitHostPort(item); err != nil {
			return "", fmt.Errorf("%q is not host:port", item)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: port %q is not from 1 to 65535", item, port)
	}
	if strings.Contains(host, ":") && net.ParseIP(strings.Split(host, "%")[0]) == nil {
		return "", fmt.Errorf("%q: %q is not an IPv6 address", item, host)
	}
	if !legalHost(host) {
		return "", fmt.Errorf("%q: %q is not a host name or address", item, host)
	}
	return net.JoinHostPort(host, port), nil
}

// legalHost refuses what no resolver could look up: user:password@host, paths, blanks.
func legalHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for _, r := range host {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._:%", r):
		default:
			return false
		}
	}
	return true
}

// KeyValues is a small map, written key=value,key=value.
type KeyValues map[string]string

// Allowed implements settings.Allower.
func (KeyValues) Allowed() string { return "key=value pairs, comma separated" }

// String lists the pairs in order of their keys.
func (kv KeyValues) String() string {
	pairs := make([]string, 0, len(kv))
	for _, k := range slices.Sorted(maps.Keys(kv)) {
		pairs = append(pairs, k+"="+kv[k])
	}
	return strings.Join(pairs, ",")
}

// MarshalText is String.
func (kv KeyValues) MarshalText() ([]byte, error) { return []byte(kv.String()), nil }

// UnmarshalText refuses an item without "=", an empty key and a key given twice.
func (kv *KeyValues) UnmarshalText(text []byte) error {
	out := KeyValues{}
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, value, found := strings.Cut(item, "=")
		if key = strings.TrimSpace(key); !found || key == "" {
			return fmt.Errorf("%q is not key=value", item)
		}
		if _, dup := out[key]; dup {
			return fmt.Errorf("key %q is given twice", key)
		}
		out[key] = strings.TrimSpace(value)
	}
	*kv = out
	return nil
}

// LooseBool is a switch that belongs to other programs too: a word that is no yes is a no, and never an error, so that a
// variable meant for them does not stop this one.
type LooseBool bool

// UnmarshalText takes true, 1, yes and on, in any case, as true.
func (b *LooseBool) UnmarshalText(text []byte) error {
	switch strings.ToLower(strings.TrimSpace(string(text))) {
	case "true", "1", "yes", "on":
		*b = true
	default:
		*b = false
	}
	return nil
}
