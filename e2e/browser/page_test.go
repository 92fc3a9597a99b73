package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// view is what the page holds, at one moment.
type view struct {
	Status      string
	Records     int
	Ignored     int
	Duplicates  int
	Gaps        int
	Resets      int
	Quarantined int
	Unreadable  int
	Evicted     int
	Next        map[string]string
	Runs        []struct {
		Thread, Status, Missing, State string
		Whole                          bool
	}
}

const readView = `import("/ui/app.js").then(({client, model}) => JSON.stringify({
  Status: client.status, Records: model.records, Ignored: client.ignored, Duplicates: model.duplicates,
  Gaps: client.gaps.count, Resets: client.resets.count, Quarantined: client.quarantined.count,
  Unreadable: model.unreadable.count, Evicted: model.evicted,
  Next: Object.fromEntries([...client.cursor.next].map(([p, n]) => [p, String(n)])),
  Runs: model.list().map((r) => ({Thread: r.thread.id, Status: r.status, Missing: String(r.missing), State: r.state.status, Whole: r.beginning === 'start'})),
}))`

func (p *page) view() view {
	p.t.Helper()
	var v view
	if err := json.Unmarshal([]byte(eval[string](p, readView)), &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// position is where a record stands.
type position struct {
	partition int
	offset    int64
}

// log reads the whole log by another way than the page: server-sent events.
func (s *server) log() map[position]string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url()+"/v1/stream?from=earliest", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("GET /v1/stream: %s", res.Status)
	}
	threads := make(map[position]string)
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var frame struct {
			CaughtUp *struct{}
			Batch    struct {
				Records []struct {
					Partition int
					Offset    string
					Key       []byte
				}
			}
		}
		if err := json.Unmarshal([]byte(data), &frame); err != nil {
			s.t.Fatalf("%.200s: %v", data, err)
		}
		for _, r := range frame.Batch.Records {
			offset, err := strconv.ParseInt("0"+r.Offset, 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			threads[position{r.Partition, offset}] = string(r.Key)
		}
		if frame.CaughtUp != nil {
			return threads
		}
	}
	s.t.Fatalf("the event stream ended before it had caught up: %v", lines.Err())
	return nil
}

// agrees fails unless the page has applied each record up to its cursor once,
// and shows the runs that are in them.
func agrees(t *testing.T, s *server, v view) {
	t.Helper()
	if v.Gaps+v.Resets+v.Quarantined+v.Unreadable+v.Ignored+v.Duplicates != 0 {
		t.Errorf("the page tells of loss or repetition: %+v", v)
	}
	want := 0
	threads := map[string]bool{}
	for at, thread := range s.log() {
		next, err := strconv.ParseInt(v.Next[strconv.Itoa(at.partition)], 10, 64)
		if err != nil {
			t.Fatalf("cursor of partition %d: %v", at.partition, err)
		}
		if at.offset < next {
			want++
			threads[thread] = true
		}
	}
	if v.Records != want || want == 0 {
		t.Errorf("the page applied %d records, the log has %d up to its cursor", v.Records, want)
	}
	shown := map[string]bool{}
	for _, r := range v.Runs {
		shown[r.Thread] = true
		if !threads[r.Thread] {
			t.Errorf("the page shows a run of thread %s, of which the log has nothing", r.Thread)
		}
		if r.Missing != "0" || !r.Whole {
			t.Errorf("run of thread %s: %s messages missing, its start seen: %v", r.Thread, r.Missing, r.Whole)
		}
	}
	for thread := range threads {
		if v.Evicted == 0 && !shown[thread] {
			t.Errorf("the page does not show thread %s", thread)
		}
	}
}

