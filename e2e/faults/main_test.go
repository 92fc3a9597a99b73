package faults

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/dashflow/dashstream/internal/cli" // what the program is made of, for the test cache
	"github.com/dashflow/dashstream/internal/testprocess"
)

const topic = "dashstream-quality"

var (
	killsFlag = flag.Int("faults.kills", 4, "how often the program is killed")
	seedFlag  = flag.Uint64("faults.seed", 0, "decides the moments of the kills; 0 takes a random one")
	fullFlag  = flag.Bool("faults.full", false, "wait out the product's own deadlines, of up to minutes")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testprocess.Main(m))
}

// full skips a test that waits for minutes, unless that is asked for.
func full(t *testing.T, why string) {
	t.Helper()
	if !*fullFlag {
		t.Skip(why + ": run it with -faults.full, or make faults")
	}
}

// freeAddress is a loopback address that stays free while nobody listens there: its port is none that the system gives to
// those who ask for any.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+rand.IntN(18_000)))
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
	t.Fatal("no port is free")
	return ""
}

// get asks a server, and returns status 0 where it does not answer within a time.
func get(t *testing.T, url string, within time.Duration) (int, string) {
	t.Helper()
	client := http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// ready waits until /readyz says ok.
func ready(t *testing.T, url string) {
	t.Helper()
	testprocess.Eventually(t, "ready", func() error {
		if code, body := get(t, url+"/readyz", 5*time.Second); code != http.StatusOK {
			return fmt.Errorf("/readyz: %d %s", code, body)
		}
		return nil
	})
}

// metrics reads the values of metrics without labels.
func metrics(t *testing.T, url string) map[string]float64 {
	t.Helper()
	var body string
	testprocess.Eventually(t, "a scrape", func() error { // a few are answered at a time
		var code int
		if code, body = get(t, url+"/metrics", 10*time.Second); code != http.StatusOK {
			return fmt.Errorf("/metrics: %d %s", code, body)
		}
		return nil
	})
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
			out[name] = v
		}
	}
	return out
}

// held is what a process holds that must not grow.
type held struct{ goroutines, files, heap float64 }

func holds(t *testing.T, url string) held {
	t.Helper()
	m := metrics(t, url)
	return held{m["go_goroutines"], m["process_open_fds"], m["go_memstats_heap_inuse_bytes"]}
}

// smallCaches make what the gateway may keep in memory small, so that what it must not keep shows.
var smallCaches = []string{"--hot-tail-mib", "4", "--history-cache-mib", "4"}

// backTo waits until a process with small caches holds no more than before: as many goroutines and descriptors, but for the
// few that come and go, and a heap with room for the caches, the log's index, and what is collected in the next round.
func backTo(t *testing.T, url string, before held) {
	t.Helper()
	const comeAndGo, memory = 8, 48 << 20
	testprocess.Eventually(t, "nothing leaks", func() error {
		now := holds(t, url)
		if now.goroutines > before.goroutines+comeAndGo || now.files > before.files+comeAndGo || now.heap > before.heap+memory {
			return fmt.Errorf("%+v, before the fault it was %+v", now, before)
		}
		return nil
	})
}
