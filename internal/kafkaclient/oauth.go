package kafkaclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/dashflow/dashstream/internal/settings"
)

// tokenSource returns the function that gives a bearer token for one authentication.
func (s Settings) tokenSource() func(context.Context) (string, error) {
	if s.OAuthTokenFile != "" {
		return func(context.Context) (string, error) { return readToken(s.OAuthTokenFile) }
	}
	client := &http.Client{Timeout: credentialsTimeout}
	return newCache(func(ctx context.Context) (fetched[string], error) {
		var none fetched[string]
		secret, err := secretOrFile(s.OAuthClientSecret, "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET_FILE", s.OAuthClientSecretFile)
		if err != nil {
			return none, err
		}
		config := clientcredentials.Config{
			ClientID:     s.OAuthClientID,
			ClientSecret: secret.Reveal(),
			TokenURL:     s.OAuthTokenEndpointURL,
			Scopes:       strings.Fields(s.OAuthScope),
		}
		token, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			return none, tokenError(s.OAuthTokenEndpointURL, err)
		}
		return fetched[string]{token.AccessToken, token.Expiry}, nil
	}).get
}

// tokenEndpointError is a token endpoint that gave no token.
type tokenEndpointError struct {
	endpoint string
	status   string // of its answer; empty without one
	err      error
}

func (e *tokenEndpointError) Error() string {
	if e.status != "" {
		return fmt.Sprintf("token endpoint %s answered %s", e.endpoint, e.status)
	}
	return fmt.Sprintf("token endpoint %s: %v", e.endpoint, e.err)
}

// Unwrap returns why there was no answer.
func (e *tokenEndpointError) Unwrap() error { return e.err }

// tokenError leaves out the body of an answer: an endpoint may repeat the secret there.
func tokenError(endpoint string, err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || refused.Response == nil {
		return &tokenEndpointError{endpoint: endpoint, err: err}
	}
	status := refused.Response.Status
	if refused.ErrorCode != "" {
		status += " (" + refused.ErrorCode + ")"
	}
	return &tokenEndpointError{endpoint: endpoint, status: status}
}

func readToken(path string) (string, error) {
	const name = "KAFKA_SASL_OAUTHBEARER_TOKEN_FILE"
	text, err := readFile(name, path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", &settings.Error{Name: name, Value: path, Reason: "is empty"}
	}
	if strings.ContainsAny(token, " \t\r\n\x01") {
		return "", &settings.Error{Name: name, Value: path, Reason: "is not one token"}
	}
	return token, nil
}
