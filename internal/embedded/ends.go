package embedded

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// ends keeps on disk how far each partition's log reached, so that a start can tell a log that lost records from one that
// is whole. Offsets that were handed out and are gone would be given to other records, and a client that holds one as its
// position would be sent on from there without a word. When that may have happened, the cluster id changes, which tells
// every client that the stream is another one.
//
// kill -9 loses nothing that was written: the end on disk is never above the end of the log, which is written first. A
// machine that goes down may lose what no one recorded yet, up to endsInterval; so a file left open by another run of the
// machine counts as a loss too, unless each batch was synced.
type ends struct {
	log    string
	id     string // the cluster id
	fsync  bool
	logger *slog.Logger

	cluster *kfake.Cluster
	flush   func() error // syncs the log; nil without Fsync
	written *endsFileContent
}

const (
	endsFile     = "ends.json"
	endsInterval = time.Second
)

type endsFileContent struct {
	Version   int                `json:"version"`
	ClusterID string             `json:"cluster_id"`     // the ends of another id say nothing
	Boot      string             `json:"boot,omitempty"` // the run of the machine; empty where it is unknown
	Fsync     bool               `json:"fsync"`
	Open      bool               `json:"open"`   // not shut down in order
	Topics    map[string][]int64 `json:"topics"` // by topic id, base64 as in topics.json: the end of each partition
}

// readEnds returns what is on record for the cluster id: nothing is no error, as in a directory of an older version, and
// neither is a damaged file, which only makes it harder to see a loss.
func readEnds(log, clusterID string, logger *slog.Logger) (endsFileContent, error) {
	var c endsFileContent
	raw, err := os.ReadFile(filepath.Join(log, endsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		logger.Warn("the record of how far the log reached cannot be read", "file", endsFile, "error", err)
		return endsFileContent{}, nil
	}
	if c.Version > 1 {
		return c, fmt.Errorf("%s has version %d, written by a newer version; this one reads up to 1", endsFile, c.Version)
	}
	if c.ClusterID != clusterID {
		return endsFileContent{}, nil
	}
	return c, nil
}

// of is the end on record for a partition; 0 when there is none.
func (c endsFileContent) of(topicID string, partition int32) int64 {
	if list := c.Topics[topicID]; int(partition) < len(list) {
		return list[partition]
	}
	return 0
}

// machineWentDown reports whether the machine ended while the broker ran without syncing.
func (c endsFileContent) machineWentDown() bool {
	boot := bootID()
	return c.Open && !c.Fsync && c.Boot != "" && boot != "" && c.Boot != boot
}

// bootID names this run of the machine; empty where the system does not tell.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// run records the ends until ctx ends.
func (e *ends) run(ctx context.Context) {
	tick := time.NewTicker(endsInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := e.record(true)
		if err != nil && !failing {
			e.logger.Error("record how far the log reached", "error", err, "retry_in", endsInterval)
		}
		failing = err != nil
	}
}

// record writes the ends if they are not on disk yet.
func (e *ends) record(open bool) error {
	topics, _, err := readTopics(e.log)
	if err != nil {
		return err
	}
	c := endsFileContent{Version: 1, ClusterID: e.id, Boot: bootID(), Fsync: e.fsync, Open: open, Topics: make(map[string][]int64)}
	for _, t := range topics {
		info := e.cluster.TopicInfo(t.Name)
		if info == nil {
			continue // deleted since the file was read
		}
		parts := e.cluster.PartitionInfos(t.Name)
		list := make([]int64, len(parts))
		for _, p := range parts {
			if int(p.Partition) < len(list) {
				list[p.Partition] = p.HighWatermark
			}
		}
		if again := e.cluster.TopicInfo(t.Name); again == nil || again.TopicID != info.TopicID {
			continue // made anew meanwhile: the ends may be of the one or the other
		}
		c.Topics[base64.StdEncoding.EncodeToString(info.TopicID[:])] = list
	}
	if w := e.written; w != nil && w.Open == open && maps.EqualFunc(w.Topics, c.Topics, slices.Equal[[]int64]) {
		return nil
	}
	if e.flush != nil { // or the log may end below, when the machine goes down
		if err := e.flush(); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(c)
	if err == nil {
		err = writeFileAtomic(filepath.Join(e.log, endsFile), raw)
	}
	if err != nil {
		return fmt.Errorf("record how far the log reached: %w", err)
	}
	e.written = &c
	return nil
}
