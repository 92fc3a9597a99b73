package feed

import (
	"maps"
	"math"
	"strings"
	"testing"
)

// Invariants: never a panic; what parses prints back as itself, once sorted;
// no partition or offset is negative; an error is short.
func FuzzParseCursor(f *testing.F) {
	for _, s := range []string{"", "a:", "a:0=0", "a:0=9223372036854775807,2147483647=1", "a:1=2,0=1", "a:0=01", "a:+1=1", "a:0=1,0=1", "a:0=9223372036854775808", "a:2147483648=0", ":0=1", "a:0=1,", "a: 0=1", "a:0=1e3"} {
		f.Add(s)
	}
	f.Add(manyPartitions(listedPartitions+1, 1).String())
	for _, s := range []string{"a:~", "a:~AAA", "a:~!", "a:~AAEF", "a:~AP____8PAA", "a:~~", "a:~~AAA", "a:0=5@0", "a:0=5@2147483647,1=6", "a:0=5@", "a:0=5@-1", "a:0=5@2147483648", "a:0=5@1@1", "a:0@1=5"} {
		f.Add(s)
	}
	f.Add(withEpochs(manyPartitions(listedPartitions+1, 1), 7).String())
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
		for p, e := range c.Epochs {
			if _, ok := c.Offsets[p]; !ok || e < 0 {
				t.Fatalf("%q: leader epoch %d of partition %d", s, e, p)
			}
		}
		again, err := ParseCursor(c.String())
		if err != nil || again.String() != c.String() || len(again.Offsets) != len(c.Offsets) || !maps.Equal(again.Epochs, c.Epochs) {
			t.Fatalf("%q: %q parses as %v, %v", s, c, again, err)
		}
		if (len(c.Offsets) == strings.Count(s, "=") && len(c.Offsets) <= listedPartitions || strings.Contains(s, ":~")) && len(s) != len(c.String()) {
			t.Fatalf("%q was taken for %q", s, c)
		}
	})
}

func manyPartitions(n int, offset int64) Cursor {
	c := Cursor{StreamID: StreamID("c", "t", [16]byte{1}), Offsets: map[int32]int64{}}
	for p := range int32(n) {
		c.Offsets[p] = offset + int64(p)
	}
	return c
}

// withEpochs gives every partition but each fifth an epoch.
func withEpochs(c Cursor, epoch int32) Cursor {
	for p := range c.Offsets {
		if p%5 != 0 {
			c.SetEpoch(p, epoch+p%3)
		}
	}
	return c
}

// A cursor of the largest topic has to come back in a header.
func TestACursorOfManyPartitionsIsShort(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		c   Cursor
		max int
	}{
		"listed":                    {manyPartitions(128, 1e6), 2 << 10},
		"packed":                    {manyPartitions(129, 1e6), 1 << 10},
		"a thousand":                {manyPartitions(1000, 1e8), 6 << 10},
		"ten thousand":              {manyPartitions(10_000, 1e10), 68 << 10},
		"the largest":               {manyPartitions(10_000, math.MaxInt64-10_000), 121 << 10},
		"listed, with epochs":       {withEpochs(manyPartitions(128, 1e6), 100), 2 << 10},
		"packed, with epochs":       {withEpochs(manyPartitions(129, 1e6), 100), 1 << 10},
		"ten thousand, with epochs": {withEpochs(manyPartitions(10_000, 1e10), 1000), 93 << 10},
		"with some left out": {Cursor{StreamID: "s", Offsets: maps.Collect(func(yield func(int32, int64) bool) {
			for p := range int32(500) {
				if !yield(p*3+p%2, int64(p)) {
					return
				}
			}
			yield(math.MaxInt32, math.MaxInt64)
		})}, 4 << 10},
	} {
		s := tc.c.String()
		got, err := ParseCursor(s)
		if err != nil || got.StreamID != tc.c.StreamID || !maps.Equal(got.Offsets, tc.c.Offsets) || !maps.Equal(got.Epochs, tc.c.Epochs) {
			t.Errorf("%s: comes back with %d partitions, %d epochs, error %v", name, len(got.Offsets), len(got.Epochs), err)
		}
		if len(s) > tc.max {
			t.Errorf("%s: %d bytes, want at most %d", name, len(s), tc.max)
		}
	}
}

// Where epochs would make a cursor too long to come back, it goes without.
func TestACursorTooLongForEpochsGoesWithout(t *testing.T) {
	t.Parallel()
	c := withEpochs(manyPartitions(10_000, math.MaxInt64-10_000), math.MaxInt32-3)
	got, err := ParseCursor(c.String())
	if err != nil || !maps.Equal(got.Offsets, c.Offsets) || len(got.Epochs) != 0 {
		t.Errorf("%d bytes come back with %d partitions, %d epochs, error %v", len(c.String()), len(got.Offsets), len(got.Epochs), err)
	}
}

// What clients wrote down before there were epochs is as good as it was.
func TestACursorWithoutEpochsReadsAsBefore(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a:0=5,1=6", manyPartitions(200, 1).String()} {
		if c, err := ParseCursor(s); err != nil || c.String() != s || len(c.Epochs) > 0 || c.Epoch(0) != -1 {
			t.Errorf("%.40s: %d epochs, error %v, again %.40s", s, len(c.Epochs), err, c)
		}
	}
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
