package kafkaclient

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Class is what an error of a Kafka client is about, in a word that is safe as a metric label.
type Class string

// The classes. Classes lists them; a metric with this label has all of them from its start.
const (
	ClassCanceled       Class = "canceled"            // the caller or a shutdown ended it: not a failure
	ClassTimeout        Class = "timeout"             // no answer in time
	ClassDNS            Class = "dns"                 // a host name did not resolve
	ClassRefused        Class = "connection_refused"  // nothing listens there
	ClassNetwork        Class = "network"             // the connection broke, or no route
	ClassTLS            Class = "tls"                 // handshake or certificate, or TLS on one side only
	ClassCredentials    Class = "credentials"         // no password or token could be obtained
	ClassAuthentication Class = "authentication"      // the broker does not accept who we say we are
	ClassAuthorization  Class = "authorization"       // the broker knows us and does not allow it
	ClassUnknownTopic   Class = "unknown_topic"       // the topic or partition does not exist (yet)
	ClassLeadership     Class = "leadership"          // a partition moves or has no leader
	ClassUnavailable    Class = "unavailable"         // the broker cannot serve it now
	ClassRebalance      Class = "rebalance"           // group membership changed
	ClassOffset         Class = "offset_out_of_range" // the offset is not, or no longer, in the log
	ClassTooLarge       Class = "too_large"           // beyond a size limit
	ClassCorrupt        Class = "corrupt"             // data that fails its checksum or cannot be decompressed
	ClassThrottled      Class = "throttled"           // a quota
	ClassInvalid        Class = "invalid_request"     // the broker refuses the request as it is
	ClassUnsupported    Class = "unsupported"         // the broker is too old or lacks the feature
	ClassClosed         Class = "closed"              // our own client is closed
	ClassOther          Class = "other"
)

// Classes lists every class that Classify returns, ClassOther last.
func Classes() []Class {
	return []Class{
		ClassCanceled, ClassTimeout, ClassDNS, ClassRefused, ClassNetwork, ClassTLS, ClassCredentials, ClassAuthentication,
		ClassAuthorization, ClassUnknownTopic, ClassLeadership, ClassUnavailable, ClassRebalance, ClassOffset, ClassTooLarge,
		ClassCorrupt, ClassThrottled, ClassInvalid, ClassUnsupported, ClassClosed, ClassOther,
	}
}

// Retryable reports whether the same call may succeed later without anybody changing anything.
func (c Class) Retryable() bool {
	switch c {
	case ClassTimeout, ClassDNS, ClassRefused, ClassNetwork, ClassCredentials, ClassUnknownTopic, ClassLeadership,
		ClassUnavailable, ClassRebalance, ClassThrottled:
		return true
	default:
		return false
	}
}

// Unreachable reports whether the failure lies before the request: no connection that a request could be sent on.
func (c Class) Unreachable() bool {
	switch c {
	case ClassTimeout, ClassDNS, ClassRefused, ClassNetwork, ClassTLS, ClassCredentials, ClassAuthentication:
		return true
	default:
		return false
	}
}

// Classify returns the class of err; for nil it is empty. It looks through wrapping and joining.
func Classify(err error) Class {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, kgo.ErrClientClosed):
		return ClassClosed
	}
	if c := classifySecurity(err); c != "" {
		return c
	}
	if c := classifyBroker(err); c != "" {
		return c
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ClassCanceled
	case isRefused(err):
		return ClassRefused
	}
	network := classifyNetwork(err)
	switch {
	case network == ClassDNS:
		return ClassDNS
	// After what says why: a deadline only ends the attempts.
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ClassTimeout
	}
	return network
}

// classifySecurity comes first: a handshake that ends with a timeout or a closed connection is a matter of TLS.
func classifySecurity(err error) Class {
	if e, ok := errors.AsType[*HandshakeError](err); ok {
		// A caller that went away says nothing about TLS.
		if errors.Is(e, context.Canceled) {
			return ClassCanceled
		}
		return ClassTLS
	}
	if _, ok := errors.AsType[*ProtocolError](err); ok {
		return ClassTLS
	}
	if isRemoteAlert(err) {
		return ClassTLS
	}
	if e, ok := errors.AsType[*CredentialsError](err); ok {
		if errors.Is(e, context.Canceled) {
			return ClassCanceled
		}
		return ClassCredentials
	}
	if _, ok := errors.AsType[*ChallengeError](err); ok {
		return ClassAuthentication
	}
	if _, ok := errors.AsType[*HangUpError](err); ok {
		return ClassAuthentication
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		// The broker hung up on our first words: it expects TLS or SASL, and we sent neither.
		return ClassAuthentication
	}
	return ""
}

