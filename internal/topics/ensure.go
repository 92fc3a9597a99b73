package topics

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// Retries of one step against a cluster that cannot serve it now.
const (
	retryBudget  = 30 * time.Second
	retryFirst   = 100 * time.Millisecond
	retryLongest = 2 * time.Second

	settleBudget = 5 * time.Second
	settlePause  = 50 * time.Millisecond
)

// Options are what Ensure may change about a topic that is there.
type Options struct {
	// RaisePartitions adds the partitions that are missing. Records of a thread then go to another partition than
	// before, so order between old and new records of running threads is lost.
	RaisePartitions bool
	// UpdateConfigs sets the configurations that differ.
	UpdateConfigs bool
}

// Action is what Ensure did to a topic.
type Action string

// The actions.
const (
	Created Action = "created"
	Updated Action = "updated"
	None    Action = "unchanged"
)

// Result is what Ensure did to one topic, and what is left.
type Result struct {
	Topic   string
	Action  Action
	Changes []string // what was changed, one phrase each
	// Differences are those that remain.
	Differences []Difference
	Err         error
	// Doing is what Err ended; it names the permission that may be missing.
	Doing kafkaclient.Operation
}

// Ensure creates the topics that are missing and compares the others; see Options.Ensure.
func Ensure(ctx context.Context, client *kadm.Client, definitions ...Definition) ([]Result, error) {
	return Options{}.Ensure(ctx, client, definitions...)
}

// Ensure makes each topic exist and returns, in order, what was done and what differs still. A topic that another
// process creates at the same time is not an error. Definitions are validated before any I/O. Steps that the cluster
// cannot serve now are repeated for up to 30 seconds each, within ctx. The error joins the errors of the results;
// remaining differences are not errors.
func (o Options) Ensure(ctx context.Context, client *kadm.Client, definitions ...Definition) ([]Result, error) {
	if err := validateAll(definitions); err != nil {
		return nil, err
	}
	results := make([]Result, len(definitions))
	var errs []error
	for i, d := range definitions {
		results[i] = Result{Topic: d.Name, Action: None}
		if err := o.ensure(ctx, client, d, &results[i]); err != nil {
			results[i].Err = err
			errs = append(errs, err)
		}
	}
	return results, errors.Join(errs...)
}

func validateAll(definitions []Definition) error {
	var errs []error
	seen := map[string]bool{}
	for _, d := range definitions {
		errs = append(errs, d.Validate())
		if seen[d.Name] {
			errs = append(errs, fmt.Errorf("topic %q is defined twice", d.Name))
		}
		seen[d.Name] = true
	}
	return errors.Join(errs...)
}

func (o Options) ensure(ctx context.Context, client *kadm.Client, d Definition, result *Result) error {
	result.Doing = kafkaclient.OpInspect
	live, err := describeOne(ctx, client, d.Name)
	if err != nil {
		return err
	}
	if !live.Exists {
		result.Doing = kafkaclient.OpCreate
		created, err := create(ctx, client, d)
		if err != nil {
			return err
		}
		result.Doing = kafkaclient.OpInspect
		if created {
			result.Action = Created
		}
		if live, err = settled(ctx, client, d.Name, func(l Live) bool { return l.Exists }); err != nil {
			return err
		}
	}
	changed, err := o.change(ctx, client, d, live, result)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		result.Doing = kafkaclient.OpInspect
		if live, err = settled(ctx, client, d.Name, func(l Live) bool { return !anyOf(Compare(l, d), changed) }); err != nil {
			return err
		}
	}
	result.Differences = Compare(live, d)
	return nil
}

func anyOf(differences []Difference, what []string) bool {
	return slices.ContainsFunc(differences, func(d Difference) bool { return slices.Contains(what, d.What) })
}

// settled describes the topic until what was changed can be seen: each broker learns of it in its own time, and the
// client remembers metadata for a moment. After settleBudget it returns what there is.
func settled(ctx context.Context, client *kadm.Client, name string, seen func(Live) bool) (Live, error) {
	deadline := time.Now().Add(settleBudget)
	for {
		live, err := describeOne(ctx, client, name)
		if err != nil || seen(live) || time.Now().After(deadline) {
			return live, err
		}
		if err := pause(ctx, settlePause); err != nil {
			return live, err
		}
	}
}

