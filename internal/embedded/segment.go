package embedded

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A partition's log is a row of files named after the offset of their first batch. Each holds record batches in Kafka's
// wire format, one after the other, so they can be read without kfake: recovery and retention do.

const (
	batchHeaderBytes = 61
	batchLengthEnd   = 12 // base offset and length; the length counts from here
	batchCRCStart    = 21 // the checksum covers everything from the attributes on
	maxBatchBytes    = 1 << 30
)

type segmentFile struct {
	base int64
	size int64
	path string
}

// segmentFiles lists the log files of a partition directory by offset. A directory that does not exist has none.
func segmentFiles(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var segs []segmentFile
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // trimmed since ReadDir
		}
		if err != nil {
			return nil, err
		}
		segs = append(segs, segmentFile{base: base, size: info.Size(), path: filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(segs, func(a, b segmentFile) int { return cmp.Compare(a.base, b.base) })
	return segs, nil
}

// partitionDir is where kfake keeps a partition's log.
func partitionDir(log, topic string, partition int32) string {
	return filepath.Join(log, "partitions", url.PathEscape(topic)+"-"+strconv.Itoa(int(partition)))
}

// batch is the header of a record batch.
type batch struct {
	base         int64
	size         int64 // bytes, header included
	attributes   int16
	lastDelta    int32
	maxTimestamp int64 // ms, -1 when the records carry none
	producerID   int64 // -1 when not idempotent
	epoch        int16
	sequence     int32
	records      int32
}

func (b batch) next() int64         { return b.base + int64(b.lastDelta) + 1 }
func (b batch) transactional() bool { return b.attributes&0x30 != 0 } // in a transaction, or a marker that ends one

// parseBatch reads a header; ok is false when the bytes are not one.
func parseBatch(h []byte) (b batch, ok bool) {
	length := int64(int32(binary.BigEndian.Uint32(h[8:])))
	b = batch{
		base:         int64(binary.BigEndian.Uint64(h)),
		size:         length + batchLengthEnd,
		attributes:   int16(binary.BigEndian.Uint16(h[21:])),
		lastDelta:    int32(binary.BigEndian.Uint32(h[23:])),
		maxTimestamp: int64(binary.BigEndian.Uint64(h[35:])),
		producerID:   int64(binary.BigEndian.Uint64(h[43:])),
		epoch:        int16(binary.BigEndian.Uint16(h[51:])),
		sequence:     int32(binary.BigEndian.Uint32(h[53:])),
		records:      int32(binary.BigEndian.Uint32(h[57:])),
	}
	const magic = 2
	return b, h[16] == magic && b.size >= batchHeaderBytes && b.size <= maxBatchBytes && b.base >= 0 && b.lastDelta >= 0
}

var crc32c = crc32.MakeTable(crc32.Castagnoli)

// readBatches reads batches to the end of r, or until fn returns false, and checks their sums. It returns the bytes up to
// the first that is torn, damaged or not wanted; err is a read error.
func readBatches(r io.Reader, fn func(batch) bool) (valid int64, err error) {
	br := bufio.NewReaderSize(r, 256<<10)
	for {
		h, err := br.Peek(batchHeaderBytes)
		if err == io.EOF {
			return valid, nil
		}
		if err != nil {
			return valid, err
		}
		b, ok := parseBatch(h)
		if !ok {
			return valid, nil
		}
		stored := binary.BigEndian.Uint32(h[17:])
		if _, err := br.Discard(batchCRCStart); err != nil {
			return valid, err
		}
		sum := uint32(0)
		for rest := b.size - batchCRCStart; rest > 0; {
			part, err := br.Peek(int(min(rest, int64(br.Size()))))
			if errors.Is(err, io.EOF) {
				return valid, nil
			} else if err != nil {
				return valid, err
			}
			sum = crc32.Update(sum, crc32c, part)
			rest -= int64(len(part))
			if _, err := br.Discard(len(part)); err != nil {
				return valid, err
			}
		}
		if sum != stored || !fn(b) {
			return valid, nil
		}
		valid += b.size
	}
}

// walkBatches reads only the headers, from the start of the file until fn returns false.
func walkBatches(r io.ReaderAt, fn func(batch) bool) error {
	var h [batchHeaderBytes]byte
	for pos := int64(0); ; {
		if _, err := r.ReadAt(h[:], pos); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		b, ok := parseBatch(h[:])
		if !ok || !fn(b) {
			return nil
		}
		pos += b.size
	}
}
