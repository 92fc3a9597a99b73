package dashstream_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/dashflow/dashstream"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// Runs that share a thread, begin, publish and end at the same time, with a queue that loses much, leave readers with no
// state that is wrong, and in the end with the last.
func TestRunsOfOneThreadAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(64<<10), dashstream.WithCheckpointEvery(3), dashstream.WithFlushTimeout(testkafka.Wait))
	text := noise(4 << 10)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(g)))
			state := func() map[string]any {
				return map[string]any{"g": g, "n": rng.IntN(100), "text": text[:rng.IntN(len(text))], "list": make([]int, rng.IntN(50))}
			}
			for i := range 20 {
				spec := dashstream.RunSpec{ThreadID: "t"}
				if i%2 == 0 {
					spec.InitialState = state()
				}
				run := p.StartRun(t.Context(), spec)
				for range rng.IntN(6) {
					run.State(state())
					run.Edge("a", fmt.Sprint(i))
				}
				run.End(nil)
				checkAccounts(t, p)
			}
		})
	}
	wg.Wait()
	_ = p.Flush(t.Context()) // much was dropped
	last := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t", InitialState: 1})
	last.State("the last")
	last.End(nil)
	flush(t, p)
	total := p.Stats().Total()
	if total.DroppedTotal() == 0 || total.FailedTotal() != 0 {
		t.Errorf("the test did nothing of interest: %+v", total)
	}
	replicate(t, readAll(t, c, topic), "t").wants(t, "the last")
}
