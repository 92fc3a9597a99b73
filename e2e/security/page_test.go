package security

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

var (
	shell      = regexp.MustCompile("(?s)```sh\n(.*?)```")
	assignment = regexp.MustCompile(`\b([A-Z][A-Z_]*)=(\S+)`)
)

// What the page has people paste is a set of settings that can be used, and names no variable that is none. This needs no
// broker: that such settings connect is what the other tests show.
func TestPageSettings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	s := kafkaclient.Default()
	fields, err := settings.Fields(&s)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, block := range shell.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(block[1], "export ") {
			continue
		}
		blocks++
		given := env{}
		for _, a := range assignment.FindAllStringSubmatch(block[1], -1) {
			given[a[1]] = a[2]
			if !slices.ContainsFunc(fields, func(f settings.Field) bool { return slices.Contains(f.Envs, a[1]) }) {
				t.Errorf("%s is no setting", a[1])
			}
		}
		if _, err := kafkaclient.FromEnv(settings.MapEnv(given)); err != nil {
			t.Errorf("%v\nin:\n%s", err, block[1])
		}
	}
	if blocks < 4 {
		t.Errorf("the page has %d examples", blocks)
	}
}
