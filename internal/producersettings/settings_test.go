package producersettings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dashflow/dashstream/internal/producersettings"
	"github.com/dashflow/dashstream/internal/settings"
)

func TestFromEnv(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "on": true, "TRUE": true, "1": true, "yes": true, "off": false, "No": false, "0": false, "false": false, " off ": false} {
		s, err := producersettings.FromEnv(settings.MapEnv(map[string]string{"DASHFLOW_STATE_REDACT": text, "DASHFLOW_FLUSH_TIMEOUT_SECS": "0.5"}))
		if err != nil || bool(s.Redact) != want || s.FlushTimeout.Duration() != 500*time.Millisecond {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	_, err := producersettings.FromEnv(settings.MapEnv(map[string]string{"DASHFLOW_STATE_REDACT": "maybe", "DASHFLOW_FLUSH_TIMEOUT_SECS": "-1"}))
	for _, want := range []string{"DASHFLOW_STATE_REDACT", "maybe", "on; false", "DASHFLOW_FLUSH_TIMEOUT_SECS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not say %q", err, want)
		}
	}
}
