package embedded

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerExpiry is how long it is remembered what a producer wrote last: Kafka's producer.id.expiration.ms. Transactional
// ids have the seven days of Kafka's transactional.id.expiration.ms, after which kfake drops them.
const producerExpiry = 24 * time.Hour

// maxInitProducerID is the last version of InitProducerID that kfake answers.
const maxInitProducerID = 5

// giveProducerIDs answers producers that have no transactional id. kfake keeps each id that it gave for ever and writes it
// to pids.log, which it rewrote for each new one when it had 172,000, between two requests. It knows nothing of this
// one until the producer writes, and takes it then as it takes one of a broker that forgot; what it has to know after a
// restart is in the log of the records.
func giveProducerIDs(cluster *kfake.Cluster) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req, ok := kreq.(*kmsg.InitProducerIDRequest)
		if !ok || req.TransactionalID != nil || req.Version > maxInitProducerID {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = rand.Int64N(math.MaxInt64), 0
		return resp, nil, true
	}
}

// pidEntry is an entry of pids.log: a producer came ("init"), or ended a transaction.
type pidEntry struct {
	Type    string `json:"type"`
	PID     int64  `json:"pid"`
	Epoch   int16  `json:"epoch"`
	TxID    string `json:"txid,omitempty"`
	Timeout int32  `json:"timeout,omitempty"`
	Commit  *bool  `json:"commit,omitempty"`
}

// readPIDs returns what pids.log says last of each producer, in the order they came.
func readPIDs(log string) ([]pidEntry, error) {
	raw, err := os.ReadFile(filepath.Join(log, pidsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []pidEntry
	at := make(map[int64]int)
	for data := range entries(raw) {
		var e pidEntry
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", pidsFile, err)
		}
		i, known := at[e.PID]
		switch {
		case e.Type == "init" && known:
			all[i] = e
		case e.Type == "init":
			at[e.PID] = len(all)
			all = append(all, e)
		case known: // a transaction ended
			all[i].Epoch = e.Epoch
			if e.Commit != nil {
				all[i].Commit = e.Commit
			}
		}
	}
	return all, nil
}

// writePIDs replaces pids.log, unless it says just this.
func writePIDs(log string, all []pidEntry) error {
	var raw []byte
	for _, e := range all {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		raw = appendEntry(raw, data)
	}
	path := filepath.Join(log, pidsFile)
	have, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && len(raw) == 0 || err == nil && bytes.Equal(have, raw) {
		return nil
	}
	return writeFileAtomic(path, raw)
}

// stateLogBytes is how large pids.log and groups.log get before kfake writes one anew: when a file has doubled. What it has
// to keep may be more than kfake's 10 MiB, and then it wrote the file with each entry.
func stateLogBytes(log string) (int64, error) {
	const atLeast = 10 << 20
	limit := int64(atLeast)
	for _, name := range []string{"groups.log", pidsFile} {
		info, err := os.Stat(filepath.Join(log, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		limit = max(limit, 2*info.Size())
	}
	return limit, nil
}

// pids merges what pids.log had with the producers whose batches are remembered. A producer that did not write for so long
// that it is not remembered, or never wrote, is dropped, unless it has a transactional id.
func (p *producers) pids() []pidEntry {
	epochs := make(map[int64]int16)
	for key, w := range p.windows {
		if had, ok := epochs[key.producer]; !ok || had < w.Epoch {
			epochs[key.producer] = w.Epoch
		}
	}
	var all []pidEntry
	for _, e := range p.known {
		epoch, writes := epochs[e.PID]
		delete(epochs, e.PID)
		switch {
		case e.TxID != "":
			all = append(all, e)
		case writes:
			e.Epoch = max(e.Epoch, epoch) // a producer may raise it without asking
			all = append(all, e)
		}
	}
	known := len(all)
	for id, epoch := range epochs {
		all = append(all, pidEntry{Type: "init", PID: id, Epoch: epoch})
	}
	slices.SortFunc(all[known:], func(a, b pidEntry) int { return cmp.Compare(a.PID, b.PID) })
	return all
}
