package kafkaclient

import (
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/settings"
)

// Secret is a value that cannot be printed; see settings.Secret.
type Secret = settings.Secret

// NewSecret returns a secret that holds value.
func NewSecret(value string) Secret { return settings.NewSecret(value) }

// DefaultTopic is the one topic that every component reads and writes unless told otherwise.
const DefaultTopic = "dashstream-quality"

// deadLetterSuffix makes the default dead-letter topic from the topic.
const deadLetterSuffix = "-dlq"

// Defaults of the deadlines. Each is a setting, so an operator can change it for all components alike.
const (
	// DefaultConnectTimeout bounds one attempt to connect: name lookup, TCP and the TLS handshake.
	DefaultConnectTimeout = 10 * time.Second
	// DefaultRequestTimeout is how long a broker may keep silent on a request, beyond what the request itself allows.
	DefaultRequestTimeout = 10 * time.Second
	// DefaultRetryTimeout bounds one request with all its retries.
	DefaultRetryTimeout = 30 * time.Second
	// DefaultMetadataMaxAge is how long a new partition or a moved leader may go unnoticed.
	DefaultMetadataMaxAge = 30 * time.Second
	// DefaultSessionTimeout is how long a member of a group may be silent before its partitions move.
	DefaultSessionTimeout = 45 * time.Second
	// DefaultLagCheckInterval is the time between two measurements of lag.
	DefaultLagCheckInterval = 10 * time.Second
	// DefaultLagStale is how long a partition with lag may stand still before it counts as stalled.
	DefaultLagStale = 60 * time.Second
)

