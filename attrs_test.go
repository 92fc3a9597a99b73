package dashstream_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testkafka"
)

// endless gives a group that holds itself, so many times.
type endless int

func (e endless) LogValue() slog.Value {
	attrs := make([]slog.Attr, e)
	for i := range attrs {
		attrs[i] = slog.Any(fmt.Sprint("again", i), e)
	}
	return slog.GroupValue(attrs...)
}

// inlined is endless without a key.
type inlined struct{}

func (v inlined) LogValue() slog.Value { return slog.GroupValue(slog.Any("", v), slog.Int("n", 1)) }

func nestedGroup(depth int) slog.Attr {
	a := slog.String("leaf", "the leaf")
	for range depth {
		a = slog.Attr{Key: "g", Value: slog.GroupValue(a, slog.Int("beside", 1))}
	}
	return a
}

func nestedJSON(depth int) json.RawMessage {
	return json.RawMessage(strings.Repeat(`{"a":[`, depth) + "1" + strings.Repeat("]}", depth))
}

// Whatever attributes an event has, it arrives: what is too deep, too many or too large is cut, and says so.
func TestAnyAttributesArrive(t *testing.T) {
	t.Parallel()
	text := longNoise()
	many := func(n, size int) (out []slog.Attr) {
		for i := range n {
			out = append(out, slog.String(fmt.Sprint("k", i), text[i*size:(i+1)*size]))
		}
		return out
	}
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	group := func(attrs []slog.Attr) []slog.Attr { return []slog.Attr{{Key: "g", Value: slog.GroupValue(attrs...)}} }
	tests := map[string][]slog.Attr{
		"groups that hold themselves": {slog.Any("one", endless(1)), slog.Any("three", endless(3))},
		"groups without a name":       {slog.Any("", inlined{}), slog.Any("in", inlined{})},
		"many":                        many(6000, 300),
		"many large ones":             many(1500, 1200),
		"many in a group":             group(many(1500, 1200)),
		"more than are allowed":       many(66_000, 0),
		"more in a group":             group(many(66_000, 0)),
		"long keys":                   {slog.Int(noise(600_000), 1), slog.Int("k"+noise(600_000), 1), slog.Int("", 1)},
		"keys of JSON":                {slog.Any("a", map[string]int{noise(400_000): 1}), slog.Any("b", map[string]int{"b" + noise(400_000): 1}), slog.Any("c", map[string]int{"c" + noise(400_000): 1})},
		"many numbers":                {slog.Any("a", make([]int, 80_000)), slog.Any("b", make([]int, 80_000)), slog.Any("c", make([]int, 30_000)), slog.Any("d", make([]int, 30_000))},
		"many of all":                 append(group(many(2000, 100)), many(2000, 500)...),
		"a cycle":                     {slog.Any("c", cyclic)},
		"too deep for encoding/json":  {slog.Any("d", nestedJSON(6000))},
		"groups and JSON":             {{Key: "g", Value: slog.GroupValue(nestedGroup(20), slog.Any("j", nestedJSON(12)), slog.Group("h", slog.Any("j", nestedJSON(12))))}},
	}
	for _, depth := range []int{0, 1, 12, 13, 23, 24, 25, 26, 32, 33, 34, 60, 100, 130} {
		tests[fmt.Sprint("groups of depth ", depth)] = []slog.Attr{nestedGroup(depth)}
		tests[fmt.Sprint("JSON of depth ", depth)] = []slog.Attr{slog.Any("j", nestedJSON(depth))}
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range 10 {
		tests[fmt.Sprint("random ", i)] = randomAttrs(rng, 3)
	}
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithQueueBytes(256<<20), dashstream.WithFlushTimeout(5*time.Minute))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "t"})
	for name, attrs := range tests {
		run.Event(pb.EventType_EVENT_TYPE_MEMORY_SAVE, name, append([]slog.Attr{slog.Int("ordinary", 1)}, attrs...)...)
	}
	flush(t, p)
	arrived := map[string]*pb.Event{}
	for _, r := range readAll(t, c, topic) {
		arrived[r.msg.GetEvent().GetNodeId()] = r.msg.GetEvent()
	}
	for name := range tests {
		if arrived[name] == nil {
			t.Errorf("%s did not arrive", name)
		}
	}
	for name, want := range map[string]string{
		"groups of depth 24":          "the leaf",
		"groups of depth 25":          "[truncated: groups nest deeper than 24 levels]",
		"groups that hold themselves": "[truncated: groups nest deeper than 24 levels]",
		"groups without a name":       "",
		"JSON of depth 12":            "",
		"JSON of depth 13":            `{\"a\":[`,
		"many":                        "dashstream_truncated",
		"many large ones":             "truncated",
		"many in a group":             "truncated",
		"more than are allowed":       "[truncated: 465 values left out]",
		"more in a group":             "[truncated: 466 values left out]",
		"many numbers":                "[0,0,0",
		"too deep for encoding/json":  "not serializable",
	} {
		if got := arrived[name].String(); !strings.Contains(got, want) || arrived[name].Attributes["ordinary"] == nil {
			t.Errorf("%s arrived as %.300s, want it to contain %q", name, got, want)
		}
	}
	// Short values outlive the large ones.
	if arrived["many"].Attributes["ordinary"] == nil || len(arrived["many"].Attributes) < 3000 {
		t.Errorf("of 6001 attributes arrived %d", len(arrived["many"].Attributes))
	}
	checkAccounts(t, p)
	if s := p.Stats(); s.Total().DroppedTotal() != 0 || s.Degraded[dashstream.DegradedTruncated] == 0 {
		t.Errorf("dropped %v, degraded %v", s.Total().Dropped, s.Degraded)
	}
}

// randomAttrs is attributes of all kinds.
func randomAttrs(rng *rand.Rand, depth int) (out []slog.Attr) {
	for range rng.IntN(8) {
		key := string([]byte{byte(rng.IntN(256)), byte(rng.IntN(256))})
		switch n := rng.IntN(9); {
		case n == 0 && depth > 0:
			out = append(out, slog.Attr{Key: key, Value: slog.GroupValue(randomAttrs(rng, depth-1)...)})
		case n == 1:
			out = append(out, slog.Float64(key, []float64{nan, inf, -inf, 0, 1e300}[rng.IntN(5)]))
		case n == 2:
			out = append(out, slog.Any(key, []any{nil, func() {}, make(chan int), map[any]any{1: 2}, complex(1, 2), (*int)(nil), (error)(nil), panics{}, fails{}, (*strings.Builder)(nil)}[rng.IntN(10)]))
		case n == 3:
			out = append(out, slog.Any(key, nestedJSON(rng.IntN(200))))
		case n == 4:
			out = append(out, slog.String(key, longNoise()[:rng.IntN(3)*300_000]))
		case n == 5:
			out = append(out, slog.Any(key, []byte(longNoise()[:rng.IntN(3)*300_000])))
		case n == 6:
			out = append(out, nestedGroup(rng.IntN(200)))
		case n == 7:
			out = append(out, slog.Any(key, strings.Split(longNoise()[:rng.IntN(2)*150_000], "a")))
		default:
			out = append(out, slog.Int64(key, rng.Int64()))
		}
	}
	return out
}

var longNoise = sync.OnceValue(func() string { return noise(4 << 20) })

var nan, inf = math.NaN(), math.Inf(1)
