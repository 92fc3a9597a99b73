package faults

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/testclient"
	"github.com/dashflow/dashstream/internal/testprocess"
	"github.com/dashflow/dashstream/internal/wire"
)

// wallClock is the wall clock of one process, which can be set: the monotonic clock goes on, as on a machine whose clock
// somebody sets. Other processes do not notice.
//
// A Go program reads both clocks by a function of the vDSO, code of the kernel that every process has mapped. Here that
// function is replaced, in the process's own copy, by one that makes the system call and adds seconds to the wall clock.
type wallClock struct {
	memory *os.File
	offset int64 // where the seconds are
}

// clockGettime is what replaces __vdso_clock_gettime(clock, *timespec); the 8 bytes behind it are added to the seconds of
// clock 0, CLOCK_REALTIME.
var clockGettime = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi
	0x75, 0x0a, // jnz +10
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov rcx, [rip+6]
	0x48, 0x01, 0x0e, // add [rsi], rcx
	0xc3, 0xcc, 0xcc, // ret
}

// takeClock replaces the wall clock of a process. Where that is not allowed, the test is skipped.
func takeClock(t *testing.T, p *testprocess.Process) *wallClock {
	t.Helper()
	pid := p.Cmd.Process.Pid
	from, to, err := vdso(pid)
	if err != nil {
		t.Skipf("the clock of a process cannot be set here: %v", err)
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		t.Skipf("the clock of a process cannot be set here: %v", err)
	}
	t.Cleanup(func() { _ = memory.Close() })
	image := make([]byte, to-from)
	if _, err := memory.ReadAt(image, from); err != nil {
		t.Skipf("the clock of a process cannot be set here: read its vDSO: %v", err)
	}
	at, err := function(image, "__vdso_clock_gettime", len(clockGettime)+8)
	if err != nil {
		t.Skipf("the clock of a process cannot be set here: %v", err)
	}
	// Nobody may be in the function while it is replaced.
	testprocess.Eventually(t, "the process is outside of the vDSO", func() error {
		p.Signal(syscall.SIGSTOP)
		if err := stoppedOutside(pid, from, to); err != nil {
			p.Signal(syscall.SIGCONT)
			return err
		}
		return nil
	})
	defer p.Signal(syscall.SIGCONT)
	if _, err := memory.WriteAt(append(bytes.Clone(clockGettime), make([]byte, 8)...), from+at); err != nil {
		t.Skipf("the clock of a process cannot be set here: write its vDSO: %v", err)
	}
	return &wallClock{memory: memory, offset: from + at + int64(len(clockGettime))}
}

// set makes the clock show so much more than that of the machine.
func (c *wallClock) set(t *testing.T, ahead time.Duration) {
	t.Helper()
	if _, err := c.memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(ahead/time.Second))), c.offset); err != nil {
		t.Fatal(err)
	}
}

func vdso(pid int) (from, to int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
			return from, to, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// function finds a function of at least so many bytes.
func function(image []byte, name string, size int) (int64, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name && s.Size >= uint64(size) && s.Value%8 == 0 {
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("the vDSO has no %s of %d bytes", name, size)
}

// stoppedOutside says why not every thread of a process is stopped outside of a range of addresses.
func stoppedOutside(pid int, from, to int64) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil || len(threads) == 0 {
		return fmt.Errorf("no threads: %w", err)
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fields := strings.Fields(string(text))
		if len(fields) < 3 { // "running"
			return fmt.Errorf("%s: %s", path, text)
		}
		pc, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil {
			return err
		}
		if pc >= from && pc < to {
			return fmt.Errorf("%s: it is at %x", path, pc)
		}
	}
	return nil
}

// shows fails unless a server's clock is so far from that of the machine.
func shows(t *testing.T, url string, ahead time.Duration) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if off := time.Until(date) - ahead; err != nil || off.Abs() > time.Minute {
		t.Fatalf("the server's clock shows %v (%v), want %v ahead: the test sets nothing", date, err, ahead)
	}
}

// TestClockIsSet sets the clock of the program, and of an agent, forwards and backwards by an hour.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir(), smallCaches...)
	clock := takeClock(t, s.Process)
	agent := testprocess.Run(t, nil, "demo", "--brokers", s.Kafka, "--rate", "1", "--runs", "0")
	agentClock := takeClock(t, agent)
	agents, witness, clients := startAgents(t, s.Kafka, "agent-"), startWitness(t, s.Kafka), follow(t, s.URL())
	clients.moving("clients read")
	before := holds(t, s.URL())
	// Longer than a client may be silent, where there is time.
	wait := time.Second
	if *fullFlag {
		wait = 50 * time.Second
	}
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 0} {
		clock.set(t, ahead)
		agentClock.set(t, ahead)
		shows(t, s.URL(), ahead)
		began := time.Now()
		for time.Since(began) < wait {
			clients.moving(fmt.Sprintf("clients read with the clock set to %v", ahead))
			if code, body := get(t, s.URL()+"/readyz", 10*time.Second); code != http.StatusOK {
				t.Fatalf("/readyz with the clock set to %v: %d %s", ahead, code, body)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if age := metrics(t, s.URL())["websocket_last_kafka_message_age_seconds"]; age < 0 || age > 30 {
			t.Errorf("with the clock set to %v, the last message was read %v s ago", ahead, age)
		}
		if n := clients.resumed(); n > 0 {
			t.Fatalf("with the clock set to %v, %d clients lost their session", ahead, n)
		}
		if ahead < 0 && *fullFlag {
			// The time that a silent client has does not grow by an hour.
			c := connect(t, s.HTTP)
			request(t, c, "/ws?from=earliest", upgrade, http.StatusSwitchingProtocols)
			soon(t, testprocess.Patience, "one more is served", sessions(t, s.URL(), 4))
			testclient.Vanish(t, c)
			soon(t, 3*time.Minute, "it is given up", sessions(t, s.URL(), 3))
		}
	}
	// The Kafka client of the SDK takes the delivery timeout from the wall clock: what waits in the moment in which it is
	// set forwards is given up, and counted.
	lost := uint64(0)
	if code := agent.Stop(); code != 0 {
		text := agent.Errs.String()
		i := strings.LastIndex(text, "dashstream: error: ")
		if _, err := fmt.Sscanf(text[max(i, 0):], "dashstream: error: %d of", &lost); err != nil {
			t.Errorf("demo ended with %d: %s", code, text)
		}
	}
	if c := agents.end(); c.Acked != c.Emitted {
		t.Errorf("the SDK lost messages: %+v", c)
	}
	witness.end()
	log := witness.read(s.Kafka, nil)
	agents.account(log)
	once(t, log)
	if missing, err := log.Missing(func(string) bool { return true }); err != nil || missing > lost {
		t.Errorf("%d sequence numbers are missing, %d are counted: %v", missing, lost, err)
	}
	longest := time.Duration(0)
	for p := range log {
		for o, e := range log[p] {
			m, err := wire.Decode([]byte(e.Value), wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if event, ok := m.GetMessage().(*pb.DashStreamMessage_Event); ok {
				d := time.Duration(event.Event.GetDurationUs()) * time.Microsecond
				if longest = max(longest, d); d < 0 || d > 10*time.Minute {
					t.Errorf("partition %d offset %d: an event of %s took %v: the clock was set in it", p, o, e.Thread, d)
				}
			}
		}
	}
	clients.complete(log)
	t.Logf("%d records, %d lost; the longest event took %v", log.Len(), lost, longest)
	backTo(t, s.URL(), before)
}
