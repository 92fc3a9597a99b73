package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/wire"
)

// faultLogInterval is how often a record that cannot be shown is logged, after the
// first ones.
const faultLogInterval = time.Minute

// encoder makes the frames of segments.
type encoder struct {
	limits wire.Limits
	decode func([]byte, wire.Limits) (*dashstreampb.DashStreamMessage, error)
	// faults counts the records that could not be encoded; told bounds how many of
	// them are logged.
	faults prometheus.Counter
	log    *slog.Logger
	told   *rate.Sometimes
}

func newEncoder(l wire.Limits, faults prometheus.Counter, log *slog.Logger) encoder {
	// Readers of the past meet a bad record again and again.
	return encoder{limits: l, decode: wire.Decode, faults: faults, log: log, told: &rate.Sometimes{First: 10, Interval: faultLogInterval}}
}

// segment encodes the records that the filter selects, or nil when there is
// nothing to tell. Without a filter a segment that has no records still tells
// how far it goes. It panics when not even errors in place of the records can be
// encoded.
func (c encoder) segment(enc encoding, streamID string) func(*feed.Segment, *feed.Filter) ([]byte, int) {
	return func(s *feed.Segment, f *feed.Filter) ([]byte, int) {
		var records []*feed.Record
		s.Matching(f, func(r *feed.Record) { records = append(records, r) })
		if len(records) == 0 {
			if f != nil {
				return nil, 0
			}
			return enc.frame(&streampb.ServerFrame{Frame: &streampb.ServerFrame_Progress{Progress: &streampb.Progress{Cursor: movesPB(streamID, s.Moves)}}}), 0
		}
		b, err := contained(func() ([]byte, error) { return c.batch(enc, streamID, s.Moves, records) })
		if err != nil {
			b, err = c.withoutFaults(enc, streamID, s.Moves, records)
		}
		if err != nil {
			panic(err)
		}
		return b, len(records)
	}
}

// batch encodes records.
func (c encoder) batch(enc encoding, streamID string, moves []feed.Move, records []*feed.Record) ([]byte, error) {
	if enc == encodingProto && !slices.ContainsFunc(records, c.tooLarge) {
		return appendProtoBatch(records, streamID, moves), nil
	}
	batch := &streampb.Batch{Cursor: movesPB(streamID, moves), Records: make([]*streampb.Record, len(records))}
	for i, r := range records {
		batch.Records[i] = c.record(enc, r)
	}
	b, err := enc.encode(batchFrame(batch))
	// Numbers and names take more than what was counted before.
	if limit := jsonLimit(c.limits); err == nil && enc != encodingProto && len(records) == 1 && batch.Records[0].Message != nil && len(b) > limit+frameSpare(records[0]) {
		batch.Records[0].Message, batch.Records[0].Error = nil, jsonError(records[0], limit)
		return enc.encode(batchFrame(batch))
	}
	return b, err
}

func batchFrame(b *streampb.Batch) *streampb.ServerFrame {
	return &streampb.ServerFrame{Frame: &streampb.ServerFrame_Batch{Batch: b}}
}

func (c encoder) record(enc encoding, r *feed.Record) *streampb.Record {
	if enc == encodingProto {
		return c.stored(r)
	}
	return c.decoded(r)
}

// withoutFaults encodes records of which at least one cannot be: whatever is wrong
// with one, its clients would meet it again and again, and never what comes after
// it. It has an error in its place.
func (c encoder) withoutFaults(enc encoding, streamID string, moves []feed.Move, records []*feed.Record) ([]byte, error) {
	batch := &streampb.Batch{Cursor: movesPB(streamID, moves), Records: make([]*streampb.Record, len(records))}
	for i, r := range records {
		_, err := contained(func() ([]byte, error) {
			batch.Records[i] = c.record(enc, r)
			return enc.encode(batchFrame(&streampb.Batch{Records: batch.Records[i : i+1]}))
		})
		if err == nil {
			continue
		}
		c.faults.Inc()
		c.told.Do(func() {
			var stack []byte
			if e, ok := errors.AsType[*feed.EncodeError](err); ok {
				stack = e.Stack
			}
			c.log.Error("record cannot be shown by a fault of the gateway", "partition", r.Partition, "offset", r.Offset, "encoding", enc, "error", err, "stack", string(stack))
		})
		batch.Records[i] = place(r)
		batch.Records[i].Error = &streampb.RecordError{
			Reason: string(wire.ReasonInternal), Detail: "a fault of the gateway: its log says more", ValueBytes: int64(len(r.Value)),
		}
	}
	return enc.encode(batchFrame(batch))
}

