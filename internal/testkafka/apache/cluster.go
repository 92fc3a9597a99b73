// Package apache runs Apache Kafka (KRaft, brokers that are controllers too) in processes of its own, for tests.
//
// It needs Java 17 or newer and a directory with Kafka's jars. Every process ends with the one that started it, also when
// that one panics or is killed: a watchdog sees its pipe close.
package apache

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// StartTimeout is long enough for three nodes to start on a busy machine; one on an idle machine takes four seconds.
	StartTimeout = 2 * time.Minute

	portAttempts = 3
	host         = "127.0.0.1"
)

// Options of a cluster. Jars is required.
type Options struct {
	// Jars is the directory that scripts/kafka-jars.sh fills.
	Jars string
	// Nodes is the number of brokers; 0 means 1.
	Nodes int
	// Properties are added to each node's server properties, and win over the defaults. In a value, ${DIR} stands for the
	// node's directory, ${PORT} for the port of its client listener and ${PORT_NAME} for that of one of Ports. A cluster that
	// changes "listeners" keeps a listener named CONTROLLER on ${CONTROLLER_PORT}.
	Properties map[string]string
	// Ports are the names of further ports that each node gets for listeners of Properties.
	Ports []string
	// Prepare is called with each node's directory before its storage is formatted, and returns further arguments for the
	// formatter.
	Prepare func(dir string) (formatArgs []string, err error)
	// Client is how the readiness check connects, where Properties ask for more than plaintext.
	Client []kgo.Opt
}

// Cluster is a running cluster.
type Cluster struct {
	opts  Options
	dir   string
	nodes []*node

	mu   sync.Mutex
	keep bool
}

// Start starts the nodes and waits until all of them serve.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	opts.Nodes = cmp.Or(opts.Nodes, 1)
	if opts.Nodes < 1 || opts.Nodes > 9 {
		return nil, fmt.Errorf("nodes = %d; want 1 to 9", opts.Nodes)
	}
	if jars, err := filepath.Glob(filepath.Join(opts.Jars, "*.jar")); err != nil || len(jars) == 0 {
		return nil, fmt.Errorf("no jars in %q; run scripts/kafka-jars.sh once", opts.Jars)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return nil, fmt.Errorf("Apache Kafka needs Java 17 or newer: %w", err)
	}
	// A port that was free when it was chosen can be taken when Kafka binds it, so a failed start is tried on others.
	var errs []error
	for range portAttempts {
		c, err := start(ctx, opts)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func start(ctx context.Context, opts Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "dashstream-kafka-")
	if err != nil {
		return nil, err
	}
	if err := watchdog.send("dir", dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c := &Cluster{opts: opts, dir: dir}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	opts := c.opts
	each := 2 + len(opts.Ports)
	ports, err := freePorts(each * opts.Nodes)
	if err != nil {
		return err
	}
	var voters []string
	for i := range opts.Nodes {
		n := &node{
			id:         i + 1,
			dir:        filepath.Join(c.dir, "node-"+strconv.Itoa(i+1)),
			jars:       opts.Jars,
			port:       ports[each*i],
			controller: ports[each*i+1],
			more:       map[string]int{},
		}
		for j, name := range opts.Ports {
			n.more[name] = ports[each*i+2+j]
		}
		c.nodes = append(c.nodes, n)
		voters = append(voters, fmt.Sprintf("%d@%s:%d", n.id, host, n.controller))
	}
	id := uuid.New()
	clusterID := base64.RawURLEncoding.EncodeToString(id[:])
	if err := c.eachNode(func(n *node) error {
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			return err
		}
		if err := n.writeProperties(c.properties(n, voters)); err != nil {
			return err
		}
		var args []string
		if opts.Prepare != nil {
			var err error
			if args, err = opts.Prepare(n.dir); err != nil {
				return fmt.Errorf("prepare: %w", err)
			}
		}
		if err := n.format(ctx, clusterID, args); err != nil {
			return err
		}
		return n.start()
	}); err != nil {
		return err
	}
	return c.awaitAll(ctx)
}

