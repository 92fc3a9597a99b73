package testkafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Wait bounds every step this package takes on a cluster.
const Wait = 30 * time.Second

// Backend names what a cluster runs on.
type Backend string

const (
	Embedded Backend = "embedded" // this project's own broker, one per test
	Apache   Backend = "apache"   // Apache Kafka in KRaft mode
)

// Options chooses what a test needs beyond one node with default settings. The zero value is right for most tests.
type Options struct {
	// Nodes is the number of brokers; 0 means one. More than one runs on Apache Kafka only, on a cluster of its own.
	Nodes int
	// Properties are added to the server properties of each Apache Kafka node, on a cluster of the test's own. A test that
	// sets them runs on Apache Kafka only.
	Properties map[string]string
	// Ports, with Properties, are the names of further ports for listeners; ${PORT_NAME} stands for one in a property.
	Ports []string
	// Prepare, with Properties, is called before the first start with the directory of each node, to put key stores there,
	// and returns arguments for the storage formatter, such as --add-scram.
	Prepare func(dir string) (formatArgs []string, err error)
	// Security is the client side of the listener that Properties sets up, for the admin client of this package and for
	// Client.
	Security []kgo.Opt
	// Own gives the test a cluster of its own on Apache Kafka too, because it stops or restarts brokers.
	Own bool
}

// Cluster is a running cluster. Its methods fail the test they are given.
type Cluster struct {
	backend  Backend
	opts     Options
	embedded *embeddedBackend
	apache   *apacheBackend // nil when the cluster was given by address
	given    []string       // addresses of a given cluster
}

// Start returns a cluster for the test. What was started for the test alone ends with it.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	env, err := readEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	apacheOnly := opts.Nodes > 1 || len(opts.Properties) > 0
	c := &Cluster{backend: env.backend, opts: opts}
	switch {
	case env.backend == Embedded && apacheOnly:
		t.Skip("needs a cluster that the embedded broker cannot be (several nodes, or server properties); run with DASHSTREAM_TEST_KAFKA=apache")
	case env.backend == Embedded:
		c.embedded = startEmbedded(t)
	case opts.Own || apacheOnly:
		c.apache = ownApache(t, env, opts)
	case len(env.brokers) > 0:
		c.given = env.brokers
	default:
		c.apache = sharedApache(t, env)
	}
	return c
}

// Backend says what the cluster runs on.
func (c *Cluster) Backend() Backend { return c.backend }

// Brokers is the addresses of all nodes.
func (c *Cluster) Brokers() []string {
	switch {
	case c.embedded != nil:
		return []string{c.embedded.addr}
	case c.apache != nil:
		return c.apache.cluster.Brokers()
	default:
		return c.given
	}
}

// BrokerList is Brokers as the comma list that KAFKA_BROKERS takes.
func (c *Cluster) BrokerList() string { return strings.Join(c.Brokers(), ",") }

// Addr is the address of one of Options.Ports of the first node.
func (c *Cluster) Addr(t testing.TB, name string) string {
	t.Helper()
	addr, err := c.apache.cluster.Addr(0, name)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Tool runs a command-line tool of Apache Kafka, given by its class, and returns what it printed. It needs a cluster that
// Properties made.
func (c *Cluster) Tool(t testing.TB, class string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	out, err := c.apache.cluster.Tool(ctx, class, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Client returns a client of the cluster, closed when the test ends.
func (c *Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	all := append([]kgo.Opt{kgo.SeedBrokers(c.Brokers()...)}, c.opts.Security...)
	cl, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// Admin returns an admin client of the cluster, closed when the test ends. kadm answers metadata from a cache of up to
// MetadataMinAge, five seconds by default; this client's is ten milliseconds, the least there is. TopicID never lags.
func (c *Cluster) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	return kadm.NewClient(c.Client(t, kgo.MetadataMinAge(10*time.Millisecond)))
}

// TopicName returns a name no other test has, for a test that lets the program under test create the topic.
func (c *Cluster) TopicName(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '-' // '.' and '_' collide with each other in Kafka's metric names
	}, t.Name())
	return fmt.Sprintf("%.150s-%s", name, strings.ToLower(rand.Text()[:10]))
}

// Topic creates a topic with a name of its own and waits until it can be used.
func (c *Cluster) Topic(t testing.TB, partitions int) string {
	t.Helper()
	name := c.TopicName(t)
	c.CreateTopic(t, name, partitions, nil)
	return name
}

// CreateTopic creates the topic with as many replicas as there are nodes, at most three, and waits until it can be used.
func (c *Cluster) CreateTopic(t testing.TB, topic string, partitions int, configs map[string]string) {
	t.Helper()
	adm := c.Admin(t)
	defer adm.Close()
	cfg := make(map[string]*string, len(configs))
	for k, v := range configs {
		cfg[k] = &v
	}
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	replicas := int16(max(1, min(3, len(c.Brokers()))))
	if _, err := adm.CreateTopic(ctx, int32(partitions), replicas, cfg, topic); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
	c.awaitTopic(t, adm, topic, partitions)
}

// awaitTopic waits until every partition has a leader that answers, on every node that is asked.
func (c *Cluster) awaitTopic(t testing.TB, adm *kadm.Client, topic string, partitions int) {
	t.Helper()
	Eventually(t, fmt.Sprintf("topic %s has %d partitions with a leader", topic, partitions), func(ctx context.Context) error {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		if err := ends.Error(); err != nil {
			return err
		}
		if n := len(ends[topic]); n != partitions {
			return fmt.Errorf("%d partitions", n)
		}
		return nil
	})
}

// Grow raises the topic's number of partitions and waits until the new ones can be used.
func (c *Cluster) Grow(t testing.TB, topic string, partitions int) {
	t.Helper()
	adm := c.Admin(t)
	defer adm.Close()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	resp, err := adm.UpdatePartitions(ctx, partitions, topic)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		t.Fatalf("grow topic %s to %d partitions: %v", topic, partitions, err)
	}
	c.awaitTopic(t, adm, topic, partitions)
}

