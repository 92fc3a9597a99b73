package feed

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dashflow/dashstream/dashstreampb"
)

// Filter selects records by thread, tenant and message type: any value of each
// list that is not empty. A nil *Filter selects everything. Filters are equal
// when their pointers are: see [Filters].
type Filter struct {
	threads map[string]struct{}
	tenants map[string]struct{}
	types   uint64
	key     string
}

// match reports whether a record is selected. A batch is, if its own header is
// or if any of its events would be, had it come alone.
func (f *Filter) match(x *recordIndex) bool {
	if f.selects(x.kind, string(x.thread), string(x.tenant)) {
		return true
	}
	for _, e := range x.inner {
		if f.selects(x.kind, e.thread, e.tenant) || f.selects(dashstreampb.MessageType_MESSAGE_TYPE_EVENT, e.thread, e.tenant) {
			return true
		}
	}
	return false
}

func (f *Filter) selects(kind dashstreampb.MessageType, thread, tenant string) bool {
	if f.types != 0 && (kind < 0 || kind > 63 || f.types&(1<<uint(kind)) == 0) {
		return false
	}
	if len(f.tenants) > 0 {
		if _, ok := f.tenants[tenant]; !ok {
			return false
		}
	}
	if len(f.threads) == 0 {
		return true
	}
	_, ok := f.threads[thread]
	return ok
}

// Threads returns the thread ids that the filter asks for; empty means all.
func (f *Filter) Threads() []string {
	if f == nil {
		return nil
	}
	out := make([]string, 0, len(f.threads))
	for t := range f.threads {
		out = append(out, t)
	}
	slices.Sort(out)
	return out
}

// NewFilter makes a filter, or nil when every list is empty. The types must be
// values of [dashstreampb.MessageType]; records whose header cannot be read
// count as MESSAGE_TYPE_UNSPECIFIED.
func NewFilter(threads, tenants []string, types []dashstreampb.MessageType) *Filter {
	if len(threads) == 0 && len(tenants) == 0 && len(types) == 0 {
		return nil
	}
	f := &Filter{threads: toSet(threads), tenants: toSet(tenants)}
	for _, t := range types {
		f.types |= 1 << uint(t&63)
	}
	return f
}

func toSet(values []string) map[string]struct{} {
	if len(values) == 0 {
		return nil
	}
	m := make(map[string]struct{}, len(values))
	for _, v := range values {
		m[v] = struct{}{}
	}
	return m
}

// filterKey is equal for filters that select the same records.
func filterKey(threads, tenants []string, types []dashstreampb.MessageType) string {
	var b strings.Builder
	list := func(values []string) {
		values = slices.Clone(values)
		slices.Sort(values)
		for _, v := range slices.Compact(values) {
			// Length-prefixed, so that no two lists have the same text.
			b.WriteString(strconv.Itoa(len(v)))
			b.WriteByte(':')
			b.WriteString(v)
		}
		b.WriteByte('|')
	}
	list(threads)
	list(tenants)
	var mask uint64
	for _, t := range types {
		mask |= 1 << uint(t&63)
	}
	b.WriteString(strconv.FormatUint(mask, 16))
	return b.String()
}

// Filters hands out one *Filter for each distinct selection, so that sessions
// that ask for the same share encoded frames.
type Filters struct {
	mu sync.Mutex
	by map[string]*filterRef
}

type filterRef struct {
	filter *Filter
	uses   int
}

// Acquire returns the filter for a selection, or nil when it selects
// everything. Every non-nil filter is to be given back with Release.
func (t *Filters) Acquire(threads, tenants []string, types []dashstreampb.MessageType) *Filter {
	f := NewFilter(threads, tenants, types)
	if f == nil {
		return nil
	}
	f.key = filterKey(threads, tenants, types)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = make(map[string]*filterRef)
	}
	ref := t.by[f.key]
	if ref == nil {
		ref = &filterRef{filter: f}
		t.by[f.key] = ref
	}
	ref.uses++
	return ref.filter
}

// Release gives a filter back. Releasing nil does nothing.
func (t *Filters) Release(f *Filter) {
	if f == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ref := t.by[f.key]
	if ref == nil {
		return
	}
	if ref.uses--; ref.uses == 0 {
		delete(t.by, f.key)
	}
}
