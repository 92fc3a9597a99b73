package topics

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Live is a topic as the cluster has it.
type Live struct {
	Name       string
	Exists     bool
	ID         string // as Kafka's tools write it; empty when the broker has no topic ids
	Partitions []Partition
	Configs    map[string]Config
	ConfigErr  error // why Configs is empty; the rest is known
	// OffsetErr is why offsets of partitions that have a leader are unknown; nil when none is.
	OffsetErr error
}

// Partition is one partition as the cluster has it.
type Partition struct {
	Partition     int32
	Leader        int32 // -1 when there is none
	Replicas, ISR []int32
	// Oldest and Next are the offsets of the oldest record and of the next one to be written; -1 when unknown.
	Oldest, Next int64
}

// Config is one configuration of a topic.
type Config struct {
	Value string
	// Set is true when it is set on the topic, false when it is a default of the cluster.
	Set bool
}

// Replication is the number of replicas of the partition that has the fewest.
func (l Live) Replication() int {
	fewest := 0
	for i, p := range l.Partitions {
		if i == 0 || len(p.Replicas) < fewest {
			fewest = len(p.Replicas)
		}
	}
	return fewest
}

// Describe returns the topics in the order of the names. A topic that is not there has Exists false. The error is one
// that hides whether topics exist; what only hides details is in the result.
func Describe(ctx context.Context, client *kadm.Client, names ...string) ([]Live, error) {
	found, err := describe(ctx, client, names)
	if err != nil {
		return nil, err
	}
	existing := []string{}
	for _, l := range found {
		if l.Exists {
			existing = append(existing, l.Name)
		}
	}
	if len(existing) == 0 {
		return found, nil
	}
	// An offset that cannot be read stays unknown: the topic itself is described all the same.
	starts, errStarts := client.ListStartOffsets(ctx, existing...)
	ends, errEnds := client.ListEndOffsets(ctx, existing...)
	for t := range found {
		l := &found[t]
		for i := range l.Partitions {
			p := &l.Partitions[i]
			var oldest, next error
			p.Oldest, oldest = offsetOf(starts, errStarts, l.Name, p.Partition)
			p.Next, next = offsetOf(ends, errEnds, l.Name, p.Partition)
			if err := cmp.Or(oldest, next); err != nil && p.Leader >= 0 && l.OffsetErr == nil {
				l.OffsetErr = err
			}
		}
	}
	return found, nil
}

// offsetOf returns the offset of a partition, or why it is unknown; requestErr is why some were not asked for.
func offsetOf(listed kadm.ListedOffsets, requestErr error, topic string, partition int32) (int64, error) {
	o, ok := listed.Lookup(topic, partition)
	switch {
	case ok && o.Err == nil:
		return o.Offset, nil
	case ok:
		return unknownOffset, o.Err
	default:
		return unknownOffset, cmp.Or(requestErr, errors.New("no answer"))
	}
}

const unknownOffset = -1

// describe is Describe without offsets, which Compare does not need.
func describe(ctx context.Context, client *kadm.Client, names []string) ([]Live, error) {
	details, err := client.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	out := make([]Live, len(names))
	var existing []string
	for i, name := range names {
		d := details[name]
		out[i] = Live{Name: name}
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition), d.Err == nil && len(d.Partitions) == 0:
			continue
		case d.Err != nil:
			return nil, fmt.Errorf("describe topic %q: %w", name, d.Err)
		}
		out[i].Exists = true
		if d.ID != (kadm.TopicID{}) {
			out[i].ID = base64.RawURLEncoding.EncodeToString(d.ID[:])
		}
		for _, p := range d.Partitions.Sorted() {
			out[i].Partitions = append(out[i].Partitions, Partition{
				Partition: p.Partition, Leader: p.Leader, Replicas: slices.Clone(p.Replicas), ISR: slices.Clone(p.ISR),
				Oldest: unknownOffset, Next: unknownOffset,
			})
		}
		existing = append(existing, name)
	}
	if len(existing) == 0 {
		return out, nil
	}
	configs, err := client.DescribeTopicConfigs(ctx, existing...)
	for i := range out {
		if !out[i].Exists {
			continue
		}
		out[i].Configs, out[i].ConfigErr = configsOf(configs, err, out[i].Name)
		// A broker that does not know a new topic yet, or is busy, will answer; a missing permission stays missing.
		if err := out[i].ConfigErr; err != nil && passes(err) {
			return nil, fmt.Errorf("describe configuration of topic %q: %w", out[i].Name, err)
		}
	}
	return out, nil
}

func configsOf(all kadm.ResourceConfigs, requestErr error, name string) (map[string]Config, error) {
	rc, err := all.On(name, nil)
	if err != nil {
		// No answer for this topic; there may be one for another.
		if requestErr != nil {
			err = requestErr
		}
		return nil, err
	}
	if rc.Err != nil {
		return nil, rc.Err
	}
	out := make(map[string]Config, len(rc.Configs))
	for _, c := range rc.Configs {
		if c.Value != nil {
			out[c.Key] = Config{Value: *c.Value, Set: c.Source == kmsg.ConfigSourceDynamicTopicConfig}
		}
	}
	return out, nil
}
