package feed

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Cursor is a place in one stream: for each partition listed, the offset of the
// next record to read.
type Cursor struct {
	StreamID string
	Offsets  map[int32]int64
	// Epochs holds, where known, the epoch of the leader that wrote what lies before
	// the offset (KIP-320), or a later one whose log held all of it. By it a log that
	// was cut is told from one that only grew.
	Epochs map[int32]int32
}

// Epoch returns the leader epoch of a partition, -1 where not known.
func (c Cursor) Epoch(p int32) int32 {
	if e, ok := c.Epochs[p]; ok {
		return e
	}
	return -1
}

// SetEpoch notes a leader epoch, which may be -1 for not known.
func (c *Cursor) SetEpoch(p, epoch int32) {
	if epoch < 0 {
		return
	}
	if c.Epochs == nil {
		c.Epochs = make(map[int32]int32, len(c.Offsets))
	}
	c.Epochs[p] = epoch
}

// StreamID names the stream of offsets of one topic incarnation: it changes
// when the topic is deleted and created again, and differs between clusters.
// Brokers before Kafka 2.8 give no topic id; there a re-creation shows only as
// offsets that go back.
func StreamID(clusterID, topic string, topicID [16]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "dashstream.v1\x00%s\x00%s\x00%x", clusterID, topic, topicID)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

const (
	// maxCursorText bounds ParseCursor's input; 10,000 partitions fit, whatever
	// their offsets are.
	maxCursorText = 128 << 10
	// listedPartitions is how many partitions a cursor lists as numbers. With more
	// it would outgrow the headers that proxies and servers take.
	listedPartitions = 128
	packedMark       = '~'
	epochMark        = '@'
)

// String gives the text form of a cursor, "stream:partition=offset@epoch,…", with the
// partitions in ascending order and without "@epoch" where that is not known; above 128
// partitions "stream:~" and a packed form of the same in base64url, a third as long, or
// "stream:~~" where it holds epochs. It is the id of server-sent events.
func (c Cursor) String() string {
	parts := slices.Sorted(maps.Keys(c.Offsets))
	b := make([]byte, 0, len(c.StreamID)+3+10*len(parts))
	b = append(b, c.StreamID...)
	b = append(b, ':')
	if len(parts) > listedPartitions {
		b = append(b, packedMark)
		if len(c.Epochs) > 0 {
			packed := c.pack(parts, true)
			// Rather none of the epochs than a cursor that is too long to come back.
			if len(b)+1+base64.RawURLEncoding.EncodedLen(len(packed)) <= maxCursorText {
				return string(base64.RawURLEncoding.AppendEncode(append(b, packedMark), packed))
			}
		}
		return string(base64.RawURLEncoding.AppendEncode(b, c.pack(parts, false)))
	}
	for i, p := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(p), 10)
		b = append(b, '=')
		b = strconv.AppendInt(b, c.Offsets[p], 10)
		if e, ok := c.Epochs[p]; ok {
			b = append(b, epochMark)
			b = strconv.AppendInt(b, int64(e), 10)
		}
	}
	return string(b)
}

// pack gives the partitions as runs of consecutive ones: how many are left out
// before the run, how many are in it, and of each the offset and, if asked for, the
// epoch and 1, or 0; all as unsigned varints.
func (c Cursor) pack(parts []int32, epochs bool) []byte {
	b := make([]byte, 0, 6*len(parts))
	after := int32(0)
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n] == parts[0]+int32(n) {
			n++
		}
		b = binary.AppendUvarint(b, uint64(parts[0]-after))
		b = binary.AppendUvarint(b, uint64(n))
		for _, p := range parts[:n] {
			b = binary.AppendUvarint(b, uint64(c.Offsets[p]))
			if epochs {
				b = binary.AppendUvarint(b, uint64(c.Epoch(p)+1))
			}
		}
		after, parts = parts[n-1]+1, parts[n:]
	}
	return b
}

var errPacked = errors.New("cursor: the packed form is not whole, or not as it was given")

// unpack is the inverse of pack.
func (c *Cursor) unpack(text string, epochs bool) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errPacked
	}
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errPacked
			return 0
		}
		b = b[n:]
		return v
	}
	p := uint64(0)
	for len(b) > 0 && err == nil {
		gap, n := next(), next()
		if gap > math.MaxInt32 || n == 0 || n > uint64(len(b)) { // an offset takes a byte at least
			return errPacked
		}
		p += gap
		for ; n > 0 && err == nil; n-- {
			o := next()
			if o > math.MaxInt64 || p > math.MaxInt32 {
				return errPacked
			}
			c.Offsets[int32(p)] = int64(o)
			if epochs {
				e := next()
				if e > math.MaxInt32+1 {
					return errPacked
				}
				c.SetEpoch(int32(p), int32(int64(e)-1))
			}
			p++
		}
	}
	return err
}

// ParseCursor reads the text form of a cursor. Numbers are canonical unsigned
// decimals: no sign, no leading zero, no space.
func ParseCursor(s string) (Cursor, error) {
	if len(s) > maxCursorText {
		return Cursor{}, fmt.Errorf("cursor of %d bytes: at most %d are allowed", len(s), maxCursorText)
	}
	id, list, ok := strings.Cut(s, ":")
	if !ok || id == "" {
		return Cursor{}, fmt.Errorf("cursor %q: want stream:partition=offset@epoch,…", clip(s))
	}
	c := Cursor{StreamID: id, Offsets: make(map[int32]int64)}
	if list == "" {
		return c, nil
	}
	if list[0] == packedMark {
		list, epochs := strings.CutPrefix(list[1:], string(packedMark))
		if err := c.unpack(list, epochs); err != nil {
			return Cursor{}, err
		}
		if c.String() != s { // one text for each cursor
			return Cursor{}, errPacked
		}
		return c, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		ps, os, ok := strings.Cut(part, "=")
		if !ok {
			return Cursor{}, fmt.Errorf("cursor: %q: want partition=offset or partition=offset@epoch", clip(part))
		}
		os, es, hasEpoch := strings.Cut(os, string(epochMark))
		p, err := parseCanonical(ps, 31)
		if err != nil {
			return Cursor{}, fmt.Errorf("cursor: partition %w", err)
		}
		o, err := parseCanonical(os, 63)
		if err != nil {
			return Cursor{}, fmt.Errorf("cursor: offset of partition %d: %w", p, err)
		}
		if _, dup := c.Offsets[int32(p)]; dup {
			return Cursor{}, fmt.Errorf("cursor: partition %d is listed twice", p)
		}
		c.Offsets[int32(p)] = o
		if hasEpoch {
			e, err := parseCanonical(es, 31)
			if err != nil {
				return Cursor{}, fmt.Errorf("cursor: leader epoch of partition %d: %w", p, err)
			}
			c.SetEpoch(int32(p), int32(e))
		}
	}
	return c, nil
}

func parseCanonical(s string, bits int) (int64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%q: want an unsigned decimal below 2^%d without sign or leading zeros", clip(s), bits)
	}
	return int64(n), nil
}

// clip bounds untrusted text in an error, on a rune boundary.
func clip(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	n := limit
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
