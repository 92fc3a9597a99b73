package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/settings"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/topics"
)

func TestTopicsEnsureAndDescribe(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	name := c.TopicName(t)
	env := map[string]string{"KAFKA_BROKERS": c.BrokerList(), "KAFKA_TOPIC": name, "DASHSTREAM_TOPICS_PROFILE": "embedded"}

	o := runCLI(t, env, "topics", "describe", "-o", "json")
	o.want(t, ExitNoData, "no such topic", name, name+"-dlq", "Try: dashstream topics ensure")
	var described struct{ Topics []describedJSON }
	if err := json.Unmarshal([]byte(o.stdout), &described); err != nil || len(described.Topics) != 2 {
		t.Fatalf("%v in %s", err, o.stdout)
	}
	for _, d := range described.Topics {
		if d.Exists || d.Partitions == nil || d.Configs == nil || len(d.Differences) != 1 || d.Differences[0].Severity != "breaking" {
			t.Errorf("missing topic: %+v", d)
		}
	}

	for _, want := range []string{"created", "unchanged"} {
		o := runCLI(t, env, "topics", "ensure", "--output=json")
		o.want(t, ExitOK)
		var ensured struct{ Topics []ensuredJSON }
		if err := json.Unmarshal([]byte(o.stdout), &ensured); err != nil || len(ensured.Topics) != 2 {
			t.Fatalf("%v in %s", err, o.stdout)
		}
		for _, e := range ensured.Topics {
			if e.Action != want || len(e.Differences) != 0 || e.Error != "" || !strings.Contains(o.stdout, `"changes": []`) {
				t.Errorf("want %s: %+v", want, e)
			}
		}
	}

	o = runCLI(t, env, "topics", "describe")
	o.want(t, ExitOK)
	for _, want := range []string{name + ": 3 partitions, replication factor 1", name + "-dlq: 1 partition,", "retention.bytes=2147483648", "as defined", "PARTITION  LEADER"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in %s", want, o.stdout)
		}
	}
	o = runCLI(t, env, "topics", "describe", "-o", "json")
	if err := json.Unmarshal([]byte(o.stdout), &described); err != nil {
		t.Fatal(err)
	}
	d := described.Topics[0]
	if len(d.Partitions) != 3 || d.Partitions[0].Next == nil || *d.Partitions[0].Next != 0 || d.Configs[topics.RetentionMs].Value != "604800000" || !d.Configs[topics.RetentionMs].Set {
		t.Errorf("described: %+v", d)
	}

	// With the definition of a cluster, both are known as topics of up.
	o = runCLI(t, env, "topics", "ensure", "--profile", "default")
	o.want(t, ExitOK)
	if n := strings.Count(o.stdout, "it is as dashstream up makes it\n    to do: nothing, and compare it with --profile embedded;"); n != 2 || strings.Count(o.stdout, "notice: ") != 2 {
		t.Errorf("the topics of up are not known: %s", o.stdout)
	}
	// A gateway starts on it without a word of it.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stderr := &watched{text: "DashStream is at", seen: stop}
	code := Run(ctx, []string{"gateway", "--listen", "127.0.0.1:0"}, settings.MapEnv(env), strings.NewReader(""), io.Discard, stderr)
	if code != ExitOK || strings.Contains(stderr.String(), "level=WARN") {
		t.Errorf("exit code %d: %s", code, stderr)
	}

	// Fewer partitions than defined lose nothing: told once, no failure, and added only when asked for.
	o = runCLI(t, env, "topics", "ensure", "--partitions", "5", "--retention", "24h")
	o.want(t, ExitOK)
	if o.stderr != "" || strings.Count(o.stdout, "partitions is 3") != 1 || !strings.Contains(o.stdout, "--profile embedded") {
		t.Errorf("a difference that does no harm: stdout %s, stderr %s", o.stdout, o.stderr)
	}
	for _, want := range []string{name + ": unchanged", "notice: partitions is 3, the definition says 5", "notice: retention.ms is 604800000 (7 d), the definition says 86400000 (1 d)", "to do: "} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in %s", want, o.stdout)
		}
	}
	o = runCLI(t, env, "topics", "ensure", "--partitions", "5", "--retention", "24h", "--raise-partitions", "--update-configs")
	o.want(t, ExitOK)
	for _, want := range []string{name + ": updated", "changed partitions from 3 to 5", "changed retention.ms"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in %s", want, o.stdout)
		}
	}
	o = runCLI(t, env, "topics", "ensure")
	o.want(t, ExitOK)
	if !strings.Contains(o.stdout, "notice: partitions is 5") {
		t.Errorf("a difference that does no harm must be told and be no failure: %s", o.stdout)
	}
}

