package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/topics"
)

type topicsCommand struct {
	Ensure   topicsEnsure   `cmd:"" help:"Create the topics that are missing and tell how the others differ from their definition."`
	Describe topicsDescribe `cmd:"" help:"Show the topics as the cluster has them, and how they differ from their definition."`
}

func newTopicsCommand() *topicsCommand {
	c := topicsCommon{
		Kafka: kafkaclient.Default(), Profile: topics.Default, Timeout: settings.Seconds(time.Minute),
	}
	return &topicsCommand{Ensure: topicsEnsure{Topics: c}, Describe: topicsDescribe{Topics: c}}
}

// topicsCommon is what both commands have: the cluster and the definition.
type topicsCommon struct {
	Kafka       kafkaclient.Settings `embed:""`
	Profile     topics.Profile       `name:"profile" envs:"DASHSTREAM_TOPICS_PROFILE" placeholder:"PROFILE" group:"Topics" help:"Kind of cluster that the topics are defined for."`
	Partitions  int32                `name:"partitions" envs:"DASHSTREAM_TOPICS_PARTITIONS" placeholder:"N" group:"Topics" help:"Partitions of the main topic; 0 is the default." unset:"that of the profile" min:"0"`
	Replication int16                `name:"replication" envs:"DASHSTREAM_TOPICS_REPLICATION" placeholder:"N" group:"Topics" help:"Replicas of each partition of both topics; 0 is the default." unset:"that of the profile" min:"0"`
	MinInsync   int16                `name:"min-insync" envs:"DASHSTREAM_TOPICS_MIN_INSYNC" placeholder:"N" group:"Topics" help:"Replicas that must have a record before it is confirmed, for both topics; 0 is the default." unset:"that of the profile" min:"0"`
	Retention   settings.Seconds     `name:"retention" envs:"DASHSTREAM_TOPICS_RETENTION" placeholder:"DURATION" group:"Topics" help:"How long the main topic keeps records; 0 is the default." unset:"that of the profile" min:"0" max:"315360000"`
	Timeout     settings.Seconds     `name:"timeout" envs:"DASHSTREAM_TOPICS_TIMEOUT_SECS" placeholder:"SECONDS" group:"Topics" help:"Longest time the command may take." min:"1" max:"3600"`
	Output
}

// definitions are the two topics of the profile with what was set beside it.
func (c *topicsCommon) definitions(p *Process) []topics.Definition {
	all := topics.All(c.Kafka, c.Profile)
	main := &all[0]
	if c.Partitions > 0 {
		main.Partitions = c.Partitions
	}
	if c.Retention > 0 {
		main.Configs[topics.RetentionMs] = strconv.FormatInt(c.Retention.Duration().Milliseconds(), 10)
	}
	for i := range all {
		all[i].Flags = p.again(c.Kafka) + c.flags(p)
		if c.Replication > 0 {
			all[i].Replication = c.Replication
		}
		if c.MinInsync > 0 {
			all[i].Configs[topics.MinInsyncReplicas] = strconv.Itoa(int(c.MinInsync))
		}
	}
	return all
}

// flags are those of the definition that were given, for a hint that means the same topics.
func (c *topicsCommon) flags(p *Process) string {
	out := ""
	for _, name := range []string{"profile", "partitions", "replication", "min-insync", "retention"} {
		if text, given := p.flags[name]; given {
			out += " --" + name + "=" + kafkaclient.Quoted(text)
		}
	}
	return out
}

// open validates the definitions and connects. The caller closes the client and calls cancel.
func (c *topicsCommon) open(ctx context.Context, p *Process) (client *kadm.Client, bounded context.Context, cancel func(), err error) {
	for _, d := range c.definitions(p) {
		err = errors.Join(err, d.Validate())
	}
	if err != nil {
		return nil, nil, nil, err
	}
	bounded, cancelTime := context.WithTimeout(ctx, c.Timeout.Duration())
	kafka, err := p.connect(bounded, c.Kafka, "topics")
	if err != nil {
		cancelTime()
		return nil, nil, nil, err
	}
	return kadm.NewClient(kafka), bounded, func() { kafka.Close(); cancelTime() }, nil
}

// differenceJSON, like the types below it, is part of the contract of --output json.
type differenceJSON struct {
	What     string `json:"what"`
	Live     string `json:"live"`
	Want     string `json:"want"`
	Severity string `json:"severity"` // breaking or notice
	Why      string `json:"why"`
	Fix      string `json:"fix"`
}

func differencesJSON(list []topics.Difference) []differenceJSON {
	out := make([]differenceJSON, len(list))
	for i, d := range list {
		out[i] = differenceJSON{d.What, d.Live, d.Want, string(d.Severity), d.Why, d.Fix}
	}
	return out
}

