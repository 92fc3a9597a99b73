package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testprocess"
)

func admin(t *testing.T, kafka string) *kadm.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// put writes raw values to a partition, as any Kafka client may.
func put(t *testing.T, kafka string, partition int32, values ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	records := make([]*kgo.Record, len(values))
	for i, v := range values {
		records[i] = &kgo.Record{Partition: partition, Key: []byte("k"), Value: []byte(v)}
	}
	// A topic that was just made may not be known to this client yet.
	testprocess.Eventually(t, "write", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := cl.ProduceSync(ctx, records...).FirstErr()
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			return err
		}
		if err != nil && strings.Contains(err.Error(), "partitioning choice") {
			return err
		}
		if err != nil {
			t.Fatal(err)
		}
		return nil
	})
}

func several(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("record ", i)
	}
	return out
}

// everyone is a client of each kind, reading from the start.
func everyone(t *testing.T, s *testprocess.Server) map[string]*testclient.Client {
	t.Helper()
	out := map[string]*testclient.Client{
		"proto": testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil),
		"json":  testclient.Dial(t, s.URL(), "dashstream.v1+json", nil),
		"sse":   testclient.SSE(t, s.URL(), "?from=earliest", ""),
	}
	out["proto"].Subscribe(testclient.Earliest(), nil)
	out["json"].Subscribe(testclient.Earliest(), nil)
	return out
}

func TestRetentionUnderReadingClients(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	put(t, s.Kafka, 0, several(100)...)
	before := testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil)
	before.Subscribe(testclient.Earliest(), nil)
	before.Until("caught up", func() bool { return before.CaughtUp == 1 })
	start := before.Resume()
	for _, p := range start.GetCursor().GetPartitions() {
		if p.GetPartition() == 0 {
			zero := int64(0)
			p.NextOffset = &zero
		}
	}
	if _, err := admin(t, s.Kafka).DeleteRecords(t.Context(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 40}}}); err != nil {
		t.Fatal(err)
	}
	// What the gateway still holds in memory, it still delivers.
	same := testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil)
	same.Subscribe(start, nil)
	same.Until("caught up", func() bool { return same.CaughtUp == 1 })
	gone := int64(0)
	for _, g := range same.Gaps {
		gone += g.GetTo() - g.GetFrom()
	}
	if gone+int64(len(same.Records)) != 100 {
		t.Errorf("%d records and %d offsets in gaps, want 100 in all", len(same.Records), gone)
	}
	// One that has just started can only tell.
	g := testprocess.Serve(t, []string{"KAFKA_BROKERS=" + s.Kafka}, "gateway", "--listen", "127.0.0.1:0")
	c := testclient.Dial(t, g.URL(), "dashstream.v1+json", nil)
	c.Subscribe(start, nil)
	c.Until("caught up", func() bool { return c.CaughtUp == 1 })
	if len(c.Gaps) != 1 || c.Gaps[0].GetFrom() != 0 || c.Gaps[0].GetTo() != 40 || c.Gaps[0].GetReason() != streampb.Gap_REASON_RETENTION || len(c.Records) != 60 {
		t.Errorf("gaps %v and %d records, want offsets 0 to 40 gone and 60 records", c.Gaps, len(c.Records))
	}
	tail := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--from", c.StreamID+":0=10", "--no-follow", "-o", "json")
	code := tail.Wait()
	records, events := parseLines(t, tail.Out.String())
	if code != 0 || len(records) != 60 || !strings.Contains(tail.Errs.String(), "partition 0 offsets 10 to 39 will not come") {
		t.Errorf("tail ended with %d, %d records, said %q", code, len(records), tail.Errs)
	}
	gap := `{"type":"gap","partition":0,"from":10,"to":40,"reason":"retention"}` + "\n"
	if len(events) != 2 || strings.Count(tail.Out.String(), gap) != 1 || events[1].Type != "cursor" {
		t.Errorf("beside records tail printed %+v, want the gap and the cursor", events)
	}
}

