package embedded

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// recovery reads the whole log, checks it, and makes kfake's files right before kfake loads them.
//
// kfake loads a partition from its snapshot, which a shutdown in order writes, when the names and sizes of the files fit.
// It then ends a file at the first damaged batch without a word, and trusts producers' state that may be older than the
// log or know batches that were never stored. When the snapshot does not fit, after kill -9, kfake reads the log, and then
//
//   - holds all of it in memory at once,
//   - begins at the first batch it finds, so that removed records come back,
//   - begins at offset 0 when it finds none, so that offsets are given a second time,
//   - knows nothing of what idempotent producers wrote since the snapshot, so that a batch sent again because its
//     acknowledgement was lost is stored twice, and the producer's next one is refused as out of order.
//
// So recovery reads the log itself at each start, a batch at a time, cuts a torn end off, and writes the snapshot and the
// producers' state that a shutdown at that moment would have written. Nothing that it writes is trusted by the next start,
// so one that is cut short does no harm. It costs little: kfake reads every file again, which is then in memory. A
// partition with transactions is left to kfake, which alone tells how they ended; its log start is put right once kfake
// runs.
type recovery struct {
	log    string
	starts *logStarts
	logger *slog.Logger
	ends   endsFileContent // as the last run left them
	// lost is called, at most once, before anything is cut off a log that lost records which clients may have seen.
	lost func() error

	// full is set when the disk is: what kfake can do without is then not written.
	full bool

	toldLoss bool
	// after is the log starts that can only be set once kfake runs.
	after []partitionStart
}

type partitionStart struct {
	topic     string
	partition int32
	offset    int64
}

