package feed

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Cursor is a place in one stream: for each partition listed, the offset of the
// next record to read.
type Cursor struct {
	StreamID string
	Offsets  map[int32]int64
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

// maxCursorText bounds ParseCursor's input; 5,000 partitions of 20-digit
// offsets fit.
const maxCursorText = 128 << 10

// String gives the text form of a cursor, "stream:partition=offset,…", with the
// partitions in ascending order. It is the id of server-sent events.
func (c Cursor) String() string {
	parts := slices.Sorted(maps.Keys(c.Offsets))
	b := make([]byte, 0, len(c.StreamID)+1+16*len(parts))
	b = append(b, c.StreamID...)
	b = append(b, ':')
	for i, p := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(p), 10)
		b = append(b, '=')
		b = strconv.AppendInt(b, c.Offsets[p], 10)
	}
	return string(b)
}

// ParseCursor reads the text form of a cursor. Numbers are canonical unsigned
// decimals: no sign, no leading zero, no space.
func ParseCursor(s string) (Cursor, error) {
	if len(s) > maxCursorText {
		return Cursor{}, fmt.Errorf("cursor of %d bytes: at most %d are allowed", len(s), maxCursorText)
	}
	id, list, ok := strings.Cut(s, ":")
	if !ok || id == "" {
		return Cursor{}, fmt.Errorf("cursor %q: want stream:partition=offset,…", clip(s))
	}
	c := Cursor{StreamID: id, Offsets: make(map[int32]int64)}
	if list == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		ps, os, ok := strings.Cut(part, "=")
		if !ok {
			return Cursor{}, fmt.Errorf("cursor: %q: want partition=offset", clip(part))
		}
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