func TestPartitionGrowthUnderReadingClients(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	put(t, s.Kafka, 0, several(5)...)
	all := everyone(t, s)
	for name, c := range all {
		c.Until(name, func() bool { return c.CaughtUp == 1 })
	}
	tail := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--count", "15", "-o", "json")
	testprocess.Eventually(t, "tail reads the partitions that there are", func() error {
		if records, _ := parseLines(t, tail.Out.String()); len(records) != 5 {
			return fmt.Errorf("%d records, want 5", len(records))
		}
		return nil
	})
	if _, err := admin(t, s.Kafka).UpdatePartitions(t.Context(), partitions+1, topic); err != nil {
		t.Fatal(err)
	}
	put(t, s.Kafka, partitions, several(10)...)
	for name, c := range all {
		c.Until(name, func() bool { return len(c.Records) == 15 })
		c.Complete(5, 0, 0, 10)
	}
	code := tail.Wait()
	records, events := parseLines(t, tail.Out.String())
	if code != 0 || len(records) != 15 {
		t.Errorf("tail ended with %d and printed %q", code, tail.Out)
	}
	if len(events) != 2 || events[0].Type != "partitions" || events[0].Count != partitions+1 || events[1].Type != "cursor" {
		t.Errorf("beside records tail printed %+v, want the partitions and the cursor", events)
	}
}

func TestTopicRecreationUnderReadingClients(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	put(t, s.Kafka, 1, several(20)...)
	all := everyone(t, s)
	for name, c := range all {
		c.Until(name, func() bool { return c.CaughtUp == 1 })
	}
	old := all["proto"].Resume()
	adm := admin(t, s.Kafka)
	if _, err := adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	ensure := testprocess.Run(t, nil, "topics", "ensure", "--brokers", s.Kafka, "--profile", "embedded")
	if code := ensure.Wait(); code != 0 {
		t.Fatalf("topics ensure ended with %d: %s", code, ensure.Errs)
	}
	put(t, s.Kafka, 1, several(7)...)
	for name, c := range all {
		c.Until(name, func() bool { return len(c.Resets) == 1 && len(c.Records) == 7 })
		c.Complete(0, 7, 0)
		if c.Resets[0].GetReason() != streampb.Reset_REASON_TOPIC_RECREATED || c.Resets[0].GetPreviousStreamId() != old.GetCursor().GetStreamId() {
			t.Errorf("%s: reset %v", name, c.Resets[0])
		}
	}
	late := testclient.Dial(t, s.URL(), "dashstream.v1+proto", nil)
	late.Subscribe(old, nil)
	late.Until("caught up", func() bool { return late.CaughtUp == 1 })
	late.Complete(0, 7, 0)
	if len(late.Resets) != 1 || late.Resets[0].GetReason() != streampb.Reset_REASON_OTHER_STREAM {
		t.Errorf("a cursor of the old topic: resets %v", late.Resets)
	}
}

func TestAnUnreadableRecordAmongGoodOnes(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	agent(producer(t, s.Kafka), "good", 3)
	put(t, s.Kafka, 0, "not a frame", "", "\x00\xff", "\x01\x28\xb5\x2f\xfd")
	tail := testprocess.Run(t, nil, "tail", "--brokers", s.Kafka, "--from", "earliest", "--count", "9", "-o", "json")
	if code := tail.Wait(); code != 0 {
		t.Fatalf("tail ended with %d: %s", code, tail.Errs)
	}
	for _, reason := range []string{"unknown_framing", "empty", "malformed", "decompress"} {
		if !strings.Contains(tail.Out.String(), `"reason":"`+reason+`"`) {
			t.Errorf("tail does not show %s: %s", reason, tail.Out)
		}
	}
	js := testclient.Dial(t, s.URL(), "dashstream.v1+json", nil)
	js.Subscribe(testclient.Earliest(), nil)
	js.Until("caught up", func() bool { return js.CaughtUp == 1 })
	bad := 0
	for _, r := range js.Records {
		if r.GetError() != nil {
			bad++
		}
	}
	if len(js.Records) != 9 || bad != 4 {
		t.Errorf("%d records, %d of them with an error, want 9 and 4", len(js.Records), bad)
	}
}