// No broker, one that does not answer, and one that does not speak Kafka: each ends soon, with the broker's exit code.
func TestTopicsWithoutBroker(t *testing.T) {
	t.Parallel()
	listen := func(fn func(net.Conn)) string {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ln.Close(); err != nil {
				t.Error(err)
			}
		})
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				go fn(conn)
			}
		}()
		return ln.Addr().String()
	}
	silent := listen(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }) // ends when the client hangs up
	web := listen(func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1024))
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_ = c.Close()
	})
	tests := map[string]struct {
		brokers string
		says    []string
	}{
		"nothing listens": {"127.0.0.1:1", []string{"nothing listens at 127.0.0.1:1", "KAFKA_BROKERS"}},
		"silence":         {silent, []string{"accepts connections, but does not answer", "KAFKA_BROKERS"}},
		"web server":      {web, []string{"is a web server", "KAFKA_BROKERS"}},
	}
	for name, tt := range tests {
		for _, command := range []string{"ensure", "describe"} {
			t.Run(name+" "+command, func(t *testing.T) {
				t.Parallel()
				begun := time.Now()
				o := runCLI(t, map[string]string{"KAFKA_BROKERS": tt.brokers}, "topics", command, "--timeout", "2s")
				o.want(t, ExitBroker, tt.says...)
				if o.stdout != "" {
					t.Errorf("stdout %q", o.stdout)
				}
				if took := time.Since(begun); took > 15*time.Second {
					t.Errorf("took %s", took)
				}
			})
		}
	}
}

// A missing permission is named with the topic.
func TestTopicsWithoutPermission(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "p"), kfake.User("PLAIN", "bob", "hunter2"))
	env := map[string]string{
		"KAFKA_BROKERS": strings.Join(c.ListenAddrs(), ","), "KAFKA_SECURITY_PROTOCOL": "sasl_plaintext", "KAFKA_SASL_MECHANISM": "PLAIN",
		"KAFKA_SASL_USERNAME": "bob", "KAFKA_SASL_PASSWORD": "hunter2",
	}
	o := runCLI(t, env, "topics", "ensure")
	o.want(t, ExitBroker, `user "bob" lacks the permission`, "ACL", "dashstream-quality")
	if strings.Contains(o.stdout+o.stderr, "hunter2") {
		t.Error("the password is shown")
	}
	env["KAFKA_SASL_PASSWORD"] = "wrong"
	runCLI(t, env, "topics", "ensure").want(t, ExitBroker, "KAFKA_SASL_PASSWORD")
}

// A signal ends a command that waits.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{})
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			close(accepted)
			_, _ = io.Copy(io.Discard, conn) // ends when the client hangs up
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-accepted
		cancel()
	}()
	var stdout, stderr bytes.Buffer
	begun := time.Now()
	code := Run(ctx, []string{"topics", "ensure"}, settings.MapEnv(map[string]string{"KAFKA_BROKERS": ln.Addr().String()}), strings.NewReader(""), &stdout, &stderr)
	if code != ExitFailure || !strings.Contains(stderr.String(), "interrupted") || time.Since(begun) > 10*time.Second {
		t.Errorf("code %d after %s: %s", code, time.Since(begun), stderr.String())
	}
}

// Offsets that cannot be read are unknown, and the command says why and fails, though the rest of the topic is shown.
func TestTopicsDescribeSaysWhyOffsetsAreUnknown(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.SeedTopics(1, "m", "m-dlq"))
	c.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		response := request.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, asked := range request.(*kmsg.ListOffsetsRequest).Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = asked.Topic
			for _, p := range asked.Partitions {
				partition := kmsg.NewListOffsetsResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				topic.Partitions = append(topic.Partitions, partition)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	env := map[string]string{"KAFKA_BROKERS": strings.Join(c.ListenAddrs(), ","), "KAFKA_TOPIC": "m"}
	o := runCLI(t, env, "topics", "describe", "-o", "json")
	o.want(t, ExitBroker, `offsets of topic "m": TOPIC_AUTHORIZATION_FAILED`, "likely cause", "DESCRIBE")
	var described struct{ Topics []describedJSON }
	if err := json.Unmarshal([]byte(o.stdout), &described); err != nil || len(described.Topics) != 2 {
		t.Fatalf("%v in %s", err, o.stdout)
	}
	for _, d := range described.Topics {
		if !d.Exists || len(d.Partitions) != 1 || d.Partitions[0].Oldest != nil || d.Partitions[0].Next != nil || !strings.Contains(d.OffsetError, "AUTHORIZATION") {
			t.Errorf("%+v", d)
		}
	}
}
