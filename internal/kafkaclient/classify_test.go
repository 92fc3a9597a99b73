package kafkaclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err       error
		want      kafkaclient.Class
		retryable bool
	}{
		{nil, "", false},
		{context.Canceled, kafkaclient.ClassCanceled, false},
		{context.DeadlineExceeded, kafkaclient.ClassTimeout, true},
		{kgo.ErrRecordTimeout, kafkaclient.ClassTimeout, true},
		{kgo.ErrClientClosed, kafkaclient.ClassClosed, false},
		{kerr.UnknownTopicOrPartition, kafkaclient.ClassUnknownTopic, true},
		{kerr.NotLeaderForPartition, kafkaclient.ClassLeadership, true},
		{kerr.NotEnoughReplicas, kafkaclient.ClassUnavailable, true},
		{kerr.RebalanceInProgress, kafkaclient.ClassRebalance, true},
		{kerr.OffsetOutOfRange, kafkaclient.ClassOffset, false},
		{kerr.MessageTooLarge, kafkaclient.ClassTooLarge, false},
		{kerr.CorruptMessage, kafkaclient.ClassCorrupt, false},
		{kerr.ThrottlingQuotaExceeded, kafkaclient.ClassThrottled, true},
		{kerr.TopicAuthorizationFailed, kafkaclient.ClassAuthorization, false},
		{kerr.SaslAuthenticationFailed, kafkaclient.ClassAuthentication, false},
		{kerr.InvalidReplicationFactor, kafkaclient.ClassInvalid, false},
		{kerr.UnsupportedVersion, kafkaclient.ClassUnsupported, false},
		{kerr.UnknownServerError, kafkaclient.ClassOther, false},
		{io.ErrUnexpectedEOF, kafkaclient.ClassNetwork, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, kafkaclient.ClassNetwork, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, kafkaclient.ClassRefused, true},
		{&net.DNSError{Name: "x", IsNotFound: true}, kafkaclient.ClassDNS, true},
		// A deadline that ended the attempts does not hide what became of them.
		{errors.Join(context.DeadlineExceeded, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), kafkaclient.ClassRefused, true},
		{fmt.Errorf("%w: last: %v", context.DeadlineExceeded, syscall.ECONNREFUSED), kafkaclient.ClassRefused, true}, //nolint:errorlint // on purpose
		{errors.Join(context.DeadlineExceeded, &net.DNSError{Name: "x", IsNotFound: true}), kafkaclient.ClassDNS, true},
		{errors.Join(context.Canceled, syscall.ECONNREFUSED), kafkaclient.ClassCanceled, false},
		{errors.New("something else"), kafkaclient.ClassOther, false},
		{errors.Join(errors.New("first"), kerr.TopicAuthorizationFailed), kafkaclient.ClassAuthorization, false},
	}
	for _, tt := range tests {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		got := kafkaclient.Classify(err)
		if got != tt.want || got.Retryable() != tt.retryable {
			t.Errorf("%v: %q retryable %v, want %q %v", tt.err, got, got.Retryable(), tt.want, tt.retryable)
		}
		if err != nil && !slices.Contains(kafkaclient.Classes(), got) {
			t.Errorf("%q is not in Classes", got)
		}
	}
}

// The set of labels is closed: any error code of the protocol gives one of them.
func TestEveryBrokerErrorHasAClass(t *testing.T) {
	t.Parallel()
	classes := kafkaclient.Classes()
	for code := int16(-1); code < 300; code++ {
		err := kerr.ErrorForCode(code)
		if err == nil {
			continue
		}
		c := kafkaclient.Classify(err)
		if !slices.Contains(classes, c) {
			t.Errorf("%v: class %q", err, c)
		}
		if e, ok := errors.AsType[*kerr.Error](err); ok && c.Retryable() && !e.Retriable && c != kafkaclient.ClassRebalance && c != kafkaclient.ClassUnavailable {
			t.Errorf("%v: we call it retryable, Kafka does not", err)
		}
	}
	for _, c := range classes {
		if c == "" || strings.ToLower(string(c)) != string(c) || strings.ContainsAny(string(c), " -") {
			t.Errorf("class %q is no label value", c)
		}
	}
}

func TestExplainKeepsTheError(t *testing.T) {
	t.Parallel()
	if kafkaclient.Explain(nil) != nil {
		t.Error("nil must stay nil")
	}
	for _, err := range []error{context.Canceled, kgo.ErrClientClosed, errors.New("other")} {
		if got := kafkaclient.Explain(err); got != err { //nolint:errorlint // the very same
			t.Errorf("%v became %v", err, got)
		}
	}
	once := kafkaclient.Explain(kerr.NotEnoughReplicas)
	if !errors.Is(once, kerr.NotEnoughReplicas) || !strings.Contains(once.Error(), "min.insync.replicas") {
		t.Errorf("got %v", once)
	}
	wrapped := fmt.Errorf("produce: %w", once)
	if got := kafkaclient.Explain(wrapped); got != wrapped { //nolint:errorlint // the very same
		t.Errorf("explained twice: %v", got)
	}
}
