package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// attemptNews is how long the reason of a failed attempt to connect counts for more than a later attempt that was only
// cut short: a deadline says nothing about the broker.
const attemptNews = 30 * time.Second

// silenceNews is how long a broker may take for an answer before that counts as silence: longer than the reads that wait
// for records.
const silenceNews = time.Second

// Connections remembers why connections to brokers could not be made, and which brokers do not answer on them. It is a
// hook of kgo, for one client or several of one cluster; the zero value is ready. A connection that is made clears what is
// known of its broker, and of all.
type Connections struct {
	mu       sync.Mutex
	last     attempt
	byBroker map[int32]attempt
	// silent are the brokers that got a request and have answered nothing since, by their number.
	silent map[int32]silence
}

// silence is since when a broker owes an answer, and when it was asked last: of one that nobody asks any more it is old.
type silence struct {
	addr         string
	since, asked time.Time
}

// SilentError is a broker that accepts connections, and does not answer what is asked on them.
type SilentError struct {
	Addr string
	// For is how long it has not answered; 0 where that was not measured.
	For time.Duration
	// Err is how the wait ended, if it did.
	Err error
}

// Error names the broker.
func (e *SilentError) Error() string {
	text := e.Addr + " does not answer"
	if e.For > 0 {
		text = fmt.Sprintf("%s has not answered for %v", e.Addr, e.For.Round(time.Second))
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns how the wait ended; by a deadline where that is not known.
func (e *SilentError) Unwrap() error {
	if e.Err == nil {
		return os.ErrDeadlineExceeded
	}
	return e.Err
}

// attempt is a failed attempt to connect; the zero value is none.
type attempt struct {
	err error
	at  time.Time
}

var (
	_ kgo.HookBrokerConnect = (*Connections)(nil)
	_ kgo.HookBrokerWrite   = (*Connections)(nil)
	_ kgo.HookBrokerRead    = (*Connections)(nil)
)

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (c *Connections) OnBrokerWrite(broker kgo.BrokerMetadata, _ int16, bytes int, _, _ time.Duration, _ error) {
	if bytes == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent == nil {
		c.silent = map[int32]silence{}
	}
	s, owes := c.silent[broker.NodeID]
	s.asked = time.Now()
	if !owes {
		s.addr, s.since = net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port))), s.asked
	}
	c.silent[broker.NodeID] = s
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (c *Connections) OnBrokerRead(broker kgo.BrokerMetadata, _ int16, bytes int, _, _ time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// It said something, or hung up. That we did says nothing.
	if bytes > 0 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		delete(c.silent, broker.NodeID)
	}
	// As good as no connection, and the client may go on trying.
	if hangUp, ok := errors.AsType[*HangUpError](err); ok {
		c.note(broker.NodeID, hangUp)
	}
}

// OnBrokerConnect implements kgo.HookBrokerConnect. err is also that of a TLS handshake or an authentication.
func (c *Connections) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch Classify(err) {
	case ClassTimeout, ClassCanceled, ClassClosed: // it may be silent still
	default:
		delete(c.silent, broker.NodeID)
	}
	c.note(broker.NodeID, err)
}

// note keeps how an attempt to connect ended. c.mu is held.
func (c *Connections) note(broker int32, err error) {
	now := time.Now()
	if c.byBroker == nil {
		c.byBroker = map[int32]attempt{}
	}
	c.last = c.last.after(err, now)
	if of := c.byBroker[broker].after(err, now); of.err != nil {
		c.byBroker[broker] = of
	} else {
		delete(c.byBroker, broker)
	}
}

// after returns what is known once another attempt ended with err.
func (a attempt) after(err error, now time.Time) attempt {
	switch class := Classify(err); {
	case class == "":
		return attempt{}
	case class == ClassCanceled, class == ClassClosed: // by us; it says nothing
		return a
	case class == ClassTimeout, class == ClassTLS && errors.Is(err, context.DeadlineExceeded):
		// Perhaps only that a caller's time was over in an attempt.
		if a.err != nil && now.Sub(a.at) < attemptNews {
			return a
		}
	}
	return attempt{err: err, at: now}
}

// Failure returns why no connection can be made, or nil since the last one that was made; then, which broker has not
// answered for a while, if one has not.
func (c *Connections) Failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var longest silence
	for _, s := range c.silent {
		if longest.since.IsZero() || s.since.Before(longest.since) {
			longest = s
		}
	}
	return c.last.orSilent(longest)
}

// FailureOf is Failure for one broker.
func (c *Connections) FailureOf(broker int32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byBroker[broker].orSilent(c.silent[broker])
}

// orSilent returns the error that says more.
func (a attempt) orSilent(s silence) error {
	if a.err != nil && Classify(a.err) != ClassTimeout {
		return a.err
	}
	if d := time.Since(s.since); !s.since.IsZero() && d >= silenceNews && time.Since(s.asked) < attemptNews {
		return &SilentError{Addr: s.addr, For: d}
	}
	return a.err
}

// WithFailure adds why no connection could be made, or why there is no answer, to an error that says only that time was up:
// the client of Kafka tries again until then, and keeps its reasons to itself. failure may be nil.
func WithFailure(err, failure error) error {
	if failure == nil || Classify(err) != ClassTimeout {
		return err
	}
	if silent, ok := errors.AsType[*SilentError](failure); ok {
		if _, said := errors.AsType[*SilentError](err); said {
			return err
		}
		return fmt.Errorf("%w (%w)", err, silent)
	}
	if Classify(failure) == ClassTimeout {
		return err
	}
	return fmt.Errorf("%w (the last attempt to connect failed: %w)", err, failure)
}