// textOf is a difference for people, under the line of its topic.
func textOf(d topics.Difference) string {
	return fmt.Sprintf("  %s: %s is %s, the definition says %s\n    %s\n    to do: %s\n", d.Severity, d.What, d.Live, d.Want, d.Why, d.Fix)
}

type topicsEnsure struct {
	Topics          topicsCommon `embed:""`
	RaisePartitions bool         `help:"Add the partitions that are missing. Threads that are running then move to other partitions."`
	UpdateConfigs   bool         `help:"Set the configurations that differ. A shorter retention removes records."`
}

type ensuredJSON struct {
	Topic       string           `json:"topic"`
	Action      string           `json:"action"` // created, updated, unchanged
	Changes     []string         `json:"changes"`
	Differences []differenceJSON `json:"differences"`
	Error       string           `json:"error"`
}

// Run fails when a topic could not be created or a breaking difference is left.
func (c *topicsEnsure) Run(ctx context.Context, p *Process) error {
	client, bounded, cancel, err := c.Topics.open(ctx, p)
	if err != nil {
		return err
	}
	defer cancel()
	options := topics.Options{RaisePartitions: c.RaisePartitions, UpdateConfigs: c.UpdateConfigs}
	results, err := options.Ensure(bounded, client, c.Topics.definitions(p)...)
	if results == nil {
		return err
	}
	if c.Topics.JSON() {
		err = writeEnsuredJSON(p, results)
	} else {
		err = writeEnsured(p, results)
	}
	errs := []error{err}
	var breaking []topics.Difference
	for _, r := range results {
		if r.Err != nil {
			kafka := c.Topics.Kafka
			kafka.Topic = r.Topic
			errs = append(errs, kafka.Explain(r.Doing, r.Err))
		}
		for _, d := range r.Differences {
			if d.Severity == topics.Breaking {
				breaking = append(breaking, d)
			}
		}
	}
	if len(breaking) > 0 {
		// They were printed above; the error says only that they are why it failed.
		plural := "s"
		if len(breaking) == 1 {
			plural = ""
		}
		errs = append(errs, fmt.Errorf("%d breaking difference%s left; see above", len(breaking), plural))
	}
	return errors.Join(errs...)
}

func writeEnsuredJSON(p *Process, results []topics.Result) error {
	out := make([]ensuredJSON, len(results))
	for i, r := range results {
		out[i] = ensuredJSON{Topic: r.Topic, Action: string(r.Action), Changes: append([]string{}, r.Changes...), Differences: differencesJSON(r.Differences)}
		if r.Err != nil {
			out[i].Action, out[i].Error = "failed", r.Err.Error()
		}
	}
	return writeJSON(p.Stdout, map[string]any{"topics": out})
}

func writeEnsured(p *Process, results []topics.Result) error {
	var b strings.Builder
	for _, r := range results {
		state := string(r.Action)
		if r.Err != nil {
			state = "failed"
		}
		fmt.Fprintf(&b, "%s: %s\n", r.Topic, state)
		for _, change := range r.Changes {
			fmt.Fprintf(&b, "  changed %s\n", change)
		}
		for _, d := range r.Differences {
			b.WriteString(textOf(d))
		}
	}
	return writeText(p.Stdout, b.String())
}

type topicsDescribe struct {
	Topics topicsCommon `embed:""`
}

type describedJSON struct {
	Topic       string                `json:"topic"`
	Exists      bool                  `json:"exists"`
	ID          string                `json:"id"`
	Replication int                   `json:"replication"`
	Partitions  []partitionJSON       `json:"partitions"`
	Configs     map[string]configJSON `json:"configs"`
	ConfigError string                `json:"config_error"`
	OffsetError string                `json:"offset_error"`
	Differences []differenceJSON      `json:"differences"`
}

type partitionJSON struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1: none
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Oldest    *int64  `json:"oldest"` // null: unknown
	Next      *int64  `json:"next"`   // null: unknown
}

type configJSON struct {
	Value string `json:"value"`
	Set   bool   `json:"set"` // on the topic, not a default of the cluster
}