func (r *recovery) run(ctx context.Context) error {
	r.after = nil // of a run that failed
	topics, found, err := readTopics(r.log)
	if err != nil || !found {
		return err
	}
	if err := r.setAside(topics); err != nil {
		return err
	}
	for _, name := range []string{"groups.log", pidsFile} {
		if err := r.cutEntries(filepath.Join(r.log, name)); err != nil {
			return err
		}
	}
	if r.ends.machineWentDown() {
		if err := r.loss("the machine went down while the broker ran, and what it wrote last may not have reached the disk"); err != nil {
			return err
		}
	}
	began := time.Now()
	producers, err := readProducers(r.log)
	if err != nil {
		return err
	}
	read := 0
	for _, t := range topics {
		for p := range t.Partitions {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			ok, err := r.partition(t, p, producers)
			if err != nil {
				return fmt.Errorf("recover %s-%d: %w", t.Name, p, err)
			}
			if ok {
				read++
			}
		}
	}
	if err := producers.write(); err != nil && (!r.full || !diskFull(err)) {
		return err
	}
	if read > 0 {
		r.logger.Warn("the broker was not shut down in order, or its files changed since; its log was put right", "partitions", read, "took", time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// loss makes the stream another one.
func (r *recovery) loss(why string, args ...any) error {
	r.logger.Warn("records that clients may have seen are lost: "+why, args...)
	if r.toldLoss {
		return nil
	}
	if err := r.lost(); err != nil {
		return fmt.Errorf("change the cluster id: %w", err)
	}
	r.toldLoss = true
	return nil
}

// finish sets the log starts that had to wait for kfake. No client is connected yet.
func (r *recovery) finish(cluster *kfake.Cluster) error {
	for _, p := range r.after {
		info := cluster.PartitionInfo(p.topic, p.partition)
		if info == nil || info.LogStartOffset >= p.offset {
			continue
		}
		if err := cluster.DeleteRecords(p.topic, p.partition, p.offset); err != nil {
			return fmt.Errorf("recover %s-%d: set the log start to %d: %w", p.topic, p.partition, p.offset, err)
		}
	}
	return nil
}

// partition puts one partition right; changed is false when its snapshot says what its files say.
func (r *recovery) partition(t diskTopic, p int32, producers *producers) (changed bool, err error) {
	dir := partitionDir(r.log, t.Name, p)
	start, err := r.starts.read(t.Name, t.ID, p)
	if err != nil {
		return false, err
	}
	segs, err := segmentFiles(dir)
	if err != nil {
		return false, err
	}
	snap, fits, err := readSnapshot(dir, segs)
	if err != nil {
		return false, err
	}
	reached := r.ends.of(t.ID, p)
	if snap != nil {
		// A log that was emptied by retention and then shut down in order has its end here and nowhere else.
		start = max(start, snap.LogStart)
		reached = max(reached, snap.HighWatermark)
	}
	if n := len(segs); n > 0 {
		reached = max(reached, segs[n-1].base)
	}
	if len(segs) == 0 && start == 0 && reached == 0 {
		return false, nil // never written
	}

	log, err := r.readLog(t.Name, p, segs, producers)
	if err != nil {
		return false, err
	}
	if end := max(log.next, start); end < reached {
		if err := r.loss("the log ends before the offset that it had reached", "topic", t.Name, "partition", p, "next_offset", end, "reached", reached); err != nil {
			return false, err
		}
	}
	if len(log.segments) > 0 && log.first > start {
		if err := r.loss("the log begins after the offset that it should", "topic", t.Name, "partition", p, "first_offset", log.first, "log_start", start); err != nil {
			return false, err
		}
		start = log.first
		if err := r.starts.raise(t.Name, t.ID, p, start); err != nil {
			return false, err
		}
	}
	if fits && !log.changed && snap.LogStart == start && snap.HighWatermark == log.next {
		return false, nil
	}
	if len(log.segments) == 0 && start == 0 {
		return false, removeFile(filepath.Join(dir, snapshotFile)) // all of it is gone
	}
	if log.next < start {
		// Every record was removed. A batch without records in front of the log start keeps the place.
		seg, err := writePlaceholder(dir, start-1, start)
		if err != nil {
			return false, err
		}
		log.segments, log.next = []snapshotSegment{seg}, start
	} else if log.transactions {
		r.after = append(r.after, partitionStart{t.Name, p, start})
		return true, removeFile(filepath.Join(dir, snapshotFile))
	}
	err = snapshot{
		Version:       fakeFormat,
		HighWatermark: log.next,
		LastStable:    log.next,
		LogStart:      start,
		MaxTimestamp:  log.maxTimestamp,
		CreatedAt:     time.Now().UTC(),
		Segments:      log.segments,
	}.write(dir)
	if r.full && diskFull(err) {
		r.after = append(r.after, partitionStart{t.Name, p, start})
		return true, removeFile(filepath.Join(dir, snapshotFile))
	}
	return true, err
}

// partitionLog is what the files of a partition say.
type partitionLog struct {
	first        int64
	next         int64 // the offset after the last record
	maxTimestamp int64
	transactions bool
	segments     []snapshotSegment
	changed      bool // the files were not as they should be
}

// readLog reads the files of a partition in order. Offsets have no gaps in a log that is whole, so a file that is missing
// between others shows, as a damaged batch does. Both are a loss; the hole is filled with a batch that holds no record, so
// that it is told once.
func (r *recovery) readLog(topic string, partition int32, segs []segmentFile, producers *producers) (partitionLog, error) {
	var log partitionLog
	for i, seg := range segs {
		switch {
		case len(log.segments) == 0:
			log.first, log.next = seg.base, seg.base
		case seg.base > log.next && seg.size > 0:
			if err := r.loss("a part of the log is missing", "before", seg.path, "from", log.next, "below", seg.base); err != nil {
				return log, err
			}
			fill, err := writePlaceholder(filepath.Dir(seg.path), log.next, seg.base)
			if err != nil {
				return log, err
			}
			log.segments, log.next, log.changed = append(log.segments, fill), seg.base, true
		case seg.base < log.next:
			if err := r.loss("a log file has offsets that another has", "file", seg.path, "next_offset", log.next); err != nil {
				return log, err
			}
			if err := r.putAway(seg); err != nil {
				return log, err
			}
			log.changed = true
			continue
		}
		valid, err := r.readFile(topic, partition, seg, &log, producers)
		if err != nil {
			return log, err
		}
		if valid < seg.size {
			torn := false
			if i == len(segs)-1 {
				if torn, err = tornEnd(seg, valid, log.next); err != nil {
					return log, err
				}
			}
			if !torn {
				if err := r.loss("a log file is damaged", "file", seg.path, "at", valid, "next_offset", log.next); err != nil {
					return log, err
				}
			}
			log.changed = true
			if valid == 0 && !torn {
				if err := r.putAway(seg); err != nil {
					return log, err
				}
				continue
			}
			r.logger.Warn("cut a torn or damaged end off a log file", "file", seg.path, "bytes", seg.size-valid, "next_offset", log.next)
			if err := os.Truncate(seg.path, valid); err != nil {
				return log, err
			}
		}
		if valid == 0 {
			// Nothing in it was whole. Its name would still count as a segment for the snapshot.
			log.changed = true
			if err := errors.Join(removeFile(seg.path), removeFile(indexFile(seg.path))); err != nil {
				return log, err
			}
			continue
		}
		log.segments = append(log.segments, snapshotSegment{Base: seg.base, Size: valid})
	}
	if len(log.segments) == 0 {
		log.first, log.next = 0, 0
	}
	return log, nil
}

// readFile reads a file up to the first batch that is torn, damaged or not the next one.
func (r *recovery) readFile(topic string, partition int32, seg segmentFile, log *partitionLog, producers *producers) (valid int64, err error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	remembered := time.Since(info.ModTime()) < producerExpiry
	return readBatches(f, func(b batch) bool {
		if b.base != log.next {
			return false
		}
		log.next = b.next()
		log.maxTimestamp = max(log.maxTimestamp, b.maxTimestamp)
		log.transactions = log.transactions || b.transactional()
		if remembered {
			producers.note(topic, partition, b)
		}
		return true
	})
}

// putAway keeps a file that cannot be served, for whoever wants to look at it.
func (r *recovery) putAway(seg segmentFile) error {
	to := seg.path + ".damaged"
	r.logger.Warn("put a damaged log file away", "file", seg.path, "to", to)
	return errors.Join(os.Rename(seg.path, to), removeFile(indexFile(seg.path)))
}

// tornEnd reports whether the file ends, from the byte on, in the beginning of the batch of the next offset and nothing
// else. That is what a process leaves that is killed while it writes; nobody has seen the batch.
func tornEnd(seg segmentFile, from, next int64) (bool, error) {
	f, err := os.Open(seg.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	rest := seg.size - from
	h := make([]byte, min(rest, batchHeaderBytes))
	if _, err := f.ReadAt(h, from); err != nil {
		return false, err
	}
	if len(h) >= 8 && int64(binary.BigEndian.Uint64(h)) != next {
		return false, nil
	}
	if len(h) < batchHeaderBytes {
		return true, nil
	}
	b, ok := parseBatch(h)
	return ok && b.size > rest, nil
}

func indexFile(segment string) string { return segment[:len(segment)-len(".dat")] + ".idx" }

const snapshotFile = "snapshot.json"

// snapshot is kfake's summary of a partition.
type snapshot struct {
	Version       int               `json:"version"`
	HighWatermark int64             `json:"high_watermark"`
	LastStable    int64             `json:"last_stable_offset"`
	LogStart      int64             `json:"log_start_offset"`
	Epoch         int32             `json:"epoch"`
	MaxTimestamp  int64             `json:"max_timestamp"`
	CreatedAt     time.Time         `json:"created_at"`
	Segments      []snapshotSegment `json:"segments"`
}

type snapshotSegment struct {
	Base int64 `json:"base_offset"`
	Size int64 `json:"size"`
}

// readSnapshot returns the partition's snapshot, nil when there is none or it is unreadable, and whether kfake will load
// from it: by the names and sizes of the files, and only when there are any.
func readSnapshot(dir string, segs []segmentFile) (snap *snapshot, fits bool, err error) {
	var s snapshot
	found, err := readJSON(filepath.Join(dir, snapshotFile), &s)
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax {
		return nil, false, nil // a cut-off snapshot is no loss: the log says the same
	}
	if err != nil || !found {
		return nil, false, err
	}
	if s.Version > fakeFormat {
		return nil, false, fmt.Errorf("%s has version %d, written by a newer version; this one reads up to %d", snapshotFile, s.Version, fakeFormat)
	}
	fits = len(segs) > 0 && len(segs) == len(s.Segments)
	for i := range segs {
		fits = fits && segs[i].base == s.Segments[i].Base && segs[i].size == s.Segments[i].Size
	}
	return &s, fits, nil
}

func (s snapshot) write(dir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(dir, snapshotFile), raw)
}

// writePlaceholder writes a log file that takes the offsets from one to below the other and holds no record.
func writePlaceholder(dir string, from, below int64) (snapshotSegment, error) {
	var file []byte
	for at := from; at < below; {
		next := min(below, at+math.MaxInt32)
		raw := make([]byte, batchHeaderBytes)
		be := binary.BigEndian
		be.PutUint64(raw, uint64(at))
		be.PutUint32(raw[8:], batchHeaderBytes-batchLengthEnd)
		raw[16] = 2                               // magic
		be.PutUint32(raw[23:], uint32(next-at-1)) // last offset delta
		be.PutUint64(raw[27:], ^uint64(0))        // first timestamp: none
		be.PutUint64(raw[35:], ^uint64(0))        // max timestamp: none
		be.PutUint64(raw[43:], ^uint64(0))        // producer id: none
		be.PutUint16(raw[51:], ^uint16(0))        // producer epoch
		be.PutUint32(raw[53:], ^uint32(0))        // sequence
		be.PutUint32(raw[17:], crc32.Checksum(raw[batchCRCStart:], crc32c))
		file, at = append(file, raw...), next
	}
	name := filepath.Join(dir, strconv.FormatInt(from, 10)+".dat")
	return snapshotSegment{Base: from, Size: int64(len(file))}, writeFileAtomic(name, file)
}

// cutEntries cuts a torn last entry off one of kfake's entry logs. kfake ignores it, but appends behind it, and what
// stands behind it is then lost at the next start: a group's commits, for one.
func (r *recovery) cutEntries(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	valid := 0
	for entry := range entries(raw) {
		valid += entryOverhead + len(entry)
	}
	if valid == len(raw) {
		return nil
	}
	r.logger.Warn("cut a torn end off a log file", "file", path, "bytes", len(raw)-valid)
	return os.Truncate(path, int64(valid))
}

// setAside moves partition directories away that belong to no topic: a topic was deleted and its files could not be. If
// they stayed, a topic created under the same name would go on writing into them.
func (r *recovery) setAside(topics []diskTopic) error {
	known := make(map[string]bool)
	for _, t := range topics {
		for p := range t.Partitions {
			known[filepath.Base(partitionDir(r.log, t.Name, p))] = true
		}
	}
	dirs, err := os.ReadDir(filepath.Join(r.log, "partitions"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, dir := range dirs {
		if known[dir.Name()] || !dir.IsDir() {
			continue
		}
		from := filepath.Join(r.log, "partitions", dir.Name())
		to := filepath.Join(r.log, "deleted", dir.Name()+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
		r.logger.Warn("moved the files of a deleted topic out of the way; they can be removed", "from", from, "to", to)
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
