package embedded

import (
	"encoding/json"
	"math"
	"path/filepath"
)

// producers is what kfake knows of idempotent producers: for each, in each partition, its last five batches and the
// sequence number it has to go on with. kfake writes it last when it shuts down in order, and has batches in it that could
// not be stored, so it may be older than the log and may say more. It is therefore not read: each start builds it from the
// headers of the batches, which is where Kafka takes it from too.
type producers struct {
	log     string
	windows map[producerKey]*window
	known   []pidEntry // what pids.log has
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

func readProducers(log string) (*producers, error) {
	known, err := readPIDs(log)
	return &producers{log: log, windows: make(map[producerKey]*window), known: known}, err
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

// write stores the windows, and their producers in pids.log: kfake ignores the windows of others.
func (p *producers) write() error {
	if err := writePIDs(p.log, p.pids()); err != nil {
		return err
	}
	file := windowsJSON{Version: fakeFormat, Windows: []*window{}}
	for _, w := range p.windows {
		file.Windows = append(file.Windows, w)
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return err
	}
	return writeFileAtomic(filepath.Join(p.log, windowsFile), raw)
}
