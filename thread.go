package dashstream

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"unicode/utf8"

	"github.com/dashflow/dashstream/internal/redact"
)

// maxThreadIDBytes is the longest thread id that is sent as it is.
const maxThreadIDBytes = 256

// EpochHeader is a Kafka record header. It names, as 16 hexadecimal digits, the sequence space of a thread: a random number
// chosen when a producer begins to count for the thread, be it after a restart of the process or because the thread had
// been forgotten. It is on the records of a thread until one was acknowledged. A reader that sees another epoch than
// before expects sequences from 1 again, instead of taking them for duplicates.
const EpochHeader = "dashstream-epoch"

// thread is a sequence space. Its fields are guarded by Producer.mu, except for state, which has a lock of its own that is
// taken before Producer.mu.
type thread struct {
	id        string // on the wire, and in Producer.threads
	key       []byte // of its records
	epoch     []byte
	announced bool // a record with the epoch was acknowledged
	sequence  uint64
	// busy counts open runs and messages in flight. A thread with none is idle and may be forgotten.
	busy int
	runs int
	// lost counts messages that carried state and will not be seen: what follows must not build on them.
	lost uint64

	older, newer *thread // among the idle ones

	state stateStream
}

// threadFor returns the thread of an id. p.mu is held.
func (p *Producer) threadFor(id string) *thread {
	if th := p.threads[id]; th != nil {
		return th
	}
	// By the id that is sent, so that who goes on with that of Run.ThreadID is in the same order.
	id = p.threadID(id)
	if th := p.threads[id]; th != nil {
		return th
	}
	th := &thread{id: id}
	th.key = []byte(th.id)
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails
	th.epoch = hex.AppendEncode(nil, epoch[:])
	p.threads[id] = th
	p.idle.push(th)
	p.forget()
	return th
}

// threadID returns the id to send. The id is the record key and names the run to people, so it is kept wherever it can
// be: one that is too long, not UTF-8 or holds a secret becomes a digest, the same at every producer.
func (p *Producer) threadID(id string) string {
	if len(id) > maxThreadIDBytes || !utf8.ValidString(id) || p.redactor != nil && p.redactor.Text(id) != id {
		return digestID(id)
	}
	return id
}

func digestID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "sha256-" + hex.EncodeToString(sum[:])
}

// hold keeps the thread from being forgotten until release. p.mu is held.
func (p *Producer) hold(th *thread) {
	if th.busy == 0 {
		p.idle.remove(th)
	}
	th.busy++
}

func (p *Producer) release(th *thread) {
	th.busy--
	if th.busy == 0 {
		p.idle.push(th)
		p.forget()
	}
}

// forget drops the threads that have been idle longest, beyond the limit.
func (p *Producer) forget() {
	for p.idle.n > p.cfg.maxIdleThreads && p.idle.n > 1 {
		th := p.idle.oldest
		p.idle.remove(th)
		delete(p.threads, th.id)
		p.evictedThreads++
	}
}

// threadList is the idle threads, by how long they have been.
type threadList struct {
	oldest, newest *thread
	n              int
}

func (l *threadList) push(th *thread) {
	th.older, th.newer = l.newest, nil
	if l.newest != nil {
		l.newest.newer = th
	} else {
		l.oldest = th
	}
	l.newest = th
	l.n++
}

func (l *threadList) remove(th *thread) {
	if th.older != nil {
		th.older.newer = th.newer
	} else {
		l.oldest = th.newer
	}
	if th.newer != nil {
		th.newer.older = th.older
	} else {
		l.newest = th.older
	}
	th.older, th.newer = nil, nil
	l.n--
}

func newRedactor(c config) *redact.Redactor {
	if !c.redact {
		return nil
	}
	return redact.New(redact.Options{Patterns: c.redactPatterns, Names: c.redactNames})
}
