package model

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// driver plays the events of a script: it writes, and it breaks things.
type driver struct {
	w        *world
	producer *kgo.Client
	number   uint64
	faults   []*kfake.FaultHandle
	// away are gateways that are on their way back.
	away sync.WaitGroup
	stop context.CancelFunc
}

func newDriver(w *world) *driver { return &driver{w: w} }

func (d *driver) setUp() error {
	w := d.w
	cluster, err := kfake.NewCluster(kfake.NumBrokers(scriptNodes), kfake.ListenFn(w.net.listen))
	if err != nil {
		return err
	}
	w.cluster = cluster
	for _, a := range cluster.ListenAddrs() {
		port, err := portOf(a)
		if err != nil {
			return err
		}
		w.ports = append(w.ports, port)
	}
	if err := d.create(w.sc.Partitions); err != nil {
		return err
	}
	for i := range w.sc.Gateways {
		p := &gatewayProcess{w: w, busy: make(chan struct{}, 1), port: 10000 + i, address: fmt.Sprintf("127.0.0.1:%d", 10000+i)}
		if err := p.start(); err != nil {
			return err
		}
		w.gateways = append(w.gateways, p)
	}
	return nil
}

// create begins a life of the topic.
func (d *driver) create(partitions int) error {
	w := d.w
	if err := w.cluster.CreateTopic(topic, int32(partitions), nil); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	var err error
	if d.producer, err = kgo.NewClient(w.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1_000_000))...); err != nil {
		cancel()
		return err
	}
	// Known from the start: the client asks for its id under a lock, and where
	// somebody waits for a lock fake time stands still.
	if _, _, err := d.producer.ProducerID(ctx); err != nil {
		cancel()
		return err
	}
	g, err := newGeneration(len(w.generations), topic, partitions, w.kafka())
	if err != nil {
		cancel()
		return err
	}
	g.done.Go(func() { g.read(ctx, w.fail) })
	w.mu.Lock()
	w.generations = append(w.generations, g)
	w.mu.Unlock()
	return nil
}

// play plays the script, and then mends everything and waits for the oracle.
func (d *driver) play() {
	defer close(d.w.settled)
	began := time.Now()
	for _, e := range d.w.sc.Events {
		if !d.w.pauseAlways(time.Until(began.Add(time.Duration(e.AtMs) * time.Millisecond))) {
			break
		}
		d.event(e)
	}
	d.mend()
	d.flush()
	d.await()
}

func (d *driver) partition(e event) int32 { return int32(e.P) % d.w.current().partitions() }

func (d *driver) event(e event) {
	w, away := d.w, time.Duration(e.Ms)*time.Millisecond
	switch e.Do {
	case doProduce:
		d.produce(d.partition(e), e.N)
	case doTransaction, doAbort:
		d.transaction(d.partition(e), e.N, e.Do == doTransaction)
	case doSpoil:
		d.spoil(d.partition(e), e.N)
	case doLeaders:
		w.cluster.ShufflePartitionLeaders()
	case doFault:
		d.fault(e)
	case doCutBroker:
		w.net.cut(w.ports[e.N], away)
	case doFreezeBroker:
		w.net.freeze(w.ports[e.N], away)
	case doRetention:
		d.retention(d.partition(e), e.Share)
	case doGrow:
		d.grow()
	case doRecreate:
		d.recreate(away)
	case doKillGateway, doStopGateway:
		gw := w.gateways[e.N%len(w.gateways)]
		d.away.Go(func() { gw.down(e.Do == doStopGateway, away) })
	case doFreezeGateway:
		w.net.freeze(w.gateways[e.N%len(w.gateways)].port, away)
	}
}

// produce writes records without waiting for them.
func (d *driver) produce(p int32, n int) {
	g := d.w.current()
	g.send(p, n)
	for range n {
		d.number++
		r, err := makeItem(d.number).record(topic, p)
		if err != nil {
			d.w.fail("item %d: %v", d.number, err)
			return
		}
		d.producer.Produce(context.Background(), r, func(r *kgo.Record, err error) { d.produced(g, r, err) })
	}
}

func (d *driver) produced(g *generation, r *kgo.Record, err error) {
	if err == nil { // otherwise it may be in the log or not; the oracle will see
		g.ack(r.Partition, r.Offset)
	}
}

