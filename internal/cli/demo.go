package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dashflow/dashstream/internal/demo"
	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
)

// demoCommand plays simulated agents into a topic of the user's cluster.
type demoCommand struct {
	Runs        int     `name:"runs" short:"n" default:"10" placeholder:"N" help:"How many runs; 0 goes on until Ctrl-C."`
	Rate        float64 `name:"rate" aliases:"demo-rate" placeholder:"R" help:"Start at most R runs a second, as many at once as that takes; 0 is the default. Also --demo-rate, as in up." unset:"one as soon as there is a place for it"`
	Concurrency int     `name:"concurrency" placeholder:"N" help:"At most N runs at once; 0 is the default." unset:"3, or with --rate as many as it takes"`
	Speed       float64 `name:"speed" default:"1" placeholder:"S" help:"How fast a run goes: 1 is its natural pace, about ten to thirty seconds, 2 twice as fast, 0 as fast as possible."`
	Seed        seed    `name:"seed" aliases:"demo-seed" placeholder:"N" help:"Decides everything that the runs do, so that it can be repeated. Also --demo-seed, as in up." unset:"a new one, which is printed"`
	Scenario    string  `name:"scenario" default:"all" placeholder:"NAME" help:"A scenario by its name, or all for each in turn."`
	Clock       moment  `name:"clock" placeholder:"TIME" help:"Stamp messages as if it were this time (RFC 3339) at the start and passed as the runs say, so that a seed decides timestamps too." unset:"the clock of this machine"`
	Output

	Kafka    kafkaclient.Settings      `embed:""`
	Producer producersettings.Settings `embed:""`
}

func newDemoCommand() *demoCommand {
	return &demoCommand{Kafka: kafkaclient.Default(), Producer: producersettings.Default()}
}

// Help explains the scenarios, for kong.HelpProvider.
func (c *demoCommand) Help() string {
	var b strings.Builder
	b.WriteString("Simulated agents send what real ones would: no model, tool or network is used. All they send has the tenant " +
		demo.Tenant + " and says in GRAPH_START that it is a demo.\n\nScenarios:\n\n")
	for _, s := range demo.Scenarios() {
		fmt.Fprintf(&b, "  %-9s %s\n", s.Name, s.Help)
	}
	return b.String()
}

// seed is a number that may be left out.
type seed struct {
	given bool
	value uint64
}

// UnmarshalText takes a whole number of 64 bits.
func (s *seed) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("%q: want %s", printable(string(text), 40), s.Allowed())
	}
	*s = seed{true, n}
	return nil
}

// MarshalText is empty where no seed was given.
func (s seed) MarshalText() ([]byte, error) {
	if !s.given {
		return nil, nil
	}
	return strconv.AppendUint(nil, s.value, 10), nil
}

// Allowed implements settings.Allower.
func (seed) Allowed() string { return "a whole number from 0 to 18446744073709551615" }

// choose returns the seed, a new one if none was given: short, since people may want to write it down.
func (s seed) choose() uint64 {
	if s.given {
		return s.value
	}
	return uint64(rand.Uint32())
}

// moment is a time that may be left out.
type moment struct{ time.Time }

// UnmarshalText takes RFC 3339.
func (m *moment) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return fmt.Errorf("%q: want a time such as 2026-01-31T12:00:00Z", printable(string(text), 40))
	}
	m.Time = t
	return nil
}

func (c *demoCommand) options() (demo.Options, error) {
	o := demo.Options{Scenario: c.Scenario, Seed: c.Seed.choose(), Runs: c.Runs, Rate: c.Rate, Concurrency: c.Concurrency, Speed: c.Speed}
	if !c.Clock.IsZero() {
		o.Clock = demo.NewClock(c.Clock.Time)
	}
	if err := o.Validate(); err != nil {
		return o, usageError(programName+" demo --help", "--%v", err)
	}
	return o, nil
}

