package browser

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var listening = regexp.MustCompile(`msg="http server listening" server=gateway addr=(\S+)`)

// gateway runs "dashstream gateway" against a broker, which may be away, and
// returns the page's address as soon as it listens.
func gateway(t *testing.T, brokers string) string {
	t.Helper()
	out := new(output)
	cmd := exec.Command(binary, "gateway", "--listen", "127.0.0.1:0", "--kafka-brokers", brokers)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed is how it ends
		if t.Failed() {
			t.Logf("the gateway printed:\n%s", out)
		}
	})
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if m := listening.FindStringSubmatch(out.String()); m != nil {
			return "http://" + m[1]
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the gateway did not listen within %v: %s", patience, out)
		}
	}
}

func TestAnOutageOfTheBrokerIsNotLive(t *testing.T) {
	t.Parallel()
	s := up(t, nil, "--demo")
	p := open(t, gateway(t, s.kafka))
	p.wait("the page is live", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("a run is listed", `document.querySelectorAll('.run').length > 0`)
	s.stop()
	p.wait("the page says that the server is not reading", `document.querySelector('#status-word').textContent === 'Not live' && document.querySelector('#status-detail').textContent.startsWith('connected, but the server is not reading: kafka: ')`)
	if dot := eval[string](p, `document.querySelector('#status').dataset.status`); dot != "not reading" {
		t.Errorf("the status is marked as %q", dot)
	}
	p.picture("outage")

	// The reason is there as a whole, with addresses as they are in the report.
	p.wait("the notice holds every reason of the report", `(async () => {
	  const report = await (await fetch('/readyz?verbose')).json();
	  const squeeze = (s) => s.replace(/\d+(\.\d+)?(ms|s|m)\b/g, '').replace(/[\s;]+/g, '');
	  const lines = [...document.querySelectorAll('#notices .notice.warn li')].map((l) => l.textContent);
	  const told = squeeze(lines.map((l) => l.replace(/^kafka: /, '')).join(' '));
	  return lines.length > 0 && report.checks.filter((c) => !c.ok).every((c) => told === squeeze(c.reason)) && !lines.at(-1).endsWith('.');
	})()`)
	if cut := eval[string](p, `JSON.stringify([...document.querySelectorAll('#notices .notice.warn li, #notices .notice.warn p')].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent))`); cut != "[]" {
		t.Errorf("these are cut: %s", cut)
	}

	// Put away, it stays away while only the time goes on.
	p.do(chromedp.Click(chromedp.CSS("#notices .notice.warn button")))
	p.wait("it is put away, and the status goes on telling", `document.querySelectorAll('#notices .notice.warn li').length === 0 && document.querySelector('#status-word').textContent === 'Not live'`)
	s.start()
	p.wait("the page is live again", `document.querySelector('#status-word').textContent === 'Live'`)
}

func TestAGatewayWithoutABrokerSaysSo(t *testing.T) {
	t.Parallel()
	p := open(t, gateway(t, "127.0.0.1:1"))
	p.wait("the page says what is refused, and why", `document.querySelector('#status-detail').textContent.startsWith('the server cannot read the stream yet (HTTP 503): kafka: ') && document.querySelector('#status-detail').textContent.includes('127.0.0.1:1')`)
	p.picture("no-broker")
	if words := p.text("body"); strings.Contains(words, "204") {
		t.Errorf("a 204 is called a refusal: %q", words)
	}
	if word := p.text("#status-word"); word != "Connecting" && !strings.HasPrefix(word, "Reconnecting in") {
		t.Errorf("the page says %q", word)
	}
}
