package statediff

import "bytes"

// maxEdits bounds the elements that may have come and gone for a list to be matched, and maxSteps the elements looked at
// for it; beyond, elements are compared by index. Matching takes maxEdits² memory cells.
const (
	maxEdits = 256
	maxSteps = 1 << 24
)

func (d *differ) list(base, next [][]byte) {
	start := 0
	for len(base) > 0 && len(next) > 0 && bytes.Equal(base[0], next[0]) {
		base, next = base[1:], next[1:]
		start++
	}
	for len(base) > 0 && len(next) > 0 && bytes.Equal(base[len(base)-1], next[len(next)-1]) {
		base, next = base[:len(base)-1], next[:len(next)-1]
	}
	at := start // index in the list as it is after the operations so far
	for _, g := range gaps(base, next) {
		at += g.kept
		for len(g.removed) > 0 && len(g.added) > 0 {
			d.atIndex(at, func() { d.value(g.removed[0], g.added[0]) })
			g.removed, g.added = g.removed[1:], g.added[1:]
			at++
		}
		for range g.removed {
			d.atIndex(at, func() { d.emit(Remove, nil) })
		}
		for _, v := range g.added {
			d.atIndex(at, func() { d.emit(Add, v) })
			at++
		}
	}
}

// gap is a place where two lists differ, behind kept equal elements.
type gap struct {
	kept           int
	removed, added [][]byte
}

// gaps aligns two lists.
func gaps(base, next [][]byte) []gap {
	if len(base) == 0 && len(next) == 0 {
		return nil
	}
	whole := []gap{{removed: base, added: next}}
	if len(base) == 0 || len(next) == 0 {
		return whole
	}
	a, b := identify(base, next)
	trace, ok := shortestEdit(a, b)
	if !ok {
		return whole // by index; equal elements cost nothing
	}
	return backtrack(trace, base, next)
}

// identify numbers the elements, equal ones alike.
func identify(base, next [][]byte) (a, b []int) {
	ids := make(map[string]int, len(base))
	number := func(list [][]byte) []int {
		out := make([]int, len(list))
		for i, v := range list {
			id, ok := ids[string(v)]
			if !ok {
				id = len(ids)
				ids[string(v)] = id
			}
			out[i] = id
		}
		return out
	}
	return number(base), number(next)
}

// shortestEdit is the greedy algorithm of E. Myers, "An O(ND) Difference Algorithm": trace[e][k+e] is how far into a one
// comes with e edits on diagonal k. ok is false beyond maxEdits and maxSteps.
func shortestEdit(a, b []int) (trace [][]int32, ok bool) {
	steps := 0
	for e := 0; e <= maxEdits && steps < maxSteps; e++ {
		row := make([]int32, 2*e+1)
		for k := -e; k <= e; k += 2 {
			x := int32(0)
			if e > 0 {
				x = step(trace[e-1], e-1, k)
			}
			y := x - int32(k)
			from := x
			for int(x) < len(a) && int(y) < len(b) && a[x] == b[y] {
				x, y = x+1, y+1
			}
			steps += int(x - from)
			row[k+e] = x
			if int(x) >= len(a) && int(y) >= len(b) {
				return append(trace, row), true
			}
		}
		trace = append(trace, row)
	}
	return nil, false
}

// step returns where diagonal k is entered from the row of one edit less: by an insertion from above or a removal from
// the left, whichever comes further.
func step(prev []int32, e, k int) int32 {
	if inserted(prev, e, k) {
		return prev[k+1+e]
	}
	return prev[k-1+e] + 1
}

func inserted(prev []int32, e, k int) bool {
	switch {
	case k-1 < -e:
		return true
	case k+1 > e:
		return false
	default:
		return prev[k-1+e] < prev[k+1+e]
	}
}

// backtrack reads the edit script from its end and gathers what lies between kept elements.
func backtrack(trace [][]int32, base, next [][]byte) []gap {
	keepA := make([]bool, len(base))
	keepB := make([]bool, len(next))
	x, y := len(base), len(next)
	for e := len(trace) - 1; e > 0; e-- {
		k := x - y
		px := int(step(trace[e-1], e-1, k))
		for x > px {
			x, y = x-1, y-1
			keepA[x], keepB[y] = true, true
		}
		if inserted(trace[e-1], e-1, k) {
			y--
		} else {
			x--
		}
	}
	for x > 0 {
		x, y = x-1, y-1
		keepA[x], keepB[y] = true, true
	}
	var out []gap
	for x, y = 0, 0; x < len(base) || y < len(next); {
		var g gap
		for x < len(base) && y < len(next) && keepA[x] && keepB[y] {
			x, y = x+1, y+1
			g.kept++
		}
		fromX, fromY := x, y
		for x < len(base) && !keepA[x] {
			x++
		}
		for y < len(next) && !keepB[y] {
			y++
		}
		g.removed, g.added = base[fromX:x], next[fromY:y]
		out = append(out, g)
	}
	return out
}