// contained makes an error of a panic.
func contained(encode func() ([]byte, error)) (b []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, &feed.EncodeError{Panic: p, Stack: debug.Stack()}
		}
	}()
	return encode()
}

// frameSpare is more than a JSON frame of one record takes beside its message and
// the cursor of the few partitions that move with it.
func frameSpare(r *feed.Record) int {
	n := 64<<10 + len(r.Key)*2
	for _, h := range r.Headers {
		n += 6*len(h.Key) + 2*len(h.Value) + 64
	}
	return n
}

func (c encoder) tooLarge(r *feed.Record) bool { return len(r.Value) > c.limits.Framed }

// place gives a record without its value.
func place(r *feed.Record) *streampb.Record {
	out := &streampb.Record{Partition: proto.Int32(r.Partition), Offset: proto.Int64(r.Offset), TimestampMs: proto.Int64(r.Timestamp), Key: r.Key}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, &streampb.RecordHeader{Key: strings.ToValidUTF8(h.Key, "\uFFFD"), Value: h.Value})
	}
	return out
}

// stored gives a record with its value as it is, unless that is above the
// limit.
func (c encoder) stored(r *feed.Record) *streampb.Record {
	out := place(r)
	if c.tooLarge(r) {
		_, err := c.decode(r.Value, c.limits)
		out.Error = recordError(r, err)
		return out
	}
	out.Value = r.Value
	return out
}

func recordError(r *feed.Record, err error) *streampb.RecordError {
	return &streampb.RecordError{Reason: string(wire.ReasonOf(err)), Detail: clip(err.Error(), 512), ValueBytes: int64(len(r.Value))}
}

// decoded gives a record with its message, or with the reason why there is
// none.
func (c encoder) decoded(r *feed.Record) *streampb.Record {
	out := place(r)
	m, err := c.decode(r.Value, c.limits)
	if err != nil {
		out.Error = recordError(r, err)
		return out
	}
	if limit := jsonLimit(c.limits); len(r.Value) > 0 && wire.DecodedSize(r.Value, c.limits.Decoded) > limit/8 && jsonExceeds(m.ProtoReflect(), limit) {
		out.Error = jsonError(r, limit)
		return out
	}
	out.Message = m
	return out
}

// jsonError says that a record is too large on JSON alone.
func jsonError(r *feed.Record, limit int) *streampb.RecordError {
	return &streampb.RecordError{
		Reason:     string(wire.ReasonTooLarge),
		Detail:     fmt.Sprintf("as JSON the message takes more than %d bytes, the limit; the subprotocol %s carries it", limit, protocolProto),
		ValueBytes: int64(len(r.Value)),
	}
}

// positionPB gives the place in one partition; an epoch below 0 is not known.
func positionPB(p int32, offset int64, epoch int32) *streampb.PartitionOffset {
	at := &streampb.PartitionOffset{Partition: &p, NextOffset: &offset}
	if epoch >= 0 {
		at.LeaderEpoch = &epoch
	}
	return at
}

func movesPB(streamID string, moves []feed.Move) *streampb.Cursor {
	c := &streampb.Cursor{StreamId: streamID, Partitions: make([]*streampb.PartitionOffset, len(moves))}
	for i, m := range moves {
		c.Partitions[i] = positionPB(m.Partition, m.Next, m.Epoch)
	}
	return c
}
