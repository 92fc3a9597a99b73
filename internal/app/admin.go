package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/dashflow/dashstream/internal/exporter"
	"github.com/dashflow/dashstream/internal/httpserve"
)

// resumeHandler has paused partitions pass the records at which they stand: all, or those of ?partition=.
func (a *App) resumeHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ids []int32
		for _, text := range r.URL.Query()["partition"] {
			id, err := strconv.ParseInt(text, 10, 32)
			if err != nil || id < 0 {
				http.Error(w, fmt.Sprintf("partition %.32q: want a whole number of 0 or more", text), http.StatusBadRequest)
				return
			}
			ids = append(ids, int32(id))
		}
		passed := a.exporter.Resume(ids...)
		if passed == nil {
			passed = []exporter.Halted{}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"resumed": passed}) // an error is the client's going away
	})
}

// Resume has all paused partitions of the exporter pass the records at which they stand.
func (a *App) Resume() {
	if a.exporter != nil {
		a.exporter.Resume()
	}
}

// guardAdmin lets those in who may read the stream, and where there is no gateway those who show the token.
func (a *App) guardAdmin(h http.Handler) http.Handler {
	if a.gateway != nil {
		return a.gateway.Guard(h)
	}
	want := a.opts.Exporter.Server.Token.Reveal()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want == "" {
			http.Error(w, "this exporter has no token (DASHSTREAM_TOKEN), so nobody may ask for this; send the process SIGHUP", http.StatusForbidden)
			return
		}
		if token, _ := httpserve.BearerToken(r); !httpserve.SameSecret(token, want) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "want the header Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}
