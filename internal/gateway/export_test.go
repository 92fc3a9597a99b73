package gateway

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/wire"
)

// BreakEncoder has the encoding of a segment panic when a function says so. It is
// called before the gateway has clients.
func BreakEncoder(g *Gateway, breaks func() bool) {
	encode := g.hub.encode
	g.hub.encode = func(enc encoding, stream string) func(*feed.Segment, *feed.Filter) ([]byte, int) {
		return func(s *feed.Segment, f *feed.Filter) ([]byte, int) {
			if breaks() {
				panic("broken on purpose")
			}
			return encode(enc, stream)(s, f)
		}
	}
}

// BreakRecords has the decoding of records replaced. It is called before the
// gateway has clients.
func BreakRecords(g *Gateway, decode func([]byte, wire.Limits) (*dashstreampb.DashStreamMessage, error)) {
	e := newEncoder(g.cfg.Limits, g.metrics.recordFaults, g.log)
	e.decode = decode
	g.hub.encode = e.segment
}

// FillLarge takes all the room there is for large frames until release is called;
// waiting reports how many sessions wait for some.
func FillLarge(g *Gateway) (waiting func() int, release func()) {
	f := g.hub.large
	l, err := f.acquire(context.Background(), largeKey{}, f.limit)
	if err != nil {
		panic(err)
	}
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.waiting
	}, func() { f.release(l) }
}

// LimitSubscriptions lets every address begin a few subscriptions at once, and then
// one each time. It is called before the gateway has clients.
func LimitSubscriptions(g *Gateway, burst int, each time.Duration) {
	g.hub.turns.burst, g.hub.turns.each = burst, each
}

// newTestMetrics are metrics that nobody scrapes.
func newTestMetrics() *metrics { return newMetrics(prometheus.NewPedanticRegistry(), time.Now()) }
