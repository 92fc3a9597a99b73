// Package webui serves the live page: hand-written files, embedded, without a
// build step. The page speaks the stream protocol to the gateway that serves it,
// and nothing else; what it may load and where it may connect is said by a strict
// content security policy.
package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed static
var embedded embed.FS

// contentTypes lists every kind of file that is served: a file of another kind
// in the folder is a mistake, which a test finds.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy lets the page load its own files and talk to its own server, and keeps
// others from framing it. There is no inline script and no inline style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type file struct {
	contentType string
	etag        string
	body        []byte
}

// Handler serves the page at "/" and its files under "/ui/". Any other path is
// not found. It answers GET and HEAD. The page needs no authentication: it holds
// no data, and asks for the token itself.
func Handler() http.Handler {
	return handler{files: load()}
}

// load prepares the files. The embedded folder cannot fail to be read, and that
// its files are served is tested.
func load() map[string]file {
	files := make(map[string]file)
	entries, _ := fs.ReadDir(embedded, "static")
	for _, e := range entries {
		body, err := embedded.ReadFile("static/" + e.Name())
		contentType := contentTypes[path.Ext(e.Name())]
		if err != nil || contentType == "" {
			continue
		}
		sum := sha256.Sum256(body)
		f := file{contentType: contentType, etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, body: body}
		if e.Name() == "index.html" {
			files["/"] = f
		} else {
			files["/ui/"+e.Name()] = f
		}
	}
	return files
}

type handler struct{ files map[string]file }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, ok := h.files[r.URL.Path]
	if !ok {
		http.Error(w, fmt.Sprintf("no page at %q", clip(r.URL.Path, 100)), http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "want GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.etag)
	// Asked for again each time, answered with 304 when nothing changed: after an
	// upgrade no browser mixes old and new modules for longer than one load.
	header.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
