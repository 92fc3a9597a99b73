package topics_test

import (
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/topics"
	"github.com/dashflow/dashstream/internal/wire"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	const day = "86400000"
	tests := []struct {
		profile       topics.Profile
		main, dead    [2]int // partitions, replication
		minInsync     string
		retentionSize string
	}{
		{topics.Default, [2]int{10, 1}, [2]int{3, 1}, "1", ""},
		{topics.Production, [2]int{10, 3}, [2]int{3, 3}, "2", ""},
		{topics.Embedded, [2]int{3, 1}, [2]int{1, 1}, "1", "2147483648"},
	}
	for _, tt := range tests {
		main, dead := topics.Main("m", tt.profile), topics.DeadLetters("d", tt.profile)
		for _, c := range []struct {
			d    topics.Definition
			want [2]int
		}{{main, tt.main}, {dead, tt.dead}} {
			if err := c.d.Validate(); err != nil {
				t.Errorf("%s: %v", tt.profile, err)
			}
			if int(c.d.Partitions) != c.want[0] || int(c.d.Replication) != c.want[1] {
				t.Errorf("%s %s: %d partitions, replication %d, want %v", tt.profile, c.d.Name, c.d.Partitions, c.d.Replication, c.want)
			}
			for key, want := range map[string]string{
				topics.CleanupPolicy: "delete", topics.CompressionType: "producer", topics.MinInsyncReplicas: tt.minInsync,
			} {
				if got := c.d.Configs[key]; got != want {
					t.Errorf("%s %s: %s = %q, want %q", tt.profile, c.d.Name, key, got, want)
				}
			}
		}
		if got := main.Configs[topics.RetentionMs]; got != "604800000" {
			t.Errorf("%s: main retention %s", tt.profile, got)
		}
		if got := dead.Configs[topics.RetentionMs]; got != "2592000000" {
			t.Errorf("%s: dead letter retention %s, want 30 times %s", tt.profile, got, day)
		}
		if got := main.Configs[topics.RetentionBytes]; got != tt.retentionSize {
			t.Errorf("%s: retention.bytes %q, want %q", tt.profile, got, tt.retentionSize)
		}
	}
}

func TestAllUsesTheNamesOfTheSettings(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	s.Topic = "events"
	all := topics.All(s, topics.Default)
	if len(all) != 2 || all[0].Name != "events" || all[1].Name != "events-dlq" {
		t.Errorf("got %+v", all)
	}
}

// What to run is said so that it can be pasted: for this cluster, this topic, this profile.
func TestHintsNameClusterAndTopic(t *testing.T) {
	t.Parallel()
	s := kafkaclient.Default()
	s.Brokers, s.Topic = kafkaclient.Brokers{"kafka:9"}, "events"
	def := topics.All(s, topics.Production)[0]
	const command = "dashstream topics ensure --kafka-brokers kafka:9 --kafka-topic events --profile production"
	few := topics.Live{Name: "events", Exists: true, Partitions: []topics.Partition{{}}}
	for flag, live := range map[string]topics.Live{"": {Name: "events"}, " --raise-partitions": few, " --update-configs": few} {
		found := false
		for _, d := range topics.Compare(live, def) {
			found = found || strings.Contains(d.Fix, command+flag)
		}
		if !found {
			t.Errorf("no %q in %v", command+flag, topics.Compare(live, def))
		}
	}
}

