package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

func pidsLog(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "log", "pids.log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(raw)
}

// Each producer that came stayed in pids.log for ever. When 172,000 had, the file was written anew for each one more,
// half a second in which nobody was served.
func TestProducersThatOnlyCameAreNotKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	ids := make(map[int64]bool)
	for range 100 {
		resp, err := kmsg.NewPtrInitProducerIDRequest().RequestWith(within(t), cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil || resp.ProducerID < 0 || resp.ProducerEpoch != 0 || ids[resp.ProducerID] {
			t.Fatalf("got producer %d, epoch %d, %v; want an id that nobody has and epoch 0", resp.ProducerID, resp.ProducerEpoch, err)
		}
		ids[resp.ProducerID] = true
	}
	if got := pidsLog(t, dir); got != "" {
		t.Errorf("pids.log has %d bytes of producers that never wrote, want none", len(got))
	}
	p := newRawProducer(t, cl, "topic")
	for i := range 3 {
		p.send(t, "value", i)
	}
	if at := p.send(t, "value", 1); at != 1 {
		t.Errorf("a batch sent again got offset %d, want its own, 1", at)
	}
	if at, err := p.try(t, "value", 7); err == nil {
		t.Errorf("a batch with a sequence that does not follow got offset %d, want an error", at)
	}
	stop(t, b)
	start(t, embedded.Options{DataDir: dir})
	if got := strings.Count(pidsLog(t, dir), `"pid"`); got != 1 {
		t.Errorf("pids.log has %d producers after a restart, want the one that wrote", got)
	}
}

// What a producer wrote last is remembered for a day, and one with a transactional id stays.
func TestProducersExpire(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "old", 1, nil)
	createTopic(t, cl, "new", 1, nil)
	old, recent := newRawProducer(t, cl, "old"), newRawProducer(t, cl, "new")
	for i := range 3 {
		old.send(t, "value", i)
		recent.send(t, "value", i)
	}
	tx := client(t, b.Addr(), kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, tx, "old", 1, numbered)
	if err := tx.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	txID, txEpoch, err := tx.ProducerID(within(t))
	if err != nil {
		t.Fatal(err)
	}
	stop(t, b)
	files, err := filepath.Glob(filepath.Join(dir, "log", "partitions", "old-0", "*.dat"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of the partition: %v, %v; want one", files, err)
	}
	written := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(files[0], written, written); err != nil {
		t.Fatal(err)
	}

	b = start(t, embedded.Options{DataDir: dir})
	if got := pidsLog(t, dir); strings.Count(got, `"pid"`) != 2 || !strings.Contains(got, `"txid":"tx"`) {
		t.Errorf("pids.log after a day holds %q, want the producer that wrote since and the transactional one", got)
	}
	cl = client(t, b.Addr())
	if at := newRawProducerAs(t, cl, "new", recent.id, recent.epoch).send(t, "value", 2); at != 2 {
		t.Errorf("a batch of today sent again got offset %d, want its own, 2", at)
	}
	if at := newRawProducerAs(t, cl, "old", old.id, old.epoch).send(t, "value", 3); at != 5 {
		t.Errorf("a producer that comes back after a day got offset %d, want the next, 5", at)
	}
	tx = client(t, b.Addr(), kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, tx, "old", 1, numbered)
	if id, epoch, err := tx.ProducerID(within(t)); err != nil || id != txID || epoch <= txEpoch {
		t.Errorf("the transactional producer is %d, epoch %d, %v; want %d and an epoch after %d", id, epoch, err, txID, txEpoch)
	}
	if err := tx.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}
