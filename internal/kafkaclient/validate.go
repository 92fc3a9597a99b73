package kafkaclient

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dashflow/dashstream/internal/settings"
)

const (
	maxTopicLength  = 249 // Kafka's own limit
	maxGroupLength  = 249
	maxTenantLength = 256
)

// Validate checks the settings one by one and against each other, without I/O. The error joins all that is wrong, each a
// *settings.Error that names the variable, its value and what is allowed.
func (s Settings) Validate() error {
	return s.check(Settings.validateNames, Settings.validateSASL, Settings.validateTLS)
}

// ValidateFields implements settings.FieldValidator.
func (s Settings) ValidateFields() error { return s.check(Settings.validateNames) }

func (s Settings) check(rules ...func(Settings, report)) error {
	var errs []error
	for _, rule := range rules {
		rule(s, func(name, value, allowed, reason string, args ...any) {
			errs = append(errs, &settings.Error{Name: name, Value: value, Reason: fmt.Sprintf(reason, args...), Allowed: allowed})
		})
	}
	return errors.Join(errs...)
}

// report adds one error; name is the canonical variable.
type report func(name, value, allowed, reason string, args ...any)

func (s Settings) validateNames(add report) {
	if len(s.Brokers) == 0 {
		add("KAFKA_BROKERS", "", Brokers{}.Allowed(), "no broker")
	}
	// A struct made by a program did not pass UnmarshalText.
	for _, b := range s.Brokers {
		if _, err := normaliseBroker(b); err != nil {
			add("KAFKA_BROKERS", s.Brokers.String(), Brokers{}.Allowed(), "%v", err)
		}
	}
	topicErr := CheckTopicName(s.Topic)
	if topicErr != nil {
		add("KAFKA_TOPIC", s.Topic, "", "%v", topicErr)
	}
	// A name that was made from a bad one is nobody's second mistake.
	derivedBad := topicErr != nil && s.DLQTopic == ""
	if s.DLQTopic == s.Topic && s.Topic != "" {
		add("KAFKA_DLQ_TOPIC", s.DLQTopic, "", "dead letters must not go to the topic they come from")
	} else if err := CheckTopicName(s.DeadLetterTopic()); err != nil && !derivedBad {
		add("KAFKA_DLQ_TOPIC", s.DeadLetterTopic(), "", "%v", err)
	}
	if s.GroupID != "" && !printable(s.GroupID, maxGroupLength) {
		add("KAFKA_GROUP_ID", s.GroupID, "", "not 1 to %d printable characters", maxGroupLength)
	}
	if !printable(s.TenantID, maxTenantLength) {
		add("KAFKA_TENANT_ID", s.TenantID, "", "not 1 to %d printable characters", maxTenantLength)
	}
}

// CheckTopicName returns an error that says why Kafka would refuse a topic of this name.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return errors.New("a topic name must not be empty")
	case name == "." || name == "..":
		return fmt.Errorf("a topic must not be named %q", name)
	case len(name) > maxTopicLength:
		return fmt.Errorf("a topic name has at most %d characters, this one has %d", maxTopicLength, len(name))
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
		default:
			return fmt.Errorf("a topic name has only letters, digits, dots, underscores and dashes, not %q", r)
		}
	}
	return nil
}

