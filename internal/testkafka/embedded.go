package testkafka

import (
	"context"
	"testing"

	"github.com/dashflow/dashstream/internal/embedded"
)

type embeddedBackend struct {
	dir    string
	addr   string
	broker *embedded.Broker // nil while stopped
}

func startEmbedded(t testing.TB) *embeddedBackend {
	t.Helper()
	b := &embeddedBackend{dir: t.TempDir(), addr: "127.0.0.1:0"}
	b.start(t)
	t.Cleanup(func() {
		if b.broker != nil {
			b.stop(t)
		}
	})
	return b
}

func (b *embeddedBackend) start(t testing.TB) {
	t.Helper()
	if b.broker != nil {
		t.Fatal("the broker is running")
	}
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	broker, err := embedded.Start(ctx, embedded.Options{DataDir: b.dir, Listen: b.addr})
	if err != nil {
		t.Fatal(err)
	}
	b.broker, b.addr = broker, broker.Addr()
}

func (b *embeddedBackend) stop(t testing.TB) {
	t.Helper()
	if b.broker == nil {
		t.Fatal("the broker is not running")
	}
	ctx, cancel := context.WithTimeout(context.Background(), Wait) // also at the end of the test, when its own is done
	defer cancel()
	if err := b.broker.Close(ctx); err != nil {
		t.Errorf("stop the embedded broker: %v", err)
	}
	b.broker = nil
}
