package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dashflow/dashstream/internal/feed"
	"github.com/dashflow/dashstream/internal/gateway"
	"github.com/dashflow/dashstream/internal/streampb"
)

// The test binary runs itself as the server under measurement.
const roleEnv = "DASHSTREAM_BENCH_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "gateway":
		serve(serveGateway)
	case "bare":
		serve(serveBare)
	case "crowd":
		serve(serveCrowd)
	case "agent":
		serve(serveAgent)
	default:
		os.Exit(m.Run())
	}
}

// usage is what a server says of itself.
type usage struct {
	CPU     float64 // seconds, user and system
	RSS     int64   // bytes, now
	Peak    int64   // bytes, the most that RSS ever was
	Heap    int64   // bytes in use after a collection
	Fetched int64   // bytes of fetch responses

	Acked, Lost uint64 // messages of an agent
}

// fetched counts the bytes of fetch responses.
type fetched struct{ bytes atomic.Int64 }

// OnBrokerRead implements kgo.HookBrokerRead.
func (f *fetched) OnBrokerRead(_ kgo.BrokerMetadata, key int16, n int, _, _ time.Duration, _ error) {
	if key == kmsg.Fetch.Int16() {
		f.bytes.Add(int64(n))
	}
}

var fromKafka fetched

// serve runs a server: it prints its address, answers each line on standard
// input with its usage, and ends with the input.
func serve(start func(commands <-chan string) (addr string, err error)) {
	stop, err := profile()
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	commands := make(chan string)
	addr, err := start(commands)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(addr)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if cmd := in.Text(); cmd != "usage" {
			commands <- cmd
			fmt.Println("ok")
			continue
		}
		b, _ := json.Marshal(measure())
		fmt.Println(string(b))
	}
	stop()
	os.Exit(0)
}

// profile writes a CPU profile of the server into the directory that
// DASHSTREAM_BENCH_PROFILES names, if it names one.
func profile() (stop func(), err error) {
	dir := os.Getenv("DASHSTREAM_BENCH_PROFILES")
	if dir == "" {
		return func() {}, nil
	}
	f, err := os.CreateTemp(dir, os.Getenv(roleEnv)+"-*.pprof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

func measure() usage {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	u := usage{Fetched: fromKafka.bytes.Load(), CPU: time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()}
	u.Acked, u.Lost = accounts()
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	u.Heap = int64(ms.HeapAlloc + ms.StackInuse)
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, rss int64
		if _, err := fmt.Sscan(string(b), &size, &rss); err == nil {
			u.RSS = rss * int64(os.Getpagesize())
		}
	}
	if b, err := os.ReadFile("/proc/self/status"); err == nil {
		if _, after, ok := strings.Cut(string(b), "VmHWM:"); ok {
			var kib int64
			if _, err := fmt.Sscan(after, &kib); err == nil {
				u.Peak = kib << 10
			}
		}
	}
	return u
}

func serveGateway(commands <-chan string) (string, error) {
	cfg := gateway.DefaultConfig(os.Getenv("TOPIC"))
	cfg.MaxConnections, cfg.MaxConnectionsPerIP = 100_000, 100_000
	g, err := gateway.New(cfg, gateway.Deps{Feed: feed.Deps{Options: []kgo.Opt{kgo.SeedBrokers(os.Getenv("BROKERS")), kgo.WithHooks(&fromKafka)}}})
	if err != nil {
		return "", err
	}
	go func() { _ = g.Run(context.Background()) }()
	<-g.Feed().Started()
	mux := http.NewServeMux()
	g.Routes(mux)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	go func() {
		for range commands {
		}
	}()
	return ln.Addr().String(), nil
}

// serveBare accepts clients, sends them one frame, and on each command
// "RECORDS SIZE" writes frames of 64 KiB with that many records in all, to one
// socket after the other, from as many goroutines as there are processors.
func serveBare(commands <-chan string) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				in := bufio.NewReader(c)
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
				_, _ = c.Write(frameOf(&streampb.ServerFrame{Frame: &streampb.ServerFrame_CaughtUp{CaughtUp: &streampb.CaughtUp{}}}))
			}()
		}
	}()
	go func() {
		for cmd := range commands {
			var records, size int
			if _, err := fmt.Sscan(cmd, &records, &size); err != nil {
				continue
			}
			mu.Lock()
			all := conns
			mu.Unlock()
			var wg sync.WaitGroup
			workers := runtime.GOMAXPROCS(0)
			for w := range workers {
				wg.Go(func() {
					frames := batches(records, size)
					for _, f := range frames {
						for i := w; i < len(all); i += workers {
							if _, err := all[i].Write(f); err != nil {
								return
							}
						}
					}
				})
			}
			wg.Wait()
		}
	}()
	return ln.Addr().String(), nil
}

// server is a server process.
type server struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func startServer(b *testing.B, role string, env ...string) *server {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	s := &server{cmd: cmd, in: in, out: bufio.NewReader(out)}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := s.out.ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		b.Fatalf("server: %s %v", line, err)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

func (s *server) ask(b *testing.B, line string) string {
	b.Helper()
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		b.Fatal(err)
	}
	answer, err := s.out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return answer
}

func (s *server) usage(b *testing.B) usage {
	b.Helper()
	var u usage
	if err := json.Unmarshal([]byte(s.ask(b, "usage")), &u); err != nil {
		b.Fatal(err)
	}
	return u
}

// reportPeak reports the most memory that the server ever had.
func (s *server) reportPeak(b *testing.B) {
	b.Helper()
	b.ReportMetric(float64(s.usage(b).Peak)/(1<<20), "peak-RSS-MiB")
}
