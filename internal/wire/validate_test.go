package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/proto"
)

func diffOf(ops ...*pb.DiffOperation) *pb.DashStreamMessage {
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{
		Header: &pb.Header{MessageId: make([]byte, 16)}, Operations: ops,
	}}}
}

func replace(value string) *pb.DiffOperation {
	return &pb.DiffOperation{Op: pb.DiffOperation_OP_TYPE_REPLACE, Path: "/a", Value: []byte(value)}
}

func checkpointOf(c *pb.Checkpoint) *pb.DashStreamMessage {
	c.Header = &pb.Header{MessageId: make([]byte, 16)}
	return &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: c}}
}

// TestValidate holds the rules of WIR-08, WIR-09 and WIR-14: what cannot be
// applied exactly is an error, and never something else that can.
func TestValidate(t *testing.T) {
	t.Parallel()
	encoded := func(e pb.DiffOperation_ValueEncoding) *pb.DiffOperation {
		op := replace(`1`)
		op.Encoding = e
		return op
	}
	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
		want Reason
	}{
		{"nothing", nil, ""},
		{"event", smallEvent(), ""},
		{"no operations", diffOf(), ""},
		{"good values", diffOf(replace(`{"a":[1,2.50,1e400,"é\u00e9\ud83c\udf0d"]}`), replace(` null `), replace(`""`)), ""},
		{"remove without a value", diffOf(&pb.DiffOperation{Op: pb.DiffOperation_OP_TYPE_REMOVE, Path: "/a"}), ""},
		{"move", diffOf(&pb.DiffOperation{Op: pb.DiffOperation_OP_TYPE_MOVE, From: "/a", Path: "/b"}), ""},
		{"MessagePack", diffOf(replace(`1`), encoded(pb.DiffOperation_VALUE_ENCODING_MSGPACK)), ReasonUnsupportedEncoding},
		{"protobuf", diffOf(encoded(pb.DiffOperation_VALUE_ENCODING_PROTOBUF)), ReasonUnsupportedEncoding},
		{"raw", diffOf(encoded(pb.DiffOperation_VALUE_ENCODING_RAW)), ReasonUnsupportedEncoding},
		{"later encoding", diffOf(encoded(77)), ReasonUnsupportedEncoding},
		{"encoding of a remove", diffOf(&pb.DiffOperation{Op: pb.DiffOperation_OP_TYPE_REMOVE, Encoding: 1}), ReasonUnsupportedEncoding},
		{"later operation", diffOf(&pb.DiffOperation{Op: 9, Value: []byte(`1`)}), ReasonUnsupportedEncoding},
		{"nil operation adds nothing", diffOf(nil), ReasonInvalidJSON},
		{"no value", diffOf(replace(``)), ReasonInvalidJSON},
		{"bare word", diffOf(replace(`1`), replace(`hello`)), ReasonInvalidJSON},
		{"NaN", diffOf(replace(`NaN`)), ReasonInvalidJSON},
		{"leading zero", diffOf(replace(`007`)), ReasonInvalidJSON},
		{"two values", diffOf(replace(`1 2`)), ReasonInvalidJSON},
		{"cut off", diffOf(replace(`{"a":`)), ReasonInvalidJSON},
		{"only space", diffOf(replace(` `)), ReasonInvalidJSON},
		{"not UTF-8", diffOf(replace("\"\xff\"")), ReasonInvalidJSON},
		{"half a surrogate pair", diffOf(replace(`"\ud83c"`)), ReasonInvalidJSON},
		{"repeated name", diffOf(replace(`{"a":1,"\u0061":2}`)), ReasonInvalidJSON},
		{"nested too deep", diffOf(replace(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))), ReasonInvalidJSON},
		{"full state", &pb.DashStreamMessage{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{FullState: []byte(`{`)}}}, ReasonInvalidJSON},
		{"checkpoint", checkpointOf(&pb.Checkpoint{State: []byte(`{"n":1}`)}), ""},
		{"checkpoint without state", checkpointOf(&pb.Checkpoint{StorageUri: "s3://b/k"}), ""},
		{"checkpoint that is no JSON", checkpointOf(&pb.Checkpoint{State: []byte("{\"n\":\"\xc3\x28\"}")}), ReasonInvalidJSON},
		{"checkpoint, LZ4", checkpointOf(&pb.Checkpoint{State: []byte("x"), CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_LZ4}}), ReasonUnsupportedEncoding},
		{"checkpoint, later compression", checkpointOf(&pb.Checkpoint{State: []byte("x"), CompressionInfo: &pb.CompressionInfo{Type: 44}}), ReasonUnsupportedEncoding},
		{"trace", &pb.DashStreamMessage{Message: &pb.DashStreamMessage_ExecutionTrace{ExecutionTrace: &pb.ExecutionTrace{FinalState: []byte(`x`)}}}, ReasonInvalidJSON},
	} {
		var before *pb.DashStreamMessage
		if c.m != nil {
			before = proto.CloneOf(c.m)
		}
		err := Validate(c.m)
		if ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want reason %q", c.name, err, c.want)
		}
		if !proto.Equal(before, c.m) {
			t.Errorf("%s: the message changed", c.name)
		}
	}
}

