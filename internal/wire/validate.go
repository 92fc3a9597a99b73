package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MessageIDBytes is the exact size of a message_id, a UUID.
	MessageIDBytes = 16
	// HashBytes is the exact size of a state hash or checksum, SHA-256.
	HashBytes = 32
	// MaxBinaryIDBytes bounds the other binary ids.
	MaxBinaryIDBytes = 64
	// MaxTextIDBytes bounds the tenant and thread id.
	MaxTextIDBytes = 1024
)

// MessageKey returns a message_id as a key for finding duplicates. ok is false
// unless it has exactly 16 bytes: such a message has no identity, and its id,
// which may be of any size, must not be kept.
func MessageKey(id []byte) (key [MessageIDBytes]byte, ok bool) {
	if len(id) != MessageIDBytes {
		return key, false
	}
	return [MessageIDBytes]byte(id), true
}

// CheckIDs reports the first identifier of m that is of the wrong size, as an
// [Error] with ReasonInvalidID. It is apart from [Decode]: the content of such
// a message is sound and is shown; the caller counts it and does without the
// id. A message_id, of an event in a batch too, has exactly 16 bytes.
func CheckIDs(m *pb.DashStreamMessage) error {
	if err := checkHeaderIDs(HeaderOf(m)); err != nil {
		return err
	}
	for _, ev := range batchEvents(m) {
		if err := checkHeaderIDs(ev.GetHeader()); err != nil {
			return err
		}
	}
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_StateDiff:
		if err := checkID("base_checkpoint_id", w.StateDiff.GetBaseCheckpointId()); err != nil {
			return err
		}
		return checkHash("state_hash", w.StateDiff.GetStateHash())
	case *pb.DashStreamMessage_Checkpoint:
		if err := checkID("checkpoint_id", w.Checkpoint.GetCheckpointId()); err != nil {
			return err
		}
		return checkHash("checksum", w.Checkpoint.GetChecksum())
	}
	return nil
}

func checkHeaderIDs(h *pb.Header) error {
	if n := len(h.GetMessageId()); n != MessageIDBytes {
		return refuse(ReasonInvalidID, "message_id of %d bytes, it has exactly %d", n, MessageIDBytes)
	}
	if n := len(h.GetThreadId()); n > MaxTextIDBytes {
		return refuse(ReasonInvalidID, "thread_id of %d bytes, the limit is %d", n, MaxTextIDBytes)
	}
	if n := len(h.GetTenantId()); n > MaxTextIDBytes {
		return refuse(ReasonInvalidID, "tenant_id of %d bytes, the limit is %d", n, MaxTextIDBytes)
	}
	return checkID("parent_id", h.GetParentId())
}

func checkID(name string, id []byte) error {
	if len(id) > MaxBinaryIDBytes {
		return refuse(ReasonInvalidID, "%s of %d bytes, the limit is %d", name, len(id), MaxBinaryIDBytes)
	}
	return nil
}

func checkHash(name string, hash []byte) error {
	if n := len(hash); n != 0 && n != HashBytes {
		return refuse(ReasonInvalidID, "%s of %d bytes, it has %d or is empty", name, n, HashBytes)
	}
	return nil
}

// Validate reports whether the content of m may be applied to a state, as an
// [Error]: ReasonUnsupportedEncoding for an encoding, operation or compression
// that is not read, ReasonInvalidJSON for state that is not one JSON value in
// UTF-8 with unique names. It looks at one message and all of it: a diff with
// one bad operation is bad as a whole. Compressed checkpoints are checked by
// [CheckpointState].
func Validate(m *pb.DashStreamMessage) error {
	switch w := m.GetMessage().(type) {
	case *pb.DashStreamMessage_StateDiff:
		return validateDiff(w.StateDiff)
	case *pb.DashStreamMessage_Checkpoint:
		return validateCheckpoint(w.Checkpoint)
	case *pb.DashStreamMessage_ExecutionTrace:
		return checkJSON("final_state", w.ExecutionTrace.GetFinalState())
	}
	return nil
}