// Settings is everything about the Kafka side that a user can set. It is the same for every command and the SDK. The
// tags declare flags, variables and the reference; see package settings. Start from Default.
type Settings struct {
	Brokers  Brokers `name:"kafka-brokers" envs:"KAFKA_BROKERS,KAFKA_BOOTSTRAP_SERVERS" aliases:"brokers" placeholder:"HOST:PORT,..." group:"Kafka" help:"Brokers to ask first for the addresses of the cluster."`
	Topic    string  `name:"kafka-topic" envs:"KAFKA_TOPIC,DASHSTREAM_TOPIC" aliases:"topic" placeholder:"TOPIC" group:"Kafka" help:"Topic of the telemetry." allowed:"1 to 249 letters, digits, dots, underscores and dashes"`
	DLQTopic string  `name:"kafka-dlq-topic" envs:"KAFKA_DLQ_TOPIC" placeholder:"TOPIC" group:"Kafka" help:"Topic of the dead letters." unset:"<KAFKA_TOPIC>-dlq" allowed:"a topic name other than KAFKA_TOPIC"`
	TenantID string  `name:"kafka-tenant-id" envs:"KAFKA_TENANT_ID" placeholder:"TENANT" group:"Kafka" hidden:"" help:"Tenant that producers write into every message." allowed:"1 to 256 printable characters"`

	GroupID          string           `name:"kafka-group-id" envs:"KAFKA_GROUP_ID" placeholder:"GROUP" group:"Kafka consumers" hidden:"" help:"Consumer group of the components that share their work. Give each environment its own." allowed:"1 to 249 printable characters"`
	AutoOffsetReset  OffsetReset      `name:"kafka-auto-offset-reset" envs:"KAFKA_AUTO_OFFSET_RESET" placeholder:"WHERE" group:"Kafka consumers" hidden:"" help:"Where a group without committed offsets begins."`
	OnDecodeError    DecodePolicy     `name:"kafka-on-decode-error" envs:"KAFKA_ON_DECODE_ERROR" placeholder:"POLICY" group:"Kafka consumers" hidden:"" help:"What a consumer does with a record it cannot decode: skip counts it, copies it to the dead letters and goes on; pause stops the partition there."`
	SessionTimeout   settings.Seconds `name:"kafka-session-timeout-secs" envs:"KAFKA_SESSION_TIMEOUT_SECS" placeholder:"SECONDS" group:"Kafka consumers" hidden:"" help:"Silence after which a group gives the partitions of a member to others." min:"6" max:"1800"`
	LagCheckInterval settings.Seconds `name:"kafka-lag-check-interval-secs" envs:"KAFKA_LAG_CHECK_INTERVAL_SECS" placeholder:"SECONDS" group:"Kafka consumers" hidden:"" help:"Time between two measurements of lag." min:"1" max:"3600"`
	LagStale         settings.Seconds `name:"kafka-lag-stale-partition-secs" envs:"KAFKA_LAG_STALE_PARTITION_SECS" placeholder:"SECONDS" group:"Kafka consumers" hidden:"" help:"Time without progress, with lag, after which a partition counts as stalled." min:"1" max:"86400"`

	SecurityProtocol SecurityProtocol `name:"kafka-security-protocol" envs:"KAFKA_SECURITY_PROTOCOL" placeholder:"PROTOCOL" group:"Kafka security" hidden:"" help:"How to speak to the brokers."`

	SASLMechanism    SASLMechanism `name:"kafka-sasl-mechanism" envs:"KAFKA_SASL_MECHANISM" placeholder:"MECHANISM" group:"Kafka security" hidden:"" help:"How to authenticate; required with sasl_plaintext and sasl_ssl."`
	SASLUsername     string        `name:"kafka-sasl-username" envs:"KAFKA_SASL_USERNAME" placeholder:"NAME" group:"Kafka security" hidden:"" help:"User for PLAIN and SCRAM."`
	SASLPassword     Secret        `name:"kafka-sasl-password" envs:"KAFKA_SASL_PASSWORD" placeholder:"SECRET" group:"Kafka security" hidden:"" help:"Password for PLAIN and SCRAM. Other users of the machine can see flags; prefer the variable or the file."`
	SASLPasswordFile string        `name:"kafka-sasl-password-file" envs:"KAFKA_SASL_PASSWORD_FILE" placeholder:"PATH" group:"Kafka security" hidden:"" help:"File with the password, read again at each authentication."`

	OAuthTokenFile        string    `name:"kafka-sasl-oauthbearer-token-file" envs:"KAFKA_SASL_OAUTHBEARER_TOKEN_FILE" placeholder:"PATH" group:"Kafka OAuth" hidden:"" help:"File with a bearer token, read again at each authentication."`
	OAuthTokenEndpointURL string    `name:"kafka-sasl-oauthbearer-token-endpoint-url" envs:"KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL" placeholder:"URL" group:"Kafka OAuth" hidden:"" help:"Where the client credentials are exchanged for a token." allowed:"an https URL; http only for this machine"`
	OAuthClientID         string    `name:"kafka-sasl-oauthbearer-client-id" envs:"KAFKA_SASL_OAUTHBEARER_CLIENT_ID" placeholder:"ID" group:"Kafka OAuth" hidden:"" help:"Client id of the client credentials."`
	OAuthClientSecret     Secret    `name:"kafka-sasl-oauthbearer-client-secret" envs:"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET" placeholder:"SECRET" group:"Kafka OAuth" hidden:"" help:"Client secret of the client credentials."`
	OAuthClientSecretFile string    `name:"kafka-sasl-oauthbearer-client-secret-file" envs:"KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE" placeholder:"PATH" group:"Kafka OAuth" hidden:"" help:"File with the client secret, read again for each new token."`
	OAuthScope            string    `name:"kafka-sasl-oauthbearer-scope" envs:"KAFKA_SASL_OAUTHBEARER_SCOPE" placeholder:"SCOPE ..." group:"Kafka OAuth" hidden:"" help:"Scopes to ask for, separated by spaces."`
	OAuthExtensions       KeyValues `name:"kafka-sasl-oauthbearer-extensions" envs:"KAFKA_SASL_OAUTHBEARER_EXTENSIONS" placeholder:"KEY=VALUE,..." group:"Kafka OAuth" hidden:"" help:"Extensions to send with the token, such as logicalCluster and identityPoolId."`

	AWSAccessKeyID           string    `name:"aws-access-key-id" envs:"AWS_ACCESS_KEY_ID" placeholder:"ID" group:"Kafka on AWS" hidden:"" help:"Access key for AWS_MSK_IAM."`
	AWSSecretAccessKey       Secret    `name:"aws-secret-access-key" envs:"AWS_SECRET_ACCESS_KEY" placeholder:"SECRET" group:"Kafka on AWS" hidden:"" help:"Secret key for AWS_MSK_IAM."`
	AWSSessionToken          Secret    `name:"aws-session-token" envs:"AWS_SESSION_TOKEN" placeholder:"SECRET" group:"Kafka on AWS" hidden:"" help:"Session token that belongs to temporary keys."`
	AWSProfile               string    `name:"aws-profile" envs:"AWS_PROFILE" placeholder:"NAME" group:"Kafka on AWS" hidden:"" help:"Profile of the shared credentials file."`
	AWSSharedCredentialsFile string    `name:"aws-shared-credentials-file" envs:"AWS_SHARED_CREDENTIALS_FILE" placeholder:"PATH" group:"Kafka on AWS" hidden:"" help:"Shared credentials file, read again at each authentication." unset:"~/.aws/credentials"`
	AWSRegion                string    `name:"aws-region" envs:"AWS_REGION" placeholder:"REGION" group:"Kafka on AWS" hidden:"" help:"Region of the token service, for web identity." unset:"AWS_DEFAULT_REGION, then the region in the first broker's name"`
	AWSDefaultRegion         string    `name:"aws-default-region" envs:"AWS_DEFAULT_REGION" placeholder:"REGION" group:"Kafka on AWS" hidden:"" help:"Region of the token service, where AWS_REGION is not set."`
	AWSRoleARN               string    `name:"aws-role-arn" envs:"AWS_ROLE_ARN" placeholder:"ARN" group:"Kafka on AWS" hidden:"" help:"Role to assume with the web identity (EKS service account)."`
	AWSWebIdentityTokenFile  string    `name:"aws-web-identity-token-file" envs:"AWS_WEB_IDENTITY_TOKEN_FILE" placeholder:"PATH" group:"Kafka on AWS" hidden:"" help:"File with the web identity token, read again for each assumed role."`
	AWSSTSEndpoint           string    `name:"aws-endpoint-url-sts" envs:"AWS_ENDPOINT_URL_STS" placeholder:"URL" group:"Kafka on AWS" hidden:"" help:"Endpoint of the token service, for web identity." unset:"the endpoint of the region"`
	AWSContainerURI          string    `name:"aws-container-credentials-full-uri" envs:"AWS_CONTAINER_CREDENTIALS_FULL_URI" placeholder:"URL" group:"Kafka on AWS" hidden:"" help:"Credentials endpoint of the container (EKS pod identity)."`
	AWSContainerRelativeURI  string    `name:"aws-container-credentials-relative-uri" envs:"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" placeholder:"PATH" group:"Kafka on AWS" hidden:"" help:"Credentials endpoint of the container (ECS)."`
	AWSContainerToken        Secret    `name:"aws-container-authorization-token" envs:"AWS_CONTAINER_AUTHORIZATION_TOKEN" placeholder:"SECRET" group:"Kafka on AWS" hidden:"" help:"Token for the credentials endpoint."`
	AWSContainerTokenFile    string    `name:"aws-container-authorization-token-file" envs:"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" placeholder:"PATH" group:"Kafka on AWS" hidden:"" help:"File with the token for the credentials endpoint, read again each time."`
	AWSMetadataEndpoint      string    `name:"aws-ec2-metadata-service-endpoint" envs:"AWS_EC2_METADATA_SERVICE_ENDPOINT" placeholder:"URL" group:"Kafka on AWS" hidden:"" help:"Address of the instance metadata service." unset:"http://169.254.169.254"`
	AWSMetadataDisabled      LooseBool `name:"aws-ec2-metadata-disabled" envs:"AWS_EC2_METADATA_DISABLED" group:"Kafka on AWS" hidden:"" help:"Do not ask the instance metadata service for credentials."`

	SSLCALocation          string            `name:"kafka-ssl-ca-location" envs:"KAFKA_SSL_CA_LOCATION" placeholder:"PEM" group:"Kafka TLS" hidden:"" help:"File with the certificate authorities that sign the brokers' certificates." unset:"the authorities of the system"`
	SSLCertificateLocation string            `name:"kafka-ssl-certificate-location" envs:"KAFKA_SSL_CERTIFICATE_LOCATION" placeholder:"PEM" group:"Kafka TLS" hidden:"" help:"File with the client certificate and its chain, for mutual TLS."`
	SSLKeyLocation         string            `name:"kafka-ssl-key-location" envs:"KAFKA_SSL_KEY_LOCATION" placeholder:"PEM" group:"Kafka TLS" hidden:"" help:"File with the private key of the client certificate; PKCS 8 may be encrypted."`
	SSLKeyPassword         Secret            `name:"kafka-ssl-key-password" envs:"KAFKA_SSL_KEY_PASSWORD" placeholder:"SECRET" group:"Kafka TLS" hidden:"" help:"Password of an encrypted private key."`
	SSLKeyPasswordFile     string            `name:"kafka-ssl-key-password-file" envs:"KAFKA_SSL_KEY_PASSWORD_FILE" placeholder:"PATH" group:"Kafka TLS" hidden:"" help:"File with the password of an encrypted private key."`
	SSLEndpointAlgorithm   EndpointAlgorithm `name:"kafka-ssl-endpoint-algorithm" envs:"KAFKA_SSL_ENDPOINT_ALGORITHM" placeholder:"ALGORITHM" group:"Kafka TLS" hidden:"" help:"https checks that a broker's certificate is for its host name; none checks only who signed it."`

	AddressFamily  AddressFamily    `name:"kafka-broker-address-family" envs:"KAFKA_BROKER_ADDRESS_FAMILY" placeholder:"FAMILY" group:"Kafka connections" hidden:"" help:"Which addresses of a broker's host name to use."`
	ConnectTimeout settings.Seconds `name:"kafka-connect-timeout-secs" envs:"KAFKA_CONNECT_TIMEOUT_SECS" placeholder:"SECONDS" group:"Kafka connections" hidden:"" help:"Longest attempt to connect, with the TLS handshake." min:"0.1" max:"300"`
	RequestTimeout settings.Seconds `name:"kafka-request-timeout-secs" envs:"KAFKA_REQUEST_TIMEOUT_SECS" placeholder:"SECONDS" group:"Kafka connections" hidden:"" help:"Longest silence of a broker on one request." min:"1" max:"600"`
	RetryTimeout   settings.Seconds `name:"kafka-retry-timeout-secs" envs:"KAFKA_RETRY_TIMEOUT_SECS" placeholder:"SECONDS" group:"Kafka connections" hidden:"" help:"Longest time one request is tried again." min:"1" max:"600"`
	MetadataMaxAge settings.Seconds `name:"kafka-metadata-max-age-secs" envs:"KAFKA_METADATA_MAX_AGE_SECS" placeholder:"SECONDS" group:"Kafka connections" hidden:"" help:"Longest time until new partitions are noticed." min:"5" max:"3600"`

	given map[string]string // see GivenAs
}

