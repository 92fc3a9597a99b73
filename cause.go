package dashstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/redact"
)

// search looks for what is wrong with Kafka while a caller waits for it, if that takes longer than a part of the time it
// has. Most causes show in no record: one for a topic that does not exist just waits. found ends the search.
func (p *Producer) search(ctx context.Context) (found func() error) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	patience := time.Second
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/4)
	}
	go func() {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		if ctx.Err() != nil { // without time to ask, silence says nothing
			result <- nil
			return
		}
		result <- p.obstacle(ctx)
	}()
	return func() error { cancel(); return <-result }
}

// cause is the last error of Kafka that says why messages did not arrive: what a search found, why no connection is made,
// or what became of a record. It is nil if Kafka is not known to be the reason.
func (p *Producer) cause(found, record error) error {
	if kafkaclient.Classify(found) == kafkaclient.ClassCanceled {
		found = nil // the wait was over before the answer came
	}
	timedOut := record == nil || errors.Is(record, kgo.ErrRecordTimeout)
	switch connect := p.hooks.Failure(); {
	case !timedOut:
		return p.explain(fmt.Errorf("topic %s: %w", p.cfg.kafka.Topic, record))
	case found != nil:
		return found
	case connect != nil:
		return p.explain(connect)
	case record != nil:
		return p.explain(fmt.Errorf("topic %s: %w", p.cfg.kafka.Topic, record))
	}
	return nil
}

// explain adds the likely cause and the setting to change to an error of the Kafka client. A broker or a proxy may repeat
// what it was given, so secrets are taken out of the text first.
func (p *Producer) explain(err error) error {
	return p.cfg.kafka.Explain(kafkaclient.OpProduce, p.mask(err))
}

func (p *Producer) mask(err error) error {
	text := err.Error()
	for f, v := range reflect.ValueOf(p.cfg.kafka).Fields() {
		if !f.IsExported() {
			continue
		}
		if s, ok := v.Interface().(kafkaclient.Secret); ok && s.IsSet() {
			text = strings.ReplaceAll(text, s.Reveal(), redact.Mask)
		}
	}
	r := p.redactor
	if r == nil { // that is off for telemetry; this goes into logs
		r = redact.New(redact.Options{})
	}
	if text = r.Text(text); text == err.Error() {
		return err
	}
	return &masked{text: text, err: err}
}

// masked is an error whose text had a secret in it.
type masked struct {
	text string
	err  error
}

func (e *masked) Error() string { return e.text }
func (e *masked) Unwrap() error { return e.err }
