package exporter_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/deadletter"
	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// badValues has a value of each class that cannot be handled.
func badValues(t *testing.T) map[wire.Reason][]byte {
	t.Helper()
	newer := frame(t, event("bad", 1, pb.EventType_EVENT_TYPE_NODE_START))
	i := strings.LastIndex(string(newer), "\x48\x01") // schema_version 1
	if i < 0 {
		t.Fatal("the frame has no schema version")
	}
	newer[i+1] = 9
	return map[wire.Reason][]byte{
		wire.ReasonEmpty:          {},
		wire.ReasonTooLarge:       append([]byte{0}, make([]byte, 4096)...),
		wire.ReasonUnknownFraming: {7, 1, 2},
		wire.ReasonMalformed:      {0, 0xff, 0xff},
		wire.ReasonDecompress:     {1, 2, 3},
		wire.ReasonMissingHeader:  {0},
		wire.ReasonSchemaVersion:  newer,
	}
}

// small refuses what badValues has as too large.
func small(c *exporter.Config) { c.Limits = wire.Limits{Framed: 4096, Decoded: 4096} }

// letters reads the dead letters that there are now.
func letters(t *testing.T, c *testkafka.Cluster, topic string) []deadletter.Letter {
	t.Helper()
	ends, err := c.Admin(t).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	cl := c.Client(t, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	defer cancel()
	var out []deadletter.Letter
	for int64(len(out)) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			l, err := deadletter.Parse(r.Value)
			if err != nil || string(r.Key) != l.RecordKey() {
				t.Errorf("letter %s: %v", r.Value, err)
			}
			out = append(out, l)
		})
	}
	return out
}

func TestSkipKeepsEvidence(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 2)
	c.CreateTopic(t, topic+"-dlq", 1, nil)
	good := events(t, "a", 2)
	var values [][]byte
	var reasons []wire.Reason
	for reason, v := range badValues(t) {
		values, reasons = append(values, v), append(reasons, reason)
	}
	produce(t, c, topic, 0, append(values, good...)...)
	produce(t, c, topic, 1, good...)
	keep := func(cfg *exporter.Config) { small(cfg); cfg.DeadLetters.IncludePayload = true }
	n := float64(len(values))
	e := run(t, c, topic, keep)
	e.await(n+4, "dashstream_exporter_messages_received_total")
	e.await(n, "dashstream_exporter_dlq_sends_total")
	for _, reason := range reasons {
		e.await(1, "dashstream_exporter_dlq_sends_total", "error_type", string(reason))
	}
	e.await(4, "dashstream_exporter_messages_handled_total")
	e.await(n, "dashstream_exporter_messages_failed_old_total") // all were there before the group was
	e.reconciles()
	if err := e.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	awaitCommits(t, c, topic, int64(n)+2, 2)
	found := letters(t, c, topic+"-dlq")
	if len(found) != len(values) {
		t.Fatalf("%d letters, want %d", len(found), len(values))
	}
	for _, l := range found {
		want := values[l.Offset]
		if l.Topic != topic || l.Partition != 0 || l.Reason != string(reasons[l.Offset]) || !l.Matches(want) || string(l.Payload) != string(want) || l.Error == "" {
			t.Errorf("letter %+v, want reason %s", l, reasons[l.Offset])
		}
	}

	// A restart repeats nothing: the last record of a partition may be a bad one (H-20).
	produce(t, c, topic, 1, []byte{9})
	e.await(n+1, "dashstream_exporter_dlq_sends_total")
	e.await(n, "dashstream_exporter_messages_failed_old_total") // this one is new
	e.stop()
	for range 3 {
		e = run(t, c, topic, keep)
		e.await(0, "dashstream_exporter_kafka_consumer_lag")
		if got := e.value("dashstream_exporter_messages_received_total"); got != 0 {
			t.Errorf("a restart received %v records again", got)
		}
		e.stop()
	}
	if got := len(letters(t, c, topic+"-dlq")); got != len(values)+1 {
		t.Errorf("%d letters after the restarts, want %d", got, len(values)+1)
	}
}