// Run plays, and fails if anything that was emitted did not arrive.
func (c *demoCommand) Run(ctx context.Context, p *Process) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	if err := c.check(ctx, p); err != nil {
		return err
	}
	producer, err := demo.NewProducer(c.Kafka, c.Producer, p.Log, o.Clock)
	if err != nil {
		return err
	}
	many := "runs"
	if c.Runs > 0 {
		many = fmt.Sprintf("%d runs", c.Runs)
	}
	say(p.Stderr, "%s of simulated agents to topic %s as tenant %s, seed %d; Ctrl-C ends them", many, c.Kafka.Topic, demo.Tenant, o.Seed)
	if c.Speed > 0 {
		o.OnRun = func(r demo.RunInfo) { say(p.Stderr, "%s", demoLine(r)) }
	}
	report, err := demo.Run(ctx, o, producer)
	var lost *demo.LostError
	if err != nil && !errors.As(err, &lost) {
		return err
	}
	return errors.Join(c.print(p, report), err, c.unfinished(report))
}

// check finds out whether the topic is there before anything is sent.
func (c *demoCommand) check(ctx context.Context, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := p.connect(ctx, c.Kafka, "demo")
	if err != nil {
		return err
	}
	defer client.Close()
	err = c.Kafka.Probe(ctx, client, kafkaclient.OpProduce, c.Kafka.Topic)
	if kafkaclient.Classify(err) == kafkaclient.ClassUnknownTopic {
		return noDataTry(programName+" topics ensure"+p.again(c.Kafka), "%w", err)
	}
	return err
}

// unfinished says that the demo was stopped before all runs were played, unless it was to go on until then.
func (c *demoCommand) unfinished(r demo.Report) error {
	played := r.Runs[demo.Completed] + r.Runs[demo.Failed]
	if c.Runs == 0 || played == c.Runs {
		return nil
	}
	return fmt.Errorf("stopped after %d of %d runs", played, c.Runs)
}

// demoLine tells of a run in a line.
func demoLine(r demo.RunInfo) string {
	switch {
	case r.Outcome == "":
		return fmt.Sprintf("%s  began: %s", r.Thread, r.Task)
	case r.Err != nil:
		return fmt.Sprintf("%s  %s after %.1f s: %v", r.Thread, r.Outcome, r.Took.Seconds(), r.Err)
	default:
		return fmt.Sprintf("%s  %s after %.1f s", r.Thread, r.Outcome, r.Took.Seconds())
	}
}

// outcomeWords say that a failed run is not the fault of the demo.
var outcomeWords = map[demo.Outcome]string{demo.Completed: "completed", demo.Failed: "failed as their scripts say", demo.Interrupted: "interrupted"}

// demoReport is the contract of --output json.
type demoReport struct {
	Seed           string                   `json:"seed"`
	ElapsedSeconds float64                  `json:"elapsed_seconds"`
	Runs           map[demo.Outcome]int     `json:"runs"`
	Scenarios      map[string]int           `json:"scenarios"`
	Messages       map[string]demo.Messages `json:"messages"` // by type
	Total          demo.Messages            `json:"total"`
	Lost           uint64                   `json:"lost"`
	Reasons        map[string]uint64        `json:"reasons"` // of what was lost
}

func (c *demoCommand) print(p *Process, r demo.Report) error {
	if c.JSON() {
		return writeJSON(p.Stdout, demoReport{
			strconv.FormatUint(r.Seed, 10), r.Elapsed.Seconds(), r.Runs, r.Scenarios, r.Types, r.Total, r.Total.Lost(), r.Reasons,
		})
	}
	var outcomes []string
	for _, o := range []demo.Outcome{demo.Completed, demo.Failed, demo.Interrupted} {
		if n := r.Runs[o]; n > 0 {
			outcomes = append(outcomes, fmt.Sprintf("%d %s", n, outcomeWords[o]))
		}
	}
	if err := writeText(p.Stdout, fmt.Sprintf("runs: %s; %.1f s, seed %d\n", strings.Join(outcomes, ", "), r.Elapsed.Seconds(), r.Seed)); err != nil {
		return err
	}
	var t table
	t.row("TYPE", "EMITTED", "ACKED", "DROPPED", "FAILED")
	row := func(name string, m demo.Messages) {
		cells := []string{name}
		for _, n := range []uint64{m.Emitted, m.Acked, m.Dropped, m.Failed} {
			cells = append(cells, strconv.FormatUint(n, 10))
		}
		t.row(cells...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Types)) {
		row(name, r.Types[name])
	}
	row("total", r.Total)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		t.row("lost: "+reason, strconv.FormatUint(r.Reasons[reason], 10))
	}
	return t.write(p.Stdout)
}
