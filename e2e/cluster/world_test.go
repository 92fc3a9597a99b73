package cluster

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/app"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/testkafka"
)

var seedFlag = flag.Uint64("cluster.seed", 0, "decides which node is struck when; 0 takes a random one")

// patience bounds a wait for something that has to come: recovering from the
// loss of several brokers takes seconds on an idle machine.
const patience = 90 * time.Second

const partitions = 6

// gateways is how many read each topic.
const gateways = 2

// world is a topic of the cluster with producers, gateways and clients of its
// own.
type world struct {
	t        *testing.T
	c        *testkafka.Cluster
	topic    string
	chance   *rand.Rand
	seed     uint64
	gateways []*app.App
	agents   []*agent
	clients  []*client
	// written counts the messages of write.
	written uint64
	// cutFrom is where an election may have cut the partitions whose acknowledged
	// records are not kept; nil where all are.
	cutFrom map[int32]int64
}

// settings are what everybody reaches the cluster with.
func (w *world) settings() kafkaclient.Settings {
	s := kafkaclient.Default()
	s.Brokers, s.Topic = w.c.Brokers(), w.topic
	return s
}

// newWorld makes a topic and the gateways that read it. configs are the topic's.
func newWorld(t *testing.T, c *testkafka.Cluster, configs map[string]string) *world {
	t.Helper()
	w := &world{t: t, c: c, topic: c.TopicName(t), seed: *seedFlag}
	w.seedChance()
	c.CreateTopic(t, w.topic, partitions, configs)
	w.open()
	return w
}

// seedChance says what a run is made from.
func (w *world) seedChance() {
	w.t.Helper()
	if w.seed == 0 {
		w.seed = rand.Uint64()
	}
	w.chance = rand.New(rand.NewPCG(w.seed, 1))
	w.t.Logf("the seed is %d: -cluster.seed %d", w.seed, w.seed)
}

// open starts the gateways, once there is a topic.
func (w *world) open() {
	w.t.Helper()
	for range gateways {
		w.gateways = append(w.gateways, w.gateway())
	}
}

// gateway starts one and waits until it reads. It ends with the test.
func (w *world) gateway() *app.App {
	w.t.Helper()
	s := gateway.DefaultSettings()
	// So small that clients leave the hot tail and the cache.
	s.Listen, s.TailMiB, s.CacheMiB = "127.0.0.1:0", 1, 1
	ready := make(chan struct{})
	a, err := app.New(w.t.Context(), app.Options{
		Kafka: w.settings(), Gateway: &s, Process: app.DefaultProcessSettings(), Logger: w.logger(fmt.Sprintf("gateway %d", len(w.gateways))),
		OnReady: func(*app.App) { close(ready) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			w.t.Errorf("gateway: %v", err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
	select {
	case <-ready:
	case <-time.After(patience):
		w.t.Fatalf("a gateway does not read topic %s", w.topic)
	}
	return a
}

// logger writes to a file, which is shown if the test fails: where brokers are
// killed, everybody has much to say.
func (w *world) logger(who string) *slog.Logger {
	w.t.Helper()
	f, err := os.Create(filepath.Join(w.t.TempDir(), "log"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = f.Close()
		if b, err := os.ReadFile(f.Name()); w.t.Failed() && err == nil {
			w.t.Logf("%s said at the end:\n%s", who, b[max(0, len(b)-4<<10):])
		}
	})
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (w *world) url(gateway int) string {
	return "http://" + w.gateways[gateway%len(w.gateways)].Addr()
}

// while lets time pass in which the others go on.
func (w *world) while(d time.Duration) {
	w.t.Helper()
	select {
	case <-time.After(d):
	case <-w.t.Context().Done():
		w.t.Fatal(context.Cause(w.t.Context()))
	}
}

// eventually polls until a check holds.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		if w.t.Failed() {
			w.t.FailNow() // somebody does not go on, and needs not be waited for
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("waited %v in vain until %s: %v", patience, what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// finish ends the producers, has every client read to the end of the log, and
// holds all of them to it.
func (w *world) finish() *log {
	w.t.Helper()
	w.c.AwaitInSync(w.t, w.topic)
	for _, a := range w.agents {
		a.end()
	}
	l := w.readLog()
	w.awaitClients(l)
	for _, a := range w.agents {
		a.verify(l)
	}
	for _, c := range w.clients {
		c.verify(l)
	}
	return l
}

// awaitClients waits until every client has come to the end of the log.
func (w *world) awaitClients(l *log) {
	w.t.Helper()
	for _, c := range w.clients {
		c.settled.Store(true)
	}
	for _, c := range w.clients {
		w.eventually(c.name+" is at the end of the log", func() error { return c.at(l) })
	}
	w.kept()
	for _, c := range w.clients {
		c.leave()
	}
}
