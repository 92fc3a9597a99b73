package app

import (
	"time"

	"github.com/dashflow/dashstream/internal/httpserve"
	"github.com/dashflow/dashstream/internal/settings"
)

// ProcessSettings is what a user can set of a process, whatever it is made of. Start from [DefaultProcessSettings]; see
// package settings for the tags.
type ProcessSettings struct {
	ShutdownTimeout settings.Seconds `name:"shutdown-timeout-secs" envs:"DASHSTREAM_SHUTDOWN_TIMEOUT_SECS" placeholder:"SECONDS" group:"Process" help:"Longest time to finish what was begun after a signal to stop." min:"0.1" max:"300"`
	ReadyFile       string           `name:"ready-file" envs:"DASHSTREAM_READY_FILE" placeholder:"PATH" group:"Process" help:"File to write, as JSON, when the process is ready: pid and addresses."`
	Pprof           bool             `name:"pprof" envs:"DASHSTREAM_PPROF" group:"Process" help:"Serve the profiler under /debug/pprof/."`
}

// DefaultProcessSettings returns the settings of a user who set nothing.
func DefaultProcessSettings() ProcessSettings {
	return ProcessSettings{ShutdownTimeout: settings.Seconds(10 * time.Second)}
}

// validate refuses to show a profiler beyond this machine.
func (s ProcessSettings) validate(addr string) error {
	if s.Pprof && !httpserve.Loopback(addr) {
		return &settings.Error{
			Name: "--pprof (DASHSTREAM_PPROF)", Reason: "shows memory to whoever connects, and " + addr + " is beyond this machine",
			Allowed: "a loopback address, such as 127.0.0.1:3002",
		}
	}
	return nil
}
