package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dashflow/dashstream"

// root is the module's directory, seen from this test.
const root = "../.."

// rows is the house, top row first. A package imports only rows above its own.
// "." is the root package, the SDK; a trailing "/..." covers a subtree, in which
// packages may import each other.
var rows = []struct {
	name     string
	packages []string
}{
	{"0a schema", []string{"dashstreampb"}},
	{"0b stream protocol", []string{"internal/streampb"}},
	{"1", []string{"internal/buildinfo", "internal/settings", "internal/httpserve", "internal/wire", "internal/jcs", "internal/redact", "internal/metrics", "internal/lru"}},
	{"2", []string{"internal/kafkaclient", "internal/runstate", "internal/statediff", "internal/producersettings", "internal/sequence", "internal/dedupe", "internal/pricing"}},
	{"3", []string{"internal/embedded", "internal/topics", "internal/feed", "internal/lag", "internal/deadletter", "internal/aggregate"}},
	{"3b test support", testSupport},
	{"4", []string{".", "internal/gateway", "internal/exporter", "internal/otlp", "internal/webui"}},
	{"4b", []string{"internal/demo", "dashstreamprom"}},
	{"5", []string{"internal/app"}},
	{"6", []string{"internal/cli"}},
	{"7", []string{"cmd/...", "e2e/...", "bench/...", "monitoring/...", "examples/...", "internal/layers"}},
}

// testSupport is imported by tests alone, whatever their row.
var testSupport = []string{"internal/testkafka/...", "internal/testclient", "internal/testprocess", "internal/testlog"}

// source is one Go file of this module.
type source struct {
	file string // relative to root, with slashes
	pkg  string // directory relative to root; "." for the root
	test bool
	ast  *ast.File
}

// sources parses the tree. Nested modules are left out: they have their own
// dependencies, and nothing here can import them. Reading each file tells the
// test cache what the result depends on; asking the go command would not.
func sources(t *testing.T, mode parser.Mode) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			name := d.Name()
			if rel != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); rel != "." && err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, mode)
		if err != nil {
			return err
		}
		all = append(all, source{file: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found %d Go files under %s: the walk is broken", len(all), root)
	}
	return fset, all
}

// rowOf finds the row of a package and the entry that covers it.
func rowOf(pkg string) (row int, entry string, ok bool) {
	for i, r := range rows {
		for _, e := range r.packages {
			tree, sub := strings.CutSuffix(e, "/...")
			if pkg == tree || sub && strings.HasPrefix(pkg, tree+"/") {
				return i, e, true
			}
		}
	}
	return 0, "", false
}

// violation says why from may not import to, or "".
func violation(from, to string, test bool) string {
	fromRow, fromEntry, ok := rowOf(from)
	if !ok {
		return "package " + from + " is in no row: add it to the table"
	}
	toRow, toEntry, ok := rowOf(to)
	if !ok {
		return "package " + to + " is in no row: add it to the table"
	}
	switch {
	case from == to || fromEntry == toEntry:
	case slices.Contains(testSupport, toEntry):
		if !test {
			return to + " is for _test files only"
		}
	case toRow >= fromRow:
		return "row " + rows[fromRow].name + " may not import row " + rows[toRow].name
	}
	return ""
}

func TestImportsPointUp(t *testing.T) {
	t.Parallel()
	fset, all := sources(t, parser.ImportsOnly)
	for _, s := range all {
		if _, _, ok := rowOf(s.pkg); !ok {
			t.Errorf("%s: package %s is in no row: add it to the table", s.file, s.pkg)
			continue
		}
		for _, imp := range s.ast.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			to, ours := strings.CutPrefix(p, module)
			if !ours || to != "" && to[0] != '/' {
				continue
			}
			if to = strings.TrimPrefix(to, "/"); to == "" {
				to = "."
			}
			if why := violation(s.pkg, to, s.test); why != "" {
				t.Errorf("%s:%d imports %s: %s", s.file, fset.Position(imp.Pos()).Line, p, why)
			}
		}
	}
}

// The rule itself must be able to fail.
func TestViolations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from, to string
		test     bool
		bad      bool
	}{
		{"internal/wire", "dashstreampb", false, false},
		{"internal/wire", "internal/settings", false, true}, // sideways
		{"internal/wire", "internal/cli", false, true},      // down
		{"internal/nowhere", "internal/wire", false, true},
		{"internal/cli", "internal/nowhere", false, true},
		{"cmd/dashstream", "internal/cli", false, false},
		{"e2e/a", "e2e/b", false, false},
		{"internal/feed", "internal/testkafka", true, false},
		{"internal/app", "internal/testkafka", false, true},
		{"internal/testkafka", "internal/embedded", false, false},
		{"internal/testkafka", "internal/cli", false, true},
		{"internal/testkafka/apache", "internal/testkafka", false, false},
		{"internal/cli", "internal/testkafka/apache", false, true},
		{".", "internal/wire", false, false},
		{"internal/wire", ".", true, true},
		{"internal/demo", ".", false, false},
		{"internal/gateway", ".", false, true},
	} {
		if got := violation(tc.from, tc.to, tc.test); (got != "") != tc.bad {
			t.Errorf("violation(%s, %s, test %v) = %q, want bad %v", tc.from, tc.to, tc.test, got, tc.bad)
		}
	}
}

func TestNoPackageStandsInTwoRows(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, r := range rows {
		for _, p := range r.packages {
			if other, ok := seen[p]; ok {
				t.Errorf("%s stands in row %s and in row %s", p, other, r.name)
			}
			seen[p] = r.name
		}
	}
}
