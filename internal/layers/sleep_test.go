package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// fakeTime marks a sleep in a function that is called from a bubble.
const fakeTime = "// fake time"

// A test that sleeps on the wall clock is slow on a good day and fails on a bad
// one. Inside a synctest bubble a sleep is exact and free, so it may stand within
// the call of synctest.Test, or in a line that says it is called from there.
func TestNoTestSleepsOnTheWallClock(t *testing.T) {
	t.Parallel()
	fset, all := sources(t, parser.ParseComments|parser.SkipObjectResolution)
	for _, s := range all {
		if !s.test {
			continue
		}
		for _, pos := range wallClockSleeps(fset, s.ast) {
			t.Errorf("%s:%d sleeps on the wall clock: wait for what the test needs (a channel, polling with a deadline), or use synctest; in a function called from a bubble, end the line with %q",
				s.file, pos.Line, fakeTime)
		}
	}
}

func TestWallClockSleeps(t *testing.T) {
	t.Parallel()
	const src = `package p
func TestBad(t *testing.T) {
	time.Sleep(1)
	go func() { time.Sleep(2) }()
}
func TestGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(3)
		go func() { time.Sleep(4) }()
	})
}
func advance() {
	time.Sleep(5) // fake time
}
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p_test.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, pos := range wallClockSleeps(fset, f) {
		lines = append(lines, pos.Line)
	}
	if len(lines) != 2 || lines[0] != 3 || lines[1] != 4 {
		t.Errorf("flagged lines %v, want [3 4]", lines)
	}
}

func wallClockSleeps(fset *token.FileSet, f *ast.File) []token.Position {
	marked := map[int]bool{}
	for _, g := range f.Comments {
		for _, c := range g.List {
			if strings.HasPrefix(c.Text, fakeTime) {
				marked[fset.Position(c.Pos()).Line] = true
			}
		}
	}
	var found []token.Position
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if isCall(call, "synctest", "Test") {
			return false
		}
		if isCall(call, "time", "Sleep") {
			if pos := fset.Position(call.Pos()); !marked[pos.Line] {
				found = append(found, pos)
			}
		}
		return true
	})
	return found
}

func isCall(call *ast.CallExpr, pkg, name string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}