func (c *Cluster) eachNode(fn func(*node) error) error {
	errs := make([]error, len(c.nodes))
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		wg.Go(func() {
			if err := fn(n); err != nil {
				errs[i] = fmt.Errorf("node %d: %w", i, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Cluster) properties(n *node, voters []string) map[string]string {
	copies := strconv.Itoa(min(3, c.opts.Nodes))
	inSync := strconv.Itoa(max(1, min(3, c.opts.Nodes)-1))
	p := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  strconv.Itoa(n.id),
		"controller.quorum.voters":                 strings.Join(voters, ","),
		"listeners":                                "PLAINTEXT://" + host + ":${PORT},CONTROLLER://" + host + ":${CONTROLLER_PORT}",
		"controller.listener.names":                "CONTROLLER",
		"log.dirs":                                 "${DIR}/data",
		"auto.create.topics.enable":                "false",
		"message.max.bytes":                        strconv.Itoa(12 << 20),
		"replica.fetch.max.bytes":                  strconv.Itoa(12 << 20),
		"offsets.topic.replication.factor":         copies,
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": copies,
		"transaction.state.log.min.isr":            inSync,
		"transaction.state.log.num.partitions":     "4",
		"group.initial.rebalance.delay.ms":         "0",
		"log.retention.check.interval.ms":          "1000",
		"log.initial.task.delay.ms":                "100",
		"log.segment.delete.delay.ms":              "1000",
		// How long the cluster takes to notice that a node was killed; nine seconds by default. A heartbeat has to be answered
		// within its interval: with less of it, nodes of a busy machine go and come without end.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "1000",
	}
	maps.Copy(p, c.opts.Properties)
	names := []string{"${DIR}", n.dir, "${PORT}", strconv.Itoa(n.port), "${CONTROLLER_PORT}", strconv.Itoa(n.controller)}
	for name, port := range n.more {
		names = append(names, "${PORT_"+name+"}", strconv.Itoa(port))
	}
	replace := strings.NewReplacer(names...)
	for k, v := range p {
		p[k] = replace.Replace(v)
	}
	return p
}

// awaitAll waits until every running node serves clients and is known to the cluster.
func (c *Cluster) awaitAll(ctx context.Context) error {
	want := 0
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		want++
		if err := c.await(ctx, n, func(kadm.Metadata) error { return nil }); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if !n.running() {
			continue
		}
		if err := c.await(ctx, n, func(m kadm.Metadata) error {
			if len(m.Brokers) < want {
				return fmt.Errorf("it knows %d of %d brokers", len(m.Brokers), want)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// await asks the node for metadata until it answers as check wants, the node ends, or ctx does.
func (c *Cluster) await(ctx context.Context, n *node, check func(kadm.Metadata) error) error {
	opts := append([]kgo.Opt{kgo.SeedBrokers(n.addr()), kgo.RetryTimeout(time.Second), kgo.MetadataMinAge(10 * time.Millisecond)}, c.opts.Client...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
		if err == nil {
			err = check(m)
		}
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-n.ended():
			return fmt.Errorf("node %d ended before it served:\n%s", n.id, n.logTail())
		case <-ctx.Done():
			return fmt.Errorf("node %d does not serve: %w: %w\n%s", n.id, context.Cause(ctx), err, n.logTail())
		}
	}
}

// Brokers is the client addresses of all nodes, of stopped ones too.
func (c *Cluster) Brokers() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.addr())
	}
	return addrs
}

// Addr is the address of one of Options.Ports of a node.
func (c *Cluster) Addr(i int, name string) (string, error) {
	n, err := c.node(i)
	if err != nil {
		return "", err
	}
	port, ok := n.more[name]
	if !ok {
		return "", fmt.Errorf("port %q is not in the options; there are %q", name, c.opts.Ports)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// Tool runs a command-line tool of Apache Kafka, given by its class, and returns what it printed.
func (c *Cluster) Tool(ctx context.Context, class string, args ...string) (string, error) {
	out, err := c.nodes[0].java(ctx, "128m", append([]string{class}, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %q: %w:\n%s", class, args, err, out)
	}
	return string(out), nil
}

func (c *Cluster) node(i int) (*node, error) {
	if i < 0 || i >= len(c.nodes) {
		return nil, fmt.Errorf("node %d does not exist; there are %d, counted from 0", i, len(c.nodes))
	}
	return c.nodes[i], nil
}

// Stop ends a node in good order and waits for it.
func (c *Cluster) Stop(ctx context.Context, i int) error {
	n, err := c.node(i)
	if err != nil {
		return err
	}
	return n.stop(ctx)
}

// Kill ends nodes with SIGKILL, at once, and waits for them.
func (c *Cluster) Kill(nodes ...int) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, number := range nodes {
		n, err := c.node(number)
		if err != nil {
			return err
		}
		wg.Go(func() { errs[i] = n.kill() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Freeze makes nodes stand still, as a machine does that swaps or is moved, until Thaw.
func (c *Cluster) Freeze(nodes ...int) error { return c.signal(syscall.SIGSTOP, nodes) }

// Thaw has frozen nodes go on.
func (c *Cluster) Thaw(nodes ...int) error { return c.signal(syscall.SIGCONT, nodes) }

func (c *Cluster) signal(sig syscall.Signal, nodes []int) error {
	for _, i := range nodes {
		n, err := c.node(i)
		if err != nil {
			return err
		}
		if _, err := n.signal(sig); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	return nil
}

// StartNodes starts nodes that were stopped or killed, on their data and addresses, and waits until they serve and the
// cluster knows them again.
func (c *Cluster) StartNodes(ctx context.Context, nodes ...int) error {
	for _, i := range nodes {
		n, err := c.node(i)
		if err != nil {
			return err
		}
		if err := n.start(); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
	}
	return c.awaitAll(ctx)
}

// KeepLogs makes the cluster's directory outlive it, and returns it.
func (c *Cluster) KeepLogs() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.keep {
		c.keep = true
		if err := watchdog.send("keep", c.dir); err != nil {
			return c.dir + " (until this process ends: " + err.Error() + ")"
		}
	}
	return c.dir
}

// Close ends all nodes at once and removes the cluster's directory, unless KeepLogs was called.
func (c *Cluster) Close() error {
	err := c.eachNode(func(n *node) error {
		if !n.running() {
			return nil
		}
		return n.kill()
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.keep {
		err = errors.Join(err, os.RemoveAll(c.dir), watchdog.send("keep", c.dir))
	}
	return err
}

// freePorts returns n ports that were free together a moment ago.
func freePorts(n int) ([]int, error) {
	var (
		ports     []int
		listeners []net.Listener
	)
	defer func() {
		for _, ln := range listeners {
			ln.Close()
		}
	}()
	for range n {
		ln, err := net.Listen("tcp", host+":0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, ln)
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	slices.Sort(ports)
	return ports, nil
}
