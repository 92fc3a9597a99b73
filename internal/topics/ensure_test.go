package topics_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/topics"
)

var errDenied = errors.New("denied")

// admin is a client with the options that the program uses.
func admin(t *testing.T, brokers ...string) *kadm.Client {
	t.Helper()
	s := kafkaclient.Default()
	s.Brokers = brokers
	opts, err := s.ClientOptions(nil, "test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkafka.Wait)
	t.Cleanup(cancel)
	return ctx
}

func ensure(t *testing.T, adm *kadm.Client, o topics.Options, d ...topics.Definition) []topics.Result {
	t.Helper()
	results, err := o.Ensure(deadline(t), adm, d...)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// Topics come to be with everything the definition says, and asking again changes nothing.
func TestEnsureCreates(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	adm := admin(t, c.Brokers()...)
	name := c.TopicName(t)
	s := kafkaclient.Default()
	s.Topic = name
	all := topics.All(s, topics.Embedded)

	if diffs, err := topics.Verify(deadline(t), adm, all...); err == nil || len(diffs) != 2 {
		t.Errorf("Verify before: %v, %v", diffs, err)
	} else if e, ok := errors.AsType[*topics.MismatchError](err); !ok || !e.Missing() || !strings.Contains(err.Error(), "run: dashstream topics ensure") {
		t.Errorf("Verify before: %v", err)
	}
	for _, want := range []topics.Action{topics.Created, topics.None} {
		for i, r := range ensure(t, adm, topics.Options{}, all...) {
			if r.Action != want || r.Topic != all[i].Name || len(r.Differences) != 0 || r.Err != nil {
				t.Errorf("want %s: %+v", want, r)
			}
		}
	}
	if diffs, err := topics.Verify(deadline(t), adm, all...); err != nil || len(diffs) != 0 {
		t.Errorf("Verify after: %v, %v", diffs, err)
	}
	found, err := topics.Describe(deadline(t), adm, name, all[1].Name, "absent-"+name)
	if err != nil {
		t.Fatal(err)
	}
	if !found[0].Exists || len(found[0].Partitions) != 3 || found[0].ID == "" || !found[0].Configs[topics.RetentionBytes].Set {
		t.Errorf("main: %+v", found[0])
	}
	for _, p := range found[0].Partitions {
		if p.Oldest != 0 || p.Next != 0 || p.Leader < 0 || len(p.ISR) != 1 {
			t.Errorf("partition: %+v", p)
		}
	}
	if !found[1].Exists || len(found[1].Partitions) != 1 || found[2].Exists {
		t.Errorf("others: %+v", found[1:])
	}
}

// Many processes that start together on an empty cluster all succeed, and each topic is created once.
func TestEnsureAtOnce(t *testing.T) {
	t.Parallel()
	const processes = 8
	c := testkafka.Start(t, testkafka.Options{})
	s := kafkaclient.Default()
	s.Topic = c.TopicName(t)
	all := topics.All(s, topics.Default)
	results := make([][]topics.Result, processes)
	errs := make([]error, processes)
	ctx := deadline(t)
	var wg sync.WaitGroup
	for i := range processes {
		adm := admin(t, c.Brokers()...)
		wg.Go(func() { results[i], errs[i] = topics.Ensure(ctx, adm, all...) })
	}
	wg.Wait()
	created := map[string]int{}
	for i := range processes {
		if errs[i] != nil {
			t.Fatalf("process %d: %v", i, errs[i])
		}
		for _, r := range results[i] {
			if len(r.Differences) != 0 {
				t.Errorf("process %d: %v", i, r.Differences)
			}
			if r.Action == topics.Created {
				created[r.Topic]++
			}
		}
	}
	for _, d := range all {
		if created[d.Name] != 1 {
			t.Errorf("topic %s was created %d times", d.Name, created[d.Name])
		}
	}
}

// What exists is left alone unless told otherwise, and then only grows.
func TestEnsureExisting(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	adm := admin(t, c.Brokers()...)
	name := c.TopicName(t)
	c.CreateTopic(t, name, 2, map[string]string{topics.RetentionMs: "3600000", topics.MaxMessageBytes: "1048588"})
	def := topics.Main(name, topics.Embedded) // 3 partitions
	delete(def.Configs, topics.RetentionBytes)

	what := func(r topics.Result) []string {
		var out []string
		for _, d := range r.Differences {
			out = append(out, d.What)
		}
		return out
	}
	r := ensure(t, adm, topics.Options{}, def)[0]
	if want := []string{topics.Partitions, topics.MaxMessageBytes, topics.RetentionMs}; r.Action != topics.None || !slices.Equal(what(r), want) {
		t.Errorf("got %s %v, want %v", r.Action, what(r), want)
	}
	r = ensure(t, adm, topics.Options{RaisePartitions: true}, def)[0]
	if r.Action != topics.Updated || !slices.Equal(what(r), []string{topics.MaxMessageBytes, topics.RetentionMs}) {
		t.Errorf("after raising: %s %v %q", r.Action, what(r), r.Changes)
	}
	r = ensure(t, adm, topics.Options{UpdateConfigs: true}, def)[0]
	if r.Action != topics.Updated || len(r.Differences) != 0 || len(r.Changes) != 2 {
		t.Errorf("after updating: %s %v %q", r.Action, what(r), r.Changes)
	}
	// Fewer partitions than there are: told, never taken away.
	def.Partitions = 1
	r = ensure(t, adm, topics.Options{RaisePartitions: true, UpdateConfigs: true}, def)[0]
	if r.Action != topics.None || !slices.Equal(what(r), []string{topics.Partitions}) || r.Differences[0].Severity != topics.Notice {
		t.Errorf("fewer: %s %+v", r.Action, r.Differences)
	}
	found, err := topics.Describe(deadline(t), adm, name)
	if err != nil || len(found[0].Partitions) != 3 {
		t.Errorf("partitions: %+v, %v", found, err)
	}
	if diffs, err := topics.Verify(deadline(t), adm, def); err != nil || len(diffs) != 1 {
		t.Errorf("a difference that does no harm must not stop a command: %v, %v", diffs, err)
	}
}

// A cluster that takes fewer partitions than the definition has is an error, not a change that was made.
func TestRaiseBeyondWhatTheClusterTakes(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.SeedTopics(3, "m"))
	fail(c, kmsg.CreatePartitions, 1_000_000, func(_ kmsg.Request, response *kmsg.CreatePartitionsResponse) {
		topic := kmsg.NewCreatePartitionsResponseTopic()
		topic.Topic, topic.ErrorCode, topic.ErrorMessage = "m", kerr.InvalidPartitions.Code, kmsg.StringPtr("at most 1000 a topic")
		response.Topics = append(response.Topics, topic)
	})
	adm := admin(t, c.ListenAddrs()...)
	results, err := topics.Options{RaisePartitions: true}.Ensure(deadline(t), adm, topics.Main("m", topics.Default))
	if !errors.Is(err, kerr.InvalidPartitions) || !strings.Contains(err.Error(), "at most 1000 a topic") {
		t.Errorf("got %v", err)
	}
	if len(results) != 1 || results[0].Err == nil || len(results[0].Changes) != 0 || results[0].Action == topics.Updated {
		t.Errorf("results: %+v", results)
	}
}

// min.insync.replicas is not raised above what the topic has: it would take no more records.
func TestUpdateKeepsTheTopicWritable(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.SeedTopics(10, "m"))
	adm := admin(t, c.ListenAddrs()...)
	def := topics.Main("m", topics.Production)
	r := ensure(t, adm, topics.Options{UpdateConfigs: true}, def)[0]
	live, err := topics.Describe(deadline(t), adm, "m")
	if err != nil {
		t.Fatal(err)
	}
	if got := live[0].Configs[topics.MinInsyncReplicas].Value; got != "1" || live[0].Replication() != 1 {
		t.Errorf("min.insync.replicas = %s with replication %d", got, live[0].Replication())
	}
	var what []string
	for _, d := range r.Differences {
		what = append(what, d.What)
	}
	if !slices.Equal(what, []string{topics.Replication, topics.MinInsyncReplicas}) {
		t.Errorf("left: %v", what)
	}
}

