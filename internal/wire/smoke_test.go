package wire

import (
	"strings"
	"testing"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"google.golang.org/protobuf/proto"
)

func TestSmoke(t *testing.T) {
	for _, n := range []int{0, 100, 5000} {
		m := &pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{ThreadId: "t", Sequence: 4}, NodeId: strings.Repeat("x", n)}}}
		f, err := Append(nil, m, MaxProducerBytes)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(f, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		m.GetEvent().Header.SchemaVersion = 1
		if !proto.Equal(m, got) {
			t.Fatal(m, got)
		}
		p, err := Peek(f, DefaultLimits())
		if err != nil || string(p.ThreadID) != "t" || p.Sequence != 4 {
			t.Fatal(p, err)
		}
		t.Log(len(f), p.Framing)
	}
}
