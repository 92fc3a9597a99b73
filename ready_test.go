package dashstream_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream"
)

// describeAs makes the cluster say something else of the topic's partition than is.
func describeAs(t *testing.T, c *kfake.Cluster, topic string, change func(*kmsg.MetadataResponseTopicPartition)) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ask := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	ask.Topics = append(ask.Topics, rt)
	is, err := ask.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	change(&is.Topics[0].Partitions[0])
	c.ControlKey(kmsg.Metadata.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		said := *is
		said.Version = req.GetVersion()
		return &said, nil, true
	})
}

// A broker that refuses for want of replicas is asked again and again, and says so to nobody but the Kafka client: who
// waits is told all the same.
func TestFlushSaysThatReplicasAreMissing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*kmsg.MetadataResponseTopicPartition)
		silent bool // the producer may not ask for the configuration
		want   *kerr.Error
		says   []string
	}{
		"too few in sync": {
			change: func(p *kmsg.MetadataResponseTopicPartition) { p.Replicas, p.ISR = []int32{0, 1, 2}, []int32{0} },
			want:   kerr.NotEnoughReplicas, says: []string{"1 of 3 replicas are in sync, min.insync.replicas is 2", "bring the brokers back"},
		},
		"enough in sync": {
			change: func(p *kmsg.MetadataResponseTopicPartition) { p.Replicas, p.ISR = []int32{0, 1, 2}, []int32{0, 1} },
		},
		"nobody tells how many are wanted": {
			change: func(p *kmsg.MetadataResponseTopicPartition) { p.Replicas, p.ISR = []int32{0, 1, 2}, []int32{0} },
			silent: true,
		},
		"no leader": {
			change: func(p *kmsg.MetadataResponseTopicPartition) {
				p.Leader, p.ErrorCode = -1, kerr.LeaderNotAvailable.Code
			},
			want: kerr.LeaderNotAvailable, says: []string{"1 of 1 partitions have no leader"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakeKafka(t, 1, "t")
			p := fakeProducer(t, c, "t", dashstream.WithFlushTimeout(2*time.Second))
			cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			two := "2"
			if _, err := kadm.NewClient(cl).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &two}}, "t"); err != nil {
				t.Fatal(err)
			}
			describeAs(t, c, "t", tt.change)
			if tt.silent {
				c.ControlKey(kmsg.DescribeConfigs.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
					c.KeepControl()
					resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
					r := kmsg.NewDescribeConfigsResponseResource()
					r.ResourceType, r.ResourceName, r.ErrorCode = kmsg.ConfigResourceTypeTopic, "t", kerr.TopicAuthorizationFailed.Code
					resp.Resources = append(resp.Resources, r)
					return resp, nil, true
				})
			}
			refuse(c, 1<<30, kerr.NotEnoughReplicas.Code)
			p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
			err = p.Flush(t.Context())
			var incomplete *dashstream.IncompleteError
			if !errors.As(err, &incomplete) || incomplete.InFlight != 1 {
				t.Fatalf("flush: %v, want one message in flight", err)
			}
			if tt.want == nil {
				if incomplete.Cause != nil {
					t.Errorf("flush names a cause that nobody told: %v", incomplete.Cause)
				}
				return
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("flush: %v, want the cause %v", err, tt.want)
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("flush: %v, want it to say %q", err, want)
				}
			}
			if err := p.Ready(t.Context()); err != nil {
				t.Errorf("ready: %v, but the cluster is there and has the topic", err)
			}
		})
	}
}