func TestPausedPartitionWaitsForAPerson(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	for reason, value := range badValues(t) {
		t.Run(string(reason), func(t *testing.T) {
			t.Parallel()
			topic := c.Topic(t, 2)
			c.CreateTopic(t, topic+"-dlq", 1, nil)
			produce(t, c, topic, 0, append(append(events(t, "a", 1), value), events(t, "b", 2)...)...)
			produce(t, c, topic, 1, events(t, "c", 3)...)
			pause := func(cfg *exporter.Config) { small(cfg); cfg.Policy = kafkaclient.DecodePause }
			e := run(t, c, topic, pause)
			e.await(1, "dashstream_exporter_paused_partitions")
			e.await(4, "dashstream_exporter_messages_handled_total") // the other partition goes on
			err := e.Ready()
			if err == nil || !strings.Contains(err.Error(), "partition 0 is paused at offset 1") || !strings.Contains(err.Error(), string(reason)) {
				t.Errorf("ready says %v", err)
			}
			produce(t, c, topic, 1, events(t, "d", 1)...)
			e.await(5, "dashstream_exporter_messages_handled_total")
			awaitCommits(t, c, topic, 1, 4)
			if got := e.value("dashstream_exporter_messages_received_total"); got != 5 {
				t.Errorf("received %v: the record has no outcome yet", got)
			}
			e.stop()
			e = run(t, c, topic, pause) // a restart tries it again, and loses nothing
			e.await(1, "dashstream_exporter_paused_partitions")
			if got := e.Resume(1); len(got) != 0 {
				t.Errorf("resumed %v, of a partition that is not paused", got)
			}
			if got := e.Resume(); len(got) != 1 || got[0].Offset != 1 {
				t.Errorf("resumed %v", got)
			}
			e.await(0, "dashstream_exporter_paused_partitions")
			e.await(2, "dashstream_exporter_messages_handled_total")
			e.await(1, "dashstream_exporter_dlq_sends_total", "error_type", string(reason))
			e.reconciles()
			if got := letters(t, c, topic+"-dlq"); len(got) != 1 || got[0].Offset != 1 || got[0].Payload != nil {
				t.Errorf("letters %+v", got)
			}
			if err := e.Ready(); err != nil {
				t.Errorf("not ready after the resume: %v", err)
			}
		})
	}
}

// TestManyBadRecordsAtOnce: more than letters may be under way; none is lost while letters can be written.
func TestManyBadRecordsAtOnce(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	c.CreateTopic(t, topic+"-dlq", 1, nil)
	bad := make([][]byte, 5000)
	for i := range bad {
		bad[i] = []byte{9}
	}
	produce(t, c, topic, 0, append(bad, events(t, "a", 2)...)...)
	e := run(t, c, topic, nil)
	e.await(2, "dashstream_exporter_messages_handled_total")
	e.await(5000, "dashstream_exporter_dlq_sends_total")
	e.await(0, "dashstream_exporter_dlq_lost_total")
	awaitCommits(t, c, topic, 5002)
	e.reconciles()
}

