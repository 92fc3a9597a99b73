package embedded_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/embedded"
)

// A record of a clock that was ahead, removed since, hid every record of later files from who asked by time: the broker
// looked in the file of that record alone, and answered that none was so young.
func TestOffsetsSinceATimeBehindARemovedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := start(t, embedded.Options{DataDir: dir})
	cl := client(t, b.Addr(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.SnappyCompression()))
	createTopic(t, cl, "topic", 2, map[string]string{"segment.bytes": "4096"})
	now := time.Now().Truncate(time.Second)
	at := func(partition int32, ds ...time.Duration) {
		t.Helper()
		var recs []*kgo.Record
		for _, d := range ds {
			recs = append(recs, &kgo.Record{Topic: "topic", Partition: partition, Value: fill(400), Timestamp: now.Add(d)})
		}
		if err := cl.ProduceSync(within(t), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	const records = 60
	at(0, time.Hour)
	for i := range records / 2 { // offsets 1 to 60, one second each, two in a batch
		at(0, time.Duration(2*i-records)*time.Second, time.Duration(2*i+1-records)*time.Second)
		at(1, time.Duration(2*i-records)*time.Second)
	}
	adm := kadm.NewClient(cl)
	removeBelow := func(partition int32, offset int64) {
		t.Helper()
		var offs kadm.Offsets
		offs.Add(kadm.Offset{Topic: "topic", Partition: partition, At: offset})
		got, err := adm.DeleteRecords(within(t), offs)
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(addr string, what string, since time.Duration, want, other int64) {
		t.Helper()
		got, err := kadm.NewClient(client(t, addr)).ListOffsetsAfterMilli(within(t), now.Add(since).UnixMilli(), "topic")
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range []int64{want, other} {
			if o, _ := got.Lookup("topic", int32(p)); o.Offset != want {
				t.Errorf("%s: partition %d since %v: offset %d, want %d", what, p, since, o.Offset, want)
			}
		}
	}
	check(b.Addr(), "whole", -20*time.Second, 0, 20)
	removeBelow(0, 1)
	for range 2 { // also with what was read before
		check(b.Addr(), "the first removed", -20*time.Second, 41, 20)
	}
	check(b.Addr(), "the first removed", -19*time.Second, 42, 21)
	check(b.Addr(), "the first removed", -time.Hour, 1, 0)
	check(b.Addr(), "the first removed", time.Minute, 61, 30) // none: kadm says the end

	// Beside another question: nothing may be missing.
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = "topic"
	for p, ms := range []int64{now.Add(-20 * time.Second).UnixMilli(), -1} {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = int32(p), ms
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(within(t), cl)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range []int64{1, 30} {
		if got := resp.Topics[0].Partitions[p]; got.Offset != want || got.ErrorCode != 0 {
			t.Errorf("beside a question for the end: partition %d: %+v, want offset %d", p, got, want)
		}
	}

	dir = crashed(t, dir)
	again := start(t, embedded.Options{DataDir: dir})
	check(again.Addr(), "after kill -9", -20*time.Second, 41, 20)

	at(0, time.Hour) // offset 61, behind which the same happens again, in the middle of a batch
	at(0, -time.Second, time.Hour, 0)
	for range 20 {
		at(0, 0, 0)
	}
	removeBelow(0, 64)
	check(b.Addr(), "a part of a batch removed", 0, 64, 30)
	removeBelow(0, 65)
	check(b.Addr(), "more removed", -2*time.Second, 65, 29)
}

// fill returns bytes that compress little.
func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7919 >> 3)
	}
	return b
}
