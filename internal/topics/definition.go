package topics

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/wire"
)

// Profile is a kind of cluster.
type Profile string

// The profiles.
const (
	Default    Profile = "default"    // a cluster of one broker or more, nothing replicated
	Production Profile = "production" // three brokers or more; one may be down
	Embedded   Profile = "embedded"   // the broker inside "dashstream up"
)

// Profiles lists the profiles.
func Profiles() []Profile { return []Profile{Default, Production, Embedded} }

// UnmarshalText takes a profile in any case.
func (p *Profile) UnmarshalText(text []byte) error { return settings.OneOf(p, text, Profiles()...) }

// Allowed implements settings.Allower.
func (Profile) Allowed() string { return settings.Words(Profiles()...) }

// Names of the topic configurations that a definition sets.
const (
	CleanupPolicy     = "cleanup.policy"
	CompressionType   = "compression.type"
	MaxMessageBytes   = "max.message.bytes"
	MinInsyncReplicas = "min.insync.replicas"
	RetentionBytes    = "retention.bytes"
	RetentionMs       = "retention.ms"
)

const (
	mainRetention       = 7 * 24 * time.Hour
	deadLetterRetention = 30 * 24 * time.Hour
	embeddedBytes       = 2 << 30 // of each partition

	// batchOverhead is what a batch adds to the largest frame that readers take: its header, the record's own, the key
	// and the trace headers.
	batchOverhead   = 64 << 10
	maxMessageBytes = wire.DefaultMaxBytes + batchOverhead
)

// Definition is what a topic should be.
type Definition struct {
	Name        string
	Partitions  int32
	Replication int16
	// Configs are topic configurations by their Kafka names. What is not in it is left to the cluster.
	Configs map[string]string
	// Flags is what follows "dashstream topics ensure" to mean this cluster and topic, so that a hint can be pasted. It
	// begins with a space, or is empty where the defaults are meant.
	Flags string

	embedded *Definition // the same topic as "dashstream up" makes it
}

// Main is the topic of the telemetry.
func Main(name string, p Profile) Definition {
	d := mainTopic(name, p)
	d.embedded = new(mainTopic(name, Embedded))
	return d
}

func mainTopic(name string, p Profile) Definition {
	d := define(name, p, mainRetention)
	d.Partitions = 10
	if p == Embedded {
		d.Partitions = 3
		d.Configs[RetentionBytes] = strconv.Itoa(embeddedBytes)
	}
	return d
}

// DeadLetters is the topic of the records that could not be handled.
func DeadLetters(name string, p Profile) Definition {
	d := deadLetters(name, p)
	d.embedded = new(deadLetters(name, Embedded))
	return d
}

func deadLetters(name string, p Profile) Definition {
	d := define(name, p, deadLetterRetention)
	d.Partitions = 3
	if p == Embedded {
		d.Partitions = 1
	}
	return d
}

func define(name string, p Profile, retention time.Duration) Definition {
	d := Definition{Name: name, Replication: 1, Configs: map[string]string{
		CleanupPolicy:     "delete",
		CompressionType:   "producer",
		MaxMessageBytes:   strconv.Itoa(maxMessageBytes),
		MinInsyncReplicas: "1",
		RetentionMs:       strconv.FormatInt(retention.Milliseconds(), 10),
	}}
	if p == Production {
		d.Replication = 3
		d.Configs[MinInsyncReplicas] = "2"
	}
	return d
}

// All returns both topics of the settings.
func All(s kafkaclient.Settings, p Profile) []Definition {
	all := []Definition{Main(s.Topic, p), DeadLetters(s.DeadLetterTopic(), p)}
	for i := range all {
		all[i].Flags = s.CommandFlags()
		if p != Default {
			all[i].Flags += " --profile " + string(p)
		}
	}
	return all
}

// Clone returns a copy that shares nothing.
func (d Definition) Clone() Definition {
	d.Configs = maps.Clone(d.Configs)
	return d
}

const (
	maxPartitions  = 10_000
	maxReplication = 100
)

// Validate refuses what no cluster could hold or what would lose records, without I/O. The error joins one
// *settings.Error for each thing wrong.
func (d Definition) Validate() error {
	var errs []error
	add := func(what, value, allowed, reason string) {
		errs = append(errs, &settings.Error{Name: fmt.Sprintf("topic %q, %s", d.Name, what), Value: value, Reason: reason, Allowed: allowed})
	}
	if err := kafkaclient.CheckTopicName(d.Name); err != nil {
		add("name", d.Name, "", err.Error())
	}
	if d.Partitions < 1 || d.Partitions > maxPartitions {
		add("partitions", strconv.Itoa(int(d.Partitions)), fmt.Sprintf("1 to %d", maxPartitions), "out of range")
	}
	if d.Replication < 1 || d.Replication > maxReplication {
		add("replication factor", strconv.Itoa(int(d.Replication)), fmt.Sprintf("1 to %d", maxReplication), "out of range")
	}
	for _, key := range slices.Sorted(maps.Keys(d.Configs)) {
		value := d.Configs[key]
		check, known := configChecks[key]
		if !known {
			add(key, value, strings.Join(slices.Sorted(maps.Keys(configChecks)), ", "), "not a topic configuration that is known here")
			continue
		}
		if allowed, err := check(value); err != nil {
			add(key, value, allowed, err.Error())
		}
	}
	if n, err := strconv.Atoi(d.Configs[MinInsyncReplicas]); err == nil && n > int(d.Replication) && d.Replication >= 1 {
		add(MinInsyncReplicas, d.Configs[MinInsyncReplicas], fmt.Sprintf("at most the replication factor, %d", d.Replication),
			"more than the topic has replicas, so nothing could ever be written")
	}
	return errors.Join(errs...)
}

// configChecks says for each configuration what a definition may hold.
var configChecks = map[string]func(value string) (allowed string, err error){
	CleanupPolicy: func(value string) (string, error) {
		// The key of a record is its thread: compaction would keep the last record of each thread only.
		return oneOf(value, "delete")
	},
	CompressionType: func(value string) (string, error) {
		return oneOf(value, "producer", "uncompressed", "zstd", "lz4", "snappy", "gzip")
	},
	MaxMessageBytes:   atLeast(wire.MaxProducerBytes + batchOverhead),
	MinInsyncReplicas: atLeast(1),
	RetentionMs:       retention(int64(time.Minute / time.Millisecond)),
	RetentionBytes:    retention(1 << 20),
}

func oneOf(value string, allowed ...string) (string, error) {
	if slices.Contains(allowed, value) {
		return "", nil
	}
	return strings.Join(allowed, ", "), errors.New("not allowed")
}

func atLeast(low int32) func(string) (string, error) {
	return func(value string) (string, error) {
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < int64(low) {
			return fmt.Sprintf("a whole number from %d to %d", low, int64(1)<<31-1), errors.New("out of range")
		}
		return "", nil
	}
}

// retention is a limit of time or size, or -1 for none. A limit near zero would remove records before anybody read them.
func retention(low int64) func(string) (string, error) {
	return func(value string) (string, error) {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n != -1 && n < low {
			return fmt.Sprintf("-1 for no limit, or a whole number of at least %d", low), errors.New("out of range")
		}
		return "", nil
	}
}