// Nonsense is refused without a broker, by an error that names the topic, the value and what is allowed.
func TestValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(*topics.Definition)
		says []string
	}{
		{"no partitions", func(d *topics.Definition) { d.Partitions = 0 }, []string{"partitions", `"0"`, "1 to 10000"}},
		{"negative partitions", func(d *topics.Definition) { d.Partitions = -1 }, []string{"partitions"}},
		{"a million partitions", func(d *topics.Definition) { d.Partitions = 1_000_000 }, []string{"partitions"}},
		{"no replication", func(d *topics.Definition) { d.Replication = 0 }, []string{"replication factor", `"0"`}},
		{"name", func(d *topics.Definition) { d.Name = "a/b" }, []string{"name", "letters, digits"}},
		{"no name", func(d *topics.Definition) { d.Name = "" }, []string{"name", "empty"}},
		{"min insync above replication", func(d *topics.Definition) { d.Configs[topics.MinInsyncReplicas] = "2" }, []string{topics.MinInsyncReplicas, "nothing could ever be written", "replication factor, 1"}},
		{"min insync 0", func(d *topics.Definition) { d.Configs[topics.MinInsyncReplicas] = "0" }, []string{topics.MinInsyncReplicas, "out of range"}},
		{"compaction", func(d *topics.Definition) { d.Configs[topics.CleanupPolicy] = "compact" }, []string{topics.CleanupPolicy, "delete"}},
		{"compression", func(d *topics.Definition) { d.Configs[topics.CompressionType] = "zip" }, []string{topics.CompressionType, "producer"}},
		{"retention 0", func(d *topics.Definition) { d.Configs[topics.RetentionMs] = "0" }, []string{topics.RetentionMs, "-1 for no limit"}},
		{"retention in words", func(d *topics.Definition) { d.Configs[topics.RetentionMs] = "7d" }, []string{topics.RetentionMs}},
		{"retention overflow", func(d *topics.Definition) { d.Configs[topics.RetentionMs] = "9223372036854775808" }, []string{topics.RetentionMs}},
		{"retention of bytes", func(d *topics.Definition) { d.Configs[topics.RetentionBytes] = "1" }, []string{topics.RetentionBytes}},
		{"message size below the producer's", func(d *topics.Definition) { d.Configs[topics.MaxMessageBytes] = "1000000" }, []string{topics.MaxMessageBytes}},
		{"unknown configuration", func(d *topics.Definition) { d.Configs["retention.mss"] = "1" }, []string{"retention.mss", topics.RetentionMs}},
	}
	for _, tt := range tests {
		d := topics.Main("m", topics.Default)
		tt.set(&d)
		err := d.Validate()
		if len(settings.Errors(err)) != 1 {
			t.Errorf("%s: want one error, got %v", tt.name, err)
			continue
		}
		for _, says := range tt.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: no %q in %v", tt.name, says, err)
			}
		}
		// The client is nil: any I/O would panic.
		if _, err := topics.Ensure(t.Context(), nil, d); err == nil {
			t.Errorf("%s: Ensure takes it", tt.name)
		}
		if _, err := topics.Verify(t.Context(), nil, d); err == nil {
			t.Errorf("%s: Verify takes it", tt.name)
		}
	}
	same := topics.Main("m", topics.Default)
	if _, err := topics.Ensure(t.Context(), nil, same, same); err == nil || !strings.Contains(err.Error(), "defined twice") {
		t.Errorf("a topic defined twice: %v", err)
	}
}

func TestClone(t *testing.T) {
	t.Parallel()
	d := topics.Main("m", topics.Default)
	c := d.Clone()
	c.Configs[topics.RetentionMs] = "1"
	if d.Configs[topics.RetentionMs] == "1" {
		t.Error("a clone shares its configurations")
	}
}

// live returns a topic as the definition has it, with the changes.
func live(d topics.Definition, change func(*topics.Live)) topics.Live {
	l := topics.Live{Name: d.Name, Exists: true, Configs: map[string]topics.Config{}}
	for i := range d.Partitions {
		l.Partitions = append(l.Partitions, topics.Partition{Partition: i, Replicas: make([]int32, d.Replication)})
	}
	for k, v := range d.Configs {
		l.Configs[k] = topics.Config{Value: v, Set: true}
	}
	change(&l)
	return l
}

// A topic of "dashstream up" is known as one, whichever of the two it is; another with as few partitions is not.
func TestCompareKnowsTheTopicsOfUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ made, want topics.Definition }{
		{topics.Main("m", topics.Embedded), topics.Main("m", topics.Default)},
		{topics.DeadLetters("m-dlq", topics.Embedded), topics.DeadLetters("m-dlq", topics.Default)},
	} {
		found := topics.Compare(live(tt.made, func(*topics.Live) {}), tt.want)
		if len(found) != 1 || !found[0].OfUp || !strings.Contains(found[0].String(), "as dashstream up makes it") || !strings.Contains(found[0].Fix, "--profile embedded") {
			t.Errorf("%s: %v", tt.made.Name, found)
		}
		other := topics.Compare(live(tt.made, func(l *topics.Live) { l.Configs[topics.RetentionMs] = topics.Config{Value: "60000"} }), tt.want)
		if len(other) != 2 || other[0].OfUp || strings.Contains(other[0].String(), "dashstream up") {
			t.Errorf("%s with another retention: %v", tt.made.Name, other)
		}
	}
}