// isRemoteAlert reports a TLS alert that arrived after the handshake: with TLS 1.3 a broker refuses a missing client
// certificate only then. The library has no exported type for it beyond the operation's name.
func isRemoteAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

var brokerClasses = map[Class][]*kerr.Error{
	ClassAuthentication: {
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled,
		kerr.DelegationTokenExpired, kerr.DelegationTokenNotFound, kerr.DelegationTokenAuthDisabled,
	},
	ClassAuthorization: {
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed,
	},
	ClassUnknownTopic: {kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID},
	ClassLeadership: {
		kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.ReplicaNotAvailable, kerr.PreferredLeaderNotAvailable, kerr.EligibleLeadersNotAvailable, kerr.OffsetNotAvailable,
	},
	ClassUnavailable: {
		kerr.BrokerNotAvailable, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator,
		kerr.NotController, kerr.StaleControllerEpoch, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.KafkaStorageError, kerr.ListenerNotFound, kerr.UnstableOffsetCommit, kerr.FetchSessionIDNotFound,
		kerr.InvalidFetchSessionEpoch, kerr.FetchSessionTopicIDError, kerr.ReassignmentInProgress, kerr.StaleBrokerEpoch,
		kerr.ConcurrentTransactions, kerr.RebootstrapRequired,
	},
	ClassTimeout: {kerr.RequestTimedOut},
	ClassNetwork: {kerr.NetworkException},
	ClassRebalance: {
		kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.MemberIDRequired,
		kerr.FencedMemberEpoch, kerr.StaleMemberEpoch, kerr.FencedInstanceID, kerr.UnreleasedInstanceID,
	},
	ClassOffset:    {kerr.OffsetOutOfRange, kerr.OffsetMovedToTieredStorage},
	ClassTooLarge:  {kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.OffsetMetadataTooLarge},
	ClassCorrupt:   {kerr.CorruptMessage},
	ClassThrottled: {kerr.ThrottlingQuotaExceeded},
	ClassUnsupported: {
		kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat, kerr.UnsupportedCompressionType, kerr.UnsupportedAssignor,
	},
	ClassInvalid: {
		kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidReplicaAssignment,
		kerr.InvalidConfig, kerr.InvalidRequest, kerr.PolicyViolation, kerr.InvalidRecord, kerr.InvalidTimestamp,
		kerr.InvalidRequiredAcks, kerr.InvalidGroupID, kerr.InvalidSessionTimeout, kerr.InconsistentGroupProtocol,
		kerr.TopicAlreadyExists, kerr.InvalidFetchSize, kerr.GroupIDNotFound, kerr.NonEmptyGroup,
	},
}

var brokerClass = func() map[int16]Class {
	byCode := map[int16]Class{}
	for class, list := range brokerClasses {
		for _, e := range list {
			byCode[e.Code] = class
		}
	}
	return byCode
}()

// classifyBroker classes an error that a broker answered with.
func classifyBroker(err error) Class {
	e, ok := errors.AsType[*kerr.Error](err)
	if !ok {
		return ""
	}
	if c, ok := brokerClass[e.Code]; ok {
		return c
	}
	if e.Retriable {
		return ClassUnavailable
	}
	return ClassOther
}

// isRefused reports a connection that was refused. Some dialers, such as those of proxies, keep only the text.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), syscall.ECONNREFUSED.Error())
}

// refusedDial returns the attempt in err that was refused, where others failed differently; nil where it is not known.
func refusedDial(err error) *net.OpError {
	if op, ok := err.(*net.OpError); ok { //nolint:errorlint // each of the errors in err is looked at
		if errors.Is(op, syscall.ECONNREFUSED) {
			return op
		}
		return nil
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return refusedDial(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if op := refusedDial(one); op != nil {
				return op
			}
		}
	}
	return nil
}

func classifyNetwork(err error) Class {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsTimeout {
			return ClassTimeout
		}
		return ClassDNS
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return ClassTimeout
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		// A host without an address of the wanted family.
		return ClassDNS
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return ClassNetwork
	}
	networkErrors := []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}
	if slices.ContainsFunc(networkErrors, func(target error) bool { return errors.Is(err, target) }) {
		return ClassNetwork
	}
	if kgo.IsRetryableBrokerErr(err) {
		return ClassUnavailable
	}
	return ClassOther
}