// TestErrorsHoldNoContent: what is wrong with a value is said without it, since
// errors go to logs and dead letters.
func TestErrorsHoldNoContent(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`{"sk-secret":1,"sk-secret":2}`, `{"sk-secret":`, `{"a":{"sk-secret":nope}}`, `sk-secret`, `"x" "sk-secret"`} {
		err := Validate(diffOf(replace(value)))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestCheckIDs(t *testing.T) {
	t.Parallel()
	id := make([]byte, 16)
	for _, c := range []struct {
		name string
		edit func(h *pb.Header)
		want Reason
	}{
		{"as it should be", func(*pb.Header) {}, ""},
		{"no message id", func(h *pb.Header) { h.MessageId = nil }, ReasonInvalidID},
		{"short message id", func(h *pb.Header) { h.MessageId = id[:15] }, ReasonInvalidID},
		{"long message id", func(h *pb.Header) { h.MessageId = make([]byte, 17) }, ReasonInvalidID},
		{"parent id", func(h *pb.Header) { h.ParentId = id }, ""},
		{"huge parent id", func(h *pb.Header) { h.ParentId = make([]byte, MaxBinaryIDBytes+1) }, ReasonInvalidID},
		{"longest thread id", func(h *pb.Header) { h.ThreadId = strings.Repeat("t", MaxTextIDBytes) }, ""},
		{"huge thread id", func(h *pb.Header) { h.ThreadId = strings.Repeat("t", MaxTextIDBytes+1) }, ReasonInvalidID},
		{"huge tenant id", func(h *pb.Header) { h.TenantId = strings.Repeat("t", MaxTextIDBytes+1) }, ReasonInvalidID},
	} {
		m := smallEvent()
		c.edit(HeaderOf(m))
		if err := CheckIDs(m); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want reason %q", c.name, err, c.want)
		}
		batch := batchOf(3)
		c.edit(batch.GetEventBatch().Events[2].Header)
		if err := CheckIDs(batch); ReasonOf(err) != c.want {
			t.Errorf("%s, in a batch: %v, want reason %q", c.name, err, c.want)
		}
	}
	hash := sha256.Sum256(nil)
	for _, c := range []struct {
		name string
		m    *pb.DashStreamMessage
		want Reason
	}{
		{"hash", checkpointOf(&pb.Checkpoint{Checksum: hash[:], CheckpointId: id}), ""},
		{"short hash", checkpointOf(&pb.Checkpoint{Checksum: hash[:31]}), ReasonInvalidID},
		{"huge checkpoint id", checkpointOf(&pb.Checkpoint{CheckpointId: make([]byte, 65)}), ReasonInvalidID},
		{"no header", &pb.DashStreamMessage{}, ReasonInvalidID},
	} {
		if err := CheckIDs(c.m); ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want reason %q", c.name, err, c.want)
		}
	}
	diff := diffOf()
	diff.GetStateDiff().StateHash = []byte("short")
	if err := CheckIDs(diff); ReasonOf(err) != ReasonInvalidID {
		t.Errorf("state hash: %v", err)
	}
	diff.GetStateDiff().StateHash, diff.GetStateDiff().BaseCheckpointId = nil, make([]byte, 65)
	if err := CheckIDs(diff); ReasonOf(err) != ReasonInvalidID {
		t.Errorf("base checkpoint id: %v", err)
	}
}

