// Package lru holds what a reader of the stream remembers by thread or call: tables that are bounded in entries and in
// bytes, whose entries leave in the order in which they were last used. Keys come as bytes, and looking one up allocates
// nothing.
package lru

import (
	"crypto/sha256"
	"time"
)

// maxKey is the longest key that is kept as it is, in bytes; of a longer one its SHA-256 stands for it.
const maxKey = 128

// overhead is about what an entry takes beside its key and its value: map, list, time.
const overhead = 128

// Budget bounds tables together. It is not for concurrent use.
type Budget struct {
	entries, bytes       int64
	maxEntries, maxBytes int64
}

// NewBudget returns a budget of so many entries and bytes.
func NewBudget(entries, bytes int64) *Budget { return &Budget{maxEntries: entries, maxBytes: bytes} }

// Entries is how many there are now, in all tables.
func (b *Budget) Entries() int64 { return b.entries }

// Bytes is about what they take.
func (b *Budget) Bytes() int64 { return b.bytes }

func (b *Budget) over() bool { return b.entries > b.maxEntries || b.bytes > b.maxBytes }

// Table is one table of a budget. It is not for concurrent use.
type Table[V any] struct {
	budget *Budget
	size   int64 // of a value, in bytes
	evict  func(*V)
	m      map[string]*Entry[V]
	// oldest and newest are the ends of the list in the order of use.
	oldest, newest *Entry[V]
}

// Entry is what is remembered under a key.
type Entry[V any] struct {
	Value V
	// Used is when it was last used, by the time that [Table.Use] was given.
	Used time.Time

	key        string
	prev, next *Entry[V] // towards older, towards newer
}

// New returns a table whose values take about so many bytes each. evict is told of entries that leave for want of room; the
// oldest of the table in which room is wanted leave, so that one table's growth costs no other.
func New[V any](budget *Budget, valueBytes int64, evict func(*V)) *Table[V] {
	return &Table[V]{budget: budget, size: valueBytes + overhead, evict: evict, m: map[string]*Entry[V]{}}
}

// Len is how many entries there are.
func (t *Table[V]) Len() int { return len(t.m) }

// Get returns the entry of a key, nil where there is none. It is no use of it.
func (t *Table[V]) Get(key []byte) *Entry[V] {
	if len(key) <= maxKey {
		return t.m[string(key)]
	}
	return t.m[short(key)]
}

// Use returns the entry of a key, made where there was none, as the one used last.
func (t *Table[V]) Use(key []byte, now time.Time) (e *Entry[V], made bool) {
	if e = t.Get(key); e != nil {
		e.Used = now
		if e != t.newest {
			t.unlink(e)
			t.append(e)
		}
		return e, false
	}
	e = &Entry[V]{key: short(key), Used: now}
	t.m[e.key] = e
	t.append(e)
	t.budget.entries++
	t.budget.bytes += t.size + int64(len(e.key))
	for t.budget.over() && t.oldest != e {
		old := t.oldest
		t.Remove(old)
		if t.evict != nil {
			t.evict(&old.Value)
		}
	}
	return e, true
}

// Oldest is the entry that was used longest ago, nil where there is none.
func (t *Table[V]) Oldest() *Entry[V] { return t.oldest }

// Remove takes an entry out.
func (t *Table[V]) Remove(e *Entry[V]) {
	if t.m[e.key] != e {
		return
	}
	delete(t.m, e.key)
	t.unlink(e)
	t.budget.entries--
	t.budget.bytes -= t.size + int64(len(e.key))
}

// Clear takes all out.
func (t *Table[V]) Clear() {
	for t.oldest != nil {
		t.Remove(t.oldest)
	}
}

func (t *Table[V]) append(e *Entry[V]) {
	e.prev, e.next = t.newest, nil
	if t.newest != nil {
		t.newest.next = e
	} else {
		t.oldest = e
	}
	t.newest = e
}

func (t *Table[V]) unlink(e *Entry[V]) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		t.oldest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		t.newest = e.prev
	}
	e.prev, e.next = nil, nil
}

// short returns a key of bounded length.
func short(key []byte) string {
	if len(key) <= maxKey {
		return string(key)
	}
	sum := sha256.Sum256(key)
	return string(sum[:])
}
