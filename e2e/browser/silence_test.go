package browser

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestAKilledAgentIsNotShownAsRunningForEver(t *testing.T) {
	t.Parallel()
	s := up(t, nil)
	p := open(t, s.url())
	p.wait("the page is live", `document.querySelector('#status-word').textContent === 'Live'`)
	agent := exec.Command(binary, "demo", "--kafka-brokers", s.kafka, "--seed", "3", "--speed", "0.3")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Kill() // it was, unless the test failed before
		_ = agent.Wait()
	})
	p.wait("a node is running", `document.querySelector('#detail-chip').textContent === 'running' && document.querySelectorAll('#panel-graph li.running').length > 0`)
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wait("the pane says since when it is silent", `document.querySelector('#detail-flags').innerText.includes('it may have ended without saying so')`)
	p.wait("the list says the same", `document.querySelector('.run[aria-current="true"] .last').textContent.startsWith('quiet for ') && document.querySelector('.run[aria-current="true"] .chip').textContent === 'quiet'`)
	p.picture("killed-agent")
	if chip := p.text("#detail-chip"); chip != "quiet" {
		t.Errorf("the pane shows it as %q", chip)
	}
	if flags := p.text("#detail-flags"); !strings.Contains(flags, "Silent since ") || !strings.Contains(flags, "last message ") {
		t.Errorf("the pane says: %q", flags)
	}
	if running := eval[string](p, `JSON.stringify([...document.querySelectorAll('#detail .running')].map((e) => e.textContent))`); running != "[]" {
		t.Errorf("these are shown as running: %s", running)
	}

	// What follows goes to a run that is heard of.
	p.telemetry(`const p = producer("alive"); put(p.event("GRAPH_START", {attributes: {graph_name: {stringValue: "alive"}}})); put(p.event("NODE_START", {nodeId: "n"}));`)
	p.wait("the page follows the active run", `document.querySelector('#detail-title').textContent === 'alive' && document.querySelector('#detail-chip').textContent === 'running'`)
	p.do(chromedp.Click(chromedp.CSS(".run:last-child")))
	p.wait("the silent one can be looked at", `document.querySelector('#detail-chip').textContent === 'quiet'`)
}