func TestCheckpointState(t *testing.T) {
	t.Parallel()
	state := []byte(`{"n":[` + strings.Repeat("1,", 5000) + `1]}`)
	packed := goodZstd(t, state)
	zinfo := &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD, UncompressedSize: uint64(len(state))}
	for _, c := range []struct {
		name  string
		c     *pb.Checkpoint
		limit int
		want  Reason
	}{
		{"plain", &pb.Checkpoint{State: state}, len(state), ""},
		{"plain above the limit", &pb.Checkpoint{State: state}, len(state) - 1, ReasonTooLarge},
		{"zstd", &pb.Checkpoint{State: packed, CompressionInfo: zinfo}, len(state), ""},
		{"zstd, size left out", &pb.Checkpoint{State: packed, CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD}}, len(state), ""},
		{"zstd above the limit", &pb.Checkpoint{State: packed, CompressionInfo: zinfo}, len(state) - 1, ReasonTooLarge},
		{"another size", &pb.Checkpoint{State: packed, CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD, UncompressedSize: 5}}, 1 << 20, ReasonDecompress},
		{"not zstd", &pb.Checkpoint{State: state, CompressionInfo: zinfo}, 1 << 20, ReasonDecompress},
		{"not JSON inside", &pb.Checkpoint{State: goodZstd(t, []byte("{")), CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD}}, 1 << 20, ReasonInvalidJSON},
		{"Snappy", &pb.Checkpoint{State: state, CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_SNAPPY}}, 1 << 20, ReasonUnsupportedEncoding},
	} {
		got, err := CheckpointState(c.c, c.limit)
		if ReasonOf(err) != c.want {
			t.Errorf("%s: %v, want reason %q", c.name, err, c.want)
		}
		if err == nil && !bytes.Equal(got, state) {
			t.Errorf("%s: %d bytes", c.name, len(got))
		}
	}
	if got, err := CheckpointState(&pb.Checkpoint{}, 10); got != nil || err != nil {
		t.Errorf("no state: %v, %v", got, err)
	}
}

func TestReasonOf(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("record 5: %w", refuse(ReasonDecompress, "cause: %v", errTest))
	if ReasonOf(err) != ReasonDecompress || !errors.Is(err, errTest) {
		t.Errorf("%v: reason %q", err, ReasonOf(err))
	}
	if ReasonOf(nil) != "" || ReasonOf(errTest) != ReasonOther {
		t.Error("nil or foreign errors have a reason")
	}
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] || strings.ToLower(string(r)) != string(r) {
			t.Errorf("reason %q", r)
		}
		seen[r] = true
	}
}

var errTest = errors.New("test")

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		us   int64
		want string
	}{
		{0, "1970-01-01T00:00:00Z"},
		{-1, "1969-12-31T23:59:59.999999Z"},
		{1764009620123456, "2025-11-24T18:40:20.123456Z"},
		{32503680000000000, "3000-01-01T00:00:00Z"},
		{253402300799999999, "9999-12-31T23:59:59.999999Z"},
		{253402300800000000, ""},
		{1764009620123456000, ""}, // nanoseconds
		{-62135596800000000, "0001-01-01T00:00:00Z"},
		{-62135596800000001, ""},
		{1<<63 - 1, ""},
		{-1 << 63, ""},
	} {
		got, ok := Time(c.us)
		if ok != (c.want != "") || ok && got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("Time(%d) = %s, %t, want %q", c.us, got, ok, c.want)
		}
		if ok && Timestamp(got) != c.us {
			t.Errorf("Timestamp(Time(%d)) = %d", c.us, Timestamp(got))
		}
	}
	for us, want := range map[int64]time.Duration{0: 0, 1: time.Microsecond, 9223372036854775: 9223372036854775 * time.Microsecond} {
		if got, ok := Duration(us); !ok || got != want || DurationUS(got) != us {
			t.Errorf("Duration(%d) = %s, %t", us, got, ok)
		}
	}
	for _, us := range []int64{-1, -1 << 63, 9223372036854776, DurationOverflow} {
		if got, ok := Duration(us); ok {
			t.Errorf("Duration(%d) = %s, want no duration", us, got)
		}
	}
	if DurationUS(-time.Second) != 0 || DurationUS(1999*time.Nanosecond) != 1 {
		t.Error("DurationUS rounds or signs wrongly")
	}
}