// Every way in which a topic can differ is told, with what follows from it and what to do.
func TestCompare(t *testing.T) {
	t.Parallel()
	def := topics.Main("m", topics.Production)
	set := func(key, value string) func(*topics.Live) {
		return func(l *topics.Live) { l.Configs[key] = topics.Config{Value: value} }
	}
	tests := []struct {
		name     string
		change   func(*topics.Live)
		what     string
		severity topics.Severity
		says     []string
	}{
		{"missing", func(l *topics.Live) { l.Exists = false }, topics.Topic, topics.Breaking, []string{"dashstream topics ensure"}},
		{"fewer partitions", func(l *topics.Live) { l.Partitions = l.Partitions[:4] }, topics.Partitions, topics.Notice, []string{"is 4", "says 10", "--raise-partitions", "other partitions"}},
		{"more partitions", func(l *topics.Live) { l.Partitions = append(l.Partitions, l.Partitions[0]) }, topics.Partitions, topics.Notice, []string{"is 11", "says 10", "cannot take partitions away"}},
		{"fewer replicas of one partition", func(l *topics.Live) { l.Partitions[3].Replicas = []int32{1} }, topics.Replication, topics.Breaking, []string{"is 1", "says 3", "kafka-reassign-partitions"}},
		{"retention shorter", set(topics.RetentionMs, "3600000"), topics.RetentionMs, topics.Notice, []string{"1h0m0s", "7 d", "earlier than planned", "when it is intended", "--update-configs"}},
		{"retention endless", set(topics.RetentionMs, "-1"), topics.RetentionMs, topics.Notice, []string{"no limit", "more room"}},
		{"message size smaller", set(topics.MaxMessageBytes, "1048588"), topics.MaxMessageBytes, topics.Breaking, []string{"1 MiB", "broker refuses messages", "--update-configs"}},
		{"message size larger", set(topics.MaxMessageBytes, "104857600"), topics.MaxMessageBytes, topics.Notice, []string{"100 MiB", "readers refuse"}},
		{"compacted", set(topics.CleanupPolicy, "compact"), topics.CleanupPolicy, topics.Breaking, []string{"last record of each thread"}},
		{"compressed again", set(topics.CompressionType, "gzip"), topics.CompressionType, topics.Notice, []string{"compresses records again"}},
		{"min insync lower", set(topics.MinInsyncReplicas, "1"), topics.MinInsyncReplicas, topics.Breaking, []string{"still be lost"}},
		{"min insync higher", set(topics.MinInsyncReplicas, "3"), topics.MinInsyncReplicas, topics.Notice, []string{"refuses records earlier"}},
		{"min insync above the replicas", set(topics.MinInsyncReplicas, "4"), topics.MinInsyncReplicas, topics.Breaking, []string{"nothing can be written"}},
		{"configuration not told", func(l *topics.Live) { delete(l.Configs, topics.RetentionMs) }, topics.RetentionMs, topics.Notice, []string{"unknown"}},
		{"configuration not allowed", func(l *topics.Live) { l.Configs, l.ConfigErr = nil, errDenied }, topics.Access, topics.Notice, []string{"denied", "DESCRIBE_CONFIGS"}},
	}
	for _, tt := range tests {
		got := topics.Compare(live(def, tt.change), def)
		if len(got) != 1 {
			t.Errorf("%s: want one difference, got %v", tt.name, got)
			continue
		}
		if got[0].What != tt.what || got[0].Severity != tt.severity {
			t.Errorf("%s: %s %s, want %s %s", tt.name, got[0].Severity, got[0].What, tt.severity, tt.what)
		}
		for _, says := range append(tt.says, `topic "m"`) {
			if !strings.Contains(got[0].String(), says) {
				t.Errorf("%s: no %q in: %s", tt.name, says, got[0])
			}
		}
	}
	if got := topics.Compare(live(def, func(*topics.Live) {}), def); len(got) != 0 {
		t.Errorf("no difference gives %v", got)
	}
}

// A broker must take the largest message that readers take, with all that a batch adds to it.
func TestMaxMessageBytesFitsTheReaders(t *testing.T) {
	t.Parallel()
	for _, p := range topics.Profiles() {
		for _, d := range topics.All(kafkaclient.Default(), p) {
			if got := d.Configs[topics.MaxMessageBytes]; got != "10551296" || wire.DefaultMaxBytes != 10485760 {
				t.Errorf("%s: max.message.bytes %s", d.Name, got)
			}
		}
	}
}
