package apache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// node is one broker and controller: a directory, its ports and, while it runs, a process group.
type node struct {
	id         int // node.id, from 1
	dir        string
	jars       string
	port       int
	controller int
	more       map[string]int // further ports, by name

	mu   sync.Mutex
	cmd  *exec.Cmd     // nil while it does not run
	done chan struct{} // closed when the process of the last start has ended
}

func (n *node) addr() string { return net.JoinHostPort(host, strconv.Itoa(n.port)) }

func (n *node) configFile() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) logFile() string    { return filepath.Join(n.dir, "kafka.log") }

func (n *node) writeProperties(props map[string]string) error {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(props)) {
		// The format takes a backslash for an escape and the end of the line for the end of the value.
		v := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(props[k])
		fmt.Fprintf(&b, "%s=%s\n", k, v)
	}
	return os.WriteFile(n.configFile(), []byte(b.String()), 0o600)
}

// java builds a command in its own process group, so that a Ctrl-C to the tests leaves ending it to the watchdog and it
// can be killed with all its children.
func (n *node) java(ctx context.Context, heap string, args ...string) *exec.Cmd {
	var shared []string
	// From this archive of classes a broker starts in half of the processor's time. One of another Java is ignored; one
	// that is not there would cost Java's own.
	if archive := filepath.Join(n.jars, "kafka.jsa"); fileExists(archive) {
		shared = []string{"-XX:SharedArchiveFile=" + archive, "-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"}
	}
	args = append([]string{
		"-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Djava.awt.headless=true",
		"-cp", filepath.Join(n.jars, "*"),
	}, args...)
	cmd := exec.CommandContext(ctx, "java", append(shared, args...)...)
	cmd.Dir = n.dir
	cmd.SysProcAttr = ownGroup()
	return cmd
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (n *node) format(ctx context.Context, clusterID string, args []string) error {
	// Attached, since one id in 64 begins with a dash.
	args = append([]string{"kafka.tools.StorageTool", "format", "--cluster-id=" + clusterID, "-c", n.configFile()}, args...)
	if out, err := n.java(ctx, "256m", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format storage: %w:\n%s", err, out)
	}
	return nil
}

func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return errors.New("it is running")
	}
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := n.java(context.Background(), "512m", "kafka.Kafka", n.configFile())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := watchdog.send("group", pid); err != nil {
		return errors.Join(err, killGroup(cmd.Process.Pid, syscall.SIGKILL), cmd.Wait())
	}
	done := make(chan struct{})
	n.cmd, n.done = cmd, done
	go func() {
		defer close(done)
		cmd.Wait() // the exit status of a killed broker says nothing
		n.mu.Lock()
		defer n.mu.Unlock()
		n.cmd = nil
		watchdog.send("forget", pid) // its number may be given to another process; without a watchdog nothing is kept
	}()
	return nil
}

func (n *node) running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd != nil
}

func (n *node) ended() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.done
}

func (n *node) signal(sig syscall.Signal) (<-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return nil, errors.New("it is not running")
	}
	return n.done, killGroup(n.cmd.Process.Pid, sig)
}

func (n *node) stop(ctx context.Context) error {
	done, err := n.signal(syscall.SIGTERM)
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it did not stop: %w\n%s", context.Cause(ctx), n.logTail())
	}
}

func (n *node) kill() error {
	done, err := n.signal(syscall.SIGKILL)
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-time.After(10 * time.Second):
		return errors.New("it outlived SIGKILL by ten seconds")
	}
}

// logTail is the end of the node's log, for an error message.
func (n *node) logTail() string {
	f, err := os.Open(n.logFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const tail = 4 << 10
	if info, err := f.Stat(); err == nil && info.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return n.logFile() + " ends with:\n" + string(raw)
}
