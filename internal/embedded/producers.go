package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// producers is what kfake knows of idempotent producers: for each, in each partition, its last five batches and the
// sequence number it has to go on with. kfake writes it last when it shuts down in order, and has batches in it that could
// not be stored, so it may be older than the log and may say more. It is therefore not read: each start builds it from the
// headers of the batches, which is where Kafka takes it from too.
type producers struct {
	log     string
	windows map[producerKey]*window
	known   map[int64]knownProducer // what kfake's pids.log has
}

type knownProducer struct {
	epoch         int16
	transactional bool
}

type producerKey struct {
	producer  int64
	topic     string
	partition int32
}

const windowSize = 5 // batches a producer may have in flight, so that any of them may come again

// window has kfake's JSON form.
type window struct {
	Producer  int64                   `json:"pid"`
	Topic     string                  `json:"topic"`
	Partition int32                   `json:"partition"`
	Entries   [windowSize]windowEntry `json:"entries"`
	Count     uint8                   `json:"count"`
	At        uint8                   `json:"at"` // where the next entry goes
	Epoch     int16                   `json:"epoch"`
	Seen      bool                    `json:"seen"`
	Next      int32                   `json:"next_seq"`
}

type windowEntry struct {
	First  int32 `json:"first_seq"`
	Next   int32 `json:"next_seq"`
	Offset int64 `json:"offset"`
}

const (
	windowsFile = "seq_windows.json"
	pidsFile    = "pids.log"
)

type windowsJSON struct {
	Version int       `json:"version"`
	Windows []*window `json:"windows"`
}

type pidEntry struct {
	Type  string `json:"type"`
	PID   int64  `json:"pid"`
	Epoch int16  `json:"epoch"`
	TxID  string `json:"txid,omitempty"`
}

func readProducers(log string) (*producers, error) {
	p := &producers{log: log, windows: make(map[producerKey]*window), known: make(map[int64]knownProducer)}
	raw, err := os.ReadFile(filepath.Join(log, pidsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for data := range entries(raw) {
		var e pidEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", pidsFile, err)
		}
		had := p.known[e.PID]
		p.known[e.PID] = knownProducer{e.Epoch, had.transactional || e.TxID != ""}
	}
	return p, nil
}

// note follows a batch of the log, as kfake does a batch it accepts.
func (p *producers) note(topic string, partition int32, b batch) {
	if b.producerID < 0 || b.sequence < 0 || b.attributes&0x20 != 0 { // not idempotent, or a marker
		return
	}
	key := producerKey{b.producerID, topic, partition}
	w := p.windows[key]
	if w == nil || w.Epoch != b.epoch {
		w = &window{Producer: b.producerID, Topic: topic, Partition: partition, Epoch: b.epoch, Seen: true}
		p.windows[key] = w
	}
	w.Next = int32((int64(b.sequence) + int64(b.records)) % math.MaxInt32) // as kfake counts
	w.Entries[w.At] = windowEntry{First: b.sequence, Next: w.Next, Offset: b.base}
	w.At = (w.At + 1) % windowSize
	w.Count = min(w.Count+1, windowSize)
}

// write stores the windows, and the producers that pids.log does not have, whose windows kfake would ignore, or not with
// the epoch of their last batch: a producer may raise its epoch, or bring an id, without asking first.
func (p *producers) write() error {
	var missing []byte
	file := windowsJSON{Version: fakeFormat, Windows: []*window{}}
	for key, w := range p.windows {
		file.Windows = append(file.Windows, w)
		if had, ok := p.known[key.producer]; ok && (had.transactional || had.epoch >= w.Epoch) {
			continue
		}
		p.known[key.producer] = knownProducer{epoch: w.Epoch}
		data, err := json.Marshal(pidEntry{Type: "init", PID: key.producer, Epoch: w.Epoch})
		if err != nil {
			return err
		}
		missing = appendEntry(missing, data)
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		path := filepath.Join(p.log, pidsFile)
		have, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := writeFileAtomic(path, append(have, missing...)); err != nil {
			return err
		}
	}
	return writeFileAtomic(filepath.Join(p.log, windowsFile), raw)
}
