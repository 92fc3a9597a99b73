package security

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/testkafka"
)

// aclCase is what one of the four, or one of its commands, may be allowed, and what it says without a part of that.
type aclCase struct {
	name string
	// both is whether it is about the dead letters too, and create whether it makes the topics that it is about.
	both, create bool
	operations   []string // as kafka-acls knows them
	works        func(t *testing.T, e env)
	fails        func(t *testing.T, e env, cause string) outcome
	// without is what is said where an operation is missing.
	without []denied
}

// denied is the case without one operation; instead is one that may stand in its place, to come further.
type denied struct {
	operation, instead string
	cause, fix         string
	works              bool // all the same, and it is only said
}

var aclCases = []aclCase{
	{
		name: "SDK", operations: []string{"Write"},
		works: func(t *testing.T, e env) { sdkWorks(t, e, "thread") }, fails: sdkFails,
		without: []denied{
			{"Write", "", "lacks the permission WRITE on topic", "add an ACL that allows WRITE", false},
			{"Write", "Describe", "lacks the permission WRITE on topic", "add an ACL that allows WRITE", false},
		},
	},
	{
		name: "gateway", operations: []string{"Read", "DescribeConfigs"},
		works: gatewayReads, fails: gatewayFails,
		without: []denied{
			{"Read", "", "lacks the permission READ on topic", "add an ACL that allows READ", false},
			{"Read", "Describe", "lacks the permission READ on topic", "add an ACL that allows READ", false},
			{"DescribeConfigs", "", "the configuration could not be read", "allow DESCRIBE_CONFIGS on the topic", true},
		},
	},
	{
		name: "tail", operations: []string{"Read"},
		works: func(t *testing.T, e env) { tailWorks(t, e, "thread") }, fails: tailFails,
		without: []denied{
			{"Read", "", "lacks the permission READ on topic", "add an ACL that allows READ", false},
			{"Read", "Describe", "lacks the permission READ on topic", "add an ACL that allows READ", false},
		},
	},
	{
		name: "topics describe", both: true, operations: []string{"Describe", "DescribeConfigs"},
		works: func(t *testing.T, e env) { topicsWorks(t, e, "") }, fails: topicsFails,
		without: []denied{
			{"Describe", "", "lacks the permission DESCRIBE on topic", "add an ACL that allows DESCRIBE", false},
			{"DescribeConfigs", "", "the configuration could not be read", "allow DESCRIBE_CONFIGS on the topic", true},
		},
	},
	{
		name: "topics ensure", both: true, create: true, operations: []string{"Create", "Describe", "DescribeConfigs"},
		works: ensureWorks(), fails: ensureFails(),
		without: []denied{
			{"Create", "", "lacks the permission CREATE on topic", "add an ACL that allows CREATE", false},
			{"Describe", "", "lacks the permission DESCRIBE on topic", "add an ACL that allows DESCRIBE", false},
			{"DescribeConfigs", "", "the configuration could not be read", "allow DESCRIBE_CONFIGS on the topic", true},
		},
	},
	{
		name: "topics ensure --raise-partitions --update-configs", both: true, operations: []string{"Alter", "AlterConfigs"},
		works: ensureWorks("--raise-partitions", "--update-configs"), fails: ensureFails("--raise-partitions", "--update-configs"),
		without: []denied{
			{"Alter", "Describe", "lacks the permission ALTER on topic", "add an ACL that allows ALTER", false},
			{"AlterConfigs", "DescribeConfigs", "lacks the permission ALTER_CONFIGS on topic", "add an ACL that allows ALTER_CONFIGS", false},
		},
	},
}

// gatewayReads is gatewayWorks for a topic where nothing is written.
func gatewayReads(t *testing.T, e env) {
	t.Helper()
	p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
	addr := p.address()
	if addr == "" || !p.eventually("the gateway is ready", func() bool { return readyz(t, addr) == "ok" }) {
		t.Errorf("gateway: it ended:\n%s", p.text())
	}
}

// gatewayNotes is for a gateway that works, and says what it lacks.
func gatewayNotes(t *testing.T, e env, cause string) outcome {
	t.Helper()
	p := run(t, e, "gateway", "--listen", "127.0.0.1:0")
	addr := p.address()
	if addr == "" || !p.eventually("the gateway is ready, and says what it lacks", func() bool {
		return readyz(t, addr) == "ok" && strings.Contains(p.text(), cause)
	}) {
		return outcome{how: fmt.Sprintf("exit %d", p.Wait()), text: p.text()}
	}
	return outcome{how: "ready", text: p.text()}
}

func ensureWorks(flags ...string) func(t *testing.T, e env) {
	return func(t *testing.T, e env) {
		t.Helper()
		code, text := command(t, e, append([]string{"topics", "ensure"}, flags...)...)
		if code != 0 || strings.Contains(text, "failed") {
			t.Errorf("topics ensure: exit code %d:\n%s", code, text)
		}
	}
}

func ensureFails(flags ...string) func(t *testing.T, e env, cause string) outcome {
	return func(t *testing.T, e env, _ string) outcome {
		t.Helper()
		code, text := command(t, e, append([]string{"topics", "ensure"}, flags...)...)
		return outcome{how: fmt.Sprintf("exit %d", code), text: text}
	}
}

