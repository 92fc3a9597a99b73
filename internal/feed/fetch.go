package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchPosition is one partition of a fetch request.
type fetchPosition struct {
	partition   int32
	offset      int64
	leaderEpoch int32
	// lastEpoch is the epoch of the leader that wrote what lies before offset; -1
	// where not known.
	lastEpoch int32
}

// fetched is the broker's answer for one partition. Errors are per partition:
// one that fails takes nothing from the others of the same response.
type fetched struct {
	partition int32
	from      int64
	// next is the offset after everything that the response covered, records
	// or not.
	next    int64
	records []*kgo.Record
	// leaderEpoch is the epoch of the leader that was asked.
	leaderEpoch int32
	// epoch is the leader's that wrote the last batch; -1 where not known.
	epoch int32
	// sent is how many bytes the broker sent.
	sent int
	// highWatermark and logStart are -1 where the broker did not say.
	highWatermark, logStart int64
	err                     error
}

// errNoProgress reports a response without a whole batch although the log goes
// on.
var errNoProgress = errors.New("the broker returned no whole batch")

type fetchRequest struct {
	broker    int32
	positions []fetchPosition
	minBytes  int32
	maxBytes  int32
	// partitionBytes bounds one partition; the broker still returns at least
	// one batch.
	partitionBytes int32
	maxWait        time.Duration
	// room is about how much of the answer is decoded, at least one batch: the rest
	// is asked for again.
	room int64
}

// fetch sends one Fetch request to one broker. It uses the protocol directly
// rather than kgo's consumer, because the consumer hides what the promise of
// this package hangs on: the offsets that a response covers when it holds no
// record for them, and errors that belong to one partition alone.
func (g *generation) fetch(ctx context.Context, cl *kgo.Client, rq fetchRequest) ([]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = int32(rq.maxWait.Milliseconds())
	req.MinBytes = rq.minBytes
	req.MaxBytes = rq.maxBytes
	req.SessionID = 0
	req.SessionEpoch = -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = g.topic
	rt.TopicID = g.topicID
	asked := make(map[int32]fetchPosition, len(rq.positions))
	for _, pos := range rq.positions {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition = pos.partition
		rp.FetchOffset = pos.offset
		rp.CurrentLeaderEpoch = pos.leaderEpoch
		rp.PartitionMaxBytes = rq.partitionBytes
		rt.Partitions = append(rt.Partitions, rp)
		asked[pos.partition] = pos
	}
	req.Topics = append(req.Topics, rt)

	kresp, err := cl.Broker(int(rq.broker)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("fetch from broker %d: %w", rq.broker, err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch from broker %d: %w", rq.broker, err)
	}
	var out []fetched
	room := rq.room
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic != "" && t.Topic != g.topic {
			continue
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			pos, ok := asked[p.Partition]
			if !ok {
				continue
			}
			delete(asked, p.Partition)
			a := g.read(p, pos.offset, &room)
			a.leaderEpoch = pos.leaderEpoch
			out = append(out, a)
		}
	}
	return out, nil
}