// DeleteRecords removes the partition's records below the offset; -1 removes all there are.
func (c *Cluster) DeleteRecords(t testing.TB, topic string, partition int32, before int64) {
	t.Helper()
	adm := c.Admin(t)
	defer adm.Close()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	var os kadm.Offsets
	os.AddOffset(topic, partition, before, -1)
	resp, err := adm.DeleteRecords(ctx, os)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		t.Fatalf("delete records of %s[%d] below %d: %v", topic, partition, before, err)
	}
}

// DeleteTopic deletes the topic and waits until it is gone.
func (c *Cluster) DeleteTopic(t testing.TB, topic string) {
	t.Helper()
	adm := c.Admin(t)
	defer adm.Close()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	if _, err := adm.DeleteTopic(ctx, topic); err != nil {
		t.Fatalf("delete topic %s: %v", topic, err)
	}
	Eventually(t, "topic "+topic+" is gone", func(context.Context) error {
		if id := c.TopicID(t, topic); id != (kadm.TopicID{}) {
			return fmt.Errorf("still there with id %v", id)
		}
		return nil
	})
}

// TopicID asks the cluster for the topic's id; it is zero when there is no such topic.
func (c *Cluster) TopicID(t testing.TB, topic string) kadm.TopicID {
	t.Helper()
	cl := c.Client(t)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	// Not through kadm, whose answer may be older than the call.
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil && len(resp.Topics) == 1 {
		if err = kerr.ErrorForCode(resp.Topics[0].ErrorCode); err == nil {
			return resp.Topics[0].TopicID
		}
	}
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("look up topic %s: %v", topic, err)
	}
	return kadm.TopicID{}
}

// Recreate deletes the topic and creates it again under the same name, with a new topic id.
func (c *Cluster) Recreate(t testing.TB, topic string, partitions int) {
	t.Helper()
	c.DeleteTopic(t, topic)
	c.CreateTopic(t, topic, partitions, nil)
}

// Require skips the test, saying what was skipped, unless the cluster can do what it needs.
func (c *Cluster) Require(t testing.TB, can bool, what string) {
	t.Helper()
	if !can {
		t.Skipf("the %s backend of this run cannot %s", c.backend, what)
	}
}

// CanRestart reports whether Stop and Start work: not on a cluster that other tests use at the same time. Options.Own
// makes it so.
func (c *Cluster) CanRestart() bool { return c.embedded != nil || c.apache != nil && !c.apache.shared }

// CanKill reports whether Kill works, which ends a node without letting it close its log.
func (c *Cluster) CanKill() bool { return c.apache != nil && !c.apache.shared }

// Stop ends a node in good order; it keeps its address and its data. Nodes count from 0.
func (c *Cluster) Stop(t testing.TB, node int) {
	t.Helper()
	c.Require(t, c.CanRestart(), "stop a broker")
	if c.embedded != nil {
		c.embedded.stop(t)
		return
	}
	c.apache.stop(t, node)
}

// Kill ends a node with SIGKILL.
func (c *Cluster) Kill(t testing.TB, node int) {
	t.Helper()
	c.Require(t, c.CanKill(), "kill a broker")
	c.apache.kill(t, node)
}

// Start starts a stopped or killed node again on the same address, and waits until it serves.
func (c *Cluster) Start(t testing.TB, node int) {
	t.Helper()
	c.Require(t, c.CanRestart(), "start a broker again")
	if c.embedded != nil {
		c.embedded.start(t)
		return
	}
	c.apache.start(t, node)
}

// Restart is Stop and Start.
func (c *Cluster) Restart(t testing.TB, node int) {
	t.Helper()
	c.Stop(t, node)
	c.Start(t, node)
}

// Eventually calls check until it returns nil, and fails the test with its last error when that takes longer than Wait.
func Eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Wait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v in vain until %s: %v", Wait, what, err)
		}
	}
}