// Nothing here depends on automatic creation, nor sets it off.
func TestVerifyCreatesNothing(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.AllowAutoTopicCreation())
	adm := admin(t, c.ListenAddrs()...)
	for range 2 {
		if _, err := topics.Verify(deadline(t), adm, topics.Main("m", topics.Default)); err == nil {
			t.Fatal("no error for a missing topic")
		}
		if found, err := topics.Describe(deadline(t), adm, "m"); err != nil || found[0].Exists {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	if c.TopicInfo("m") != nil {
		t.Error("looking at a topic created it")
	}
}

// fail makes the broker answer the first requests of the key with the code.
func fail[Response kmsg.Response](c *kfake.Cluster, key kmsg.Key, times int, set func(kmsg.Request, Response)) *atomic.Int64 {
	var n atomic.Int64
	c.ControlKey(int16(key), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if n.Add(1) > int64(times) {
			return nil, nil, false
		}
		c.KeepControl()
		response := request.ResponseKind().(Response)
		set(request, response)
		return response, nil, true
	})
	return &n
}

// Errors that pass are waited out; the topic is there at the end.
func TestEnsureThroughFaults(t *testing.T) {
	t.Parallel()
	for _, code := range []*kerr.Error{kerr.NotController, kerr.RequestTimedOut, kerr.BrokerNotAvailable, kerr.ThrottlingQuotaExceeded} {
		t.Run("create "+code.Message, func(t *testing.T) {
			t.Parallel()
			c := testkafka.NewFake(t)
			fail(c, kmsg.CreateTopics, 2, func(request kmsg.Request, response *kmsg.CreateTopicsResponse) {
				topic := kmsg.NewCreateTopicsResponseTopic()
				topic.Topic, topic.ErrorCode = request.(*kmsg.CreateTopicsRequest).Topics[0].Topic, code.Code
				response.Topics = append(response.Topics, topic)
			})
			adm := admin(t, c.ListenAddrs()...)
			if r := ensure(t, adm, topics.Options{}, topics.Main("m", topics.Embedded))[0]; r.Action != topics.Created || len(r.Differences) != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("describe configs", func(t *testing.T) {
		t.Parallel()
		c := testkafka.NewFake(t)
		// A broker that has not heard of the topic yet.
		fail(c, kmsg.DescribeConfigs, 2, func(_ kmsg.Request, response *kmsg.DescribeConfigsResponse) {
			resource := kmsg.NewDescribeConfigsResponseResource()
			resource.ResourceName, resource.ResourceType, resource.ErrorCode = "m", kmsg.ConfigResourceTypeTopic, kerr.UnknownTopicOrPartition.Code
			response.Resources = append(response.Resources, resource)
		})
		adm := admin(t, c.ListenAddrs()...)
		if r := ensure(t, adm, topics.Options{}, topics.Main("m", topics.Embedded))[0]; r.Action != topics.Created || len(r.Differences) != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// The answer to a creation got lost: the second attempt finds the topic there, which is as good.
func TestEnsureLostAnswer(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t)
	adm := admin(t, c.ListenAddrs()...)
	other := admin(t, c.ListenAddrs()...)
	def := topics.Main("m", topics.Embedded)
	created := make(chan struct{})
	fail(c, kmsg.CreateTopics, 1, func(request kmsg.Request, response *kmsg.CreateTopicsResponse) {
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode = "m", kerr.RequestTimedOut.Code
		response.Topics = append(response.Topics, topic)
		close(created)
	})
	ctx := deadline(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		<-created
		if _, err := topics.Ensure(ctx, other, def); err != nil {
			t.Error(err)
		}
	})
	results, err := topics.Ensure(ctx, adm, def)
	wg.Wait()
	if err != nil || len(results[0].Differences) != 0 {
		t.Errorf("%+v, %v", results, err)
	}
}

// What does not pass is told at once, with the broker's own words.
func TestEnsureGivesUpOnWhatStays(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t)
	tries := fail(c, kmsg.CreateTopics, 100, func(_ kmsg.Request, response *kmsg.CreateTopicsResponse) {
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode, topic.ErrorMessage = "m", kerr.PolicyViolation.Code, kmsg.StringPtr("ask the platform team")
		response.Topics = append(response.Topics, topic)
	})
	adm := admin(t, c.ListenAddrs()...)
	results, err := topics.Ensure(deadline(t), adm, topics.Main("m", topics.Default), topics.DeadLetters("d", topics.Default))
	if !errors.Is(err, kerr.PolicyViolation) || !strings.Contains(err.Error(), "ask the platform team") || !strings.Contains(err.Error(), `create topic "m"`) {
		t.Errorf("got %v", err)
	}
	if n := tries.Load(); n != 2 { // one for each topic
		t.Errorf("%d attempts", n)
	}
	if len(results) != 2 || results[0].Err == nil {
		t.Errorf("results: %+v", results)
	}
}

// A cluster that never recovers costs no more than the caller's deadline, and the error keeps the cause.
func TestEnsureEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t)
	fail(c, kmsg.CreateTopics, 1_000_000, func(request kmsg.Request, response *kmsg.CreateTopicsResponse) {
		topic := kmsg.NewCreateTopicsResponseTopic()
		topic.Topic, topic.ErrorCode = "m", kerr.NotController.Code
		response.Topics = append(response.Topics, topic)
	})
	adm := admin(t, c.ListenAddrs()...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	_, err := topics.Ensure(ctx, adm, topics.Main("m", topics.Default))
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A user who may not read configurations still sees the topic; what is unknown is said to be unknown.
func TestDescribeWithoutPermission(t *testing.T) {
	t.Parallel()
	c := testkafka.NewFake(t, kfake.SeedTopics(3, "m"))
	fail(c, kmsg.DescribeConfigs, 1_000_000, func(_ kmsg.Request, response *kmsg.DescribeConfigsResponse) {
		resource := kmsg.NewDescribeConfigsResponseResource()
		resource.ResourceName, resource.ResourceType, resource.ErrorCode = "m", kmsg.ConfigResourceTypeTopic, kerr.TopicAuthorizationFailed.Code
		response.Resources = append(response.Resources, resource)
	})
	adm := admin(t, c.ListenAddrs()...)
	found, err := topics.Describe(deadline(t), adm, "m")
	if err != nil || !found[0].Exists || !errors.Is(found[0].ConfigErr, kerr.TopicAuthorizationFailed) {
		t.Fatalf("%+v, %v", found, err)
	}
	diffs, err := topics.Verify(deadline(t), adm, topics.Main("m", topics.Embedded))
	if err != nil || len(diffs) != 1 || diffs[0].Live != "unknown" {
		t.Errorf("%v, %v", diffs, err)
	}
}
