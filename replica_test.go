package dashstream_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
)

// replica is a reader's copy of one thread's state: a pure function of the messages in their order. It stops believing
// its copy at the first gap or wrong hash, until a whole state comes.
type replica struct {
	state       []byte
	frozen      bool
	last        uint64
	base        []byte // id of the last checkpoint, if state builds on it
	unavailable string

	diffs, fulls, checkpoints, froze int
}

func replicate(t testing.TB, records []record, thread string) *replica {
	t.Helper()
	v := &replica{frozen: true}
	for _, r := range records {
		if r.header().ThreadId == thread {
			v.apply(t, r.msg)
		}
	}
	return v
}

func (v *replica) freeze() {
	if !v.frozen {
		v.froze++
	}
	v.frozen = true
}

func (v *replica) whole(t testing.TB, state []byte) {
	t.Helper()
	if len(state) == 0 {
		t.Error("a message has an empty state")
	}
	v.state, v.frozen, v.unavailable = state, false, ""
}

func (v *replica) apply(t testing.TB, m *pb.DashStreamMessage) {
	t.Helper()
	h := record{msg: m}.header()
	if h.Sequence != v.last+1 {
		v.freeze()
	}
	v.last = h.Sequence
	switch w := m.Message.(type) {
	case *pb.DashStreamMessage_Event:
		if w.Event.EventType == pb.EventType_EVENT_TYPE_GRAPH_START {
			v.frozen = true
			v.base = nil
			if a := w.Event.Attributes["initial_state_json"]; a != nil && a.GetMapValue() == nil {
				v.whole(t, []byte(a.GetStringValue()))
			}
		}
	case *pb.DashStreamMessage_Error:
		if w.Error.ErrorCode == "state_unavailable" {
			v.unavailable = w.Error.Context["reason"]
		}
	case *pb.DashStreamMessage_Checkpoint:
		v.checkpoints++
		if sum := sha256.Sum256(w.Checkpoint.State); !bytes.Equal(sum[:], w.Checkpoint.Checksum) {
			t.Error("a checkpoint's checksum is not that of its state")
		}
		if doc, _ := jcs.Canonicalize(v.state); !v.frozen && !bytes.Equal(doc.JSON, w.Checkpoint.State) {
			t.Errorf("the checkpoint at %d differs from the state before:\n%.300s\n%.300s", h.Sequence, w.Checkpoint.State, v.state)
		}
		v.whole(t, w.Checkpoint.State)
		v.base = w.Checkpoint.CheckpointId
	case *pb.DashStreamMessage_StateDiff:
		d := w.StateDiff
		if len(d.FullState) > 0 {
			v.fulls++
			v.whole(t, d.FullState)
			v.base = nil
		} else {
			v.diffs++
			if len(d.Operations) == 0 {
				t.Errorf("the diff at %d has neither operations nor a state", h.Sequence)
			}
			if v.frozen {
				return
			}
			if !bytes.Equal(d.BaseCheckpointId, v.base) {
				t.Errorf("the diff at %d builds on checkpoint %x, the last is %x", h.Sequence, d.BaseCheckpointId, v.base)
			}
			v.state = patch(t, v.state, d.Operations)
		}
		if len(d.StateHash) > 0 {
			doc, err := jcs.Canonicalize(v.state)
			if err != nil {
				t.Fatal(err)
			}
			if sum, ok := doc.Hash(); !ok || !bytes.Equal(sum[:], d.StateHash) {
				t.Errorf("the hash of the diff at %d is not that of the state", h.Sequence)
				v.freeze()
			}
		}
	}
}

func patch(t testing.TB, state []byte, ops []*pb.DiffOperation) []byte {
	t.Helper()
	var list []map[string]any
	for _, op := range ops {
		m := map[string]any{"op": map[pb.DiffOperation_OpType]string{0: "add", 1: "remove", 2: "replace"}[op.Op], "path": op.Path}
		if len(op.Value) > 0 {
			m["value"] = json.RawMessage(op.Value)
		}
		list = append(list, m)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Apply(state)
	if err != nil {
		t.Fatal(fmt.Errorf("apply %.300s: %w", text, err))
	}
	return out
}

// canonical is what a state should look like to readers.
func canonical(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jcs.Canonicalize(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc.JSON)
}

func (v *replica) wants(t testing.TB, state any) {
	t.Helper()
	if v.frozen {
		t.Error("the reader has no state")
		return
	}
	doc, err := jcs.Canonicalize(v.state)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(doc.JSON), canonical(t, state); got != want {
		t.Errorf("the reader has\n%.500s, want\n%.500s", got, want)
	}
}
