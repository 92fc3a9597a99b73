package cli

import (
	"context"
	"fmt"

	"github.com/alecthomas/kong"

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
	return writeText(p.Stdout, versionLine(info))
}

func versionLine(info buildinfo.Info) string {
	return fmt.Sprintf("%s %s (commit %s, built %s, %s)\n", programName, info.Version, info.Commit, info.BuildDate, info.GoVersion)
}

// versionFlag is the flag that people try before they look for a command.
type versionFlag bool

// BeforeReset prints the build and ends, as --help does, whatever else is on the command line.
func (versionFlag) BeforeReset(ctx *kong.Context) error {
	if err := writeText(ctx.Stdout, versionLine(buildinfo.Get())); err != nil {
		return err
	}
	ctx.Exit(0)
	return nil
}
