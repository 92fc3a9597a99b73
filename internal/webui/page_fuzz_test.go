package webui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/statediff"
	"github.com/dashflow/dashstream/internal/streampb"
)

// page is the page's own code in Node, which is asked one thing at a time.
type page struct {
	in  io.Writer
	out *bufio.Reader
}

type pageAnswer struct {
	Frame          json.RawMessage
	Doc            *string
	Refused, Fault string
}

func startPage(f *testing.F) *page {
	f.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		f.Skip("node is not installed: the page's code was not asked")
	}
	cmd := exec.Command(node, "jstest/answer.mjs")
	in, err := cmd.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		_ = in.Close() // it ends with its input
		_ = cmd.Wait()
	})
	return &page{in, bufio.NewReaderSize(out, 1<<20)}
}

func (p *page) ask(t *testing.T, question map[string]any) pageAnswer {
	t.Helper()
	b, err := json.Marshal(question)
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var a pageAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%v: %.500s", err, line)
	}
	if a.Fault != "" {
		t.Fatalf("%.500s: %s", b, a.Fault)
	}
	return a
}

// pageFrame is what the page reads of a frame that both must understand alike.
type pageFrame struct {
	Kind    string
	Cursor  *pageCursor
	Records []struct {
		Partition   int32
		Offset      int64 `json:",string"`
		TimestampMs float64
		Error       *struct{ Reason string }
	}
	Partition    *int32
	From, To     string
	Code, Field  string
	StreamID     string `json:"streamId"`
	Partitions   []struct{ Partition int32 }
	PreviousName string `json:"previousStreamId"`
}

type pageCursor struct {
	StreamID   string `json:"streamId"`
	Partitions []struct {
		Partition   int32
		NextOffset  int64 `json:",string"`
		LeaderEpoch *int32
	}
}

// Invariants: whatever a text is, the page reads it as a frame or refuses it by
// itself, in a line; a frame that the gateway could send it reads as the schema has
// it, each number exactly.
func FuzzFrameInThePage(f *testing.F) {
	cursor := &streampb.Cursor{StreamId: "s", Partitions: []*streampb.PartitionOffset{{Partition: proto.Int32(0), NextOffset: proto.Int64(1<<63 - 1), LeaderEpoch: proto.Int32(5)}, {Partition: proto.Int32(7), NextOffset: proto.Int64(0)}}}
	for _, frame := range []*streampb.ServerFrame{
		{Frame: &streampb.ServerFrame_Hello{Hello: &streampb.Hello{StreamId: "s", Topic: "t", Partitions: []*streampb.PartitionRange{{Partition: proto.Int32(0)}}}}},
		{Frame: &streampb.ServerFrame_Batch{Batch: &streampb.Batch{Cursor: cursor, Records: []*streampb.Record{
			{Partition: proto.Int32(0), Offset: proto.Int64(1 << 60), TimestampMs: proto.Int64(-1), Error: &streampb.RecordError{Reason: "internal"}},
			{Partition: proto.Int32(7), Offset: proto.Int64(0), TimestampMs: proto.Int64(5), Headers: []*streampb.RecordHeader{{Key: "dashstream-epoch", Value: []byte("0123456789abcdef")}}},
		}}}},
		{Frame: &streampb.ServerFrame_Gap{Gap: &streampb.Gap{Partition: proto.Int32(1), From: proto.Int64(5), To: proto.Int64(6), Cursor: cursor}}},
		{Frame: &streampb.ServerFrame_Reset_{Reset_: &streampb.Reset{PreviousStreamId: "x", Cursor: cursor}}},
		{Frame: &streampb.ServerFrame_CaughtUp{CaughtUp: &streampb.CaughtUp{Cursor: cursor}}},
		{Frame: &streampb.ServerFrame_Error{Error: &streampb.Error{Code: "c", Field: "f", Message: "m"}}},
	} {
		b, err := proto.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		text, err := protojson.Marshal(frame)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{`{"batch":{"records":[null]}}`, `{"batch":null}`, `{"gap":{"partition":0,"from":"1","to":"01"}}`, `{"__proto__":{}}`, `{"progress":{"cursor":{"streamId":"s","partitions":{"length":1}}}}`, `[]`, `{"hello":{"streamId":1}}`} {
		f.Add([]byte(text))
	}
	p := startPage(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if a := p.ask(t, map[string]any{"ask": "decode", "frame": string(data)}); len(a.Refused) > 400 || strings.Contains(a.Refused, "\n") {
			t.Fatalf("the refusal %q", a.Refused)
		}
		frame := &streampb.ServerFrame{}
		if proto.Unmarshal(data, frame) != nil || frame.Frame == nil {
			return
		}
		text, err := protojson.Marshal(frame)
		if err != nil {
			return // more nesting than the gateway takes
		}
		a := p.ask(t, map[string]any{"ask": "decode", "frame": string(text)})
		if a.Refused != "" {
			if sendable(frame) {
				t.Fatalf("the page refuses %s: %s", text, a.Refused)
			}
			return
		}
		var got pageFrame
		if err := json.Unmarshal(a.Frame, &got); err != nil {
			t.Fatalf("%v in %s", err, a.Frame)
		}
		same(t, frame, got)
	})
}

