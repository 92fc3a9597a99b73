package embedded

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka's defaults, for topics that set nothing.
const (
	defaultRetention      = 7 * 24 * time.Hour
	defaultRetentionBytes = -1
)

// retention removes what the topics' retention.ms and retention.bytes allow, oldest first.
//
// It differs from kfake's in what it spares: kfake removes up to the last batch whose timestamp is old, so one record with
// an old timestamp, which any client can write, takes newer records before it with it. Here, as in Kafka, the first batch
// that is still young ends the search. It differs from Kafka's in the grain: the log start moves by batches, so a quiet
// topic does not keep a week more than it should because its file is not full; the disk space comes back by files.
type retention struct {
	cluster *kfake.Cluster
	log     string
	starts  *logStarts
	logger  *slog.Logger
	now     chan struct{} // asks for a check before its time
}

// checkNow asks for a check and does not wait for it.
func (r *retention) checkNow() {
	select {
	case r.now <- struct{}{}:
	default:
	}
}

// run checks until ctx ends.
func (r *retention) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		err := r.check(ctx, time.Now())
		if err != nil && !failing {
			r.logger.Error("retention check", "error", err, "retry_in", every)
		}
		failing = err != nil
		if err := r.starts.reserve.keep(); err != nil {
			r.logger.Debug("there is no room for the reserve", "error", err)
		}
		select {
		case <-tick.C:
		case <-r.now:
		case <-ctx.Done():
			return
		}
	}
}

// check looks at every partition once. A partition that fails does not keep the others from being checked.
func (r *retention) check(ctx context.Context, now time.Time) error {
	topics, _, err := readTopics(r.log)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range topics {
		info := r.cluster.TopicInfo(t.Name)
		if info == nil {
			continue // deleted since the file was read
		}
		limits := limitsOf(info.Configs)
		if !limits.deletes {
			continue
		}
		for _, p := range r.cluster.PartitionInfos(t.Name) {
			if ctx.Err() != nil {
				return nil
			}
			if err := r.checkPartition(info, p, limits, now); err != nil {
				errs = append(errs, fmt.Errorf("%s-%d: %w", t.Name, p.Partition, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *retention) checkPartition(topic *kfake.TopicInfo, p *kfake.PartitionInfo, limits limits, now time.Time) error {
	to, err := limits.newStart(partitionDir(r.log, topic.Topic, p.Partition), p, now)
	if err != nil || to <= p.LogStartOffset {
		return err
	}
	id := base64.StdEncoding.EncodeToString(topic.TopicID[:])
	raised := r.starts.raise(topic.Topic, id, p.Partition, to)
	if raised != nil && !diskFull(raised) {
		return raised
	}
	if again := r.cluster.TopicInfo(topic.Topic); again == nil || again.TopicID != topic.TopicID {
		return nil // created anew since; its offsets are other ones
	}
	if err := r.cluster.DeleteRecords(topic.Topic, p.Partition, to); err != nil {
		if now := r.cluster.PartitionInfos(topic.Topic); int(p.Partition) < len(now) && now[p.Partition].LogStartOffset >= to {
			return nil // a client removed more at the same moment
		}
		return fmt.Errorf("delete records below %d: %w", to, err)
	}
	if raised != nil {
		// Nothing could be written, also not with the reserve, so the records had to go first to make room. A start in
		// between takes them for lost, and gives the log a new cluster id.
		if err := r.starts.raise(topic.Topic, id, p.Partition, to); err != nil {
			return err
		}
	}
	r.logger.Debug("retention removed records", "topic", topic.Topic, "partition", p.Partition, "from", p.LogStartOffset, "below", to)
	return nil
}

// limits is what a topic's settings say about removing records.
type limits struct {
	deletes bool          // cleanup.policy has delete
	age     time.Duration // negative: none
	bytes   int64         // negative: none
}

func limitsOf(configs map[string]*string) limits {
	l := limits{deletes: true, age: defaultRetention, bytes: defaultRetentionBytes}
	if v := configs["cleanup.policy"]; v != nil {
		l.deletes = false
		for policy := range strings.SplitSeq(*v, ",") {
			l.deletes = l.deletes || strings.TrimSpace(policy) == "delete"
		}
	}
	if ms, ok := number(configs["retention.ms"]); ok {
		l.age = time.Duration(max(-1, min(ms, math.MaxInt64/int64(time.Millisecond)))) * time.Millisecond
	}
	if n, ok := number(configs["retention.bytes"]); ok {
		l.bytes = n
	}
	return l
}

func number(v *string) (int64, bool) {
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(*v), 10, 64)
	return n, err == nil
}

// newStart returns the offset the log may start at. Batches go while they are too old, or while what remains is at least
// the size limit: like Kafka's, the limit is what is kept, not a ceiling.
func (l limits) newStart(dir string, p *kfake.PartitionInfo, now time.Time) (int64, error) {
	start := p.LogStartOffset
	if l.age < 0 && (l.bytes < 0 || p.NumBytes <= l.bytes) {
		return start, nil
	}
	segs, err := segmentFiles(dir)
	if err != nil {
		return start, err
	}
	remaining := p.NumBytes
	for i, seg := range segs {
		if i+1 < len(segs) && segs[i+1].base <= start {
			continue // all of it is below the log start
		}
		done, err := l.walk(seg, p, now, &start, &remaining)
		if err != nil || done {
			return start, err
		}
	}
	return start, nil
}

// walk moves start over the batches of one file that may go; done means that one has to stay.
func (l limits) walk(seg segmentFile, p *kfake.PartitionInfo, now time.Time, start, remaining *int64) (done bool, err error) {
	f, err := os.Open(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a client removed it at the same moment; the next check sees what is left
	}
	if err != nil {
		return true, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return true, err
	}
	written := info.ModTime()
	err = walkBatches(f, func(b batch) bool {
		if b.next() <= *start {
			return true // below the log start already
		}
		stamp := written // of records without a timestamp, Kafka takes the file's too
		if b.maxTimestamp >= 0 {
			stamp = time.UnixMilli(b.maxTimestamp)
		}
		old := l.age >= 0 && now.Sub(stamp) > l.age
		surplus := l.bytes >= 0 && *remaining-b.size >= l.bytes
		if b.base >= p.HighWatermark || !old && !surplus {
			done = true
			return false
		}
		*start = b.next()
		*remaining -= b.size
		return true
	})
	return done, err
}
