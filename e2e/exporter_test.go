package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dashflow/dashstream/internal/testprocess"
)

// startExporter runs an exporter of a broker as a process of its own.
func startExporter(t *testing.T, broker string, env ...string) *testprocess.Server {
	t.Helper()
	return testprocess.Serve(t, env, "exporter", "--brokers", broker, "--kafka-group-id", "mine", "--metrics-bind-ip", "127.0.0.1", "--metrics-port", "0")
}

// TestExporterStandsAndGoesOn: a record that cannot be handled pauses its partition, which is shown, until somebody who may has
// it pass.
func TestExporterStandsAndGoesOn(t *testing.T) {
	t.Parallel()
	s := testprocess.Up(t, t.TempDir())
	e := startExporter(t, s.Kafka, "KAFKA_ON_DECODE_ERROR=pause", "DASHSTREAM_TOKEN=a-token-of-mine")
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka), kgo.DefaultProduceTopic("dashstream-quality"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testprocess.Patience)
	defer cancel()
	ready := func(want string) {
		t.Helper()
		testprocess.Eventually(t, "readyz says "+want, func() error {
			if _, body := get(e.URL() + "/readyz"); !strings.Contains(body, want) {
				return fmt.Errorf("it says %q", body)
			}
			return nil
		})
	}
	passed := func() {
		t.Helper()
		testprocess.Eventually(t, "no partition is paused", func() error {
			if code, body := get(e.URL() + "/readyz"); code != http.StatusOK {
				return fmt.Errorf("readyz says %q", body)
			}
			return nil
		})
	}
	resume := func(token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL()+"/admin/resume", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b := make([]byte, 256)
		n, _ := resp.Body.Read(b)
		return resp.StatusCode, string(b[:n])
	}
	for i, pass := range []string{"ask", "signal"} {
		if err := cl.ProduceSync(ctx, &kgo.Record{Partition: 0, Value: []byte("garbage")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		ready(fmt.Sprintf("partition 0 is paused at offset %d", i))
		if pass == "signal" {
			e.Signal(syscall.SIGHUP)
		} else {
			for _, token := range []string{"", "a-token-of-yours"} {
				if code, _ := resume(token); code != http.StatusUnauthorized {
					t.Errorf("with token %q: status %d", token, code)
				}
			}
			if code, body := resume("a-token-of-mine"); code != http.StatusOK || !strings.Contains(body, `"offset":"0"`) {
				t.Errorf("status %d, %s", code, body)
			}
		}
		passed()
	}
	testprocess.Eventually(t, "both letters are counted", func() error {
		const want = `dashstream_exporter_dlq_sends_total{error_type="unknown_framing"} 2`
		if _, body := get(e.URL() + "/metrics"); !strings.Contains(body, want) {
			return fmt.Errorf("no line %s", want)
		}
		return nil
	})
	var report struct {
		Details struct {
			Exporter struct {
				Received uint64            `json:"received"`
				Failed   map[string]uint64 `json:"failed"`
			} `json:"exporter"`
		} `json:"details"`
	}
	if _, body := get(e.URL() + "/readyz?verbose"); json.Unmarshal([]byte(body), &report) != nil || report.Details.Exporter.Received != 2 || report.Details.Exporter.Failed["unknown_framing"] != 2 {
		t.Errorf("readyz says %s", body)
	}
	if code := e.Stop(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if code, _ := resumeWithoutToken(t, s.Kafka); code != http.StatusForbidden {
		t.Errorf("an exporter without a token answers %d", code)
	}
}

func resumeWithoutToken(t *testing.T, broker string) (int, string) {
	t.Helper()
	e := startExporter(t, broker)
	resp, err := http.Post(e.URL()+"/admin/resume", "", http.NoBody) //nolint:noctx // It ends with the process.
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, ""
}

// TestExporterEndsWithoutItsBroker: neither a broker that hangs nor one that is gone holds it.
func TestExporterEndsWithoutItsBroker(t *testing.T) {
	t.Parallel()
	for _, how := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			s := testprocess.Up(t, t.TempDir(), "--demo")
			e := startExporter(t, s.Kafka)
			s.Signal(how)
			testprocess.Eventually(t, "the exporter says that it cannot read", func() error {
				if code, body := get(e.URL() + "/readyz"); code == http.StatusOK {
					return fmt.Errorf("readyz says %q", body)
				}
				return nil
			})
			if code, body := get(e.URL() + "/livez"); code != http.StatusOK {
				t.Errorf("livez says %q", body)
			}
			began := time.Now()
			if code := e.Stop(); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			t.Logf("it ended after %v", time.Since(began))
		})
	}
}

// get asks for a page of a process and returns its status and text, 0 where it does not answer.
func get(url string) (int, string) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}
