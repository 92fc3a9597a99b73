package testprocess

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program, built once for all tests of a package.
var binary string

// Binary is the path of the program. [Main] has built it.
func Binary() string {
	if binary == "" {
		panic("testprocess: the package's TestMain does not call Main")
	}
	return binary
}

// Main builds the program, with the race detector where the tests have it, runs the tests and returns their exit code. It
// is for TestMain.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dashstream-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "dashstream")
	args := []string{"build", "-o", binary}
	if RaceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/dashflow/dashstream/cmd/dashstream")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build dashstream:", err)
		return 1
	}
	return m.Run()
}
