package faults

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// disk is a small file system of its own, which the program's processes see and nobody else.
type disk struct {
	// path is where processes in its namespace have it, seen the same from here.
	path, seen string
	// enter runs a command in that namespace.
	enter []string
}

// smallDisk mounts one. Where that is not allowed, the test is skipped.
func smallDisk(t *testing.T, mib int) *disk {
	t.Helper()
	d := &disk{path: t.TempDir()}
	// It lives as long as its holder, and with it goes from the machine.
	holder := exec.CommandContext(t.Context(), "sh", "-c",
		"mount --make-rprivate / && mount -t tmpfs -o size="+strconv.Itoa(mib)+`m none "$0" && echo mounted && exec cat`, d.path)
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNS}
	user := os.Getuid() != 0
	if user {
		holder.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		holder.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		holder.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	holder.Stderr = &said
	if err := holder.Start(); err != nil {
		t.Skipf("a file system of one's own cannot be had here: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = holder.Wait() // cat ends with its input
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "mounted\n" {
		_, _ = io.Copy(io.Discard, out)
		t.Skipf("a file system of one's own cannot be had here: %v, %s", err, said.String())
	}
	pid := strconv.Itoa(holder.Process.Pid)
	d.seen = filepath.Join("/proc", pid, "root", d.path)
	d.enter = []string{"nsenter", "--mount", "--target", pid}
	if user {
		d.enter = append(d.enter, "--user", "--preserve-credentials")
	}
	d.enter = append(d.enter, "--")
	if text, err := exec.CommandContext(t.Context(), d.enter[0], append(d.enter[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("a file system of one's own cannot be entered here: %v, %s", err, text)
	}
	return d
}

// fill takes all room, and returns what gives it back.
func (d *disk) fill(t *testing.T) (free func()) {
	t.Helper()
	name := filepath.Join(d.seen, "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskIsFull fills the disk under the program, also while it is killed and starts, and gives it room again.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	d := smallDisk(t, 32)
	web, kafka := freeAddress(t), freeAddress(t)
	command := testprocess.Command{
		Under: d.enter,
		Args:  append([]string{"up", "--data-dir", filepath.Join(d.path, "data"), "--listen", web, "--kafka-listen", kafka}, smallCaches...),
	}
	s := command.Serve(t)
	agents, witness, clients := startAgents(t, kafka, "agent-"), startWitness(t, kafka), follow(t, "http://"+web)
	clients.moving("clients read")
	before := holds(t, s.URL())
	told := func() {
		t.Helper()
		testprocess.Eventually(t, "/readyz says that the disk is full", func() error {
			code, body := get(t, s.URL()+"/readyz", 10*time.Second)
			if code != http.StatusServiceUnavailable || !strings.Contains(body, "broker: ") || !strings.Contains(body, "no space left on device") {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
	}
	check := func() {
		t.Helper()
		acked := agents.producer.Stats().Total().Acked
		log := witness.read(kafka, nil)
		if n := agents.in(log); n < acked {
			t.Errorf("the log holds %d messages of the SDK, which had %d acknowledged", n, acked)
		}
	}
	for round := range 2 {
		free := d.fill(t)
		told()
		if !strings.Contains(s.Errs.String(), "no space left on device") {
			t.Errorf("its log does not say why it cannot write:\n%s", s.Errs)
		}
		check() // what is there is served
		if round == 1 {
			// It dies, and comes back on a disk that is still full.
			s.Kill()
			s = command.Serve(t)
			told()
			check()
		}
		free()
		ready(t, s.URL())
		clients.moving("clients read when there is room again")
		check()
		if round == 0 {
			backTo(t, s.URL(), before)
		}
	}
	counts := agents.end()
	if counts.Acked != counts.Emitted {
		t.Errorf("the SDK, which had two minutes, lost messages: %+v", counts)
	}
	witness.end()
	log := witness.read(kafka, nil)
	agents.account(log)
	once(t, log)
	clients.complete(log)
	if code := s.Stop(); code != 0 {
		t.Errorf("up ended with %d", code)
	}
}