func TestADemoRunMovesAndOutlivesRestarts(t *testing.T) {
	t.Parallel()
	s := up(t, nil, "--demo")
	p := open(t, s.url())

	p.wait("the page is live", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("a run is listed", `document.querySelectorAll('.run').length > 0`)
	p.wait("a node of the selected run is done", `document.querySelectorAll('#panel-graph svg .node.done').length > 0`)
	p.wait("text of a model is shown", `document.querySelector('#panel-llm pre')?.textContent.length > 20`)
	p.wait("its state is shown", `document.querySelector('#panel-state pre').textContent.startsWith('{')`)
	records := p.view().Records
	p.wait("records keep coming", fmt.Sprintf(`Number(document.querySelector('#fact-records').textContent.replace(/\D/g, '')) > %d`, records+20))
	p.wait("a run ends", `[...document.querySelectorAll('.run .chip')].some((c) => ['ended', 'failed'].includes(c.textContent))`)
	p.picture("live")
	before := p.view()
	agrees(t, s, before)

	// A restart in good order, and one without warning.
	for _, end := range []struct {
		name string
		end  func()
	}{{"stopped", s.stop}, {"killed", s.kill}} {
		end.end()
		p.wait("the page says that it reconnects", `document.querySelector('#status-word').textContent.startsWith('Reconnecting in')`)
		p.picture(end.name)
		if runs := p.view().Runs; len(runs) < len(before.Runs) {
			t.Errorf("%s: %d runs are shown, %d before", end.name, len(runs), len(before.Runs))
		}
		had := p.view().Records
		s.start()
		p.wait("the page is live again", `document.querySelector('#status-word').textContent === 'Live'`)
		p.wait("new records come", fmt.Sprintf(`Number(document.querySelector('#fact-records').textContent.replace(/\D/g, '')) > %d`, had+20))
		agrees(t, s, p.view())
	}
	p.picture("after-restarts")

	// The person looks at one run and goes on seeing it.
	p.do(chromedp.Click(chromedp.CSS(".run:last-child")))
	p.wait("the selected run is the one that was clicked", `document.querySelector('.run:last-child').getAttribute('aria-current') === 'true' && document.querySelector('.run:last-child .graph').textContent === document.querySelector('#detail-title').textContent`)
	if eval[bool](p, `document.querySelector('#follow').checked`) {
		t.Error("the page follows other runs after one was selected")
	}

	// A reload shows the same runs.
	shown := p.view()
	p.wait("the position is stored", `sessionStorage.getItem('dashstream.cursor.v1') !== null`)
	p.do(chromedp.Reload())
	p.wait("the page is live after the reload", `document.querySelector('#status-word').textContent === 'Live'`)
	reloaded := p.view()
	has := map[string]bool{}
	for _, r := range reloaded.Runs {
		has[r.Thread] = true
	}
	for _, r := range shown.Runs {
		if !has[r.Thread] && reloaded.Evicted == 0 {
			t.Errorf("after the reload the run of thread %s is gone", r.Thread)
		}
	}
	agrees(t, s, reloaded)
}

func TestTheConnectionCanBeStopped(t *testing.T) {
	t.Parallel()
	s := up(t, nil, "--demo")
	p := open(t, s.url())
	p.wait("records have come", `Number(document.querySelector('#fact-records').textContent.replace(/\D/g, '')) > 50`)
	p.do(chromedp.Click(chromedp.CSS("#pause")))
	p.wait("it is stopped", `document.querySelector('#status-word').textContent === 'Stopped'`)
	had := p.view().Records
	p.do(chromedp.Click(chromedp.CSS("#pause")))
	p.wait("it goes on", fmt.Sprintf(`document.querySelector('#status-word').textContent === 'Live' && Number(document.querySelector('#fact-records').textContent.replace(/\D/g, '')) > %d`, had))
	agrees(t, s, p.view())

	// Another range is another view.
	eval[bool](p, `(() => { const s = document.querySelector('#start-select'); s.value = 'latest'; s.dispatchEvent(new Event('change')); return true; })()`)
	p.wait("the view began anew", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("only what is new is shown", fmt.Sprintf(`import("/ui/app.js").then(({model}) => model.records < %d && document.querySelector('#fact-records').textContent.replace(/\D/g, '') === String(model.records))`, had))

	// All that the log holds is replayed; the rate tells only of what comes live.
	eval[bool](p, `(() => { const s = document.querySelector('#start-select'); s.value = 'earliest'; s.dispatchEvent(new Event('change')); return true; })()`)
	p.wait("the page is live again", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("all is shown", fmt.Sprintf(`import("/ui/app.js").then(({model}) => model.records >= %d)`, had))
	p.wait("there is a rate", `document.querySelector('#fact-rate').textContent !== '–'`)
	if live := eval[float64](p, `import("/ui/app.js").then(({client}) => client.rate.perSecond())`); live*5 >= float64(had) && had > 500 {
		t.Errorf("%v live records a second; %d were replayed", live, had)
	}
	agrees(t, s, p.view())
}

func TestAnotherLogVoidsTheView(t *testing.T) {
	t.Parallel()
	s := up(t, nil, "--demo")
	p := open(t, s.url())
	p.wait("a run is listed", `document.querySelectorAll('.run').length > 0`)
	old := map[string]bool{}
	for _, r := range p.view().Runs {
		old[r.Thread] = true
	}
	s.stop()
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
	s.start()
	p.wait("the reset is told", `document.querySelector('#fact-resets').textContent === '1' && document.querySelector('#notices').innerText.includes('the stream began anew')`)
	p.wait("the page is live in the new stream", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("new runs are listed", `document.querySelectorAll('.run').length > 0`)
	p.picture("reset")
	v := p.view()
	if v.Resets != 1 || v.Gaps != 0 {
		t.Errorf("resets %d, gaps %d; want 1 and 0", v.Resets, v.Gaps)
	}
	for _, r := range v.Runs {
		if old[r.Thread] {
			t.Errorf("the run of thread %s is of the log that is gone", r.Thread)
		}
	}
	v.Resets = 0
	agrees(t, s, v)
}

func TestATokenIsAskedFor(t *testing.T) {
	t.Parallel()
	s := up(t, []string{"DASHSTREAM_TOKEN=right-token"}, "--demo")
	p := open(t, s.url())
	p.wait("the page asks for the token", `!document.querySelector('#token').hidden`)
	p.picture("asked")
	// While it waits it leaves the server alone, whatever happens around it.
	asked := eval[string](p, `import("/ui/app.js").then(({client}) => { window.askedAt = performance.now(); window.dispatchEvent(new Event('online')); return client.connections + ' connections'; })`)
	p.wait("some seconds have passed", `performance.now() > window.askedAt + 3000`)
	if after := eval[string](p, `import("/ui/app.js").then(({client}) => client.connections + ' connections')`); after != asked || asked != "1 connections" {
		t.Errorf("%s when the token was asked for, %s three seconds later; want 1", asked, after)
	}
	for _, fact := range []string{"records", "rate", "gaps", "resets"} {
		if shown := p.text("#fact-" + fact); shown != "–" {
			t.Errorf("nothing was read yet, and the page says of %s: %q", fact, shown)
		}
	}
	if word := p.text("#status-word"); word != "Waiting for a token" {
		t.Errorf("the page says %q", word)
	}
	enter := func(token string) {
		p.do(chromedp.SendKeys(chromedp.CSS("#token-input"), token), chromedp.Click(chromedp.CSS("#token button")))
	}
	enter("wrong")
	p.wait("it says that the token is wrong", `document.querySelector('#status-detail').textContent.includes('does not accept this token')`)
	enter("right-token")
	p.wait("the page is live", `document.querySelector('#status-word').textContent === 'Live'`)
	p.wait("a run is listed", `document.querySelectorAll('.run').length > 0`)
	if !eval[bool](p, `document.querySelector('#token').hidden`) {
		t.Error("the form is still there")
	}
	if strings.Contains(p.text("body"), "right-token") {
		t.Error("the token is on the page")
	}
	p.do(chromedp.Reload())
	p.wait("the tab remembers the token", `document.querySelector('#status-word').textContent === 'Live'`)
}
