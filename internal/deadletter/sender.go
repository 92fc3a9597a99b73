package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/redact"
)

// Failure is why a letter was not written. The set is closed: they are labels.
type Failure string

// The failures.
const (
	Timeout       Failure = "timeout"
	QueueFull     Failure = "queue_full"
	TooLarge      Failure = "too_large"
	Unauthorized  Failure = "unauthorized"
	UnknownTopic  Failure = "unknown_topic"
	Closed        Failure = "closed"
	OtherFailure  Failure = "other"
	noFailure     Failure = ""
	maxLetters            = 1000     // that wait or are under way
	maxBytes              = 16 << 20 // of their records
	minRetryDelay         = 100 * time.Millisecond
	maxRetryDelay         = 2 * time.Second
)

// Failures lists every failure.
func Failures() []Failure {
	return []Failure{Timeout, QueueFull, TooLarge, Unauthorized, UnknownTopic, Closed, OtherFailure}
}

// Config says where letters go.
type Config struct {
	Topic     string // of the letters
	Component string // that writes them
	Settings  Settings
	// Options reach the cluster: brokers, TLS, SASL.
	Options []kgo.Opt
}

// Sender writes letters. It holds at most 1,000 of them, and 16 MiB; each has until the timeout, in which what can be tried
// again is.
type Sender struct {
	cfg      Config
	client   *kgo.Client
	redactor *redact.Redactor
}

// NewSender makes a sender. It does not talk to a broker yet; Close frees it.
func NewSender(cfg Config) (*Sender, error) {
	options := append(append([]kgo.Opt{}, cfg.Options...),
		// A letter that is written twice is known by its key. Without idempotence a deadline can be held whatever the
		// broker does.
		kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordDeliveryTimeout(cfg.Settings.SendTimeout.Duration()), kgo.ProduceRequestTimeout(cfg.Settings.SendTimeout.Duration()),
		kgo.MaxBufferedRecords(maxLetters), kgo.MaxBufferedBytes(maxBytes), kgo.UnknownTopicRetries(1),
		kgo.RetryBackoffFn(func(tries int) time.Duration {
			d := maxRetryDelay
			if tries < 5 {
				d = min(maxRetryDelay, minRetryDelay<<max(0, tries))
			}
			return d/2 + rand.N(d/2+1)
		}))
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("make Kafka client: %w", err)
	}
	return &Sender{cfg: cfg, client: client, redactor: redact.New(redact.Options{})}, nil
}

// Topic is where letters go.
func (s *Sender) Topic() string { return s.cfg.Topic }

// Send writes a letter about a record and does not wait. done is called once, on another goroutine, with why it was not
// written or nil. The record's memory is free when Send returns.
func (s *Sender) Send(reason, text string, from Source, done func(error)) {
	l := newLetter(s.cfg.Component, reason, s.redactor.Text(text), from, s.cfg.Settings.IncludePayload, time.Now())
	value, err := json.Marshal(l)
	if err != nil {
		go done(fmt.Errorf("encode letter: %w", err))
		return
	}
	// The client keeps its deadline only while it has nothing under way that it must not give up.
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Settings.SendTimeout.Duration())
	s.client.TryProduce(ctx, &kgo.Record{Topic: s.cfg.Topic, Key: []byte(l.RecordKey()), Value: value}, func(_ *kgo.Record, err error) {
		cancel()
		if err != nil {
			err = fmt.Errorf("topic %s: %w", s.cfg.Topic, err)
		}
		done(err)
	})
}

// Full reports that the next letter may find no room. One that is sent all the same fails.
func (s *Sender) Full() bool {
	return s.client.BufferedProduceRecords() >= maxLetters || s.client.BufferedProduceBytes() > maxBytes-maxLetter
}

// Waiting is how many letters wait for an answer.
func (s *Sender) Waiting() int { return int(s.client.BufferedProduceRecords()) }

// Flush waits until the letters under way are settled, or ctx ends.
func (s *Sender) Flush(ctx context.Context) error { return s.client.Flush(ctx) }

// Close waits until the letters under way are settled, or ctx ends; those that are left fail then.
func (s *Sender) Close(ctx context.Context) error {
	err := s.client.Flush(ctx)
	s.client.Close()
	if err != nil {
		return fmt.Errorf("write dead letters: %w", err)
	}
	return nil
}

// FailureOf tells why a letter was not written.
func FailureOf(err error) Failure {
	switch {
	case err == nil:
		return noFailure
	case errors.Is(err, kgo.ErrMaxBuffered):
		return QueueFull
	case errors.Is(err, kgo.ErrClientClosed):
		return Closed
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return TooLarge
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Timeout
	}
	switch kafkaclient.Classify(err) {
	case kafkaclient.ClassAuthorization, kafkaclient.ClassAuthentication, kafkaclient.ClassCredentials:
		return Unauthorized
	case kafkaclient.ClassUnknownTopic:
		return UnknownTopic
	case kafkaclient.ClassTimeout:
		return Timeout
	default:
		return OtherFailure
	}
}