// create reports whether this call created the topic; false means that another did.
func create(ctx context.Context, client *kadm.Client, d Definition) (bool, error) {
	configs := make(map[string]*string, len(d.Configs))
	for k, v := range d.Configs {
		configs[k] = &v
	}
	created := true
	err := retry(ctx, func() error {
		response, err := client.CreateTopic(ctx, d.Partitions, d.Replication, configs, d.Name)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			// Another process was faster, or an answer to our own first attempt got lost; the comparison will tell.
			created = false
			return nil
		}
		return withMessage(err, response.ErrMessage)
	})
	if err != nil {
		return false, fmt.Errorf("create topic %q: %w", d.Name, err)
	}
	return created, nil
}

// withMessage adds what a broker says beside the code, such as the policy that was broken.
func withMessage(err error, message string) error {
	if err == nil || message == "" || strings.Contains(err.Error(), message) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}

func describeOne(ctx context.Context, client *kadm.Client, name string) (Live, error) {
	var live Live
	err := retry(ctx, func() error {
		found, err := describe(ctx, client, []string{name})
		if err == nil {
			live = found[0]
		}
		return err
	})
	return live, err
}

// change applies what the options allow and returns which differences it should have ended.
func (o Options) change(ctx context.Context, client *kadm.Client, d Definition, live Live, result *Result) ([]string, error) {
	var changed []string
	for _, diff := range Compare(live, d) {
		var err error
		switch {
		case diff.What == Partitions && o.RaisePartitions && len(live.Partitions) < int(d.Partitions):
			result.Doing = kafkaclient.OpAlter
			err = raisePartitions(ctx, client, d)
		case diff.What == MinInsyncReplicas && live.Replication() < int(d.Replication):
			// A topic with too few replicas for the new value would take no more records.
			continue
		case o.UpdateConfigs && d.Configs[diff.What] != "":
			result.Doing = kafkaclient.OpConfigs
			err = updateConfig(ctx, client, d, diff.What)
		default:
			continue
		}
		if err != nil {
			return changed, err
		}
		changed = append(changed, diff.What)
		result.Changes = append(result.Changes, fmt.Sprintf("%s from %s to %s", diff.What, diff.Live, diff.Want))
		if result.Action == None {
			result.Action = Updated
		}
	}
	return changed, nil
}

func raisePartitions(ctx context.Context, client *kadm.Client, d Definition) error {
	err := retry(ctx, func() error {
		responses, err := client.UpdatePartitions(ctx, int(d.Partitions), d.Name)
		if err != nil {
			return err
		}
		response, err := responses.On(d.Name, nil)
		if err != nil {
			return err
		}
		if errors.Is(response.Err, kerr.InvalidPartitions) {
			// Another process raised it first, to this number or beyond; or the cluster does not take so many.
			enough := func(l Live) bool { return len(l.Partitions) >= int(d.Partitions) }
			if live, err := settled(ctx, client, d.Name, enough); err != nil || enough(live) {
				return err
			}
		}
		return withMessage(response.Err, response.ErrMessage)
	})
	if err != nil {
		return fmt.Errorf("raise topic %q to %d partitions: %w", d.Name, d.Partitions, err)
	}
	return nil
}

func updateConfig(ctx context.Context, client *kadm.Client, d Definition, key string) error {
	value := d.Configs[key]
	err := retry(ctx, func() error {
		responses, err := client.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, d.Name)
		if err != nil {
			return err
		}
		response, err := responses.On(d.Name, nil)
		if err != nil {
			return err
		}
		return withMessage(response.Err, response.ErrMessage)
	})
	if err != nil {
		return fmt.Errorf("set %s=%s on topic %q: %w", key, value, d.Name, err)
	}
	return nil
}

// retry repeats step while its error is one that passes, for the budget or until ctx ends, with growing pauses of random
// length so that processes which started together do not stay together.
func retry(ctx context.Context, step func() error) error {
	deadline := time.Now().Add(retryBudget)
	longest := retryFirst
	for {
		err := step()
		if err == nil || !passes(err) {
			return err
		}
		wait := longest/2 + time.Duration(rand.Int64N(int64(longest)))
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("gave up after %s: %w", retryBudget, err)
		}
		if stopped := pause(ctx, wait); stopped != nil {
			// The last error says more than that time is up.
			return errors.Join(err, stopped)
		}
		longest = min(2*longest, retryLongest)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// passes reports an error of the cluster that may pass by itself. A connection that cannot be made is left to the
// client, which has tried already, and to the caller.
func passes(err error) bool {
	class := kafkaclient.Classify(err)
	return class.Retryable() && (!class.Unreachable() || errors.Is(err, kerr.RequestTimedOut))
}
