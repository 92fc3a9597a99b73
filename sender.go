package dashstream

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// send is the one goroutine that hands messages to the Kafka client, so that they reach it in order.
func (p *Producer) send() {
	defer close(p.senderDone)
	var batch []*item
	for {
		batch = p.take(batch[:0])
		if len(batch) == 0 {
			return
		}
		for i, it := range batch {
			batch[i] = nil
			p.sendOne(it)
		}
	}
}

// take waits for messages and for room in the client. It returns none when the sender has to end.
func (p *Producer) take(into []*item) []*item {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.stopped && (p.queue.n == 0 || p.sending >= maxSending || p.sendingBytes >= maxSendingBytes) {
		p.wake.Wait()
	}
	if p.stopped {
		return nil
	}
	for p.queue.first != nil && len(into) < takeAtOnce && p.sendingBytes < maxSendingBytes {
		it := p.queue.first
		p.queue.remove(it)
		it.size = it.cost
		p.handed.push(it)
		p.sending++
		p.sendingBytes += it.size
		if !it.thread.announced {
			it.headers = append(it.headers[:len(it.headers):len(it.headers)], kgo.RecordHeader{Key: EpochHeader, Value: it.thread.epoch})
		}
		into = append(into, it)
	}
	return into
}

func (p *Producer) sendOne(it *item) {
	p.mu.Lock()
	stopped := p.stopped
	p.mu.Unlock()
	if stopped {
		p.finish(it, dropped(DropShutdown))
		return
	}
	frame, it := p.encode(it)
	if it == nil {
		return
	}
	// The message is not needed any more; what is in flight holds the frame only.
	it.msg, it.attrs, it.own.body.Attributes = nil, nil, nil
	it.handed = time.Now()
	it.writes = p.hooks.writes.Load()
	rec := &kgo.Record{Key: it.thread.key, Value: frame, Headers: it.headers}
	p.client.TryProduce(context.Background(), rec, func(_ *kgo.Record, err error) { p.produced(it, err) })
}

func (p *Producer) finish(it *item, o outcome) {
	p.mu.Lock()
	p.settle(it, o)
	p.mu.Unlock()
}

// produced is called by the client with the outcome of a record.
func (p *Producer) produced(it *item, err error) {
	took := time.Since(it.handed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if it.size == 0 {
		return // Close did not wait for it
	}
	if err == nil {
		p.records++
		p.latency.observe(took)
		p.settle(it, outcome{acked: true})
		return
	}
	if p.abandoning.Load() {
		return
	}
	p.settle(it, p.outcomeOf(it, err))
}

// outcomeOf says what an error of the client means for the record.
func (p *Producer) outcomeOf(it *item, err error) outcome {
	if errors.Is(err, kgo.ErrRecordTimeout) {
		if p.untried(it) {
			return failed(FailTimeout, err)
		}
		return failed(FailUnknown, err)
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok && !p.untried(it) {
		// The client takes this for a broker that wants TLS or SASL. But a connection
		// may end so after it carried the record, and then it may be in the log.
		return failed(FailUnknown, err)
	}
	switch kafkaclient.Classify(err) {
	case kafkaclient.ClassTooLarge:
		return failed(FailTooLarge, err)
	case kafkaclient.ClassAuthentication, kafkaclient.ClassAuthorization, kafkaclient.ClassCredentials:
		return failed(FailUnauthorized, err)
	case kafkaclient.ClassUnknownTopic:
		return failed(FailUnknownTopic, err)
	case kafkaclient.ClassInvalid, kafkaclient.ClassUnsupported:
		return failed(FailRejected, err)
	default:
		return failed(FailUnknown, err)
	}
}

// untried reports that no broker can have taken a record: no produce request was written since the client has it.
func (p *Producer) untried(it *item) bool { return p.hooks.writes.Load() == it.writes }

// aborted is the outcome of a record that the client had when it was closed.
func (p *Producer) aborted(it *item) outcome {
	if p.untried(it) {
		return dropped(DropShutdown)
	}
	return failed(FailUnknown, nil)
}

// hooks counts what the client tells only its hooks.
type hooks struct {
	kafkaclient.Connections
	writes  atomic.Uint64 // produce requests of which a byte was written
	retries atomic.Uint64
	batches atomic.Uint64
}

var (
	_ kgo.HookBrokerConnect       = (*hooks)(nil)
	_ kgo.HookBrokerWrite         = (*hooks)(nil)
	_ kgo.HookBrokerRead          = (*hooks)(nil)
	_ kgo.HookBrokerE2E           = (*hooks)(nil)
	_ kgo.HookProduceBatchWritten = (*hooks)(nil)
)

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (h *hooks) OnBrokerWrite(broker kgo.BrokerMetadata, key int16, bytes int, wait, took time.Duration, err error) {
	h.Connections.OnBrokerWrite(broker, key, bytes, wait, took, err)
	if key == int16(kmsg.Produce) && bytes > 0 {
		h.writes.Add(1)
	}
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h *hooks) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) && e2e.Err() != nil {
		h.retries.Add(1)
	}
}

// OnProduceBatchWritten implements kgo.HookProduceBatchWritten.
func (h *hooks) OnProduceBatchWritten(kgo.BrokerMetadata, string, int32, kgo.ProduceBatchMetrics) {
	h.batches.Add(1)
}
