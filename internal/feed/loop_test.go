package feed

import (
	"testing"
	"testing/synctest"
	"time"
)

// One loop that does not come back from its turn stops the beat, however well the
// others go.
func TestALoopThatStandsStillStopsTheBeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &Feed{}
		well, stuck := &brokerLoop{}, &brokerLoop{}
		f.super.Store(&supervisor{f: f, running: map[int32]*brokerLoop{1: well, 2: stuck}})
		stuck.turn(10 * time.Second)
		for range 120 {
			well.turn(10 * time.Second)
			f.beat()
			time.Sleep(time.Second)
		}
		if d := time.Since(f.LastBeat()); d < time.Minute {
			t.Errorf("the last beat is %v ago, want more than a minute", d)
		}
		stuck.turn(10 * time.Second)
		if d := time.Since(f.LastBeat()); d > 2*time.Second {
			t.Errorf("the last beat is %v ago once the loop goes on", d)
		}
	})
}
