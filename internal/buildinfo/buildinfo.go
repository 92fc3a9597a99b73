// Package buildinfo says which build of DashStream is running. A release sets
// the values by linker flags; any other build falls back to what the Go
// toolchain recorded about the module and its checkout.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// Set by a release build, for example
//
//	go build -ldflags "-X github.com/dashflow/dashstream/internal/buildinfo.version=v1.2.3"
//
// The linker can set only package variables of type string; nothing in the
// program writes them.
var (
	version   string
	commit    string
	buildDate string
)

// Unknown stands where a build recorded nothing.
const Unknown = "unknown"

// Info describes one build. No field is empty.
type Info struct {
	// Version is a semantic version such as "v1.2.3", a pseudo-version, or
	// "devel" for a build from a checkout.
	Version string `json:"version"`
	// Commit is the full revision, with "-dirty" when the checkout had changes.
	Commit string `json:"commit"`
	// BuildDate is RFC 3339 in UTC. Without linker flags it is the date of the
	// commit, so that equal sources give equal binaries.
	BuildDate string `json:"build_date"`
	// GoVersion is the toolchain, such as "go1.26.8".
	GoVersion string `json:"go_version"`
}

// Get returns the running build.
func Get() Info {
	bi, _ := debug.ReadBuildInfo()
	return from(Info{Version: version, Commit: commit, BuildDate: buildDate}, bi)
}

// from fills what the linker left empty from the toolchain's record, which is
// nil in a binary built without module support.
func from(linked Info, bi *debug.BuildInfo) Info {
	info := linked
	info.GoVersion = runtime.Version()
	if bi != nil {
		if info.Version == "" && bi.Main.Version != "" {
			// The toolchain writes "(devel)"; parentheses are awkward in a
			// metric label and in a user agent.
			info.Version = strings.Trim(bi.Main.Version, "()")
		}
		recorded := make(map[string]string, len(bi.Settings))
		for _, s := range bi.Settings {
			recorded[s.Key] = s.Value
		}
		if info.Commit == "" {
			info.Commit = recorded["vcs.revision"]
			if info.Commit != "" && recorded["vcs.modified"] == "true" {
				info.Commit += "-dirty"
			}
		}
		if info.BuildDate == "" {
			info.BuildDate = recorded["vcs.time"]
		}
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	if info.Commit == "" {
		info.Commit = Unknown
	}
	if t, err := time.Parse(time.RFC3339, info.BuildDate); err == nil {
		info.BuildDate = t.UTC().Format(time.RFC3339)
	} else {
		info.BuildDate = Unknown
	}
	return info
}

// String is the line that a person reads, such as
// "v1.2.3 (commit 0123abcd, built 2026-01-02T03:04:05Z, go1.26.8)".
func (i Info) String() string {
	return fmt.Sprintf("%s (commit %s, built %s, %s)", i.Version, i.ShortCommit(), i.BuildDate, i.GoVersion)
}

// ShortCommit is the first 12 digits of Commit, with its "-dirty" kept.
func (i Info) ShortCommit() string {
	rev, dirty := strings.CutSuffix(i.Commit, "-dirty")
	if len(rev) > 12 {
		rev = rev[:12]
	}
	if dirty {
		rev += "-dirty"
	}
	return rev
}

// UserAgent names the program to servers, such as "dashstream/v1.2.3".
func (i Info) UserAgent() string {
	return "dashstream/" + i.Version
}
