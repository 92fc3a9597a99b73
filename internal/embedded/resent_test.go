package embedded_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// A batch that is sent again after kill -9 is the same record, also of producers that the broker gave no id, and of those
// that raised their epoch: what they wrote is read from the log, and has to be given to kfake with the producer itself.
func TestSentAgainAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cl := client(t, start(t, embedded.Options{DataDir: dir}).Addr())
	createTopic(t, cl, "topic", 1, nil)
	const id = 4242
	newRawProducerAs(t, cl, "topic", id, 3).send(t, "zero", 0)
	newRawProducerAs(t, cl, "topic", id, 3).send(t, "one", 1)

	again := func(epoch int16, value string, sequence int, want int64) *kgo.Client {
		t.Helper()
		dir = crashed(t, dir)
		cl := client(t, start(t, embedded.Options{DataDir: dir}).Addr())
		if at := newRawProducerAs(t, cl, "topic", id, epoch).send(t, value, sequence); at != want {
			t.Errorf("%q sent again with epoch %d got offset %d, want its own, %d", value, epoch, at, want)
		}
		return cl
	}
	cl = again(3, "one", 1, 1)
	if at := newRawProducerAs(t, cl, "topic", id, 4).send(t, "two", 0); at != 2 { // begins anew, with a higher epoch
		t.Fatalf("the first batch of a raised epoch got offset %d, want 2", at)
	}
	cl = again(4, "two", 0, 2)
	if at, err := newRawProducerAs(t, cl, "topic", id, 3).try(t, "late", 2); err == nil {
		t.Errorf("a batch of the epoch before got offset %d, want an error", at)
	}
	if at := newRawProducerAs(t, cl, "topic", id, 4).send(t, "three", 1); at != 3 {
		t.Errorf("the next batch got offset %d, want 3", at)
	}

	// The broker that starts from a pids.log with the epoch before has to fence it from the first batch on.
	cl = client(t, start(t, embedded.Options{DataDir: crashed(t, dir)}).Addr())
	for _, sequence := range []int{0, 2} {
		if at, err := newRawProducerAs(t, cl, "topic", id, 3).try(t, "late", sequence); err == nil {
			t.Errorf("a batch of the epoch before got offset %d as the first after kill -9, want an error", at)
		}
	}
}

// After a write failed nothing may be written behind the half of it: commits and the ends of transactions are refused with
// what clients try again.
func TestNothingIsPromisedAfterFailedWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir, SegmentBytes: 1})
	cl := client(t, b.Addr(), kgo.RequestRetries(0))
	createTopic(t, cl, "topic", 1, nil)
	tx := client(t, b.Addr(), kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, tx, "topic", 1, numbered)
	id, epoch, err := tx.ProducerID(within(t))
	if err != nil {
		t.Fatal(err)
	}
	commit := func() error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, "group", -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic = "topic"
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Offset = 1
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp := kmsg.NewPtrOffsetCommitResponse()
		exchange(t, b.Addr(), req, resp)
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err := commit(); err != nil {
		t.Fatalf("a commit before anything failed: %v", err)
	}
	unblock := blockWrites(t, dir, "1.dat")
	if at, err := newRawProducer(t, cl, "topic").try(t, "one", 0); err == nil {
		t.Fatalf("a batch that cannot be stored got offset %d", at)
	}
	eventually(t, "the failure is known", func() bool { return b.WriteError() != nil })

	if err := commit(); !errors.Is(err, kerr.CoordinatorNotAvailable) {
		t.Errorf("a commit after a failed write: %v, want %v", err, kerr.CoordinatorNotAvailable)
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 3, "tx", id, epoch, true
	ended := kmsg.NewPtrEndTxnResponse()
	exchange(t, b.Addr(), end, ended)
	if err := kerr.ErrorForCode(ended.ErrorCode); !errors.Is(err, kerr.CoordinatorNotAvailable) {
		t.Errorf("the end of a transaction after a failed write: %v, want %v", err, kerr.CoordinatorNotAvailable)
	}
	unblock()
}

// A request to remove more records than there are is refused, and has no effect: the start that it named was on record all
// the same, and the next start of the broker took every record for removed.
func TestRefusedDeleteRecordsRemovesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr())
	createTopic(t, cl, "topic", 1, nil)
	produce(t, cl, "topic", 3, numbered)
	var beyond kadm.Offsets
	beyond.AddOffset("topic", 0, 100, -1)
	resp, err := kadm.NewClient(cl).DeleteRecords(within(t), beyond)
	if err == nil {
		err = resp.Error()
	}
	if err == nil || !strings.Contains(err.Error(), kerr.OffsetOutOfRange.Message) {
		t.Errorf("removing records below 100 of 3: %v, want %v", err, kerr.OffsetOutOfRange)
	}
	b2 := start(t, embedded.Options{DataDir: crashed(t, dir)})
	if s, e := offsets(t, client(t, b2.Addr()), "topic"); s != 0 || e != 3 || b2.ClusterID() != b.ClusterID() {
		t.Errorf("after kill -9 offsets are %d to %d of cluster %s, want 0 to 3 of %s", s, e, b2.ClusterID(), b.ClusterID())
	}
}