// Run fails when a topic does not exist, or its offsets cannot be read although its partitions have leaders.
func (c *topicsDescribe) Run(ctx context.Context, p *Process) error {
	client, bounded, cancel, err := c.Topics.open(ctx, p)
	if err != nil {
		return err
	}
	defer cancel()
	definitions := c.Topics.definitions(p)
	names := make([]string, len(definitions))
	for i, d := range definitions {
		names[i] = d.Name
	}
	found, err := topics.Describe(bounded, client, names...)
	if err != nil {
		return c.Topics.Kafka.Explain(kafkaclient.OpInspect, err)
	}
	if c.Topics.JSON() {
		err = writeDescribedJSON(p, found, definitions)
	} else {
		err = writeDescribed(p, found, definitions)
	}
	if err != nil {
		return err
	}
	var missing []string
	var unknown []error
	for _, l := range found {
		if !l.Exists {
			missing = append(missing, strconv.Quote(l.Name))
		}
		if l.OffsetErr != nil {
			kafka := c.Topics.Kafka
			kafka.Topic = l.Name
			unknown = append(unknown, kafka.Explain(kafkaclient.OpInspect, fmt.Errorf("offsets of topic %q: %w", l.Name, l.OffsetErr)))
		}
	}
	if len(unknown) > 0 {
		return errors.Join(unknown...)
	}
	if len(missing) > 0 {
		err := fmt.Errorf("no such topic: %s", strings.Join(missing, ", "))
		if !found[0].Exists { // the other is made with it
			err = c.Topics.Kafka.Explain(kafkaclient.OpInspect, fmt.Errorf("%w: %w", err, kerr.UnknownTopicOrPartition))
		}
		return noDataTry(programName+" topics ensure"+p.again(c.Topics.Kafka)+c.Topics.flags(p), "%w", err)
	}
	return nil
}

func writeDescribedJSON(p *Process, found []topics.Live, definitions []topics.Definition) error {
	out := make([]describedJSON, len(found))
	for i, l := range found {
		d := describedJSON{
			Topic: l.Name, Exists: l.Exists, ID: l.ID, Replication: l.Replication(), Partitions: []partitionJSON{},
			Configs: map[string]configJSON{}, Differences: differencesJSON(topics.Compare(l, definitions[i])),
		}
		for _, part := range l.Partitions {
			d.Partitions = append(d.Partitions, partitionJSON{
				Partition: part.Partition, Leader: part.Leader, Replicas: part.Replicas, ISR: part.ISR,
				Oldest: known(part.Oldest), Next: known(part.Next),
			})
		}
		for k, v := range l.Configs {
			d.Configs[k] = configJSON(v)
		}
		if l.ConfigErr != nil {
			d.ConfigError = l.ConfigErr.Error()
		}
		if l.OffsetErr != nil {
			d.OffsetError = l.OffsetErr.Error()
		}
		out[i] = d
	}
	return writeJSON(p.Stdout, map[string]any{"topics": out})
}

// known is nil for an offset that could not be read: unknown is not zero.
func known(offset int64) *int64 {
	if offset < 0 {
		return nil
	}
	return &offset
}

func writeDescribed(p *Process, found []topics.Live, definitions []topics.Definition) error {
	var b strings.Builder
	for i, l := range found {
		if !l.Exists {
			fmt.Fprintf(&b, "%s: does not exist\n", l.Name)
			continue
		}
		id := ""
		if l.ID != "" {
			id = ", id " + l.ID
		}
		plural := "s"
		if len(l.Partitions) == 1 {
			plural = ""
		}
		fmt.Fprintf(&b, "%s: %d partition%s, replication factor %d%s\n", l.Name, len(l.Partitions), plural, l.Replication(), id)
		t := table{}
		t.row("  PARTITION", "LEADER", "REPLICAS", "IN SYNC", "OLDEST", "NEXT")
		for _, part := range l.Partitions {
			leader := "none"
			if part.Leader >= 0 {
				leader = strconv.Itoa(int(part.Leader))
			}
			t.row("  "+strconv.Itoa(int(part.Partition)), leader, ids(part.Replicas), ids(part.ISR), offsetText(part.Oldest), offsetText(part.Next))
		}
		t.row("  CONFIGURATION")
		for _, k := range slices.Sorted(maps.Keys(l.Configs)) {
			if _, defined := definitions[i].Configs[k]; defined || l.Configs[k].Set {
				t.row("  " + k + "=" + oneLine(l.Configs[k].Value, 200))
			}
		}
		if l.ConfigErr != nil {
			t.row("  unknown: " + oneLine(l.ConfigErr.Error(), 200))
		}
		if err := t.write(&b); err != nil {
			return err
		}
		differences := topics.Compare(l, definitions[i])
		if len(differences) == 0 {
			b.WriteString("  as defined\n")
		}
		for _, d := range differences {
			b.WriteString(textOf(d))
		}
	}
	return writeText(p.Stdout, b.String())
}

func ids(list []int32) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(int(n))
	}
	return strings.Join(words, ",")
}

func offsetText(offset int64) string {
	if offset < 0 {
		return "unknown"
	}
	return strconv.FormatInt(offset, 10)
}