// Default returns the settings of a user who set nothing: a plaintext broker on this machine.
func Default() Settings {
	return Settings{
		Brokers:              Brokers{"localhost:9092"},
		Topic:                DefaultTopic,
		TenantID:             "default",
		AutoOffsetReset:      ResetEarliest,
		OnDecodeError:        DecodeSkip,
		SecurityProtocol:     ProtocolPlaintext,
		SSLEndpointAlgorithm: EndpointHTTPS,
		AddressFamily:        FamilyAny,
		ConnectTimeout:       settings.Seconds(DefaultConnectTimeout),
		RequestTimeout:       settings.Seconds(DefaultRequestTimeout),
		RetryTimeout:         settings.Seconds(DefaultRetryTimeout),
		MetadataMaxAge:       settings.Seconds(DefaultMetadataMaxAge),
		SessionTimeout:       settings.Seconds(DefaultSessionTimeout),
		LagCheckInterval:     settings.Seconds(DefaultLagCheckInterval),
		LagStale:             settings.Seconds(DefaultLagStale),
	}
}

// FromEnv returns the settings that env gives, over Default. The error joins all that is wrong.
func FromEnv(env settings.Lookup) (Settings, error) {
	s := Default()
	_, err := settings.Load(&s, settings.Source{Env: env})
	return s, err
}

