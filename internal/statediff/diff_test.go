package statediff_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"pgregory.net/rapid"

	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/statediff"
)

func canonical(t interface{ Fatal(...any) }, text []byte) []byte {
	doc, err := jcs.Canonicalize(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc.JSON
}

var names = map[statediff.Kind]string{statediff.Add: "add", statediff.Remove: "remove", statediff.Replace: "replace"}

// apply uses another implementation of RFC 6902 than this project's.
func apply(t interface{ Fatal(...any) }, base []byte, ops []statediff.Op) []byte {
	patch := make([]map[string]any, 0, len(ops))
	for _, op := range ops {
		m := map[string]any{"op": names[op.Kind], "path": op.Path}
		if op.Value != nil {
			m["value"] = json.RawMessage(op.Value)
		}
		patch = append(patch, m)
	}
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	opts := jsonpatch.NewApplyOptions()
	opts.SupportNegativeIndices = false
	opts.EnsurePathExistsOnAdd = false
	out, err := decoded.ApplyWithOptions(base, opts)
	if err != nil {
		t.Fatal(fmt.Sprintf("apply %s to %s: %v", text, base, err))
	}
	return out
}

func TestDiff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, base, next, want string }{
		{"equal", `{"a":1}`, `{"a":1}`, ``},
		{"member added", `{"a":1}`, `{"a":1,"b":2}`, `add /b 2`},
		{"member removed", `{"a":1,"b":2}`, `{"b":2}`, `remove /a`},
		{"member changed", `{"a":"some longer text","b":1}`, `{"a":"some longer text","b":2}`, `replace /b 2`},
		{"null is a value", `{"a":null,"text":"some longer text"}`, `{"b":null,"text":"some longer text"}`, `remove /a; add /b null`},
		{"nested", `{"a":{"b":{"c":"x"},"d":"some longer text"}}`, `{"a":{"b":{"c":"y"},"d":"some longer text"}}`, `replace /a/b/c "y"`},
		{"pointer escapes", `{"a/b":1,"c~d":1,"keep":"some longer text, longer still"}`, `{"a/b":2,"c~d":2,"keep":"some longer text, longer still"}`, `replace /a~1b 2; replace /c~0d 2`},
		{"escaped names", `{"a\"\n":1,"keep":"some longer text"}`, `{"a\"\n":2,"keep":"some longer text"}`, "replace /a\"\n 2"},
		{"empty name", `{"":1,"keep":"some longer text"}`, `{"":2,"keep":"some longer text"}`, `replace / 2`},
		{"append", `[1,2,3]`, `[1,2,3,4]`, `add /3 4`},
		{"prepend", `["one long enough","two long enough"]`, `["zero","one long enough","two long enough"]`, `add /0 "zero"`},
		{"remove in the middle", `["one long enough","two","three long enough"]`, `["one long enough","three long enough"]`, `remove /1`},
		{"sliding window", `["aaaaaaaaaa","bbbbbbbbbb","cccccccccc","dddddddddd"]`, `["bbbbbbbbbb","cccccccccc","dddddddddd","eeeeeeeeee"]`, `remove /0; add /3 "eeeeeeeeee"`},
		{"element changed inside", `[{"id":1,"text":"some longer text"},{"id":2,"n":1,"text":"some longer text"}]`, `[{"id":1,"text":"some longer text"},{"id":2,"n":2,"text":"some longer text"}]`, `replace /1/n 2`},
		{"many small changes are one", `{"a":[1,2,3,4,5,6,7,8],"keep":"some longer text"}`, `{"a":[8,7,6,5,4,3,2,1],"keep":"some longer text"}`, `replace /a [8,7,6,5,4,3,2,1]`},
		{"another kind", `{"a":{},"keep":"some longer text"}`, `{"a":[],"keep":"some longer text"}`, `replace /a []`},
		{"root", `1`, `{"a":1}`, `replace  {"a":1}`},
		{"big numbers stay digits", `{"id":9007199254740992,"keep":"some longer text"}`, `{"id":9007199254740993,"keep":"some longer text"}`, `replace /id 9007199254740993`},
		{"brackets in strings", `{"a":"]}{[,:","b":["\"]","x"]}`, `{"a":"]}{[,:","b":["\"]","y"]}`, `replace /b/1 "y"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			base, next := canonical(t, []byte(tt.base)), canonical(t, []byte(tt.next))
			ops := statediff.Diff(base, next)
			var got []string
			for _, op := range ops {
				got = append(got, strings.TrimRight(names[op.Kind]+" "+op.Path+" "+string(op.Value), " "))
			}
			if s := strings.Join(got, "; "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
			if base[0] != '{' && base[0] != '[' {
				return // the applier wants a container
			}
			if after := canonical(t, apply(t, base, ops)); !bytes.Equal(after, next) {
				t.Errorf("applied: %s, want %s", after, next)
			}
		})
	}
}

// The price of a step must not grow with the list: agents append to a history.
func TestDiffOfLongLists(t *testing.T) {
	t.Parallel()
	const n = 10_000
	element := func(i int) string { return fmt.Sprintf(`{"role":"user","text":"message number %d"}`, i) }
	list := func(from, to int) []string {
		var out []string
		for i := from; i < to; i++ {
			out = append(out, element(i))
		}
		return out
	}
	state := func(items []string) []byte {
		return canonical(t, []byte(`{"history":[`+strings.Join(items, ",")+`],"turn":1}`))
	}
	base := list(0, n)
	inserted := append(append(list(0, 5000), element(-1)), list(5000, n)...)
	ends := append(append([]string{element(-1)}, list(1, n)...), element(n))
	for _, tt := range []struct {
		name string
		next []string
		ops  int
	}{
		{"append one", list(0, n+1), 1},
		{"prepend one", append([]string{element(-1)}, base...), 1},
		{"insert one", inserted, 1},
		{"drop the first", list(1, n), 1},
		{"slide by one", list(1, n+1), 2},
		{"slide by ten", list(10, n+10), 20},
		{"change the first, append one", ends, 2},
	} {
		before, next := state(base), state(tt.next)
		start := time.Now()
		ops := statediff.Diff(before, next)
		took := time.Since(start)
		size := 0
		for _, op := range ops {
			size += op.Size()
		}
		if len(ops) != tt.ops || size > 100*tt.ops {
			t.Errorf("%s: %d operations of %d bytes, want %d operations", tt.name, len(ops), size, tt.ops)
		}
		if took > time.Second {
			t.Errorf("%s took %s", tt.name, took)
		}
		if after := canonical(t, apply(t, before, ops)); !bytes.Equal(after, next) {
			t.Errorf("%s: applying gives another state", tt.name)
		}
	}
}

// Nothing in common and more than can be matched: still right, and no larger than the list.
func TestDiffOfListsWithNothingInCommon(t *testing.T) {
	t.Parallel()
	list := func(f func(int) string) []byte {
		var out []string
		for i := range 5000 {
			out = append(out, f(i))
		}
		return canonical(t, []byte(`[`+strings.Join(out, ",")+`]`))
	}
	base := list(func(i int) string { return fmt.Sprint(i) })
	next := list(func(i int) string { return fmt.Sprint(1_000_000 + i) })
	ops := statediff.Diff(base, next)
	if len(ops) != 1 || ops[0].Kind != statediff.Replace {
		t.Errorf("%d operations, want the list replaced", len(ops))
	}
}

// The worst that Myers' algorithm knows, a long list of few different elements with many changes, takes bounded time.
func TestDiffOfRepetitiveLists(t *testing.T) {
	t.Parallel()
	list := func(change int) []byte {
		items := make([]string, 200_000)
		for i := range items {
			items[i] = fmt.Sprint(i / 3 % 2)
			if i%3000 == change {
				items[i] = fmt.Sprint(2 + change)
			}
		}
		return canonical(t, []byte(`[`+strings.Join(items, ",")+`]`))
	}
	base, next := list(0), list(1)
	start := time.Now()
	ops := statediff.Diff(base, next)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if after := canonical(t, apply(t, base, ops)); !bytes.Equal(after, next) {
		t.Error("applying gives another state")
	}
}

func anyJSON(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 6
		if depth == 0 {
			kinds = 4
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.IntRange(0, 3).Draw(t, "number")
		case 3:
			return rapid.SampledFrom([]string{"", "a", "~", "/", "\"", "é", "\U0001F600", "a longer string of text"}).Draw(t, "string")
		case 4:
			return rapid.SliceOfN(anyJSON(depth-1), 0, 6).Draw(t, "list")
		default:
			return rapid.MapOfN(rapid.SampledFrom([]string{"", "a", "b", "c/d", "e~f", "\uFB33", "\U0001F600"}), anyJSON(depth-1), 0, 5).Draw(t, "object")
		}
	})
}

// Invariant: applying the diff to the base gives the next state, byte for byte.
func TestDiffIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := func(label string) []byte {
			text, err := json.Marshal(anyJSON(3).Draw(t, label))
			if err != nil {
				t.Fatal(err)
			}
			return canonical(t, text)
		}
		// The applier takes no scalar document; the root is an object in practice.
		base := append(append([]byte(`{"s":`), doc("base")...), '}')
		next := append(append([]byte(`{"s":`), doc("next")...), '}')
		ops := statediff.Diff(base, next)
		if len(ops) == 0 != bytes.Equal(base, next) {
			t.Fatalf("%d operations between %s and %s", len(ops), base, next)
		}
		if len(ops) == 1 && ops[0].Path == "" {
			return // the applier cannot replace the root
		}
		if got := canonical(t, apply(t, base, ops)); !bytes.Equal(got, next) {
			t.Fatalf("got %s, want %s, with %v", got, next, ops)
		}
	})
}

// Invariants: no panic on any two documents; the diff applies.
func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,3]}`), []byte(`{"a":[2,3,4],"b":{}}`))
	f.Add([]byte(`[]`), []byte(`[[]]`))
	f.Add([]byte(`["\\\"]",{}]`), []byte(`[{},"\\\"]"]`))
	f.Fuzz(func(t *testing.T, base, next []byte) {
		a, err := jcs.Canonicalize(base)
		if err != nil {
			return
		}
		b, err := jcs.Canonicalize(next)
		if err != nil {
			return
		}
		before := append(append([]byte(`{"s":`), a.JSON...), '}')
		after := append(append([]byte(`{"s":`), b.JSON...), '}')
		ops := statediff.Diff(before, after)
		if len(ops) == 1 && ops[0].Path == "" {
			return
		}
		if got := canonical(t, apply(t, before, ops)); !bytes.Equal(got, after) {
			t.Fatalf("got %s, want %s", got, after)
		}
	})
}

func BenchmarkAppendTo10000(b *testing.B) {
	var items []string
	for i := range 10_001 {
		items = append(items, fmt.Sprintf(`{"role":"user","text":"message number %d"}`, i))
	}
	base := canonical(b, []byte(`{"history":[`+strings.Join(items[:10_000], ",")+`]}`))
	next := canonical(b, []byte(`{"history":[`+strings.Join(items, ",")+`]}`))
	b.SetBytes(int64(len(next)))
	for b.Loop() {
		statediff.Diff(base, next)
	}
}
