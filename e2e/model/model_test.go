package model

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag   = flag.Uint64("model.seed", 0, "play the script of this seed only")
	scriptFlag = flag.String("model.script", "", "play the script in this file only")
	firstFlag  = flag.Uint64("model.first", 1, "the seed of the first script, others follow; 0 takes random ones")
	stepsFlag  = flag.Int("model.steps", 100_000, "play scripts until clients did this many steps: frames taken and records applied")
	timeFlag   = flag.Duration("model.time", 0, "play scripts for this long, in place of -model.steps")
	shrinkFlag = flag.Duration("model.shrink", 2*time.Minute, "how long to look for a shorter script that fails")
	playFlag   = flag.String("model.play", "", "play the script in this file in this process: for the test itself")
)

// defaultSize makes scripts that take a few seconds of one processor.
var defaultSize = size{lengthMs: 20_000, clients: 24, sessions: 6}

// TestModel plays scripts, each in a process of its own, two at a time.
func TestModel(t *testing.T) {
	switch {
	case *scriptFlag != "":
		b, err := os.ReadFile(*scriptFlag)
		if err != nil {
			t.Fatal(err)
		}
		var sc script
		if err := json.Unmarshal(b, &sc); err != nil {
			t.Fatalf("%s: %v", *scriptFlag, err)
		}
		report(t, sc, runScript(t, sc), false)
		return
	case *seedFlag != 0:
		sc := newScript(*seedFlag, defaultSize)
		var found verdicts
		found.add(report(t, sc, runScript(t, sc), true))
		found.tell(t)
		return
	}
	var mu sync.Mutex
	var sum result
	scripts := 0
	began := time.Now()
	more := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if *timeFlag > 0 {
			return time.Since(began) < *timeFlag
		}
		return sum.Frames+sum.Records < *stepsFlag
	}
	// What a change is tested with stays the same from one run to the next; random
	// seeds are for the soak.
	next := *firstFlag
	seed := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		if *firstFlag == 0 {
			return rand.Uint64()
		}
		next++
		return next - 1
	}
	var found verdicts
	var players sync.WaitGroup
	for range 2 {
		players.Go(func() {
			for more() && !t.Failed() {
				sc := newScript(seed(), defaultSize)
				r := runScript(t, sc)
				found.add(report(t, sc, r, true))
				mu.Lock()
				scripts++
				sum.Frames, sum.Records, sum.Log, sum.VirtualMs = sum.Frames+r.Frames, sum.Records+r.Records, sum.Log+r.Log, sum.VirtualMs+r.VirtualMs
				mu.Unlock()
			}
		})
	}
	players.Wait()
	fmt.Printf("model: %d scripts in %v: clients took %d frames and applied %d records, of a log of %d; %v of fake time\n",
		scripts, time.Since(began).Round(time.Second), sum.Frames, sum.Records, sum.Log, time.Duration(sum.VirtualMs)*time.Millisecond)
	found.tell(t)
}

// TestPlay plays one script in this process: for TestModel, which starts it,
// since a panic or a hang must not end the others.
func TestPlay(t *testing.T) {
	if *playFlag == "" {
		t.Skip("for TestModel")
	}
	b, err := os.ReadFile(*playFlag)
	if err != nil {
		t.Fatal(err)
	}
	var sc script
	if err := json.Unmarshal(b, &sc); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := play(sc)
		synctest.Wait()
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s%s\n", resultMark, out)
	})
}
