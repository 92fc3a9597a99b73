package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	settings := func(kv ...string) []debug.BuildSetting {
		var s []debug.BuildSetting
		for i := 0; i < len(kv); i += 2 {
			s = append(s, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return s
	}
	const rev = "0123456789abcdef0123456789abcdef01234567"
	for _, tc := range []struct {
		name   string
		linked Info
		bi     *debug.BuildInfo
		want   Info
		text   string
	}{
		{
			name: "nothing recorded says so instead of showing blanks",
			want: Info{Version: "devel", Commit: "unknown", BuildDate: "unknown"},
			text: "devel (commit unknown, built unknown, " + runtime.Version() + ")",
		},
		{
			name: "a changed checkout is marked dirty",
			bi: &debug.BuildInfo{
				Main:     debug.Module{Version: "(devel)"},
				Settings: settings("vcs.revision", rev, "vcs.time", "2026-01-02T03:04:05+02:00", "vcs.modified", "true"),
			},
			want: Info{Version: "devel", Commit: rev + "-dirty", BuildDate: "2026-01-02T01:04:05Z"},
			text: "devel (commit 0123456789ab-dirty, built 2026-01-02T01:04:05Z, " + runtime.Version() + ")",
		},
		{
			name: "go install of a version has no checkout",
			bi:   &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}},
			want: Info{Version: "v1.2.3", Commit: "unknown", BuildDate: "unknown"},
			text: "v1.2.3 (commit unknown, built unknown, " + runtime.Version() + ")",
		},
		{
			name:   "linker flags beat the record",
			linked: Info{Version: "v2.0.0", Commit: "feed", BuildDate: "2026-05-06T07:08:09Z"},
			bi: &debug.BuildInfo{
				Main:     debug.Module{Version: "(devel)"},
				Settings: settings("vcs.revision", rev, "vcs.time", "2026-01-02T03:04:05Z", "vcs.modified", "true"),
			},
			want: Info{Version: "v2.0.0", Commit: "feed", BuildDate: "2026-05-06T07:08:09Z"},
			text: "v2.0.0 (commit feed, built 2026-05-06T07:08:09Z, " + runtime.Version() + ")",
		},
		{
			name:   "a date that is no date is unknown, not passed on",
			linked: Info{Version: "v2.0.0", Commit: "feed", BuildDate: "yesterday"},
			want:   Info{Version: "v2.0.0", Commit: "feed", BuildDate: "unknown"},
			text:   "v2.0.0 (commit feed, built unknown, " + runtime.Version() + ")",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.want.GoVersion = runtime.Version()
			got := from(tc.linked, tc.bi)
			if got != tc.want {
				t.Errorf("from() = %+v, want %+v", got, tc.want)
			}
			if got.String() != tc.text {
				t.Errorf("String() = %q, want %q", got.String(), tc.text)
			}
		})
	}
}

func TestGetLeavesNoFieldEmpty(t *testing.T) {
	t.Parallel()
	got := Get()
	if got.Version == "" || got.Commit == "" || got.BuildDate == "" || got.GoVersion == "" {
		t.Fatalf("Get() = %+v has an empty field", got)
	}
	if want := "dashstream/" + got.Version; got.UserAgent() != want {
		t.Errorf("UserAgent() = %q, want %q", got.UserAgent(), want)
	}
}
