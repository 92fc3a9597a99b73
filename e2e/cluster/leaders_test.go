package cluster

import (
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testkafka"
)

// durable are the settings of a topic that loses nothing that was acknowledged.
var durable = map[string]string{"min.insync.replicas": "2"}

// TestCluster runs on one cluster of three brokers, one part after the other.
func TestCluster(t *testing.T) {
	c := testkafka.Start(t, testkafka.Options{Nodes: 3})
	for _, part := range []struct {
		name string
		run  func(*testing.T, *testkafka.Cluster)
	}{
		{"leaders are killed", leadersAreKilled},
		{"replicas are missing", replicasAreMissing},
		{"leaders are elected", leadersAreElected},
		{"all are killed", allAreKilled},
		{"the log is cut", theLogIsCut},
	} {
		// One that fails may leave nodes dead.
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c) }) {
			return
		}
	}
}

// leadersAreKilled kills the leader of a partition, or the controller, while
// everybody writes and reads, again and again.
func leadersAreKilled(t *testing.T, c *testkafka.Cluster) {
	w := newWorld(t, c, durable)
	w.newAgents(3)
	w.newClients()
	w.awaitProgress(200)
	for round := range 4 {
		node := c.Leader(t, w.topic, int32(w.chance.IntN(partitions)))
		switch round % 3 {
		case 0:
			t.Logf("round %d: kill a leader, node %d", round, node)
			c.Kill(t, node)
		case 1:
			// What it alone has is gone with it, so it must not have been acknowledged.
			t.Logf("round %d: kill a leader, node %d, while those that follow it stand still", round, node)
			thaw := c.Freeze(t, (node+1)%3, (node+2)%3)
			w.while(1500 * time.Millisecond)
			c.Kill(t, node)
			thaw()
		case 2:
			node = c.Controller(t)
			t.Logf("round %d: kill the controller, node %d", round, node)
			c.Kill(t, node)
		}
		w.awaitProgress(50)
		w.while(time.Duration(w.chance.IntN(1500)) * time.Millisecond)
		c.Start(t, node)
		w.awaitProgress(50)
		c.AwaitInSync(t, w.topic)
	}
	w.finish()
	w.unharmed()
}

// allAreKilled kills all three brokers at once, as a power cut does, and starts
// them again.
func allAreKilled(t *testing.T, c *testkafka.Cluster) {
	w := newWorld(t, c, durable)
	w.newAgents(3)
	w.newClients()
	for round := range 2 {
		w.awaitProgress(100)
		t.Logf("round %d: kill all", round)
		c.KillTogether(t, 0, 1, 2)
		w.while(time.Duration(w.chance.IntN(3000)) * time.Millisecond)
		c.StartTogether(t, 0, 1, 2)
		c.AwaitInSync(t, w.topic)
	}
	w.awaitReady(true)
	w.awaitProgress(100)
	w.finish()
	w.unharmed()
}