func validateDiff(d *pb.StateDiff) error {
	for i, op := range d.GetOperations() {
		if enc := op.GetEncoding(); enc != pb.DiffOperation_VALUE_ENCODING_JSON {
			return refuse(ReasonUnsupportedEncoding, "operation %d has value encoding %s, only VALUE_ENCODING_JSON is read", i, enc)
		}
		switch op.GetOp() {
		case pb.DiffOperation_OP_TYPE_ADD, pb.DiffOperation_OP_TYPE_REPLACE, pb.DiffOperation_OP_TYPE_TEST:
			if len(op.GetValue()) == 0 {
				return refuse(ReasonInvalidJSON, "operation %d has no value", i)
			}
			if err := jsonError(op.GetValue()); err != nil {
				return refuse(ReasonInvalidJSON, "value of operation %d is not JSON: %v", i, err)
			}
		case pb.DiffOperation_OP_TYPE_REMOVE, pb.DiffOperation_OP_TYPE_MOVE, pb.DiffOperation_OP_TYPE_COPY:
		default:
			return refuse(ReasonUnsupportedEncoding, "operation %d is of unknown type %d", i, int32(op.GetOp()))
		}
	}
	return checkJSON("full_state", d.GetFullState())
}

func validateCheckpoint(c *pb.Checkpoint) error {
	switch t := c.GetCompressionInfo().GetType(); t {
	case pb.CompressionType_COMPRESSION_NONE:
		return checkJSON("state", c.GetState())
	case pb.CompressionType_COMPRESSION_ZSTD:
		return nil
	default:
		return refuse(ReasonUnsupportedEncoding, "checkpoint compressed as %s, only COMPRESSION_ZSTD is read", t)
	}
}

// CheckpointState returns the JSON of a checkpoint, decompressed where it is
// compressed, nil if the checkpoint has none. The result may alias c. It is
// bounded by limit bytes; errors are those of [Validate] and [Decompress], and
// ReasonDecompress where the size is not the one that the checkpoint declares.
// The checksum is not verified here.
func CheckpointState(c *pb.Checkpoint, limit int) ([]byte, error) {
	if err := validateCheckpoint(c); err != nil {
		return nil, err
	}
	state := c.GetState()
	if info := c.GetCompressionInfo(); info.GetType() == pb.CompressionType_COMPRESSION_ZSTD && len(state) > 0 {
		plain, err := Decompress(nil, state, limit)
		if err != nil {
			return nil, err
		}
		if want := info.GetUncompressedSize(); want != 0 && want != uint64(len(plain)) {
			return nil, refuse(ReasonDecompress, "checkpoint declares %d bytes and holds %d", want, len(plain))
		}
		if err := checkJSON("state", plain); err != nil {
			return nil, err
		}
		return plain, nil
	}
	if len(state) > limit {
		return nil, tooLarge("checkpoint state", len(state), limit)
	}
	return state, nil
}

func checkJSON(name string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := jsonError(b); err != nil {
		return refuse(ReasonInvalidJSON, "%s is not JSON: %v", name, err)
	}
	return nil
}

// jsonError says what is wrong with b as one JSON value, without quoting it.
// Invalid UTF-8, lone surrogates and repeated names are errors: whoever
// substituted or chose would make another state of it.
func jsonError(b []byte) error {
	if jsontext.Value(b).IsValid() {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(b))
	_, err := dec.ReadValue()
	if err == nil {
		return fmt.Errorf("more than one value, the first ends at byte %d of %d", dec.InputOffset(), len(b))
	}
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("an object repeats a name")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("cut off after %d bytes", len(b))
	case errors.As(err, &syntax):
		return fmt.Errorf("not valid after byte %d of %d", syntax.ByteOffset, len(b))
	}
	return fmt.Errorf("not valid within %d bytes", len(b))
}