// command is how an administrator allows it, for the topics of the names.
func (c aclCase) command(principal, topic string) []string {
	args := []string{"--add", "--allow-principal", principal}
	for _, o := range c.operations {
		args = append(args, "--operation", o)
	}
	for _, name := range c.topics(topic) {
		args = append(args, "--topic", name)
	}
	return args
}

func (c aclCase) topics(topic string) []string {
	if c.both {
		return []string{topic, topic + "-dlq"}
	}
	return []string{topic}
}

// operation is what the library calls it.
func operation(t *testing.T, name string) kadm.ACLOperation {
	t.Helper()
	o, err := kmsg.ParseACLOperation(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// testACLs lets each user do no more than the page says and finds that this is enough; and that without any part of it
// the user is told what is missing.
func testACLs(t *testing.T, b *broker, found *findings) {
	config := writeFile(t, fmt.Sprintf("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=%s\n", plainUsers()))
	next := 0 // each has a user and a topic of its own
	for _, c := range aclCases {
		rows := make([]result, len(c.without))
		found.acls = append(found.acls, aclFound{c, rows})
		allowed := variantUser(next)
		next++
		t.Run(c.name+"/allowed", func(t *testing.T) {
			t.Parallel()
			e := b.topicOf(t, c, allowed)
			args := append([]string{"--bootstrap-server", b.Brokers()[0], "--command-config", config}, c.command("User:"+allowed, e["KAFKA_TOPIC"])...)
			b.Tool(t, "org.apache.kafka.tools.AclCommand", args...)
			b.awaitACLs(t, allowed, len(c.operations)*len(c.topics("")))
			c.works(t, e)
		})
		for i, d := range c.without {
			user := variantUser(next)
			next++
			left := slices.DeleteFunc(slices.Clone(c.operations), func(o string) bool { return o == d.operation })
			if d.instead != "" {
				left = append(left, d.instead)
			}
			t.Run(fmt.Sprintf("%s/without %s, with %s", c.name, d.operation, strings.Join(left, " ")), func(t *testing.T) {
				t.Parallel()
				e := b.topicOf(t, c, user)
				for _, o := range left {
					b.allow(t, []string{"User:" + user}, kadm.ACLPatternLiteral, c.topics(e["KAFKA_TOPIC"]), operation(t, o))
				}
				b.awaitACLs(t, user, len(left)*len(c.topics("")))
				rows[i] = c.isDenied(t, d, e).shown(b, e)
			})
		}
	}
	if next > variants {
		t.Errorf("the broker knows %d users, these tests need %d", variants, next)
	}
}

// topicOf makes the topic of a user, and returns the settings for it.
func (b *broker) topicOf(t *testing.T, c aclCase, user string) env {
	t.Helper()
	topic := b.topic + "-of-" + user
	if !c.create {
		for _, each := range c.topics(topic) {
			b.CreateTopic(t, each, 1, nil)
		}
	}
	e := b.to(t, "SASL", "sasl_plaintext").with(env{
		"KAFKA_TOPIC": topic, "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": userSecret,
	})
	if c.name == "tail" { // something to print
		sdkWorks(t, e.with(env{"KAFKA_BROKERS": b.Brokers()[0], "KAFKA_SASL_USERNAME": "admin", "KAFKA_SASL_PASSWORD": adminSecret}), "thread")
	}
	return e
}

// isDenied checks what is said without the operation.
func (c aclCase) isDenied(t *testing.T, d denied, e env) outcome {
	t.Helper()
	fails := c.fails
	if d.works && c.name == "gateway" {
		fails = gatewayNotes
	}
	o := fails(t, e, d.cause)
	leaksNothing(t, c.name, o.text)
	if d.works { // it is a note, not an error
		o.told = &explanation{d.cause, d.fix}
	}
	told := o.explanation()
	works := o.how == "exit 0" || o.how == "ready"
	if works != d.works || !strings.Contains(told.cause, d.cause) || !strings.Contains(told.fix, d.fix) || !strings.Contains(o.text, d.fix) {
		t.Errorf("%s\nlikely cause: %q, want %q\nto do: %q, want %q\nall of it:\n%s", o.how, told.cause, d.cause, told.fix, d.fix, o.text)
	}
	return o
}

// awaitACLs waits until the broker knows as many ACLs of the user.
func (b *broker) awaitACLs(t *testing.T, user string, n int) {
	t.Helper()
	adm := b.Admin(t)
	defer adm.Close()
	testkafka.Eventually(t, "the broker knows the ACLs of "+user, func(ctx context.Context) error {
		all := kadm.NewACLs().AnyResource().Operations(kadm.OpAny).Allow("User:" + user).AllowHosts().ResourcePatternType(kadm.ACLPatternAny)
		found, err := adm.DescribeACLs(ctx, all)
		if err != nil {
			return err
		}
		known := 0
		for _, f := range found {
			if f.Err != nil {
				return f.Err
			}
			known += len(f.Described)
		}
		if known != n {
			return errors.New(fmt.Sprint("it knows ", known, " of ", n))
		}
		return nil
	})
}