func printable(s string, limit int) bool {
	if s == "" || !utf8.ValidString(s) || utf8.RuneCountInString(s) > limit {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// given names a setting and whether it has a value, for rules about groups of settings.
type given struct {
	name string
	set  bool
}

func (s Settings) passwordSettings() []given {
	return []given{
		{"KAFKA_SASL_USERNAME", s.SASLUsername != ""},
		{"KAFKA_SASL_PASSWORD", s.SASLPassword.IsSet()},
		{"KAFKA_SASL_PASSWORD_FILE", s.SASLPasswordFile != ""},
	}
}

func (s Settings) oauthSettings() []given {
	return append([]given{{"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", s.OAuthTokenFile != ""}}, s.clientCredentialSettings()...)
}

func (s Settings) clientCredentialSettings() []given {
	return []given{
		{"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", s.OAuthTokenEndpointURL != ""},
		{"KAFKA_SASL_OAUTHBEARER_CLIENT_ID", s.OAuthClientID != ""},
		{"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", s.OAuthClientSecret.IsSet()},
		{"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE", s.OAuthClientSecretFile != ""},
		{"KAFKA_SASL_OAUTHBEARER_SCOPE", s.OAuthScope != ""},
	}
}

func (s Settings) validateSASL(add report) {
	mechanism := string(s.SASLMechanism)
	if !s.SecurityProtocol.SASL() {
		// A user name that is not sent is a mistake that shows only as a refused request, much later.
		for _, g := range append([]given{{"KAFKA_SASL_MECHANISM", mechanism != ""}}, append(s.passwordSettings(), s.oauthSettings()...)...) {
			if g.set {
				add(g.name, "", "", "is set, but KAFKA_SECURITY_PROTOCOL=%s does not authenticate; set sasl_plaintext or sasl_ssl, or unset it", s.SecurityProtocol)
			}
		}
		return
	}
	switch s.SASLMechanism {
	case "":
		add("KAFKA_SASL_MECHANISM", "", SASLMechanism("").Allowed(), "required with KAFKA_SECURITY_PROTOCOL=%s", s.SecurityProtocol)
		return
	case MechanismGSSAPI:
		add("KAFKA_SASL_MECHANISM", mechanism, SASLMechanism("").Allowed(), "Kerberos is not supported: no Go library for it is maintained")
		return
	}
	if s.SASLMechanism.usesPassword() {
		s.validatePassword(add)
	} else {
		s.refuse(add, s.passwordSettings())
	}
	if s.SASLMechanism == MechanismOAuthBearer {
		s.validateOAuth(add)
	} else {
		s.refuse(add, s.oauthSettings())
	}
	if s.SASLMechanism == MechanismAWSMSKIAM {
		s.validateAWS(add)
	}
}

// refuse reports settings that the chosen mechanism would silently ignore.
func (s Settings) refuse(add report, list []given) {
	for _, g := range list {
		if g.set {
			add(g.name, "", "", "is set, but KAFKA_SASL_MECHANISM=%s does not use it; unset it", s.SASLMechanism)
		}
	}
}

func (s Settings) validatePassword(add report) {
	hasPassword := s.SASLPassword.IsSet() || s.SASLPasswordFile != ""
	if s.SASLUsername == "" {
		add("KAFKA_SASL_USERNAME", "", "", "required with KAFKA_SASL_MECHANISM=%s", s.SASLMechanism)
	}
	if !hasPassword {
		add("KAFKA_SASL_PASSWORD", "", "", "required with KAFKA_SASL_MECHANISM=%s (or KAFKA_SASL_PASSWORD_FILE)", s.SASLMechanism)
	}
	onlyOne(add, "KAFKA_SASL_PASSWORD", s.SASLPassword.IsSet(), "KAFKA_SASL_PASSWORD_FILE", s.SASLPasswordFile != "")
}

func onlyOne(add report, a string, aSet bool, b string, bSet bool) {
	if aSet && bSet {
		add(a, "", "", "%s is set too; unset one of them", b)
	}
}

func (s Settings) validateOAuth(add report) {
	credentials := false
	for _, g := range s.clientCredentialSettings() {
		credentials = credentials || g.set
	}
	switch {
	case s.OAuthTokenFile != "" && credentials:
		add("KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", s.OAuthTokenFile, "", "client credentials are set too; use a token file or client credentials, not both")
		return
	case s.OAuthTokenFile != "":
		return
	case !credentials:
		add("KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", "", "", "required with KAFKA_SASL_MECHANISM=OAUTHBEARER, unless KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL, _CLIENT_ID and _CLIENT_SECRET are set")
		return
	}
	if s.OAuthTokenEndpointURL == "" {
		add("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "", "an https URL", "required with client credentials")
	} else if err := checkEndpoint(s.OAuthTokenEndpointURL); err != nil {
		add("KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", withoutUser(s.OAuthTokenEndpointURL), "an https URL; http only for this machine", "%v", err)
	}
	if s.OAuthClientID == "" {
		add("KAFKA_SASL_OAUTHBEARER_CLIENT_ID", "", "", "required with client credentials")
	}
	if !s.OAuthClientSecret.IsSet() && s.OAuthClientSecretFile == "" {
		add("KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "", "", "required with client credentials (or KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE)")
	}
	onlyOne(add, "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", s.OAuthClientSecret.IsSet(),
		"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE", s.OAuthClientSecretFile != "")
}

// checkEndpoint refuses URLs that would send a secret in the clear or carry one that gets printed.
func checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return errors.New("not a URL with a host")
	}
	if u.User != nil {
		return errors.New("has a user name or password in it; use the settings for credentials")
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return nil
		}
		return errors.New("http would send the secret in the clear")
	default:
		return fmt.Errorf("unknown scheme %q", u.Scheme)
	}
}

// withoutUser makes a URL printable: neither user nor query.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)"
	}
	if u.User != nil {
		u.User = url.User("***")
	}
	u.RawQuery = ""
	return u.String()
}