// GivenAs tells by which name the user gave a setting, such as a flag, so that explanations call it that.
func (s *Settings) GivenAs(variable, name string) {
	given := maps.Clone(s.given) // copies of the settings share it
	if given == nil {
		given = map[string]string{}
	}
	given[variable] = name
	s.given = given
}

// DeadLetterTopic is the topic of the dead letters, derived from Topic when it is not set.
func (s Settings) DeadLetterTopic() string {
	if s.DLQTopic != "" {
		return s.DLQTopic
	}
	return s.Topic + deadLetterSuffix
}

// CommandFlags is what follows a command of dashstream to mean this cluster and topic, for a hint that can be pasted. It
// begins with a space; what is as by default is left out.
func (s Settings) CommandFlags() string {
	var b strings.Builder
	standard := Default()
	if brokers := s.Brokers.String(); brokers != standard.Brokers.String() {
		b.WriteString(" --kafka-brokers " + Quoted(brokers))
	}
	if s.Topic != standard.Topic {
		b.WriteString(" --kafka-topic " + Quoted(s.Topic))
	}
	if s.DLQTopic != "" {
		b.WriteString(" --kafka-dlq-topic " + Quoted(s.DLQTopic))
	}
	return b.String()
}

// Quoted keeps a shell from reading anything into the text, such as the brackets of an IPv6 address.
func Quoted(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._:,/", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// Derived implements settings.Deriver.
func (s Settings) Derived() map[string]string {
	return map[string]string{"KAFKA_DLQ_TOPIC": s.DeadLetterTopic()}
}

// LogValue is what a component logs at its start: where it connects and how, with the deadlines, without secrets.
func (s Settings) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("brokers", s.Brokers.String()),
		slog.String("topic", s.Topic),
		slog.String("dlq_topic", s.DeadLetterTopic()),
		slog.String("security_protocol", string(s.SecurityProtocol)),
	}
	if s.SASLMechanism != "" {
		attrs = append(attrs, slog.String("sasl_mechanism", string(s.SASLMechanism)))
	}
	if s.GroupID != "" {
		attrs = append(attrs,
			slog.String("group_id", s.GroupID),
			slog.String("auto_offset_reset", string(s.AutoOffsetReset)))
	}
	return slog.GroupValue(append(attrs,
		slog.Duration("connect_timeout", s.ConnectTimeout.Duration()),
		slog.Duration("request_timeout", s.RequestTimeout.Duration()),
		slog.Duration("retry_timeout", s.RetryTimeout.Duration()),
		slog.Duration("metadata_max_age", s.MetadataMaxAge.Duration()),
		slog.Duration("session_timeout", s.SessionTimeout.Duration()),
	)...)
}
