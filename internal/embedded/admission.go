package embedded

import (
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/httpserve"
)

// maxRefused is how many batches of a request are refused beside others that are taken. kfake looks each partition up
// among the refused ones.
const maxRefused = 16

// admission keeps bad batches from kfake. One in a partition is no hindrance to the others of the request: kfake has
// faults, errors that it answers for a partition in place of doing something, and each bad batch gets one.
type admission struct {
	cluster    *kfake.Cluster
	complaints httpserve.Complaints
	faults     *kfake.FaultHandle // of the request before
}

func newAdmission(cluster *kfake.Cluster, logger *slog.Logger) *admission {
	return &admission{cluster: cluster, complaints: httpserve.Complaints{Logger: logger}}
}

// admit looks at the batches of a request. It answers the request where that is refused as a whole; kfake answers the
// rest at once, before the next call.
func (a *admission) admit(req *kmsg.ProduceRequest) (_ kmsg.Response, refused bool) {
	if a.faults != nil {
		a.faults.Remove() // kfake may not have come to them, and they would fit this request
		a.faults = nil
	}
	var bad []kfake.Fault
	v := newValidator()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			why := v.batch(p.Records)
			if why == nil {
				continue
			}
			if len(bad) == 0 {
				a.complaints.Warn("refuse a record batch", "topic", a.name(t), "partition", p.Partition, "code", why.Description, "error", why.Message)
			}
			fault := kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, TopicID: t.TopicID, Partitions: []int32{p.Partition}, Err: why}
			if fault.TopicID == [16]byte{} {
				fault.Topic = t.Topic // as older clients say it; with an id, the name is not one
			}
			nameless := fault.TopicID == [16]byte{} && fault.Topic == "" // which for a fault is any topic
			if len(bad) == maxRefused || nameless {
				return refuseAll(req, bad), true
			}
			bad = append(bad, fault)
		}
	}
	if len(bad) > 0 {
		a.faults = a.cluster.Fault(bad...)
	}
	return nil, false
}

// name is the topic's; newer clients send its id.
func (a *admission) name(t kmsg.ProduceRequestTopic) string {
	if t.TopicID != [16]byte{} {
		if info := a.cluster.TopicIDInfo(t.TopicID); info != nil {
			return info.Topic
		}
	}
	return t.Topic
}

// refuseAll answers a request with so many bad batches that it was not looked at to its end.
func refuseAll(req *kmsg.ProduceRequest, bad []kfake.Fault) kmsg.Response {
	if req.Acks == 0 {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = p.Partition
			rp.BaseOffset = -1
			why := refusal(kerr.InvalidRecord, "nothing of the request was written, since too much of it is refused")
			for _, f := range bad {
				if f.TopicID == t.TopicID && (f.Topic == "" || f.Topic == t.Topic) && f.Partitions[0] == p.Partition {
					why = f.Err
				}
			}
			rp.ErrorCode, rp.ErrorMessage = why.Code, &why.Message
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}
