package embedded

import (
	"encoding/base64"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxPartitions bounds a topic. kfake makes as many partitions as a request says, up to two billion, before it answers.
const maxPartitions = 1000

// requests looks at what clients ask before kfake does it. Its functions run one at a time, between two requests of
// kfake, which serves the Cluster's methods meanwhile.
type requests struct {
	cluster *kfake.Cluster
	starts  *logStarts
	failure *writeFailure
	syncer  *syncer // nil without Fsync
	byTime  *byTime
	batches *admission
	logger  *slog.Logger
}

func (r *requests) install() {
	r.cluster.ControlKey(int16(kmsg.Produce), r.produce)
	r.cluster.ControlKey(int16(kmsg.ListOffsets), r.byTime.listOffsets)
	r.cluster.ControlKey(int16(kmsg.InitProducerID), giveProducerIDs(r.cluster))
	r.cluster.ControlKey(int16(kmsg.OffsetCommit), r.offsetCommit)
	r.cluster.ControlKey(int16(kmsg.EndTxn), r.endTxn)
	r.cluster.ControlKey(int16(kmsg.DeleteRecords), r.deleteRecords)
	r.cluster.ControlKey(int16(kmsg.CreateTopics), r.createTopics)
	r.cluster.ControlKey(int16(kmsg.CreatePartitions), r.createPartitions)
}

// produce refuses records after a write failed. kfake logs a failed write while it handles the request, and handles one at
// a time, so that it is known here when the next one comes.
func (r *requests) produce(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	if r.failure.get() == nil {
		if resp, refused := r.batches.admit(req); refused {
			return resp, nil, true
		}
		r.lookAfter(req)
		nameTopics(req) // last: above, a topic that is named by its id has no name
		return nil, nil, false
	}
	if req.Acks == 0 {
		return nil, nil, true // nothing was promised
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition = p.Partition
			rp.BaseOffset = -1
			rp.ErrorCode = kerr.KafkaStorageError.Code
			rp.ErrorMessage = kmsg.StringPtr("the embedded broker cannot write to its disk")
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// lookAfter tells the syncer of partitions before they are written to.
func (r *requests) lookAfter(req *kmsg.ProduceRequest) {
	if r.syncer == nil {
		return
	}
	for _, t := range req.Topics {
		name := t.Topic
		if name == "" {
			info := r.cluster.TopicIDInfo(t.TopicID)
			if info == nil {
				continue
			}
			name = info.Topic
		}
		for _, p := range t.Partitions {
			if r.cluster.PartitionInfo(name, p.Partition) != nil {
				r.syncer.add(name, p.Partition)
			}
		}
	}
}

// offsetCommit refuses commits after a write failed: kfake would write them behind the half of an entry.
func (r *requests) offsetCommit(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.OffsetCommitRequest)
	if !ok || r.failure.get() == nil {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			rp.ErrorCode = kerr.CoordinatorNotAvailable.Code // clients retry it
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// endTxn refuses to end transactions after a write failed: the marker could not be written.
func (r *requests) endTxn(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.EndTxnRequest)
	if !ok || r.failure.get() == nil {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	resp.ErrorCode = kerr.CoordinatorNotAvailable.Code // clients retry it
	return resp, nil, true
}

// deleteRecords puts the new log starts on record and leaves the rest to kfake. When one cannot be put on record, the
// request fails as a whole: records that were reported removed must not come back.
func (r *requests) deleteRecords(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.DeleteRecordsRequest)
	if !ok {
		return nil, nil, false
	}
	for _, t := range req.Topics {
		topic := r.cluster.TopicInfo(t.Topic)
		if topic == nil {
			continue
		}
		id := base64.StdEncoding.EncodeToString(topic.TopicID[:])
		for _, p := range t.Partitions {
			info := r.cluster.PartitionInfo(t.Topic, p.Partition)
			if info == nil {
				continue
			}
			to := p.Offset
			if to == -1 {
				to = info.HighWatermark
			}
			if to <= info.LogStartOffset || to > info.HighWatermark {
				continue // kfake refuses it, or there is nothing to do
			}
			if err := r.starts.raise(t.Topic, id, p.Partition, to); err != nil {
				r.logger.Error("refuse to delete records", "error", err)
				return storageError(req), nil, true
			}
		}
	}
	return nil, nil, false
}

func storageError(req *kmsg.DeleteRecordsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition = p.Partition
			rp.LowWatermark = -1
			rp.ErrorCode = kerr.KafkaStorageError.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// createTopics refuses names Kafka does not allow, which kfake takes, and too many partitions. One bad topic fails the
// request, as nothing is made yet.
func (r *requests) createTopics(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.CreateTopicsRequest)
	if !ok {
		return nil, nil, false
	}
	bad := make(map[string]*kerr.Error)
	for _, t := range req.Topics {
		switch {
		case r.failure.get() != nil:
			bad[t.Topic] = kerr.KafkaStorageError
		case !validTopic(t.Topic):
			bad[t.Topic] = kerr.InvalidTopicException
		case t.NumPartitions > maxPartitions || len(t.ReplicaAssignment) > maxPartitions:
			bad[t.Topic] = kerr.InvalidPartitions
		}
	}
	if len(bad) == 0 {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewCreateTopicsResponseTopic()
		rt.Topic = t.Topic
		rt.NumPartitions, rt.ReplicationFactor = -1, -1
		switch bad[t.Topic] {
		case nil:
			rt.ErrorCode = kerr.InvalidRequest.Code
			rt.ErrorMessage = kmsg.StringPtr("another topic of the same request is not valid")
		case kerr.KafkaStorageError:
			rt.ErrorCode = kerr.KafkaStorageError.Code
			rt.ErrorMessage = kmsg.StringPtr("the embedded broker cannot write to its disk")
		case kerr.InvalidPartitions:
			rt.ErrorCode = kerr.InvalidPartitions.Code
			rt.ErrorMessage = kmsg.StringPtr("the embedded broker takes at most 1000 partitions a topic")
		default:
			rt.ErrorCode = kerr.InvalidTopicException.Code
			rt.ErrorMessage = kmsg.StringPtr("a topic name is 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' and '-', and not '.' or '..'")
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

func (r *requests) createPartitions(kreq kmsg.Request) (kmsg.Response, error, bool) {
	r.cluster.KeepControl()
	req, ok := kreq.(*kmsg.CreatePartitionsRequest)
	if !ok {
		return nil, nil, false
	}
	over := false
	for _, t := range req.Topics {
		over = over || t.Count > maxPartitions
	}
	if !over {
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic = t.Topic
		rt.ErrorCode = kerr.InvalidPartitions.Code
		rt.ErrorMessage = kmsg.StringPtr("the embedded broker takes at most 1000 partitions a topic")
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil, true
}

// validTopic is Kafka's rule for names.
func validTopic(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
