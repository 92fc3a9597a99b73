package dashstream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// No node of a run that panicked is shown as done, whichever way it is ended.
func TestPanicInANode(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	run := func(thread string, body func(r *dashstream.Run) error) {
		defer func() {
			if v := recover(); v != nil && v != "boom" {
				t.Errorf("%s: the panic became %v", thread, v)
			}
		}()
		var err error
		r := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: thread})
		defer r.End(&err)
		err = body(r)
	}
	run("done", func(r *dashstream.Run) (err error) {
		defer r.Node("n").Done(&err)
		panic("boom")
	})
	run("end", func(r *dashstream.Run) error {
		defer r.Node("n").End(nil)
		panic("boom")
	})
	run("open", func(r *dashstream.Run) error {
		r.Node("before").End(nil)
		r.Node("n")
		r.Node("inner")
		panic("boom")
	})
	run("error", func(r *dashstream.Run) (err error) {
		defer r.Node("n").Done(&err)
		return errors.New("went wrong")
	})
	run("fine", func(r *dashstream.Run) (err error) {
		defer r.Node("n").Done(&err)
		return nil
	})
	run("nil", func(r *dashstream.Run) error {
		defer (*dashstream.Run)(nil).Node("n").Done(nil)
		panic("boom")
	})
	flush(t, p)

	got := map[string][]string{}
	for _, r := range readAll(t, c, topic) {
		switch e := r.msg.GetEvent(); e.GetEventType() {
		case pb.EventType_EVENT_TYPE_NODE_END, pb.EventType_EVENT_TYPE_NODE_ERROR, pb.EventType_EVENT_TYPE_GRAPH_END, pb.EventType_EVENT_TYPE_GRAPH_ERROR:
			got[r.key] = append(got[r.key], strings.TrimPrefix(e.EventType.String(), "EVENT_TYPE_")+" "+e.NodeId+" "+e.Attributes["error"].GetStringValue())
		}
	}
	for thread, want := range map[string][]string{
		"done":  {"NODE_ERROR n panic: boom", "GRAPH_ERROR  panic: boom"},
		"end":   {"NODE_ERROR n panic: boom", "GRAPH_ERROR  panic: boom"},
		"open":  {"NODE_END before ", "NODE_ERROR inner panic: boom", "NODE_ERROR n panic: boom", "GRAPH_ERROR  panic: boom"},
		"error": {"NODE_ERROR n went wrong", "GRAPH_ERROR  went wrong"},
		"fine":  {"NODE_END n ", "GRAPH_END  "},
		"nil":   {"GRAPH_ERROR  panic: boom"},
	} {
		if !slices.Equal(got[thread], want) {
			t.Errorf("%s: %q, want %q", thread, got[thread], want)
		}
	}
}