// TestUnreadableBatchIsPassed: what lies around a batch that the disk spoiled is handled, also what came with it in one answer.
func TestUnreadableBatchIsPassed(t *testing.T) {
	t.Parallel()
	for _, policy := range []kafkaclient.DecodePolicy{kafkaclient.DecodeSkip, kafkaclient.DecodePause} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fake := testkafka.NewFake(t, kfake.DataDir(dir), kfake.SeedTopics(1, "topic", "topic-dlq"))
			cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.DefaultProduceTopic("topic"), kgo.ProducerBatchCompression(kgo.NoCompression()))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
			defer cancel()
			write := func(values ...[]byte) {
				t.Helper()
				var records []*kgo.Record
				for _, v := range values {
					records = append(records, &kgo.Record{Value: v})
				}
				if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			write(events(t, "a", 3)...)
			write([]byte("poison-poison"), []byte("poison-poison"))
			write(events(t, "b", 4)...)
			spoil(t, dir, "poison-poison")
			e := runOn(t, fake.ListenAddrs(), "topic", func(c *exporter.Config) { c.Policy = policy })
			if policy == kafkaclient.DecodePause {
				e.await(1, "dashstream_exporter_paused_partitions")
				e.await(3, "dashstream_exporter_messages_handled_total")
				e.Resume()
			}
			e.await(7, "dashstream_exporter_messages_handled_total")
			e.await(1, "dashstream_exporter_messages_failed_total", "error_type", "unreadable_batch")
			e.await(1, "dashstream_exporter_dlq_sends_total", "error_type", "unreadable_batch")
			e.await(0, "dashstream_exporter_kafka_consumer_lag")
			e.await(0, "dashstream_exporter_offsets_lost_total")
			e.reconciles()
			if err := e.Ready(); err != nil {
				t.Errorf("not ready: %v", err)
			}
			// What is read again after a restart, to be remembered, is not counted again, nor is a letter written.
			e.stop()
			write(events(t, "c", 2)...)
			e = runOn(t, fake.ListenAddrs(), "topic", func(c *exporter.Config) { c.Policy = policy })
			e.await(2, "dashstream_exporter_messages_handled_total")
			e.await(2, "dashstream_exporter_messages_received_total")
			e.await(0, "dashstream_exporter_dlq_sends_total")
			e.await(0, "dashstream_exporter_kafka_consumer_lag")
		})
	}
}

// spoil changes a byte of the text in a broker's files, as a bad disk does.
func spoil(t *testing.T, dir, text string) {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		i := strings.Index(string(b), text)
		if i < 0 {
			return nil
		}
		found = true
		b[i] = 'P'
		return os.WriteFile(p, b, 0o600)
	})
	if err != nil || !found {
		t.Fatalf("spoil: found %v, error %v", found, err)
	}
}

// TestBrokenDeadLetters: without the topic, best_effort counts what evidence was lost; fail_closed stays before the record.
func TestBrokenDeadLetters(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	fast := func(mode deadletter.Mode) func(*exporter.Config) {
		return func(cfg *exporter.Config) {
			cfg.DeadLetters.Mode, cfg.DeadLetters.SendTimeout = mode, settings.Seconds(time.Second)
		}
	}
	t.Run("best effort", func(t *testing.T) {
		t.Parallel()
		topic := c.Topic(t, 1)
		produce(t, c, topic, 0, append([][]byte{{9}}, events(t, "a", 2)...)...)
		e := run(t, c, topic, fast(deadletter.BestEffort))
		e.await(2, "dashstream_exporter_messages_handled_total")
		e.await(1, "dashstream_exporter_dlq_lost_total")
		e.await(1, "dashstream_exporter_dlq_send_failures_total")
		e.await(0, "dashstream_exporter_dlq_sends_total")
		e.reconciles()
		awaitCommits(t, c, topic, 3)
	})
	t.Run("fail closed", func(t *testing.T) {
		t.Parallel()
		topic := c.Topic(t, 2)
		produce(t, c, topic, 0, append([][]byte{{9}}, events(t, "a", 2)...)...)
		produce(t, c, topic, 1, events(t, "b", 2)...)
		e := run(t, c, topic, fast(deadletter.FailClosed))
		e.await(2, "dashstream_exporter_messages_handled_total")
		e.await(1, "dashstream_exporter_dlq_waiting_partitions")
		testkafka.Eventually(t, "the letter was tried more than once", func(context.Context) error {
			if n := e.value("dashstream_exporter_dlq_send_failures_total"); n < 2 {
				return fmt.Errorf("%v failures", n)
			}
			return nil
		})
		if n := e.value("dashstream_exporter_messages_received_total"); n != 2 {
			t.Errorf("received %v: the record has no outcome yet", n)
		}
		c.CreateTopic(t, topic+"-dlq", 1, nil)
		e.await(4, "dashstream_exporter_messages_handled_total")
		e.await(1, "dashstream_exporter_dlq_sends_total")
		e.await(0, "dashstream_exporter_dlq_lost_total")
		e.reconciles()
		if got := letters(t, c, topic+"-dlq"); len(got) != 1 {
			t.Errorf("letters %+v", got)
		}
	})
}