func (s Settings) validateAWS(add report) {
	if s.SecurityProtocol != ProtocolSASLSSL {
		add("KAFKA_SECURITY_PROTOCOL", string(s.SecurityProtocol), string(ProtocolSASLSSL), "AWS_MSK_IAM works over TLS only")
	}
	pair := func(a string, aSet bool, b string, bSet bool) {
		if aSet && !bSet {
			add(b, "", "", "required when %s is set", a)
		} else if bSet && !aSet {
			add(a, "", "", "required when %s is set", b)
		}
	}
	pair("AWS_ACCESS_KEY_ID", s.AWSAccessKeyID != "", "AWS_SECRET_ACCESS_KEY", s.AWSSecretAccessKey.IsSet())
	pair("AWS_ROLE_ARN", s.AWSRoleARN != "", "AWS_WEB_IDENTITY_TOKEN_FILE", s.AWSWebIdentityTokenFile != "")
}

func (s Settings) validateTLS(add report) {
	list := []given{
		{"KAFKA_SSL_CA_LOCATION", s.SSLCALocation != ""},
		{"KAFKA_SSL_CERTIFICATE_LOCATION", s.SSLCertificateLocation != ""},
		{"KAFKA_SSL_KEY_LOCATION", s.SSLKeyLocation != ""},
		{"KAFKA_SSL_KEY_PASSWORD", s.SSLKeyPassword.IsSet()},
		{"KAFKA_SSL_KEY_PASSWORD_FILE", s.SSLKeyPasswordFile != ""},
		{"KAFKA_SSL_ENDPOINT_ALGORITHM", s.SSLEndpointAlgorithm != "" && s.SSLEndpointAlgorithm != EndpointHTTPS},
	}
	if !s.SecurityProtocol.TLS() {
		for _, g := range list {
			if g.set {
				add(g.name, "", "", "is set, but KAFKA_SECURITY_PROTOCOL=%s does not encrypt; set ssl or sasl_ssl, or unset it", s.SecurityProtocol)
			}
		}
		return
	}
	if s.SSLCertificateLocation != "" && s.SSLKeyLocation == "" {
		add("KAFKA_SSL_KEY_LOCATION", "", "", "required when KAFKA_SSL_CERTIFICATE_LOCATION is set")
	}
	if s.SSLKeyLocation != "" && s.SSLCertificateLocation == "" {
		add("KAFKA_SSL_CERTIFICATE_LOCATION", "", "", "required when KAFKA_SSL_KEY_LOCATION is set")
	}
	if s.SSLKeyLocation == "" && (s.SSLKeyPassword.IsSet() || s.SSLKeyPasswordFile != "") {
		add("KAFKA_SSL_KEY_PASSWORD", "", "", "is set, but there is no KAFKA_SSL_KEY_LOCATION that it could open")
	}
	onlyOne(add, "KAFKA_SSL_KEY_PASSWORD", s.SSLKeyPassword.IsSet(), "KAFKA_SSL_KEY_PASSWORD_FILE", s.SSLKeyPasswordFile != "")
}

// Warnings lists what is allowed but unwise, one sentence each, for the log of a component that starts.
func (s Settings) Warnings() []string {
	var out []string
	if s.SecurityProtocol == ProtocolSASLPlaintext && (s.SASLMechanism == MechanismPlain || s.SASLMechanism == MechanismOAuthBearer) {
		out = append(out, fmt.Sprintf("KAFKA_SASL_MECHANISM=%s over sasl_plaintext sends the secret unencrypted; use sasl_ssl", s.SASLMechanism))
	}
	if s.SecurityProtocol.TLS() && s.SSLEndpointAlgorithm == EndpointNone {
		out = append(out, "KAFKA_SSL_ENDPOINT_ALGORITHM=none accepts any certificate of a trusted authority, whatever host it is for")
	}
	return out
}
