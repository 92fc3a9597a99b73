package testkafka

import (
	"context"
	"testing"

	"github.com/dashflow/dashstream/internal/testkafka/apache"
)

type apacheBackend struct {
	cluster *apache.Cluster
	shared  bool
}

// ownApache starts a cluster that ends with the test.
func ownApache(t testing.TB, env environment, opts Options) *apacheBackend {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), apache.StartTimeout)
	defer cancel()
	cluster, err := apache.Start(ctx, apache.Options{
		Jars:       env.jars,
		Nodes:      opts.Nodes,
		Properties: opts.Properties,
		Ports:      opts.Ports,
		Prepare:    opts.Prepare,
		Client:     opts.Security,
	})
	if err != nil {
		t.Fatalf("start Apache Kafka for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Errorf("end Apache Kafka: %v", err)
		}
	})
	keepLogs(t, cluster) // runs before Close
	return &apacheBackend{cluster: cluster}
}

func keepLogs(t testing.TB, cluster *apache.Cluster) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Apache Kafka's logs are kept in %s", cluster.KeepLogs())
		}
	})
}

func (b *apacheBackend) stop(t testing.TB, node int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	if err := b.cluster.Stop(ctx, node); err != nil {
		t.Fatalf("stop Apache Kafka node %d: %v", node, err)
	}
}

func (b *apacheBackend) kill(t testing.TB, nodes ...int) {
	t.Helper()
	if err := b.cluster.Kill(nodes...); err != nil {
		t.Fatalf("kill Apache Kafka nodes %v: %v", nodes, err)
	}
}

func (b *apacheBackend) start(t testing.TB, nodes ...int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), apache.StartTimeout)
	defer cancel()
	if err := b.cluster.StartNodes(ctx, nodes...); err != nil {
		t.Fatalf("start Apache Kafka nodes %v: %v", nodes, err)
	}
}
