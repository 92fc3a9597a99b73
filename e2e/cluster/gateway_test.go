package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// get asks a gateway for a page.
func (w *world) get(gateway int, path string) (int, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url(gateway)+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatalf("gateway %d: %v", gateway, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// metric returns the value of a metric without labels.
func (w *world) metric(gateway int, name string) float64 {
	w.t.Helper()
	code, body := w.get(gateway, "/metrics")
	if code != http.StatusOK {
		w.t.Fatalf("gateway %d: /metrics: %d %s", gateway, code, body)
	}
	for in := bufio.NewScanner(strings.NewReader(body)); in.Scan(); {
		if text, ok := strings.CutPrefix(in.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				w.t.Fatalf("gateway %d: %s: %v", gateway, in.Text(), err)
			}
			return v
		}
	}
	w.t.Fatalf("gateway %d has no metric %s", gateway, name)
	return 0
}

// awaitReady waits until every gateway says that it reads all, or with words that
// it does not.
func (w *world) awaitReady(ready bool, words ...string) {
	w.t.Helper()
	for i := range w.gateways {
		w.eventually(fmt.Sprintf("gateway %d is ready: %v", i, ready), func() error {
			code, body := w.get(i, "/readyz")
			if ready != (code == http.StatusOK) || !ready && code != http.StatusServiceUnavailable {
				return fmt.Errorf("/readyz: %d %s", code, body)
			}
			for _, word := range words {
				if !strings.Contains(body, word) {
					return fmt.Errorf("/readyz does not say %q: %s", word, body)
				}
			}
			if code, body := w.get(i, "/livez"); code != http.StatusOK {
				return fmt.Errorf("/livez: %d %s", code, body)
			}
			return nil
		})
	}
}
