package topics

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Severity says what a difference means.
type Severity string

// The severities.
const (
	// Breaking is a difference with which records are lost, refused or unread. Verify fails on it.
	Breaking Severity = "breaking"
	// Notice is a difference that may well be intended.
	Notice Severity = "notice"
)

// Partitions and Replication are the values of Difference.What that are not configurations; Topic is a topic that is not
// there, Access a configuration that may not be read.
const (
	Topic       = "topic"
	Partitions  = "partitions"
	Replication = "replication factor"
	Access      = "configuration"
)

// Difference is one thing in which a live topic is not as defined.
type Difference struct {
	Topic    string
	What     string // Topic, Partitions, Replication, Access or the name of a configuration
	Live     string // "unknown" when it could not be read
	Want     string
	Severity Severity
	Why      string // what follows from it
	Fix      string // what to do about it
	// OfUp says that nothing is wrong: the topic is as "dashstream up" makes it.
	OfUp bool
}

// String is the difference in one line.
func (d Difference) String() string {
	return fmt.Sprintf("topic %q: %s is %s, the definition says %s: %s; to do: %s", d.Topic, d.What, d.Live, d.Want, d.Why, d.Fix)
}

// Compare lists how the live topic differs from the definition: partitions, replication, then configurations by name.
// Configurations that the definition does not set are not compared.
func Compare(live Live, def Definition) []Difference {
	c := comparison{def: def}
	if !live.Exists {
		c.add(Topic, "missing", "present", Breaking, "nothing can be written or read", "run: "+c.ensure(""))
		return c.out
	}
	c.partitions(live)
	c.replication(live)
	if live.ConfigErr != nil {
		c.add(Access, "unknown", "readable", Notice, fmt.Sprintf("the configuration could not be read (%v)", live.ConfigErr),
			"allow DESCRIBE_CONFIGS on the topic")
		return c.out
	}
	for _, key := range slices.Sorted(maps.Keys(def.Configs)) {
		c.config(live, key)
	}
	return c.out
}

// ensure is the command that brings the topic to its definition.
func (c *comparison) ensure(flag string) string {
	return "dashstream topics ensure" + c.def.Flags + flag
}

type comparison struct {
	def Definition
	out []Difference
}

func (c *comparison) add(what, live, want string, severity Severity, why, fix string) {
	c.out = append(c.out, Difference{Topic: c.def.Name, What: what, Live: live, Want: want, Severity: severity, Why: why, Fix: fix})
}

func (c *comparison) partitions(live Live) {
	have, want := len(live.Partitions), int(c.def.Partitions)
	switch {
	case have < want:
		raise := "run: " + c.ensure(" --raise-partitions") +
			"; threads that are running then move to other partitions, so do it while no agents run"
		ofUp := c.def.embedded != nil && len(Compare(live, *c.def.embedded)) == 0
		why, fix := "fewer consumers can share the work than planned", "nothing, when it is intended; else "+raise
		if ofUp {
			why, fix = "it is as dashstream up makes it", "nothing, and compare it with --profile embedded; to have more partitions all the same, "+raise
		}
		c.add(Partitions, strconv.Itoa(have), strconv.Itoa(want), Notice, why, fix)
		c.out[len(c.out)-1].OfUp = ofUp
	case have > want:
		c.add(Partitions, strconv.Itoa(have), strconv.Itoa(want), Notice, "Kafka cannot take partitions away, and more do no harm",
			fmt.Sprintf("nothing, or define it so: --partitions %d", have))
	}
}

func (c *comparison) replication(live Live) {
	have, want := live.Replication(), int(c.def.Replication)
	switch {
	case have < want:
		c.add(Replication, strconv.Itoa(have), strconv.Itoa(want), Breaking, "records are lost with fewer brokers than planned",
			"reassign the partitions: kafka-reassign-partitions.sh, with a replica list of that length for each")
	case have > want:
		c.add(Replication, strconv.Itoa(have), strconv.Itoa(want), Notice, "records are safer and cost more than planned",
			fmt.Sprintf("nothing, or define it so: --replication %d", have))
	}
}

func (c *comparison) config(live Live, key string) {
	have, want := live.Configs[key].Value, c.def.Configs[key]
	if have == want {
		return
	}
	shown := have
	if have == "" {
		shown = "unknown"
	}
	severity, why := meaning(key, have, want)
	fix := "run: " + c.ensure(" --update-configs")
	if severity == Notice {
		fix = "nothing, when it is intended; else " + fix
	}
	c.add(key, shown+inWords(key, have), want+inWords(key, want), severity, why, fix)
	// A topic that asks for more replicas in sync than it has takes no records, whatever the definition says.
	if n, err := strconv.Atoi(have); key == MinInsyncReplicas && err == nil && n > live.Replication() {
		last := &c.out[len(c.out)-1]
		last.Severity, last.Why = Breaking, "more than the topic has replicas, so nothing can be written"
	}
}

// meaning says how bad it is that a configuration is have and not want.
func meaning(key, have, want string) (severity Severity, why string) {
	h, errHave := strconv.ParseInt(have, 10, 64)
	w, errWant := strconv.ParseInt(want, 10, 64)
	less := errHave == nil && errWant == nil && h < w
	switch key {
	case CleanupPolicy:
		return Breaking, "compaction keeps only the last record of each thread"
	case MaxMessageBytes:
		if less {
			return Breaking, "the broker refuses messages that readers would take"
		}
		return Notice, "readers refuse messages that the broker takes"
	case MinInsyncReplicas:
		if less {
			return Breaking, "a record can be confirmed and still be lost with one broker"
		}
		return Notice, "the topic refuses records earlier than planned when brokers are down"
	case RetentionMs, RetentionBytes:
		// -1 is no limit.
		if less && h != -1 || w == -1 {
			return Notice, "records are removed earlier than planned"
		}
		return Notice, "records take more room than planned"
	case CompressionType:
		return Notice, "the broker compresses records again"
	default:
		return Notice, "it is not as planned"
	}
}

// inWords adds what a large number means.
func inWords(key, value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return ""
	}
	switch {
	case (key == RetentionMs || key == RetentionBytes) && n == -1:
		return " (no limit)"
	case key == RetentionMs:
		return fmt.Sprintf(" (%s)", days(n))
	case key == RetentionBytes || key == MaxMessageBytes:
		return fmt.Sprintf(" (%.4g MiB)", float64(n)/(1<<20))
	default:
		return ""
	}
}

func days(ms int64) string {
	const day = int64(24 * time.Hour / time.Millisecond)
	if ms%day == 0 {
		return fmt.Sprintf("%d d", ms/day)
	}
	if ms > int64((1<<63-1)/time.Millisecond) {
		return "centuries"
	}
	return (time.Duration(ms) * time.Millisecond).String()
}
