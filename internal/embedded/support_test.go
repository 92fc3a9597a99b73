package embedded_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// logRecorder keeps what a broker logs.
type logRecorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logRecorder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logRecorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logRecorder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logRecorder) contains(s string) bool { return strings.Contains(l.String(), s) }

func (l *logRecorder) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// rawProducer sends produce requests with a sequence number of the test's choice.
type rawProducer struct {
	cl      *kgo.Client
	topic   string
	topicID [16]byte
	id      int64
	epoch   int16
}

func newRawProducer(t *testing.T, cl *kgo.Client, topic string) *rawProducer {
	t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	resp, err := req.RequestWith(within(t), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return newRawProducerAs(t, cl, topic, resp.ProducerID, resp.ProducerEpoch)
}

func newRawProducerAs(t *testing.T, cl *kgo.Client, topic string, id int64, epoch int16) *rawProducer {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(within(t), cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &rawProducer{cl: cl, topic: topic, topicID: resp.Topics[0].TopicID, id: id, epoch: epoch}
}

// send produces a batch of one record to partition 0 and returns the offset the broker answers.
func (p *rawProducer) send(t *testing.T, value string, sequence int) int64 {
	t.Helper()
	at, err := p.try(t, value, sequence)
	if err != nil {
		t.Fatalf("produce %q with sequence %d: %v", value, sequence, err)
	}
	return at
}

// try is send that may fail.
func (p *rawProducer) try(t *testing.T, value string, sequence int) (int64, error) {
	t.Helper()
	answers, err := p.request(t, p.batch(value, sequence))
	if err != nil {
		return -1, err
	}
	return answers[0].BaseOffset, kerr.ErrorForCode(answers[0].ErrorCode)
}

// answer is try until the broker answers: when a write fails it ends connections, and not all of a client's at one moment.
func (p *rawProducer) answer(t *testing.T, value string, sequence int) (at int64, err error) {
	t.Helper()
	eventually(t, "the broker answers", func() bool {
		at, err = p.try(t, value, sequence)
		return !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET)
	})
	return at, err
}

// batch is a batch of one record.
func (p *rawProducer) batch(value string, sequence int) []byte {
	rec := kmsg.NewRecord()
	rec.Value = []byte(value)
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // the length itself is one byte for so short a record
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch = -1
	b.Magic = 2
	b.NumRecords = 1
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = p.id, p.epoch, int32(sequence)
	b.FirstTimestamp = time.Now().UnixMilli() // of today, or retention removes it
	b.MaxTimestamp = b.FirstTimestamp
	b.Records = rec.AppendTo(nil)
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

// exchange sends a request of a version that is flexible as it is, where a client would change it, and reads the answer.
func exchange(t *testing.T, addr string, req kmsg.Request, resp kmsg.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 7)); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	resp.SetVersion(req.GetVersion())
	if err := resp.ReadFrom(body[5:]); err != nil { // behind the correlation id and no tags
		t.Fatal(err)
	}
}

// sendBatches produces one batch to each of the first partitions and returns the answers in their order.
func (p *rawProducer) sendBatches(t *testing.T, batches ...[]byte) []kmsg.ProduceResponseTopicPartition {
	t.Helper()
	answers, err := p.request(t, batches...)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

func (p *rawProducer) request(t *testing.T, batches ...[]byte) ([]kmsg.ProduceResponseTopicPartition, error) {
	t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = 1000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID = p.topic, p.topicID
	for i, raw := range batches {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = int32(i)
		rp.Records = raw
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(within(t), p.cl)
	if err != nil {
		return nil, err
	}
	answers := resp.Topics[0].Partitions
	if len(answers) != len(batches) {
		t.Fatalf("%d answers for %d batches", len(answers), len(batches))
	}
	slices.SortFunc(answers, func(a, b kmsg.ProduceResponseTopicPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	return answers, nil
}
