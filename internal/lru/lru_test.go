package lru_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dashflow/dashstream/internal/lru"
)

// TestAgainstAList holds tables that share a budget to slices that are searched.
func TestAgainstAList(t *testing.T) {
	t.Parallel()
	type entry struct {
		key   string
		value int
	}
	rapid.Check(t, func(t *rapid.T) {
		budget := lru.NewBudget(6, 1<<20)
		evicted := [2][]int{}
		var tables [2]*lru.Table[int]
		for i := range tables {
			tables[i] = lru.New(budget, 8, func(v *int) { evicted[i] = append(evicted[i], *v) })
		}
		lists, gone := [2][]entry{}, [2][]int{}
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "table")
			key := fmt.Sprint(rapid.IntRange(0, 8).Draw(t, "key"))
			at := -1
			for k, e := range lists[i] {
				if e.key == key {
					at = k
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				e := tables[i].Get([]byte(key))
				if (e != nil) != (at >= 0) {
					t.Fatalf("key %s: there is %v, want index %d", key, e, at)
				}
				if e != nil {
					tables[i].Remove(e)
					lists[i] = append(lists[i][:at:at], lists[i][at+1:]...)
				}
				continue
			}
			e, made := tables[i].Use([]byte(key), time.Unix(int64(step), 0))
			if made != (at < 0) {
				t.Fatalf("key %s: made %v, want index %d", key, made, at)
			}
			if made {
				e.Value = step
				lists[i] = append(lists[i], entry{key, step})
				for len(lists[0])+len(lists[1]) > 6 && len(lists[i]) > 1 {
					gone[i] = append(gone[i], lists[i][0].value)
					lists[i] = lists[i][1:]
				}
			} else {
				lists[i] = append(append(lists[i][:at:at], lists[i][at+1:]...), lists[i][at])
			}
			if e.Used != time.Unix(int64(step), 0) {
				t.Fatalf("used at %v in step %d", e.Used, step)
			}
		}
		total := 0
		for i := range tables {
			if fmt.Sprint(evicted[i]) != fmt.Sprint(gone[i]) {
				t.Fatalf("table %d evicted %v, want %v", i, evicted[i], gone[i])
			}
			total += tables[i].Len()
			for _, want := range lists[i] {
				old := tables[i].Oldest()
				if old == nil || old.Value != want.value {
					t.Fatalf("table %d has %v next, want %v", i, old, want)
				}
				tables[i].Remove(old)
			}
			if tables[i].Oldest() != nil {
				t.Fatalf("table %d has more", i)
			}
		}
		if budget.Entries() != 0 || budget.Bytes() != 0 {
			t.Fatalf("of %d entries the budget keeps %d, %d bytes", total, budget.Entries(), budget.Bytes())
		}
	})
}

func TestBytesAreBounded(t *testing.T) {
	t.Parallel()
	budget := lru.NewBudget(1<<40, 64<<10)
	table := lru.New[int](budget, 100, nil)
	for i := range 10_000 {
		table.Use(fmt.Appendf(nil, "%s%d", strings.Repeat("x", i%300), i), time.Time{})
	}
	if n := budget.Bytes(); n > 64<<10 || n < 32<<10 {
		t.Errorf("the entries take %d bytes", n)
	}
	long := bytes.Repeat([]byte("x"), 1<<20)
	e, _ := table.Use(long, time.Time{})
	if table.Get(long) != e || table.Get(long[1:]) != nil {
		t.Error("long keys are mixed up")
	}
}

func TestLookingUpAllocatesNothing(t *testing.T) { //nolint:paralleltest // it counts allocations.
	table := lru.New[int](lru.NewBudget(10, 1<<20), 8, nil)
	key := []byte("0123456789abcdef0123456789abcdef-thread")
	table.Use(key, time.Time{})
	if n := testing.AllocsPerRun(100, func() { table.Use(key, time.Time{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
