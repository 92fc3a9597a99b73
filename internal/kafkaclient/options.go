package kafkaclient

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// minMetadataAge is how soon a client may ask for metadata again: a moved leader should cost less than a second.
const minMetadataAge = 250 * time.Millisecond

// ClientOptions validates the settings and returns the options that every client needs: brokers, TLS, SASL, addresses,
// deadlines and the log. It reads certificate and key files, so a mistake in one stops the program at its start; secrets
// in files are read at each authentication. clientID tells the client apart in the brokers' logs and quotas. A nil
// logger is silence. Topics are never created by asking for them.
func (s Settings) ClientOptions(logger *slog.Logger, clientID string) ([]kgo.Opt, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	tlsConfig, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	dialer := &dialer{
		network: s.AddressFamily.network(), timeout: s.ConnectTimeout.Duration(), tls: tlsConfig,
		requests: s.authenticationRequests(),
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...),
		kgo.ClientID(clientID),
		kgo.Dialer(dialer.dial),
		kgo.RequestTimeoutOverhead(s.RequestTimeout.Duration()),
		kgo.RetryTimeoutFn(s.retryTimeout),
		kgo.MetadataMaxAge(s.MetadataMaxAge.Duration()),
		kgo.MetadataMinAge(minMetadataAge),
	}
	if logger != nil {
		opts = append(opts, kgo.WithLogger(newClientLogger(logger)))
	}
	if s.SecurityProtocol.SASL() {
		mechanism, err := s.saslMechanism()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// retryTimeout leaves group requests the time that the group itself leaves its members.
func (s Settings) retryTimeout(key int16) time.Duration {
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
		return s.SessionTimeout.Duration()
	default:
		return s.RetryTimeout.Duration()
	}
}

// GroupOptions returns the options of a client that consumes as a member of GroupID; it is an error to have none.
func (s Settings) GroupOptions() ([]kgo.Opt, error) {
	if s.GroupID == "" {
		return nil, fmt.Errorf("KAFKA_GROUP_ID: required by a consumer that commits")
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(s.GroupID),
		kgo.SessionTimeout(s.SessionTimeout.Duration()),
		kgo.ConsumeResetOffset(s.ResetOffset()),
	}, nil
}

// ResetOffset is where a consumer begins that has no committed offset.
func (s Settings) ResetOffset() kgo.Offset {
	if s.AutoOffsetReset == ResetLatest {
		return kgo.NewOffset().AtEnd()
	}
	return kgo.NewOffset().AtStart()
}
