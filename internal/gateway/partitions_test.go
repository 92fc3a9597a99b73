package gateway_test

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/protobuf/proto"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/streampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// A cursor of a topic with very many partitions was above the limit of a client's
// frame, and of a header: the client could not come back with what it was given.
func TestACursorOfVeryManyPartitionsComesBack(t *testing.T) {
	t.Parallel()
	const partitions = 6000
	cl := testkafka.NewFake(t, kfake.SeedTopics(partitions, "events"))
	s := startOn(t, cl.ListenAddrs(), "events", nil)
	// The server as the commands run it.
	mux := http.NewServeMux()
	s.g.Routes(mux)
	hc := httpserve.DefaultConfig()
	hc.Addr, hc.Handler, hc.Logger = "127.0.0.1:0", mux, slog.New(slog.DiscardHandler)
	s.g.LimitHTTP(&hc)
	web, err := httpserve.New(hc)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve() }()
	t.Cleanup(func() {
		_ = web.Stop(context.Background())
		<-served
	})

	// The largest offsets there can be; the log ends before them, which is told
	// once the cursor was understood.
	far := &streampb.Cursor{}
	text := feed.Cursor{StreamID: "AAAAAAAAAAAAAAAA", Offsets: map[int32]int64{}}
	for p := range int32(partitions) {
		far.Partitions = append(far.Partitions, &streampb.PartitionOffset{Partition: proto.Int32(p), NextOffset: proto.Int64(math.MaxInt64 - int64(p))})
	}
	for p := range int32(10_000) { // of another stream
		text.Offsets[p] = math.MaxInt64 - int64(p)
	}
	for _, protocol := range []string{"dashstream.v1+proto", "dashstream.v1+json"} {
		c := testclient.Dial(t, web.URL(), protocol, nil)
		c.Until("hello", func() bool { return c.Hello != nil })
		c.Subscribe(nil, nil)
		c.Until("caught up", func() bool { return c.CaughtUp == 1 })
		if len(c.Positions) != partitions {
			t.Fatalf("%s: a cursor of %d partitions", protocol, len(c.Positions))
		}
		far.StreamId = c.StreamID
		c.Subscribe(&streampb.Start{From: &streampb.Start_Cursor{Cursor: far}}, nil)
		c.Until("a reset", func() bool { return len(c.Resets) == 1 })
		c.Close()
	}
	sse := testclient.SSE(t, web.URL(), "", "")
	sse.Until("caught up", func() bool { return sse.CaughtUp == 1 })
	if c, err := feed.ParseCursor(sse.LastEventID); err != nil || len(c.Offsets) != partitions {
		t.Errorf("the event stream gave a cursor of %d partitions, error %v", len(c.Offsets), err)
	}
	past := testclient.SSE(t, web.URL(), "", text.String())
	past.Until("a reset", func() bool { return len(past.Resets) == 1 })
}