// sendable reports whether a frame is as the gateway makes them.
func sendable(f *streampb.ServerFrame) bool {
	var cursor *streampb.Cursor
	switch f := f.GetFrame().(type) {
	case *streampb.ServerFrame_Batch:
		cursor = f.Batch.GetCursor()
		if slices.ContainsFunc(f.Batch.GetRecords(), func(r *streampb.Record) bool {
			return r.Partition == nil || r.GetPartition() < 0 || r.Offset == nil || r.GetOffset() < 0 || r.TimestampMs == nil
		}) {
			return false
		}
	case *streampb.ServerFrame_Gap:
		cursor = f.Gap.GetCursor()
		if f.Gap.Partition == nil || f.Gap.GetPartition() < 0 || f.Gap.From == nil || f.Gap.GetFrom() < 0 || f.Gap.To == nil || f.Gap.GetTo() < 0 {
			return false
		}
	case *streampb.ServerFrame_Progress:
		cursor = f.Progress.GetCursor()
	case *streampb.ServerFrame_CaughtUp:
		cursor = f.CaughtUp.GetCursor()
	case *streampb.ServerFrame_Error:
		return true
	default:
		return false
	}
	seen := map[int32]bool{}
	for _, p := range cursor.GetPartitions() {
		if p.Partition == nil || p.GetPartition() < 0 || p.NextOffset == nil || p.GetNextOffset() < 0 || p.GetLeaderEpoch() < 0 || seen[p.GetPartition()] {
			return false
		}
		seen[p.GetPartition()] = true
	}
	return cursor.GetStreamId() != ""
}

// same fails unless the page has read what the frame says.
func same(t *testing.T, want *streampb.ServerFrame, got pageFrame) {
	t.Helper()
	bad := func() { t.Fatalf("the page reads %v as %+v", want, got) }
	var cursor *streampb.Cursor
	switch f := want.GetFrame().(type) {
	case *streampb.ServerFrame_Batch:
		cursor = f.Batch.GetCursor()
		if len(got.Records) != len(f.Batch.GetRecords()) {
			bad()
		}
		for i, r := range f.Batch.GetRecords() {
			g := got.Records[i]
			if g.Partition != r.GetPartition() || g.Offset != r.GetOffset() || g.TimestampMs != float64(r.GetTimestampMs()) || (g.Error == nil) != (r.GetError() == nil) || g.Error != nil && g.Error.Reason != r.GetError().GetReason() {
				bad()
			}
		}
	case *streampb.ServerFrame_Gap:
		cursor = f.Gap.GetCursor()
		if *got.Partition != f.Gap.GetPartition() || got.From != strconv.FormatInt(f.Gap.GetFrom(), 10) || got.To != strconv.FormatInt(f.Gap.GetTo(), 10) {
			bad()
		}
	case *streampb.ServerFrame_Error:
		if got.Code != f.Error.GetCode() || got.Field != f.Error.GetField() {
			bad()
		}
	case *streampb.ServerFrame_Hello:
		if got.StreamID != f.Hello.GetStreamId() || len(got.Partitions) != len(f.Hello.GetPartitions()) {
			bad()
		}
	case *streampb.ServerFrame_Reset_:
		cursor = f.Reset_.GetCursor()
		if got.PreviousName != f.Reset_.GetPreviousStreamId() {
			bad()
		}
	}
	if cursor == nil {
		return
	}
	next := map[int32]*streampb.PartitionOffset{}
	for _, p := range cursor.GetPartitions() {
		next[p.GetPartition()] = p
	}
	if got.Cursor == nil || got.Cursor.StreamID != cursor.GetStreamId() || len(got.Cursor.Partitions) != len(next) {
		bad()
	}
	for _, p := range got.Cursor.Partitions {
		want, ok := next[p.Partition]
		if !ok || want.GetNextOffset() != p.NextOffset || (want.LeaderEpoch == nil) != (p.LeaderEpoch == nil) || p.LeaderEpoch != nil && *p.LeaderEpoch != want.GetLeaderEpoch() {
			bad()
		}
	}
}

