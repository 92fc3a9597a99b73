package gateway_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// An error leaves the subscription as it was, also one that had not begun when a bad
// one came behind it, or two.
func TestARefusedSubscribeLeavesTheOneBefore(t *testing.T) {
	t.Parallel()
	cl := testkafka.NewFake(t, kfake.SeedTopics(1, "events"))
	producer, err := kgo.NewClient(kgo.SeedBrokers(cl.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "events", Key: []byte("k"), Value: message(t, "k", "t", 1, "x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	s := startOn(t, cl.ListenAddrs(), "events", nil)
	slowdown(cl, kmsg.ListOffsets, 100*time.Millisecond, nil) // a subscription takes its time to begin
	for _, bad := range []int{1, 2} {
		c := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
		c.Until("hello", func() bool { return c.Hello != nil })
		c.Subscribe(testclient.Earliest(), nil)
		for range bad {
			c.Subscribe(&streampb.Start{From: &streampb.Start_Cursor{Cursor: &streampb.Cursor{
				StreamId: c.StreamID, Partitions: []*streampb.PartitionOffset{{Partition: proto.Int32(99), NextOffset: proto.Int64(0)}},
			}}}, nil)
		}
		c.Until("the error and the record", func() bool { return len(c.Errors) > 0 && len(c.Records) == 1 && c.CaughtUp == 1 })
		c.Close()
	}
}
