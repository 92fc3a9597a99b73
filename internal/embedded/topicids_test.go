package embedded_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// kfake answered for a topic under its name and partition. Topics that it did not find by their ids have no name, so the
// answers to two of them fell together: index out of range, and the whole process was gone.
func TestProduceToTopicsThatAreGone(t *testing.T) {
	b := start(t, embedded.Options{DataDir: t.TempDir()})
	cl := client(t, b.Addr())
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopics(within(t), 2, 1, nil, "kept"); err != nil {
		t.Fatal(err)
	}
	kept := newRawProducer(t, cl, "kept")

	gone := func(first byte, partitions ...int32) kmsg.ProduceRequestTopic {
		rt := kmsg.NewProduceRequestTopic()
		rt.TopicID = [16]byte{first}
		for _, p := range partitions {
			rp := kmsg.NewProduceRequestTopicPartition()
			rp.Partition = p
			rt.Partitions = append(rt.Partitions, rp)
		}
		return rt
	}
	there := kmsg.NewProduceRequestTopic()
	there.TopicID = kept.topicID
	for p := range int32(2) {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = p
		rp.Records = kept.batch("x", 0)
		there.Partitions = append(there.Partitions, rp)
	}

	for name, c := range map[string]struct {
		acks   int16
		topics []kmsg.ProduceRequestTopic
		want   map[[16]byte]error
	}{
		"two that are gone, the same partition": {-1, []kmsg.ProduceRequestTopic{gone(1, 0), gone(2, 0)},
			map[[16]byte]error{{1}: kerr.UnknownTopicID, {2}: kerr.UnknownTopicID}},
		"more partitions of the second": {-1, []kmsg.ProduceRequestTopic{gone(1, 0), gone(2, 1, 0, 2)},
			map[[16]byte]error{{1}: kerr.UnknownTopicID, {2}: kerr.UnknownTopicID}},
		"one twice": {-1, []kmsg.ProduceRequestTopic{gone(1, 0), gone(1, 0)},
			map[[16]byte]error{{1}: kerr.UnknownTopicID}},
		"beside one that is there": {1, []kmsg.ProduceRequestTopic{gone(1, 0, 1), there, gone(2, 1, 0)},
			map[[16]byte]error{{1}: kerr.UnknownTopicID, {2}: kerr.UnknownTopicID, kept.topicID: nil}},
		"acks that do not exist": {2, []kmsg.ProduceRequestTopic{gone(1, 0), there},
			map[[16]byte]error{{1}: kerr.InvalidRequiredAcks, kept.topicID: kerr.InvalidRequiredAcks}},
	} {
		t.Run(name, func(t *testing.T) {
			req := kmsg.NewPtrProduceRequest()
			req.Acks = c.acks
			req.TimeoutMillis = 1000
			req.Topics = c.topics
			req.Version = 13
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			exchange(t, b.Addr(), req, resp)
			if len(resp.Topics) != len(c.want) {
				t.Fatalf("answered for %d topics, want %d", len(resp.Topics), len(c.want))
			}
			for _, rt := range resp.Topics {
				want, ok := c.want[rt.TopicID]
				if !ok {
					t.Errorf("answered for topic %x, which was not asked for", rt.TopicID)
				}
				for _, rp := range rt.Partitions {
					if err := kerr.ErrorForCode(rp.ErrorCode); !errors.Is(err, want) {
						t.Errorf("topic %x partition %d: %v, want %v", rt.TopicID, rp.Partition, err, want)
					}
				}
				asked := 0
				for _, t := range c.topics {
					if t.TopicID == rt.TopicID {
						asked = len(t.Partitions)
					}
				}
				if len(rt.Partitions) != asked {
					t.Errorf("topic %x: answered for %d partitions, want %d", rt.TopicID, len(rt.Partitions), asked)
				}
			}
		})
	}
}
