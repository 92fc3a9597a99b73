package exporter_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

const (
	receivedTotal = "dashstream_exporter_messages_received_total"
	lagGauge      = "dashstream_exporter_kafka_consumer_lag"
	lostTotal     = "dashstream_exporter_offsets_lost_total"
)

func latest(c *exporter.Config) { c.Reset = kafkaclient.ResetLatest }

// TestNewGroupAtLatest: where a group begins is decided once. What was written before is not read, what is written while it
// is away is, also before its first record, and a partition that comes later is read from its beginning.
func TestNewGroupAtLatest(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	produce(t, c, topic, 0, events(t, "old", 5)...)
	e := run(t, c, topic, latest)
	awaitCommits(t, c, topic, 5) // before the first record: a crash must not move the beginning
	e.stop()
	produce(t, c, topic, 0, events(t, "away", 3)...)
	e = run(t, c, topic, latest)
	e.await(3, receivedTotal)
	e.stop()

	c.Grow(t, topic, 2)
	produce(t, c, topic, 1, events(t, "new", 4)...)
	e = run(t, c, topic, latest)
	e.await(4, receivedTotal)
	e.await(0, lagGauge)
	awaitCommits(t, c, topic, 8, 4)
}

func TestNewGroupAtEarliest(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	produce(t, c, topic, 0, events(t, "a", 5)...)
	e := run(t, c, topic, nil)
	e.await(5, receivedTotal)
	e.await(5, "dashstream_exporter_start_backlog_messages")
	e.stop()
	e = run(t, c, topic, latest) // for new groups alone
	e.await(0, lagGauge)
	if n := e.value(receivedTotal); n != 0 {
		t.Errorf("received %v again", n)
	}
}

func TestRetentionPassedTheCommit(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	produce(t, c, topic, 0, events(t, "a", 3)...)
	e := run(t, c, topic, nil)
	awaitCommits(t, c, topic, 3)
	e.stop()
	produce(t, c, topic, 0, events(t, "b", 10)...)
	c.DeleteRecords(t, topic, 0, 9)
	e = run(t, c, topic, nil)
	e.await(4, receivedTotal)
	e.await(6, lostTotal, "reason", "retention")
	e.await(6, lostTotal)
	awaitCommits(t, c, topic, 13)
}

func TestTopicIsCreatedAnew(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	for _, when := range []string{"while it runs", "while it is away"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			topic := c.Topic(t, 1)
			produce(t, c, topic, 0, events(t, "a", 5)...)
			e := run(t, c, topic, nil)
			awaitCommits(t, c, topic, 5)
			away := when == "while it is away"
			before := 5.0
			if away {
				e.stop()
				before = 0
			}
			c.Recreate(t, topic, 1)
			// As many as there were: offsets alone tell nothing.
			produce(t, c, topic, 0, events(t, "b", 7)...)
			if away {
				e = run(t, c, topic, nil)
			}
			e.await(before+7, receivedTotal)
			awaitCommits(t, c, topic, 7)
			if err := e.Ready(); err != nil {
				t.Errorf("not ready: %v", err)
			}
			e.reconciles()
		})
	}
}

// TestTwoShareTheWork: partitions go to and fro, and each record counts once.
func TestTwoShareTheWork(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 4)
	total := 0
	write := func() {
		for p := range int32(4) {
			produce(t, c, topic, p, events(t, fmt.Sprint("thread", p), 25)...)
			total += 25
		}
	}
	write()
	first := run(t, c, topic, nil)
	first.await(100, receivedTotal)
	for round := range 3 {
		second := run(t, c, topic, nil)
		second.await(2, "dashstream_exporter_assigned_partitions")
		if round == 0 {
			first.await(50, "dashstream_exporter_start_backlog_messages") // of what it has now
		}
		write()
		testkafka.Eventually(t, "both took their part", func(context.Context) error {
			if first.value(lagGauge) != 0 || second.value(lagGauge) != 0 {
				return fmt.Errorf("lags %v and %v", first.value(lagGauge), second.value(lagGauge))
			}
			return nil
		})
		awaitCommits(t, c, topic, int64(total/4), int64(total/4), int64(total/4), int64(total/4))
		second.stop()
		first.await(4, "dashstream_exporter_assigned_partitions")
		mine, theirs := first.Accounts(), second.Accounts()
		first.reconciles()
		second.reconciles()
		if theirs.Received != 50 || mine.Ignored["redelivered"]+theirs.Ignored["redelivered"] != 0 {
			t.Errorf("the second received %+v, the first %+v", theirs, mine)
		}
	}
	first.await(float64(total-3*50), receivedTotal)
}
