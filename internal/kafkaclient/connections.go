package kafkaclient

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// attemptNews is how long the reason of a failed attempt to connect counts for more than a later attempt that was only
// cut short: a deadline says nothing about the broker.
const attemptNews = 30 * time.Second

// Connections remembers why connections to brokers could not be made. It is a hook of kgo, for one client or several of
// one cluster; the zero value is ready. A connection that is made clears what is known of its broker, and of all.
type Connections struct {
	mu       sync.Mutex
	last     attempt
	byBroker map[int32]attempt
}

// attempt is a failed attempt to connect; the zero value is none.
type attempt struct {
	err error
	at  time.Time
}

var _ kgo.HookBrokerConnect = (*Connections)(nil)

// OnBrokerConnect implements kgo.HookBrokerConnect. err is also that of a TLS handshake or an authentication.
func (c *Connections) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.byBroker == nil {
		c.byBroker = map[int32]attempt{}
	}
	c.last = c.last.after(err, now)
	if of := c.byBroker[broker.NodeID].after(err, now); of.err != nil {
		c.byBroker[broker.NodeID] = of
	} else {
		delete(c.byBroker, broker.NodeID)
	}
}

// after returns what is known once another attempt ended with err.
func (a attempt) after(err error, now time.Time) attempt {
	switch Classify(err) {
	case "":
		return attempt{}
	case ClassCanceled, ClassClosed: // by us; it says nothing
		return a
	case ClassTimeout: // perhaps only that a caller's time was over in an attempt
		if a.err != nil && now.Sub(a.at) < attemptNews {
			return a
		}
	}
	return attempt{err: err, at: now}
}

// Failure returns why no connection can be made, or nil since the last one that was made.
func (c *Connections) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.err
}

// FailureOf is Failure for one broker.
func (c *Connections) FailureOf(broker int32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byBroker[broker].err
}

// WithFailure adds why no connection could be made to an error that says only that time was up: the client of Kafka
// tries again until then, and keeps its reasons to itself. failure may be nil.
func WithFailure(err, failure error) error {
	if failure == nil || Classify(err) != ClassTimeout || Classify(failure) == ClassTimeout {
		return err
	}
	return fmt.Errorf("%w (the last attempt to connect failed: %w)", err, failure)
}
