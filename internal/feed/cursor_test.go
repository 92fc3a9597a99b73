package feed

import (
	"strings"
	"testing"
)

// Invariants: never a panic; what parses prints back as itself, once sorted;
// no partition or offset is negative; an error is short.
func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "a:", "a:0=0", "a:0=9223372036854775807,2147483647=1", "a:1=2,0=1", "a:0=01", "a:+1=1", "a:0=1,0=1", "a:0=9223372036854775808", "a:2147483648=0", ":0=1", "a:0=1,", "a: 0=1", "a:0=1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Fatalf("error of %d bytes", len(err.Error()))
			}
			return
		}
		for p, o := range c.Offsets {
			if p < 0 || o < 0 {
				t.Fatalf("%q: partition %d offset %d", s, p, o)
			}
		}
		again, err := ParseCursor(c.String())
		if err != nil || again.String() != c.String() || len(again.Offsets) != len(c.Offsets) {
			t.Fatalf("%q: %q parses as %v, %v", s, c, again, err)
		}
		if len(c.Offsets) == strings.Count(s, "=") && len(s) != len(c.String()) {
			t.Fatalf("%q was taken for %q", s, c)
		}
	})
}

func TestStreamIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, x := range []struct {
		cluster, topic string
		id             [16]byte
	}{{"c", "t", [16]byte{1}}, {"c", "t", [16]byte{2}}, {"d", "t", [16]byte{1}}, {"c", "u", [16]byte{1}}, {"ct", "", [16]byte{1}}, {"", "ct", [16]byte{1}}} {
		id := StreamID(x.cluster, x.topic, x.id)
		if seen[id] != "" || len(id) != 16 || strings.ContainsAny(id, ":,=\n ") {
			t.Errorf("%v: id %q, seen %q", x, id, seen[id])
		}
		seen[id] = x.cluster + "/" + x.topic
	}
	if got := StreamID("c", "t", [16]byte{1}); seen[got] != "c/t" {
		t.Errorf("the same topic has another id the second time: %q", got)
	}
}
