package apache

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// watchdog is a shell that reads what to clean up from a pipe and does it when the pipe closes. The kernel closes it when
// this process ends, however it ends, so brokers outlive neither a panic nor SIGKILL. It has its own process group: a
// Ctrl-C in the terminal must not take it first.
var watchdog guard

type guard struct {
	mu    sync.Mutex
	stdin io.Writer
	err   error
}

const watchdogScript = `
groups= dirs=
while read -r verb arg; do
	case $verb in
	group) groups="$groups $arg" ;;
	forget) groups=$(for g in $groups; do [ "$g" = "$arg" ] || printf ' %s' "$g"; done) ;;
	dir) dirs="$dirs $arg" ;;
	keep) dirs=$(for d in $dirs; do [ "$d" = "$arg" ] || printf ' %s' "$d"; done) ;;
	esac
done
for g in $groups; do kill -KILL -- "-$g"; done
for d in $dirs; do rm -rf -- "$d" || { sleep 1; rm -rf -- "$d"; }; done
`

// send tells the watchdog to kill a process group at the end (group) or not (forget), to remove a directory (dir) or not
// (keep).
func (g *guard) send(verb, arg string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stdin == nil && g.err == nil {
		g.stdin, g.err = startWatchdog()
	}
	if g.err != nil {
		return g.err
	}
	if strings.ContainsAny(arg, " \t\n\\*?[") {
		return fmt.Errorf("watchdog: %s %q has characters the shell would change", verb, arg)
	}
	if _, err := fmt.Fprintf(g.stdin, "%s %s\n", verb, arg); err != nil {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

func startWatchdog() (io.Writer, error) {
	cmd := exec.Command("sh", "-c", watchdogScript)
	cmd.SysProcAttr = ownGroup()
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return stdin, nil // not waited for: it ends after this process
}
