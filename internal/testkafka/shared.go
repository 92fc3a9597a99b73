package testkafka

import (
	"context"
	"sync"
	"testing"

	"github.com/dashflow/dashstream/internal/testkafka/apache"
)

// shared is the one cluster of a test binary: its tests run in parallel, and a broker takes seconds to start and hundreds
// of megabytes. It lives until the process ends; apache's watchdog ends it then, however that happens.
var shared struct {
	once    sync.Once
	cluster *apache.Cluster
	err     error
}

func sharedApache(t testing.TB, env environment) *apacheBackend {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), apache.StartTimeout)
		defer cancel()
		shared.cluster, shared.err = apache.Start(ctx, apache.Options{Jars: env.jars})
	})
	if shared.err != nil {
		t.Fatalf("start Apache Kafka for this test binary: %v", shared.err)
	}
	keepLogs(t, shared.cluster)
	return &apacheBackend{cluster: shared.cluster, shared: true}
}
