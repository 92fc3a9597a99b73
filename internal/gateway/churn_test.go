package gateway_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// A client that subscribes again and again is served, in its turn; meanwhile it is
// heard and answered.
func TestSubscriptionsThatAreManyWait(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	fill(t, c, topic, 1, 3)
	s := start(t, c, topic, nil)
	gateway.LimitSubscriptions(s.g, 40, 500*time.Millisecond)
	w := testclient.Dial(t, s.URL, "dashstream.v1+json", nil)
	for range 42 { // 40 at once, and two a second
		caught := w.CaughtUp
		w.Subscribe(testclient.Earliest(), nil)
		w.Until("caught up", func() bool { return w.CaughtUp > caught })
	}

	few := start(t, c, topic, nil)
	gateway.LimitSubscriptions(few.g, 2, 10*time.Second)
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(few.URL, "http", "ws", 1)+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer := func(text string) {
		t.Helper()
		for {
			_, b, err := conn.Read(ctx)
			if err != nil {
				t.Fatalf("waiting for %s: %v", text, err)
			}
			if strings.Contains(string(b), text) {
				return
			}
		}
	}
	for i := range 3 { // the third has its turn in ten seconds
		if err := conn.Write(ctx, websocket.MessageText, []byte(`{"subscribe":{"start":{"earliest":true}}}`)); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			answer("subscribed")
		}
	}
	testkafka.Eventually(t, "the third waits", func(context.Context) error {
		if n := value(t, few.reg, "websocket_subscribe_waits_total"); n != 1 {
			return fmt.Errorf("%v wait", n)
		}
		return nil
	})
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"nonsense":{}}`)); err != nil {
		t.Fatal(err)
	}
	answer("unknown field")
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the close was not answered: %v", err)
	}
}

// What a large frame costs to read, a client pays with frames that it may not send.
func TestALargeFrameCountsAsMany(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	s := start(t, c, c.Topic(t, 1), nil)
	for name, tc := range map[string]struct{ size, most, least int }{
		"small": {0, 110, 95}, "a tenth of the limit": {26 << 10, 45, 30}, "the largest": {256 << 10, 7, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/ws", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.CloseNow() }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			bad := []byte(`{"x":1}`)
			bad = append(bad, strings.Repeat(" ", max(0, tc.size-len(bad)))...)
			go func() {
				// Less than the gateway takes of a session that has ended.
				for sent := 0; sent < 12<<20 && conn.Write(ctx, websocket.MessageText, bad) == nil; sent += len(bad) {
				}
			}()
			began, answers := time.Now(), 0
			for {
				_, b, err := conn.Read(ctx)
				if err != nil {
					if got := websocket.CloseStatus(err); got != 4502 {
						t.Errorf("the session ended with %v, want 4502", err)
					}
					break
				}
				if strings.Contains(string(b), "unknown field") {
					answers++
				}
			}
			// What comes anew while it goes on adds to what may come at once.
			more := int(time.Since(began).Seconds()*50) + 1
			if answers < tc.least || answers > tc.most+more {
				t.Errorf("%d frames of %d bytes were taken, want %d to %d, and %d for the time it took", answers, tc.size, tc.least, tc.most, more)
			}
		})
	}
}
