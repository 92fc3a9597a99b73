package testkafka_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/testkafka"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, cl *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := cl.ProduceSync(within(t), &kgo.Record{Topic: topic, Partition: 0, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func consume(t *testing.T, c *testkafka.Cluster, topic string, n int) []string {
	t.Helper()
	cl := c.Client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	var values []string
	for len(values) < n {
		fetches := cl.PollFetches(within(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %q: %v", values, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

// TestCluster runs what the other packages' tests rely on, on whatever backend the environment chose.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	adm := c.Admin(t)
	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())

	t.Run("two topics of one test do not meet", func(t *testing.T) {
		a, b := c.Topic(t, 1), c.Topic(t, 3)
		if a == b {
			t.Fatalf("both topics are %s", a)
		}
		cl := c.Client(t, manual)
		produce(t, cl, a, "one", "two")
		if got := strings.Join(consume(t, c, a, 2), " "); got != "one two" {
			t.Errorf("read %q", got)
		}
	})
	t.Run("delete records", func(t *testing.T) {
		topic := c.Topic(t, 1)
		produce(t, c.Client(t, manual), topic, "0", "1", "2", "3")
		c.DeleteRecords(t, topic, 0, 2)
		if got := strings.Join(consume(t, c, topic, 2), " "); got != "2 3" {
			t.Errorf("read %q after deleting below 2", got)
		}
		c.DeleteRecords(t, topic, 0, -1)
		starts, err := adm.ListStartOffsets(within(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := starts.Lookup(topic, 0); o.Offset != 4 {
			t.Errorf("log start = %d after deleting all of 4 records", o.Offset)
		}
	})
	t.Run("grow", func(t *testing.T) {
		topic := c.Topic(t, 1)
		c.Grow(t, topic, 3)
		r := &kgo.Record{Topic: topic, Partition: 2, Value: []byte("x")}
		if err := c.Client(t, manual).ProduceSync(within(t), r).FirstErr(); err != nil {
			t.Error(err)
		}
	})
	t.Run("recreate", func(t *testing.T) {
		topic := c.Topic(t, 1)
		produce(t, c.Client(t, manual), topic, "old")
		before := c.TopicID(t, topic)
		c.Recreate(t, topic, 2)
		if after := c.TopicID(t, topic); after == before {
			t.Errorf("topic id is still %v", after)
		}
		produce(t, c.Client(t, manual), topic, "new")
		if got := consume(t, c, topic, 1); got[0] != "new" {
			t.Errorf("read %q from the new topic", got)
		}
	})
}

func TestRestartKeepsAddressAndData(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{Own: true})
	c.Require(t, c.CanRestart(), "restart a broker")
	topic := c.Topic(t, 1)
	cl := c.Client(t)
	produce(t, cl, topic, "before")
	addr := c.BrokerList()
	c.Restart(t, 0)
	if got := c.BrokerList(); got != addr {
		t.Errorf("address after restart = %s, want %s", got, addr)
	}
	produce(t, cl, topic, "after") // the same client finds the broker again
	if got := strings.Join(consume(t, c, topic, 2), " "); got != "before after" {
		t.Errorf("read %q", got)
	}
}

// TestThreeNodesLoseOne is the ground of the fault cases: what was acknowledged by all in sync survives a killed node.
func TestThreeNodesLoseOne(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{Nodes: 3})
	topic := c.TopicName(t)
	c.CreateTopic(t, topic, 3, map[string]string{"min.insync.replicas": "2"})
	cl := c.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 30 {
		r := &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: fmt.Append(nil, i)}
		if i == 15 {
			c.Kill(t, 1)
		}
		if err := cl.ProduceSync(within(t), r).FirstErr(); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	c.Start(t, 1)
	ends, err := c.Admin(t).ListEndOffsets(within(t), topic)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil || o.Offset != 10 {
			t.Errorf("partition %d ends at %d (%v), want 10", o.Partition, o.Offset, o.Err)
		}
	})
}

func TestVersionsAgree(t *testing.T) {
	t.Parallel()
	pom, err := os.ReadFile(filepath.Join("apache", "testdata", "pom.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "<version>" + testkafka.KafkaVersion + "</version>"; !strings.Contains(string(pom), want) {
		t.Errorf("apache/testdata/pom.xml does not have %s; the tests would look for jars that kafka-jars.sh does not fetch", want)
	}
}
