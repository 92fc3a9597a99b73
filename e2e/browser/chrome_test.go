package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// page is one tab of a headless browser with a profile of its own.
type page struct {
	t   *testing.T
	ctx context.Context

	mu  sync.Mutex
	log []string
}

// open starts a browser and loads a URL. What the page says on the console is
// kept; anything but a refused connection fails the test at its end.
func open(t *testing.T, url string) *page {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.NoSandbox, // containers and root have none
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1400, 1000),
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	p := &page{t: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.log = append(p.log, m.String())
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		closeTab()
		reading.Wait()
		for _, m := range p.log {
			if !expected(m) {
				t.Errorf("the page said on its console: %s", m)
			}
		}
	})
	p.do(chromedp.Navigate(url))
	return p
}

// expected are what a browser itself says when a server is away or wants a
// token. A violation of the content policy or an exception is not among them.
func expected(message string) bool {
	for _, part := range []string{"net::ERR_CONNECTION", "net::ERR_SOCKET_NOT_CONNECTED", "ERR_EMPTY_RESPONSE", "WebSocket connection to", "401 (Unauthorized)", "503 (Service Unavailable)", "426 (Upgrade Required)"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// eval returns the value of an expression in the page, a promise awaited.
func eval[T any](p *page, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait polls until an expression is true.
func (p *page) wait(what, expression string) {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if eval[bool](p, "(async () => Boolean(await ("+expression+")))()") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			p.picture("failed")
			p.t.Fatalf("not within %v: %s; the page shows:\n%s", patience, what, eval[string](p, "document.body.innerText.slice(0, 2000)"))
		}
	}
}

// text is what a person reads at a selector.
func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, "document.querySelector("+quote(selector)+")?.innerText ?? ''")
}

// picture saves a screenshot for whoever asked for them.
func (p *page) picture(name string) {
	p.t.Helper()
	dir := os.Getenv("DASHSTREAM_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(dir, strings.ToLower(p.t.Name())+"-"+name+".png")
	if err := os.WriteFile(file, png, 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("screenshot: %s", file)
}

func quote(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
