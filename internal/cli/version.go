package cli

import (
	"context"
	"fmt"

	"github.com/dashflow/dashstream/internal/buildinfo"
)

type versionCommand struct {
	Output
}

// Run prints the build.
func (c *versionCommand) Run(_ context.Context, p *Process) error {
	info := buildinfo.Get()
	if c.JSON() {
		return writeJSON(p.Stdout, info)
	}
	_, err := fmt.Fprintf(p.Stdout, "%s %s (commit %s, built %s, %s)\n", programName, info.Version, info.Commit, info.BuildDate, info.GoVersion)
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
