package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/buildinfo"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/topics"
)

// prepareTimeout bounds the look at the topics when a process starts.
const prepareTimeout = 15 * time.Second

// prepareTopics creates the topics on the embedded broker. On a user's cluster
// it changes nothing: it looks, warns of what differs, and refuses to start
// where there is no topic. A cluster that cannot be reached is no
// reason not to start: /readyz tells, and the gateway goes on trying.
func (a *App) prepareTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	options, err := a.kafka.ClientOptions(a.log, buildinfo.Get().UserAgent())
	if err != nil {
		return err
	}
	var connections kafkaclient.Connections
	client, err := kgo.NewClient(append(options, kgo.WithHooks(&connections))...)
	if err != nil {
		return fmt.Errorf("make Kafka client: %w", err)
	}
	admin := kadm.NewClient(client)
	defer admin.Close()

	if a.broker != nil {
		var results []topics.Result
		err := whileItSettles(ctx, func() (err error) {
			results, err = topics.Ensure(ctx, admin, topics.All(a.kafka, topics.Embedded)...)
			return err
		})
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		var left []topics.Difference
		for _, r := range results {
			left = append(left, r.Differences...)
		}
		a.differs(left)
		return nil
	}
	differences, err := topics.Verify(ctx, admin, topics.All(a.kafka, topics.Default)[0])
	var mismatch *topics.MismatchError
	if errors.As(err, &mismatch) && mismatch.Missing() {
		return a.kafka.Explain(kafkaclient.OpInspect, fmt.Errorf("topic %q: %w", a.kafka.Topic, kerr.UnknownTopicOrPartition))
	}
	a.differs(differences)
	err = kafkaclient.WithFailure(err, connections.Failure())
	switch {
	case err == nil, mismatch != nil:
		// A gateway reads a topic of any shape. What differs was said, and
		// stays in the metric.
	case kafkaclient.Classify(err).Retryable() || kafkaclient.Classify(err).Unreachable():
		a.log.Warn("the topic cannot be checked now", "error", a.kafka.Explain(kafkaclient.OpConsume, err))
	default:
		return a.kafka.Explain(kafkaclient.OpConsume, err)
	}
	return nil
}

// settleInterval is how often the embedded broker is asked again.
const settleInterval = 200 * time.Millisecond

// whileItSettles does something with the embedded broker, again as long as ctx allows
// where it cannot serve now: producers that wait for its start fill what is left of a
// full disk at once, and it closes every connection then, to read its log anew.
func whileItSettles(ctx context.Context, do func() error) error {
	for {
		err := do()
		class := kafkaclient.Classify(err)
		if err == nil || !class.Retryable() && !class.Unreachable() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(settleInterval):
		}
	}
}

// differs says in which ways the topics are not as defined. Those of "dashstream up" have a definition of their own.
func (a *App) differs(differences []topics.Difference) {
	differences = slices.DeleteFunc(differences, func(d topics.Difference) bool { return d.OfUp })
	for _, d := range differences {
		a.log.Warn("a topic differs from its definition", "difference", d.String())
	}
	a.mismatches.Set(float64(len(differences)))
}
