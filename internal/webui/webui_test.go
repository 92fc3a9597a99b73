package webui

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(Handler())
	t.Cleanup(s.Close)
	return s
}

func do(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestEveryFileIsServedWithItsTypeAndCanBeRevalidated(t *testing.T) {
	t.Parallel()
	s := serve(t)
	entries, err := fs.ReadDir(embedded, "static")
	if err != nil || len(entries) < 10 {
		t.Fatalf("%d files: %v", len(entries), err)
	}
	for _, e := range entries {
		want := contentTypes[path.Ext(e.Name())]
		if want == "" {
			t.Errorf("static/%s is of a kind that is not served", e.Name())
			continue
		}
		url := s.URL + "/ui/" + e.Name()
		if e.Name() == "index.html" {
			url = s.URL + "/"
		}
		res, body := do(t, http.MethodGet, url)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != want || body == "" {
			t.Errorf("GET %s = %d %s, %d bytes", url, res.StatusCode, res.Header.Get("Content-Type"), len(body))
		}
		if res.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: Cache-Control %q", e.Name(), res.Header.Get("Cache-Control"))
		}
		etag := res.Header.Get("ETag")
		if !regexp.MustCompile(`^"[A-Za-z0-9_-]{22}"$`).MatchString(etag) {
			t.Errorf("%s: ETag %s", e.Name(), etag)
		}
		if res, body := do(t, http.MethodGet, url, "If-None-Match", etag); res.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("%s: with its ETag %d, %d bytes; want 304", e.Name(), res.StatusCode, len(body))
		}
		if res, _ := do(t, http.MethodGet, url, "If-None-Match", `"other"`); res.StatusCode != http.StatusOK {
			t.Errorf("%s: with another ETag %d, want 200", e.Name(), res.StatusCode)
		}
		if res, body := do(t, http.MethodHead, url); res.StatusCode != http.StatusOK || body != "" || res.ContentLength <= 0 {
			t.Errorf("HEAD %s = %d, %d bytes, length %d", url, res.StatusCode, len(body), res.ContentLength)
		}
	}
}

func TestThePolicyForbidsWhatThePageDoesNotNeed(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, p := range []string{"/", "/ui/app.js", "/nowhere"} {
		res, _ := do(t, http.MethodGet, s.URL+p)
		csp := res.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: policy %q lacks %q", p, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q is open", p, csp)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", p)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for p, want := range map[string]int{
		"/nowhere": 404, "/ui/": 404, "/ui/static/app.js": 404, "/ui/../webui.go": 404, "/index.html": 404, "/ui/app.js/": 404, "/static/app.js": 404,
	} {
		if res, _ := do(t, http.MethodGet, s.URL+p); res.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", p, res.StatusCode, want)
		}
	}
	for _, m := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		res, _ := do(t, m, s.URL+"/")
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s / = %d, Allow %q", m, res.StatusCode, res.Header.Get("Allow"))
		}
	}
	if res, body := do(t, http.MethodGet, s.URL+"/"+strings.Repeat("x", 3000)); res.StatusCode != 404 || len(body) > 200 {
		t.Errorf("a long path: %d, %d bytes", res.StatusCode, len(body))
	}
}

// What the policy forbids must not be in the page, or it would silently not
// work; and text must have no way to become markup.
func TestThePageKeepsItsOwnRules(t *testing.T) {
	t.Parallel()
	imports := regexp.MustCompile(`(?m)^import .* from "([^"]+)";$`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(style|on)|https?://[^w]`)
	entries, err := fs.ReadDir(embedded, "static")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := embedded.ReadFile("static/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		body := string(b)
		switch path.Ext(e.Name()) {
		case ".js":
			if found := forbidden.FindString(body); found != "" {
				t.Errorf("%s uses %s", e.Name(), found)
			}
			for _, m := range imports.FindAllStringSubmatch(body, -1) {
				if _, err := embedded.ReadFile("static/" + strings.TrimPrefix(m[1], "./")); err != nil {
					t.Errorf("%s imports %s: %v", e.Name(), m[1], err)
				}
			}
		case ".html":
			if regexp.MustCompile(`<script(?: type="module")?>|<style|\sstyle=|\son[a-z]+=`).MatchString(body) {
				t.Errorf("%s has inline script or style", e.Name())
			}
			for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(body, -1) {
				if _, ok := load()[m[1]]; !ok {
					t.Errorf("%s refers to %s, which is not served", e.Name(), m[1])
				}
			}
		}
	}
}