// Invariants: what the SDK says changed, the page applies to the same state, to the
// digit; and whatever a patch of another producer does, the page does as another
// implementation of RFC 6902, or both refuse it, and then the state is as it was.
func FuzzPatchInThePage(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,3]}`), []byte(`{"a":[2,3,4],"b":{}}`), []byte("abcdefghijkl"))
	f.Add([]byte(`{"a/b":{"~":[[],{"":1e21}]},"n":9007199254740993}`), []byte(`{"a/b":{"~":[[],{"":-0.5}]},"n":9007199254740992}`), []byte{3, 1, 0, 2, 0, 4, 2, 2, 1, 1, 5, 3, 0, 0, 0})
	f.Add([]byte(`[]`), []byte(`1`), []byte{0, 0, 1, 0, 0})
	f.Add([]byte(`{"s":"\u0000\ud83d\ude00\\\""}`), []byte(`{"s":"x"}`), []byte{5, 1, 0, 0, 0, 1, 1, 0, 0, 0})
	p := startPage(f)
	f.Fuzz(func(t *testing.T, one, two, choices []byte) {
		a, err := jcs.Canonicalize(one)
		if err != nil {
			return
		}
		b, err := jcs.Canonicalize(two)
		if err != nil {
			return
		}
		var diff []*pb.DiffOperation
		for _, op := range statediff.Diff(a.JSON, b.JSON) {
			kind := map[statediff.Kind]pb.DiffOperation_OpType{statediff.Add: pb.DiffOperation_OP_TYPE_ADD, statediff.Remove: pb.DiffOperation_OP_TYPE_REMOVE, statediff.Replace: pb.DiffOperation_OP_TYPE_REPLACE}[op.Kind]
			diff = append(diff, &pb.DiffOperation{Op: kind, Path: op.Path, Value: op.Value})
		}
		if got := p.patch(t, a.JSON, diff); got.Refused != "" {
			if !beyondThePage(a.JSON) && !beyondThePage(b.JSON) {
				t.Fatalf("%s to %s by %v: the page refuses: %s", a.JSON, b.JSON, diff, got.Refused)
			}
			return
		} else if after, err := jcs.Canonicalize([]byte(*got.Doc)); err != nil || !bytes.Equal(after.JSON, b.JSON) {
			t.Fatalf("%s to %s by %v: the page has %s: %v", a.JSON, b.JSON, diff, *got.Doc, err)
		}

		ops := choose(a.JSON, b.JSON, choices)
		want, ok := reference(t, a.JSON, ops)
		if !ok {
			return
		}
		got := p.patch(t, a.JSON, ops)
		switch {
		case got.Refused != "" && want == nil:
		case got.Refused != "":
			t.Fatalf("%v on %s: the page refuses, %s; another has %s", ops, a.JSON, got.Refused, want)
		case want == nil:
			t.Fatalf("%v on %s: the page has %s, another refuses", ops, a.JSON, *got.Doc)
		default:
			if after, err := jcs.Canonicalize([]byte(*got.Doc)); err != nil || !bytes.Equal(after.JSON, want) {
				t.Fatalf("%v on %s: the page has %s, another %s", ops, a.JSON, *got.Doc, want)
			}
		}
	})
}

func (p *page) patch(t *testing.T, doc []byte, ops []*pb.DiffOperation) pageAnswer {
	t.Helper()
	list := []json.RawMessage{}
	for _, op := range ops {
		text, err := protojson.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return p.ask(t, map[string]any{"ask": "patch", "doc": string(doc), "operations": list})
}

// beyondThePage reports whether a document may hold what the page refuses by its own
// limits: names of the machinery of its language, long pointers, deep nesting.
func beyondThePage(doc []byte) bool {
	return bytes.Contains(doc, []byte("__proto__")) || bytes.Contains(doc, []byte("constructor")) || bytes.Contains(doc, []byte("prototype")) ||
		len(doc) > 2000 || bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > 500
}

// choose makes operations out of what is in two documents.
func choose(doc, other, choices []byte) []*pb.DiffOperation {
	var paths []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if path != "" {
			paths = append(paths, path)
		}
		switch v := v.(type) {
		case []any:
			for i, x := range v {
				walk(path+"/"+strconv.Itoa(i), x)
			}
		case map[string]any:
			names := make([]string, 0, len(v))
			for k := range v {
				names = append(names, k)
			}
			slices.Sort(names)
			for _, k := range names {
				walk(path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), v[k])
			}
		}
	}
	for _, d := range [][]byte{doc, other} {
		var v any
		if json.Unmarshal(d, &v) == nil {
			walk("", v)
		}
	}
	paths = append(paths, "/new", "/~01")
	values := []string{string(other), "null", `"text"`, "[]", `{"in":[1]}`, "0"}
	suffixes := []string{"", "", "/-", "/0", "/new", "/1"}
	var ops []*pb.DiffOperation
	for ; len(choices) >= 5 && len(ops) < 8; choices = choices[5:] {
		pick := func(i int, list []string) string { return list[int(choices[i])%len(list)] }
		op := &pb.DiffOperation{Op: pb.DiffOperation_OpType(int32(choices[0]) % 6), Path: pick(1, paths) + pick(2, suffixes)}
		switch op.Op {
		case pb.DiffOperation_OP_TYPE_MOVE, pb.DiffOperation_OP_TYPE_COPY:
			op.From = pick(3, paths)
		case pb.DiffOperation_OP_TYPE_REMOVE:
		default:
			op.Value = []byte(pick(4, values))
		}
		ops = append(ops, op)
	}
	return ops
}

// reference applies operations with another implementation: nil where it refuses
// them. ok is false for what it is known to do otherwise than the RFC says: a value
// that moves into itself, the test of what is not there for null, members without a
// name, scalars as documents.
func reference(t *testing.T, doc []byte, ops []*pb.DiffOperation) (after []byte, ok bool) {
	t.Helper()
	if doc[0] != '{' && doc[0] != '[' || beyondThePage(doc) {
		return nil, false
	}
	var patch []map[string]any
	for _, op := range ops {
		if slices.ContainsFunc([]string{op.GetPath(), op.GetFrom()}, func(p string) bool { return strings.Contains(p, "//") || strings.HasSuffix(p, "/") }) {
			return nil, false
		}
		m := map[string]any{"op": strings.ToLower(strings.TrimPrefix(op.GetOp().String(), "OP_TYPE_")), "path": op.GetPath()}
		switch op.GetOp() {
		case pb.DiffOperation_OP_TYPE_MOVE, pb.DiffOperation_OP_TYPE_COPY:
			m["from"] = op.GetFrom()
			if strings.HasPrefix(op.GetPath()+"/", op.GetFrom()+"/") {
				return nil, false
			}
		case pb.DiffOperation_OP_TYPE_REMOVE:
		default:
			m["value"] = json.RawMessage(op.GetValue())
			if op.GetOp() == pb.DiffOperation_OP_TYPE_TEST && string(op.GetValue()) == "null" || beyondThePage(op.GetValue()) {
				return nil, false
			}
		}
		patch = append(patch, m)
	}
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, false
	}
	opts := jsonpatch.NewApplyOptions()
	opts.SupportNegativeIndices = false
	defer func() {
		if recover() != nil { // as it does where a null is tested for another value
			after, ok = nil, false
		}
	}()
	out, err := decoded.ApplyWithOptions(doc, opts)
	if err != nil {
		return nil, true
	}
	canonical, err := jcs.Canonicalize(out)
	if err != nil {
		t.Fatal(err)
	}
	return canonical.JSON, true
}
