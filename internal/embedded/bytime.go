package embedded

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// byTime answers which record is the first since a time where kfake, as Kafka, misses it. Both look in the first file that
// ever had a record so young and in no other. When that record was removed (the log start moves by batches here, so
// retention leaves the file), and those of the file that are left are older, they answer that no record is so young,
// although later files have some. One clock that is an hour ahead is enough.
//
// Its functions run between two requests of kfake.
type byTime struct {
	cluster *kfake.Cluster
	log     string
	logger  *slog.Logger
	known   map[topicPartition]*timesOf
	codecs  kgo.Decompressor
}

type topicPartition struct {
	topic     string
	partition int32
}

// timesOf is what was read of the files of a partition, so that each is read once.
type timesOf struct {
	topic   [16]byte
	file    int64 // the first
	pos     int64 // how far that was read, a place between two batches
	removed int64 // the latest timestamp of its batches that are below the log start
	latest  map[int64]int64
}

func newByTime(cluster *kfake.Cluster, log string, logger *slog.Logger) *byTime {
	return &byTime{cluster: cluster, log: log, logger: logger, known: make(map[topicPartition]*timesOf), codecs: boundedDecompressor()}
}

// listOffsets answers a request for which kfake would miss a record. Where one asks besides for what is not answered here,
// it gets the log start in that place: more than it asked for, and nothing is missing.
func (t *byTime) listOffsets(kreq kmsg.Request) (kmsg.Response, error, bool) {
	t.cluster.KeepControl()
	req, ok := kreq.(*kmsg.ListOffsetsRequest)
	if !ok || req.Version < 1 {
		return nil, nil, false
	}
	misses, simple := false, true
	seen := make(map[topicPartition]bool)
	var missed []*kmsg.ListOffsetsRequestTopicPartition
	for _, rt := range req.Topics {
		for i := range rt.Partitions {
			rp := &rt.Partitions[i]
			key := topicPartition{rt.Topic, rp.Partition}
			info := t.cluster.PartitionInfo(rt.Topic, rp.Partition)
			simple = simple && info != nil && rp.Timestamp >= 0 && !seen[key] && (rp.CurrentLeaderEpoch == -1 || rp.CurrentLeaderEpoch == info.Epoch)
			seen[key] = true
			if info != nil && rp.Timestamp >= 0 && t.misses(rt.Topic, info, rp.Timestamp) {
				misses = true
				missed = append(missed, rp)
			}
		}
	}
	if !misses {
		return nil, nil, false
	}
	if !simple {
		const logStart = -2
		for _, rp := range missed {
			rp.Timestamp = logStart
		}
		return nil, nil, false
	}
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, rt := range req.Topics {
		st := kmsg.NewListOffsetsResponseTopic()
		st.Topic = rt.Topic
		for _, rp := range rt.Partitions {
			sp := kmsg.NewListOffsetsResponseTopicPartition() // says that there is none
			sp.Partition = rp.Partition
			info := t.cluster.PartitionInfo(rt.Topic, rp.Partition)
			offset, timestamp, found, err := t.first(rt.Topic, info, rp.Timestamp)
			end := info.HighWatermark
			if req.ReplicaID == -1 && req.IsolationLevel == 1 {
				end = info.LastStableOffset
			}
			switch {
			case err != nil:
				t.logger.Error("look for the first record since a time", "topic", rt.Topic, "partition", rp.Partition, "error", err)
				sp.ErrorCode = kerr.KafkaStorageError.Code
			case found && offset < end:
				sp.Offset, sp.Timestamp = offset, timestamp
			}
			st.Partitions = append(st.Partitions, sp)
		}
		resp.Topics = append(resp.Topics, st)
	}
	return resp, nil, true
}

// misses reports whether kfake would take the first file for the one to look in, and find nothing there. It costs no
// look at the files of a log whose removed records are older than what is asked for.
func (t *byTime) misses(topic string, info *kfake.PartitionInfo, since int64) bool {
	if info.MaxTimestamp < since {
		return false // there is none
	}
	segs, times, err := t.files(topic, info)
	if err != nil || len(segs) < 2 || segs[0].base >= info.LogStartOffset || times.removed < since {
		return false
	}
	offset, _, found, err := t.first(topic, info, since)
	return err == nil && found && offset >= segs[1].base
}

