package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// A test that sleeps on the wall clock, in the hope that something has happened
// by then, is slow on a good day and fails on a bad one. A sleep may stand in a
// loop, which polls; within the call of synctest.Test, where it is exact and
// free; or in a line whose comment says what else it is for.
func TestNoTestSleepsForLuck(t *testing.T) {
	t.Parallel()
	fset, all := sources(t, parser.ParseComments|parser.SkipObjectResolution)
	for _, s := range all {
		if !s.test {
			continue
		}
		for _, pos := range sleepsForLuck(fset, s.ast) {
			t.Errorf("%s:%d sleeps: wait for what the test needs (a channel, polling with a deadline), use synctest, or say in the line why a sleep is right",
				s.file, pos.Line)
		}
	}
}

func TestSleepsForLuck(t *testing.T) {
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
	for !done() {
		if late() {
			t.Fatal()
		}
		time.Sleep(5)
	}
}
func advance() {
	time.Sleep(6) // called from a bubble
}
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p_test.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, pos := range sleepsForLuck(fset, f) {
		lines = append(lines, pos.Line)
	}
	if len(lines) != 2 || lines[0] != 3 || lines[1] != 4 {
		t.Errorf("flagged lines %v, want [3 4]", lines)
	}
}

func sleepsForLuck(fset *token.FileSet, f *ast.File) []token.Position {
	explained := map[int]bool{}
	for _, g := range f.Comments {
		explained[fset.Position(g.Pos()).Line] = true
	}
	var found []token.Position
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			return false
		case *ast.CallExpr:
			if isCall(n, "synctest", "Test") {
				return false
			}
			if pos := fset.Position(n.Pos()); isCall(n, "time", "Sleep") && !explained[pos.Line] {
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
