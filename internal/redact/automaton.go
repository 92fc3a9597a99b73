package redact

import (
	"slices"
	"sync"
)

// automaton finds all of a set of literals in one pass over a text, whatever their case (A. Aho and M. Corasick,
// "Efficient string matching"), as a table of states by class of byte.
type automaton struct {
	class   [256]uint8
	classes int
	next    []uint16  // by state × classes + class
	found   [][]uint8 // by state: indices of the literals that end here, longest first
	lengths []int     // by literal
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// newAutomaton takes literals in lower case, at most 255.
func newAutomaton(literals []string) *automaton {
	a := &automaton{classes: 1} // class 0: in no literal
	for _, l := range literals {
		for i := range len(l) {
			if a.class[l[i]] == 0 {
				a.class[l[i]] = uint8(a.classes)
				a.classes++
			}
		}
	}
	for c := range 256 {
		a.class[c] = a.class[lower(byte(c))]
	}
	const none = ^uint16(0)
	addState := func() uint16 {
		for range a.classes {
			a.next = append(a.next, none)
		}
		a.found = append(a.found, nil)
		return uint16(len(a.found) - 1)
	}
	addState()
	for n, l := range literals {
		a.lengths = append(a.lengths, len(l))
		state := uint16(0)
		for i := range len(l) {
			cell := int(state)*a.classes + int(a.class[l[i]])
			if a.next[cell] == none {
				s := addState()
				a.next[cell] = s
			}
			state = a.next[cell]
		}
		a.found[state] = append(a.found[state], uint8(n))
	}
	// Breadth first, so that a state's fallback is complete before the state.
	fallback := make([]uint16, len(a.found))
	var queue []uint16
	for c := range a.classes {
		if s := a.next[c]; s == none {
			a.next[c] = 0
		} else {
			queue = append(queue, s)
		}
	}
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		back := fallback[state]
		a.found[state] = append(a.found[state], a.found[back]...)
		for c := range a.classes {
			cell, other := int(state)*a.classes+c, a.next[int(back)*a.classes+c]
			if a.next[cell] == none {
				a.next[cell] = other
				continue
			}
			fallback[a.next[cell]] = other
			queue = append(queue, a.next[cell])
		}
	}
	return a
}

func (a *automaton) step(state uint16, c byte) uint16 {
	return a.next[int(state)*a.classes+int(a.class[c])]
}

// finds reports whether a literal is in s.
func (a *automaton) finds(s string) bool {
	state := uint16(0)
	for i := range len(s) {
		state = a.step(state, s[i])
		if a.found[state] != nil {
			return true
		}
	}
	return false
}

// hints finds nameHints in a name.
var hints = sync.OnceValue(func() *automaton { return newAutomaton(nameHints) })

// builtin is the automaton over the literals of all rules and, behind them, nameHints and textHints.
var builtin = sync.OnceValue(func() *automaton {
	literals := make([]string, 0, len(rules)+len(nameHints))
	for _, r := range rules {
		literals = append(literals, r.literal)
	}
	return newAutomaton(slices.Concat(literals, nameHints, textHints))
})
