package feed

import (
	"slices"
	"testing"

	"github.com/dashflow/dashstream/dashstreampb"
)

// Who has the same filter is sent the same bytes. So two selections may share a
// filter only if they are the same, whatever the order in which they are written
// down, and whatever is in their names.
func TestAFilterIsSharedByTheSameSelectionAlone(t *testing.T) {
	t.Parallel()
	names := [][]string{nil, {"a"}, {"b"}, {"a", "b"}, {"1:a"}, {"a", "1:b"}, {"|"}, {"a|"}, {"a|1:b"}}
	types := [][]dashstreampb.MessageType{nil, {0}, {1}, {0, 1}}
	var filters Filters
	seen := map[*Filter]string{}
	for _, threads := range names {
		for _, tenants := range names {
			for _, kinds := range types {
				f := filters.Acquire(threads, tenants, kinds)
				if other, taken := seen[f]; taken {
					t.Errorf("threads %q, tenants %q, types %v share the filter of key %q", threads, tenants, kinds, other)
				}
				seen[f] = filterKey(threads, tenants, kinds)
				slices.Reverse(threads)
				slices.Reverse(kinds)
				if again := filters.Acquire(append(threads, threads...), tenants, kinds); again != f {
					t.Errorf("threads %q, tenants %q, types %v have two filters", threads, tenants, kinds)
				}
			}
		}
	}
	if want := len(names)*len(names)*len(types) - 1; len(filters.by) != want { // all but the one that selects everything
		t.Errorf("%d filters, want %d", len(filters.by), want)
	}
	for f := range seen {
		filters.Release(f)
		filters.Release(f)
	}
	if len(filters.by) > 0 {
		t.Errorf("%d filters are kept and nobody uses them", len(filters.by))
	}
}
