package model

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
)

const topic = "events"

// world is where a script is played.
type world struct {
	sc       script
	net      *network
	cluster  *kfake.Cluster
	ports    []int
	gateways []*gatewayProcess

	mu          sync.Mutex
	generations []*generation
	violations  []string
	frames      int
	applied     int

	// broken is closed at the first violation, settled when everything was
	// produced, mended and read by the oracle, over when the clients are done.
	broken, settled chan struct{}
	// running are goroutines that end with the run.
	running sync.WaitGroup
}

// result is what a run tells.
type result struct {
	// Frames were taken by clients and Records applied, each of them checked;
	// Log is how many records there were.
	Frames     int      `json:"frames"`
	Records    int      `json:"records"`
	Log        int      `json:"log"`
	VirtualMs  int64    `json:"virtual_ms"`
	Violations []string `json:"violations,omitempty"`
}

// fail notes a violation. The first ends the run.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.violations) == 0 {
		close(w.broken)
	}
	if len(w.violations) < 10 {
		w.violations = append(w.violations, fmt.Sprintf(format, args...))
	}
}

func (w *world) failed() bool {
	select {
	case <-w.broken:
		return true
	default:
		return false
	}
}

// pause waits, and says whether the script goes on.
func (w *world) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.settled:
	case <-w.broken:
	}
	return false
}

// pauseAlways waits even when the script is over.
func (w *world) pauseAlways(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.broken:
		return false
	}
}

func (w *world) current() *generation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.generations[len(w.generations)-1]
}

func (w *world) byStream(id string) *generation {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.generations {
		if g.streamID == id {
			return g
		}
	}
	return nil
}

// meet learns what the gateways call the current topic.
func (w *world) meet(id string) {
	w.mu.Lock()
	known := false
	for _, g := range w.generations {
		known = known || g.streamID == id
	}
	last := w.generations[len(w.generations)-1]
	if !known && last.streamID == "" {
		last.streamID, known = id, true
	}
	w.mu.Unlock()
	if !known {
		w.fail("stream %s: the topic has another name already: %s", id, last.streamID)
	}
}

// logged returns the oracle's record, or nil where it has not read it yet.
func (w *world) logged(streamID string, p int32, offset int64) *logged {
	g := w.byStream(streamID)
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.logs[p] == nil {
		return nil
	}
	if r := g.logs[p].at(offset); r != nil {
		c := *r
		return &c
	}
	return nil
}

func (w *world) kafka(opts ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(w.net.dial), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
	}, opts...)
}

// gatewayProcess is a gateway that is started, stopped and killed.
type gatewayProcess struct {
	w       *world
	address string
	port    int

	// busy is held while the gateway is down: a channel, for a mutex would
	// stop fake time.
	busy chan struct{}
	kill func(orderly bool)
}

func (p *gatewayProcess) start() error {
	cfg := gateway.DefaultConfig(topic)
	// So small that clients leave the hot tail and the cache all the time.
	cfg.Feed.TailBytes, cfg.Feed.CacheBytes = 1<<20, 1<<20
	cfg.Feed.RefreshInterval = time.Second
	cfg.MaxConnectionsPerIP = cfg.MaxConnections
	g, err := gateway.New(cfg, gateway.Deps{Feed: feed.Deps{Options: p.w.kafka()}})
	if err != nil {
		return err
	}
	l, err := p.w.net.listen("tcp", p.address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	g.Routes(mux)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = g.Run(ctx) })
	run.Go(func() { _ = srv.Serve(l) })
	p.kill = func(orderly bool) {
		if orderly {
			sctx, scancel := context.WithTimeout(context.Background(), 10*time.Second)
			g.Shutdown(sctx)
			scancel()
		} else {
			p.w.net.cut(p.port, 0)
		}
		cancel()
		_ = srv.Close()
		run.Wait()
		g.Close()
	}
	return nil
}

// down ends the gateway and starts it again later.
func (p *gatewayProcess) down(orderly bool, away time.Duration) {
	p.busy <- struct{}{}
	defer func() { <-p.busy }()
	p.kill(orderly)
	<-time.After(away)
	if err := p.start(); err != nil {
		p.w.fail("gateway: %v", err)
	}
}

func (p *gatewayProcess) end() {
	p.busy <- struct{}{}
	p.kill(true)
}

// play runs a script, in a bubble of fake time.
func play(sc script) result {
	began := time.Now()
	w := &world{sc: sc, net: newNetwork(), broken: make(chan struct{}), settled: make(chan struct{})}
	d := newDriver(w)
	if err := d.setUp(); err != nil {
		return result{Violations: []string{"set-up: " + err.Error()}}
	}
	var clients sync.WaitGroup
	for i, plan := range sc.Clients {
		c := &client{w: w, name: fmt.Sprintf("client %d", i), plan: plan, where: "start"}
		clients.Go(func() {
			c.run()
			w.mu.Lock()
			w.frames, w.applied = w.frames+c.frames, w.applied+c.applied
			w.mu.Unlock()
		})
	}
	d.play()
	clients.Wait()
	r := result{Frames: w.frames, Records: w.applied, VirtualMs: time.Since(began).Milliseconds()}
	for _, g := range w.generations {
		for _, l := range g.logs {
			r.Log += len(l.records)
		}
	}
	d.tearDown()
	w.running.Wait()
	for _, p := range w.gateways {
		if left := w.net.open(p.port); len(left) > 0 {
			w.fail("connections to the gateway at %s are left: %s", p.address, strings.Join(left, "; "))
		}
	}
	r.Violations = w.violations
	return r
}
