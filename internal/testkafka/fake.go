package testkafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// NewFake returns kfake itself, in memory with one node, for tests of faults that no real broker can be asked for
// (kfake.Cluster.ControlKey). It is the same whatever the environment says. Its options come after the defaults here.
func NewFake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
