package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// verdict is what a script that failed leaves for the end of the log, where a
// log that was cut in the middle still has it.
type verdict struct {
	seed       uint64
	violations []string
	// cut says how short the script became, script is that script, and then what
	// it violated when it was played last.
	cut, script, then string
}

const (
	// violationsBytes are what the end of the log takes of a script's violations,
	// together; of each both its ends.
	violationsBytes = 6000
	// scriptBytes is how long a script may be to be there too.
	scriptBytes = 4000
)

// report says what was violated, and by how short a script it can be shown.
func report(t *testing.T, sc script, r result, cut bool) *verdict {
	took := time.Duration(r.VirtualMs) * time.Millisecond
	t.Logf("seed %d: %d frames, %d records of a log of %d, %v of fake time", sc.Seed, r.Frames, r.Records, r.Log, took)
	if len(r.Violations) == 0 {
		return nil
	}
	v := &verdict{seed: sc.Seed, violations: r.Violations}
	for _, what := range r.Violations {
		t.Errorf("seed %d: %s", sc.Seed, what)
	}
	if !cut || *shrinkFlag <= 0 {
		return v
	}
	again := 0
	s := &shrinker{until: time.Now().Add(*shrinkFlag), fails: func(c script) bool {
		for range 3 {
			if r := runScript(t, c); len(r.Violations) > 0 {
				v.then = r.Violations[0]
				again++
				return true
			}
		}
		return false
	}}
	short := s.shrink(sc)
	file := filepath.Join(os.TempDir(), fmt.Sprintf("dashstream-model-%d.json", sc.Seed))
	if err := os.WriteFile(file, []byte(short.String()), 0o600); err != nil {
		t.Error(err)
	}
	v.script = short.String()
	v.cut = fmt.Sprintf("a script of %d parts, where there were %d, is in %s; of those that were tried %d failed", short.weight(), sc.weight(), file, again)
	t.Errorf("seed %d: %s:\n%s", sc.Seed, v.cut, v.script)
	return v
}

// text is what the verdict says, in lines that can be found by their beginning.
func (v *verdict) text() string {
	var b strings.Builder
	if v.cut != "" {
		fmt.Fprintf(&b, "model: seed %d: %s\n", v.seed, v.cut)
		if len(v.script) <= scriptBytes {
			fmt.Fprintf(&b, "model: seed %d: script: %s\n", v.seed, v.script)
		}
	}
	if v.then != "" {
		fmt.Fprintf(&b, "model: seed %d: that one violates: %s\n", v.seed, shorten(v.then, violationsBytes/4))
	}
	for _, what := range v.violations {
		fmt.Fprintf(&b, "model: seed %d: VIOLATION: %s\n", v.seed, shorten(what, violationsBytes/len(v.violations)))
	}
	return b.String()
}

// verdicts gathers those of scripts that are played at the same time.
type verdicts struct {
	mu  sync.Mutex
	all []*verdict
}

func (v *verdicts) add(one *verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if one != nil {
		v.all = append(v.all, one)
	}
}

// tell says it all once more. As the test's own message: whatever else is printed
// comes before those, where go test does not run with -v.
func (v *verdicts) tell(t *testing.T) {
	if text := v.text(); text != "" {
		t.Error("in short:\n" + text)
	}
}

func (v *verdicts) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for _, one := range v.all {
		b.WriteString(one.text())
	}
	return b.String()
}

// shorten keeps the two ends of a text.
func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	head, tail := s[:most*2/3], s[len(s)-most/3:]
	return fmt.Sprintf("%s … %d bytes … %s", strings.ToValidUTF8(head, ""), len(s)-len(head)-len(tail), strings.ToValidUTF8(tail, ""))
}

// TestTheEndOfTheLogTells what was violated: the middle of a long log gets lost.
func TestTheEndOfTheLogTells(t *testing.T) {
	t.Parallel()
	long := "client 3: offset 7 came twice" + strings.Repeat("é", 10_000) + "the end"
	var all verdicts
	all.add(nil)
	all.add(&verdict{seed: 41, violations: []string{"short"}})
	all.add(&verdict{seed: 42, violations: []string{"first", long}, cut: "a script of 2 parts", script: `{"seed":42}`, then: "another"})
	all.add(&verdict{seed: 43, violations: []string{"other"}, cut: "a script of 2000 parts", script: strings.Repeat("x", scriptBytes+1)})
	got := all.text()
	for _, want := range []string{
		"model: seed 41: VIOLATION: short\n", "model: seed 42: VIOLATION: first\n", "model: seed 42: VIOLATION: client 3: offset 7 came twice", "the end\n",
		"model: seed 42: a script of 2 parts\n", "model: seed 42: script: {\"seed\":42}\n", "model: seed 42: that one violates: another\n", "model: seed 43: a script of 2000 parts\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	if !utf8.ValidString(got) || len(got) > violationsBytes+1000 {
		t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
}