// files lists the files from the log start on, and reads what was removed of the first.
func (t *byTime) files(topic string, info *kfake.PartitionInfo) ([]segmentFile, *timesOf, error) {
	segs, err := segmentFiles(partitionDir(t.log, topic, info.Partition))
	if err != nil {
		return nil, nil, err
	}
	for len(segs) > 1 && segs[1].base <= info.LogStartOffset {
		segs = segs[1:]
	}
	if len(segs) == 0 {
		return nil, nil, nil
	}
	of := t.cluster.TopicInfo(topic)
	if of == nil {
		return nil, nil, nil
	}
	key := topicPartition{topic, info.Partition}
	times := t.known[key]
	if times == nil || times.topic != of.TopicID || times.file != segs[0].base {
		latest := make(map[int64]int64)
		if times != nil && times.topic == of.TopicID {
			for _, seg := range segs {
				if at, ok := times.latest[seg.base]; ok {
					latest[seg.base] = at
				}
			}
		}
		times = &timesOf{topic: of.TopicID, file: segs[0].base, removed: math.MinInt64, latest: latest}
		t.known[key] = times
	}
	err = walkFrom(segs[0].path, times.pos, func(_ *os.File, _ int64, b batch) bool {
		if b.base >= info.LogStartOffset {
			return false
		}
		times.removed = max(times.removed, b.maxTimestamp)
		if b.next() > info.LogStartOffset {
			return false // a part of it is removed
		}
		times.pos += b.size
		return true
	})
	return segs, times, err
}

// first finds the first record from the log start on that is as young.
func (t *byTime) first(topic string, info *kfake.PartitionInfo, since int64) (offset, timestamp int64, found bool, err error) {
	if info.MaxTimestamp < since {
		return -1, -1, false, nil
	}
	segs, times, err := t.files(topic, info)
	if err != nil {
		return -1, -1, false, err
	}
	for i, seg := range segs {
		if latest, ok := times.latest[seg.base]; ok && latest < since {
			continue
		}
		pos, latest := int64(0), int64(math.MinInt64)
		if i == 0 {
			pos = times.pos
		}
		var bad error
		err := walkFrom(seg.path, pos, func(f *os.File, pos int64, b batch) bool {
			latest = max(latest, b.maxTimestamp)
			if b.next() <= info.LogStartOffset || b.maxTimestamp < since {
				return true
			}
			raw := make([]byte, b.size)
			if _, bad = f.ReadAt(raw, pos); bad != nil {
				return false
			}
			offset, timestamp, found, bad = t.inBatch(raw, b, info.LogStartOffset, since)
			return !found && bad == nil
		})
		if err = errors.Join(err, bad); err != nil || found {
			return offset, timestamp, found, err
		}
		if i > 0 && i+1 < len(segs) { // nothing is added to it or removed from it
			times.latest[seg.base] = latest
		}
	}
	return -1, -1, false, nil
}

var errRecords = errors.New("a batch holds records that are none")

// inBatch finds the record in a batch.
func (t *byTime) inBatch(raw []byte, b batch, start, since int64) (offset, timestamp int64, found bool, err error) {
	records := raw[batchHeaderBytes:]
	if codec := kgo.CompressionCodecType(b.attributes & 7); codec != kgo.CodecNone {
		if records, err = t.codecs.Decompress(records, codec); err != nil {
			return -1, -1, false, err
		}
	}
	firstTimestamp := int64(binary.BigEndian.Uint64(raw[27:]))
	for range b.records {
		length, n := binary.Varint(records)
		if n <= 0 || length < 1 || length > int64(len(records)-n) {
			return -1, -1, false, errRecords
		}
		record := records[n : int64(n)+length]
		records = records[int64(n)+length:]
		after, n := binary.Varint(record[1:]) // behind the attributes
		if n <= 0 {
			return -1, -1, false, errRecords
		}
		delta, m := binary.Varint(record[1+n:])
		if m <= 0 {
			return -1, -1, false, errRecords
		}
		if at := firstTimestamp + after; at >= since && b.base+delta >= start {
			return b.base + delta, at, true, nil
		}
	}
	return -1, -1, false, nil
}

// walkFrom reads the headers of a file from a place between two of its batches. A file that is gone has none.
func walkFrom(path string, pos int64, fn func(f *os.File, pos int64, b batch) bool) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return walkBatches(io.NewSectionReader(f, pos, math.MaxInt64-pos), func(b batch) bool {
		at := pos
		pos += b.size
		return fn(f, at, b)
	})
}
