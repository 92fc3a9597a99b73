package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var update = flag.Bool("update", false, "write the golden bytes of internal/wire/testdata anew; a diff there breaks producers in the field")

const goldenDir = "testdata/golden"

// golden reads the authored messages: one of each kind, every field set.
func golden(t testing.TB) map[string]*pb.DashStreamMessage {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden messages: %v", err)
	}
	all := map[string]*pb.DashStreamMessage{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m := new(pb.DashStreamMessage)
		if err := protojson.Unmarshal(b, m); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".json")] = m
	}
	return all
}

// TestGoldenBytes: the bytes of each kind of message are those that were
// agreed, in both directions.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	for name, m := range golden(t) {
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		frame := append([]byte{framePlain}, body...)
		want := goldenFile(t, name+".hex", frame)
		if !bytes.Equal(frame, want) {
			t.Errorf("%s: the bytes changed\n got %x\nwant %x", name, frame, want)
		}
		got, err := Decode(want, DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !proto.Equal(got, m) {
			t.Errorf("%s: the bytes mean\n%v\nwant\n%v", name, got, m)
		}
		if unknown := anyUnknown(got.ProtoReflect()); unknown != "" {
			t.Errorf("%s: %s", name, unknown)
		}
	}
}

// TestGoldenEnums pins the bytes of every value of every enum field.
func TestGoldenEnums(t *testing.T) {
	t.Parallel()
	messages := map[string]protoreflect.MessageDescriptor{}
	collect(pb.File_dashstream_v1_dashstream_proto, messages, map[string]protoreflect.EnumDescriptor{})
	var lines []string
	for name, md := range messages {
		mt := messageType(t, md)
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if fd.Enum() == nil {
				continue
			}
			for j := range fd.Enum().Values().Len() {
				v := fd.Enum().Values().Get(j)
				m := mt.New()
				m.Set(fd, protoreflect.ValueOfEnum(v.Number()))
				b, err := proto.Marshal(m.Interface())
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, fmt.Sprintf("%s.%s %s %x", name, fd.Name(), v.Name(), b))
			}
		}
	}
	sort.Strings(lines)
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join(goldenDir, "enums.txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the enums changed\n got %s\nwant %s", got, want)
	}
}

// TestGoldenIsComplete: the golden messages set every field of every message
// type, every choice included, so that no number can change unseen.
func TestGoldenIsComplete(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	for _, m := range golden(t) {
		markFields(m.ProtoReflect(), seen)
	}
	messages := map[string]protoreflect.MessageDescriptor{}
	collect(pb.File_dashstream_v1_dashstream_proto, messages, map[string]protoreflect.EnumDescriptor{})
	for _, md := range messages {
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			// COMPRESSION_NONE has no bytes; TestGoldenEnums has the others.
			if !seen[fd.FullName()] && fd.FullName() != "dashstream.v1.Header.compression" {
				t.Errorf("no golden message sets %s", fd.FullName())
			}
		}
	}
}

func markFields(m protoreflect.Message, seen map[protoreflect.FullName]bool) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		seen[fd.FullName()] = true
		switch {
		case fd.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				if fd.MapValue().Message() != nil {
					markFields(v.Message(), seen)
				}
				return true
			})
		case fd.IsList():
			for i := range v.List().Len() {
				if fd.Message() != nil {
					markFields(v.List().Get(i).Message(), seen)
				}
			}
		case fd.Message() != nil:
			markFields(v.Message(), seen)
		}
		return true
	})
}

func anyUnknown(m protoreflect.Message) string {
	if len(m.GetUnknown()) > 0 {
		return fmt.Sprintf("%s has unknown fields %x", m.Descriptor().Name(), m.GetUnknown())
	}
	found := ""
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Message() != nil && !fd.IsMap() && !fd.IsList() {
			found = anyUnknown(v.Message())
		}
		return found == ""
	})
	return found
}

func messageType(t testing.TB, md protoreflect.MessageDescriptor) protoreflect.MessageType {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return mt
}

// goldenFile returns the bytes of a golden file, in hex, 32 to a line.
func goldenFile(t testing.TB, name string, current []byte) []byte {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	if *update {
		var text strings.Builder
		for b := current; len(b) > 0; {
			n := min(len(b), 32)
			fmt.Fprintf(&text, "%x\n", b[:n])
			b = b[n:]
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}