// transaction writes records and a marker, which takes an offset and is no record.
func (d *driver) transaction(p int32, n int, commit bool) {
	g := d.w.current()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cl, err := kgo.NewClient(d.w.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(fmt.Sprintf("tx-%d", d.number)))...)
	if err != nil {
		d.w.fail("transaction: %v", err)
		return
	}
	defer cl.Close()
	if _, _, err := cl.ProducerID(ctx); err != nil {
		return // a broker is away
	}
	g.send(p, n+1)
	if err := cl.BeginTransaction(); err != nil {
		d.w.fail("transaction: %v", err)
		return
	}
	for range n {
		d.number++
		r, err := makeItem(d.number).record(topic, p)
		if err != nil {
			d.w.fail("item %d: %v", d.number, err)
			return
		}
		cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err == nil {
				g.ack(r.Partition, r.Offset)
			}
		})
	}
	_ = cl.Flush(ctx)
	_ = cl.EndTransaction(ctx, kgo.TransactionEndTry(commit)) // under faults it may stay open; the log is what it is
}

var faultKeys = map[string]kmsg.Key{"fetch": kmsg.Fetch, "list-offsets": kmsg.ListOffsets, "metadata": kmsg.Metadata, "produce": kmsg.Produce}

func (d *driver) fault(e event) {
	key, name, _ := strings.Cut(e.What, " ")
	f := kfake.Fault{Keys: []kmsg.Key{faultKeys[key]}, Topic: topic, Count: max(1, e.N)}
	for code := int16(-1); code < 150; code++ {
		if ke := kerr.TypedErrorForCode(code); ke != nil && ke.Message == name {
			f.Err = ke
		}
	}
	if e.P >= 0 && key != "metadata" {
		f.Partitions = []int32{d.partition(e)}
	}
	if f.Err == nil {
		d.w.fail("script: no Kafka error %q", name)
		return
	}
	if key == "produce" {
		f.Err = kerr.NotLeaderForPartition // what a producer retries without a doubt
	}
	d.faults = append(d.faults, d.w.cluster.Fault(f))
}

// retention takes the head of a partition, but nothing that the oracle has not read.
func (d *driver) retention(p int32, share int) {
	g := d.w.current()
	g.mu.Lock()
	l := g.logs[p]
	to := l.removed + (min(l.next, l.acked)-l.removed)*int64(share)/100
	// Known before it happens: a client may be told at once.
	l.asked = max(l.asked, to)
	g.mu.Unlock()
	if err := d.w.cluster.DeleteRecords(topic, p, to); err != nil {
		d.w.fail("retention: partition %d to %d: %v", p, to, err)
		return
	}
	g.mu.Lock()
	l.removed = max(l.removed, to)
	g.mu.Unlock()
}

func (d *driver) grow() {
	g := d.w.current()
	n := g.partitions() + 1
	if n > 8 {
		return
	}
	g.grow(int(n)) // known before it happens, as with retention
	req := kmsg.NewPtrCreatePartitionsRequest()
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, n
	req.Topics, req.TimeoutMillis = append(req.Topics, t), 10_000
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		resp, err := req.RequestWith(ctx, d.producer)
		cancel()
		if err == nil && len(resp.Topics) == 1 && (resp.Topics[0].ErrorCode == 0 || resp.Topics[0].ErrorCode == kerr.InvalidPartitions.Code) {
			break // now, or by an attempt whose answer was lost
		}
		if !d.w.pauseAlways(100 * time.Millisecond) {
			return
		}
	}
	d.producer.ForceMetadataRefresh()
}

// recreate ends a life of the topic, once the oracle has read all of it.
func (d *driver) recreate(away time.Duration) {
	w, g := d.w, d.w.current()
	d.flush()
	d.await()
	w.mu.Lock()
	met := g.streamID != ""
	w.mu.Unlock()
	if !met || w.failed() {
		return
	}
	d.close(g)
	g.mu.Lock()
	partitions := 1 + (len(g.logs)+g.number)%4
	g.mu.Unlock()
	if err := w.cluster.DeleteTopic(topic); err != nil {
		w.fail("delete topic: %v", err)
		return
	}
	<-time.After(away)
	if err := d.create(partitions); err != nil {
		w.fail("create topic: %v", err)
	}
}

// flush waits until everything was acknowledged.
func (d *driver) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := d.producer.Flush(ctx); err != nil {
		d.w.fail("the producer did not finish: %v", err)
	}
}

// await waits for the oracle.
func (d *driver) await() {
	g := d.w.current()
	for range 3000 {
		ok, _ := g.settled()
		if ok || d.w.failed() {
			return
		}
		if !d.w.pauseAlways(100 * time.Millisecond) {
			return
		}
	}
	_, where := g.settled()
	d.w.fail("the oracle does not come to the end: %s", where)
}

// mend takes all faults back and waits for what is on its way back.
func (d *driver) mend() {
	for _, f := range d.faults {
		f.Remove()
	}
	d.away.Wait()
}

func (d *driver) close(g *generation) {
	d.stop()
	d.producer.Close()
	g.close()
}

func (d *driver) tearDown() {
	for _, p := range d.w.gateways {
		p.end()
	}
	d.close(d.w.current())
	d.w.cluster.Close()
}
