package feed

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dashflow/dashstream/dashstreampb"
)

// Who has the same filter is sent the same bytes. So two selections may share a
// filter only if they are the same, whatever the order in which they are written
// down, and whatever is in their names.
func TestAFilterIsSharedByTheSameSelectionAlone(t *testing.T) {
	t.Parallel()
	type selection struct {
		threads, tenants []string
		types            []dashstreampb.MessageType
	}
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "1:a", "a|", "|", "a1:b"}), 0, 2)
	types := rapid.SliceOfN(rapid.SampledFrom([]dashstreampb.MessageType{0, 1, 3}), 0, 2)
	rapid.Check(t, func(t *rapid.T) {
		var filters Filters
		draw := func(label string) (selection, *Filter) {
			s := selection{names.Draw(t, label+" threads"), names.Draw(t, label+" tenants"), types.Draw(t, label+" types")}
			f := filters.Acquire(s.threads, s.tenants, s.types)
			slices.Sort(s.threads)
			slices.Sort(s.tenants)
			slices.Sort(s.types)
			return selection{slices.Compact(s.threads), slices.Compact(s.tenants), slices.Compact(s.types)}, f
		}
		a, fa := draw("one")
		b, fb := draw("other")
		same := slices.Equal(a.threads, b.threads) && slices.Equal(a.tenants, b.tenants) && slices.Equal(a.types, b.types)
		if (fa == fb) != same {
			t.Fatalf("%v and %v: shared %v, want %v", a, b, fa == fb, same)
		}
		filters.Release(fa)
		if again := filters.Acquire(b.threads, b.tenants, b.types); again != fb {
			t.Fatalf("%v was given up while it was in use", b)
		}
		filters.Release(fb)
		filters.Release(fb)
		if len(filters.by) > 0 {
			t.Fatalf("%d filters are kept and nobody uses them", len(filters.by))
		}
	})
}
