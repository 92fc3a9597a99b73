package faults

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testlog"
	"github.com/dashflow/dashstream/internal/testprocess"
)

// TestKilledAtRandomMoments kills the program while agents of its own demo and of other processes write, again and again on
// one data directory: while it serves, and while it starts.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("%d kills, -faults.seed %d", *killsFlag, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir, http, kafka := t.TempDir(), freeAddress(t), freeAddress(t)
	command := func(demo bool) testprocess.Command {
		c := testprocess.Command{Args: []string{"up", "--data-dir", dir, "--listen", http, "--kafka-listen", kafka}}
		if demo {
			// The same seed, so that its threads come again and count from 1 again.
			c.Args = append(c.Args, "--demo", "--demo-rate", "10", "--demo-seed", strconv.FormatUint(seed%1000, 10))
		}
		return c
	}
	s := command(true).Serve(t)
	agents, witness, clients := startAgents(t, kafka, "agent-"), startWitness(t, kafka), follow(t, "http://"+http)
	var before testlog.Log
	var slowest time.Duration
	for range *killsFlag {
		pause(rng, 50*time.Millisecond, 900*time.Millisecond)
		s.Kill()
		if rng.IntN(4) == 0 {
			starting := command(rng.IntN(2) == 0).Run(t)
			pause(rng, 0, 150*time.Millisecond)
			starting.Kill()
		}
		began := time.Now()
		s = command(rng.IntN(2) == 0).Serve(t)
		ready(t, s.URL())
		slowest = max(slowest, time.Since(began))

		acked := agents.producer.Stats().Total().Acked
		log := witness.read(kafka, before)
		for p := range log {
			for o, e := range log[p] {
				if p < len(before) && o < len(before[p]) && e != before[p][o] {
					t.Fatalf("partition %d offset %d is another record than before the kill: %+v, was %+v", p, o, e, before[p][o])
				}
			}
			if p < len(before) && len(log[p]) < len(before[p]) {
				t.Fatalf("partition %d ends at %d, before the kill at %d", p, len(log[p]), len(before[p]))
			}
		}
		if n := agents.in(log); n < acked {
			t.Fatalf("the log holds %d messages of the SDK, which had %d acknowledged", n, acked)
		}
		before = log
	}
	clients.moving("clients go on after the last kill")
	counts := agents.end()
	witness.end()
	if lost := counts.DroppedTotal() + counts.FailedTotal(); lost > 0 {
		t.Errorf("the SDK lost %d messages, though the program always came back: %+v", lost, counts)
	}
	// The demo ends in good order, so that the log stands still.
	if code := s.Stop(); code != 0 {
		t.Errorf("up ended with %d", code)
	}
	log := witness.read(command(false).Serve(t).Kafka, before)
	agents.account(log)
	once(t, log)
	if missing, err := log.Missing(func(string) bool { return true }); err != nil || missing > 0 {
		t.Errorf("%d sequence numbers are missing, of all threads: %v", missing, err)
	}
	clients.complete(log)
	t.Logf("%d records, %d of them acknowledged to the witness; clients resumed %d times; a start took %v at most",
		log.Len(), witness.count(), clients.resumed(), slowest)
	if n := clients.resumed(); n < *killsFlag {
		t.Errorf("clients resumed %d times, which proves little of %d kills", n, *killsFlag)
	}
}

// pause waits for a random time: where in what the program does a fault falls is what varies.
func pause(rng *rand.Rand, least, most time.Duration) {
	<-time.After(least + time.Duration(rng.Int64N(int64(most-least))))
}
