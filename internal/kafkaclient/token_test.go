package kafkaclient_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dashflow/dashstream/internal/kafkaclient"
)

// heard keeps what clients said first when they authenticated.
type heard struct {
	mu    sync.Mutex
	words []string
}

func (h *heard) add(mechanism string, first []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.words = append(h.words, mechanism+" "+string(first))
}

func (h *heard) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.words) == 0 {
		return ""
	}
	return h.words[len(h.words)-1]
}

func bearer(addr string) kafkaclient.Settings {
	s := at(addr)
	s.SecurityProtocol, s.SASLMechanism = kafkaclient.ProtocolSASLPlaintext, kafkaclient.MechanismOAuthBearer
	return s
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	var h heard
	s := bearer(saslBroker(t, nil, nil, h.add))
	s.OAuthTokenFile = writeFile(t, "token", "first\n")
	s.OAuthExtensions = kafkaclient.KeyValues{"logicalCluster": "lkc-1"}
	if err := probe(t, s); err != nil {
		t.Fatal(err)
	}
	if got := h.last(); !strings.HasPrefix(got, "OAUTHBEARER ") || !strings.Contains(got, "auth=Bearer first\x01") || !strings.Contains(got, "logicalCluster=lkc-1\x01") {
		t.Errorf("the broker heard %q", got)
	}
	if err := os.WriteFile(s.OAuthTokenFile, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := probe(t, s); err != nil || !strings.Contains(h.last(), "Bearer second\x01") {
		t.Errorf("a new token must be used by the next connection: %q, %v", h.last(), err)
	}
	for text, says := range map[string]string{"": "is empty", "two words": "not one token"} {
		if err := os.WriteFile(s.OAuthTokenFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		wantExplained(t, probe(t, s), kafkaclient.ClassCredentials, "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE", says)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	var h heard
	var asked atomic.Int32
	var refuse atomic.Bool
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		id, secret, _ := r.BasicAuth()
		if id != "me" || secret != "hunter2" || refuse.Load() {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":"secret %s is wrong"}`, secret)
			return
		}
		if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "kafka read" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, n)
	}))
	t.Cleanup(idp.Close)
	s := bearer(saslBroker(t, nil, nil, h.add))
	s.OAuthTokenEndpointURL, s.OAuthClientID, s.OAuthScope = idp.URL+"/token", "me", "kafka read"
	s.OAuthClientSecretFile = writeFile(t, "secret", "hunter2\n")

	cl := client(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for range 2 {
		if err := s.Probe(ctx, cl, kafkaclient.OpInspect, s.Topic); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.last(); !strings.Contains(got, "Bearer token-") {
		t.Errorf("the broker heard %q", got)
	}
	if n := asked.Load(); n > 2 { // the library asks twice when an endpoint does not take the first style of credentials
		t.Errorf("a token that lives an hour was asked for %d times by one client", n)
	}

	refuse.Store(true)
	err := probe(t, s)
	wantExplained(t, err, kafkaclient.ClassCredentials, "token endpoint "+idp.URL, "401", "invalid_client", "KAFKA_SASL_")
	idp.Close()
	wantExplained(t, probe(t, s), kafkaclient.ClassCredentials, "token endpoint", "connection refused")
}
