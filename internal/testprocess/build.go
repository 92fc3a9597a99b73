package testprocess

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built returns the path of the program, which it builds when it is first wanted; nil without Main.
var built func() (path string, err error)

// Binary is the path of the program, which is built once for all tests of a package, when one first wants it. The package
// has a TestMain that calls [Main].
func Binary() string {
	if built == nil {
		panic("testprocess: the package's TestMain does not call Main")
	}
	path, err := built()
	if err != nil {
		panic(err) // no test of the package can do without
	}
	return path
}

// Main runs the tests and returns their exit code; what was built for them ends with it. It is for TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dashstream-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	built = sync.OnceValues(func() (string, error) { return build(filepath.Join(dir, "dashstream")) })
	return m.Run()
}

// build builds the program, with the race detector where the tests have it.
func build(path string) (string, error) {
	args := []string{"build", "-o", path}
	if RaceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "github.com/dashflow/dashstream/cmd/dashstream")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build dashstream: %w\n%s", err, out)
	}
	return path, nil
}
