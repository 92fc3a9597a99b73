package redact

import (
	"strings"
)

// level says what a field's name tells of its value.
type level uint8

const (
	harmless  level = iota
	suspect         // a secret if it looks like one: token may be a credential or a word of a model
	sensitive       // a secret whatever it looks like
)

// maxName bounds the part of a name that is looked at, from its end.
const maxName = 80

// sensitiveSuffixes are compared with the end of a name in lower case, without anything but letters and digits.
var sensitiveSuffixes = []string{
	"password", "passwd", "passphrase", "passcode", "pwd", "secret", "passwort", "kennwort", "motdepasse", "contrasena", "senha",
	"apikey", "secretkey", "accesskey", "privatekey", "signingkey", "encryptionkey", "accountkey", "sharedkey", "masterkey",
	"subscriptionkey", "authkey", "sshkey", "functionkey", "functionskey", "appkey", "applicationkey", "licensekey", "hmackey",
	"storagekey", "serviceaccountkey", "deploykey", "rsakey", "secretkeybase",
	"authtoken", "accesstoken", "refreshtoken", "sessiontoken", "securitytoken", "idtoken", "bearertoken", "apitoken",
	"bottoken", "sastoken", "oauthtoken", "csrftoken", "xsrftoken", "servicetoken", "vaulttoken",
	"authorization", "cookie", "credential", "connectionstring", "connstr", "mnemonic", "seedphrase",
}

// sensitiveNames are compared with the whole name.
var sensitiveNames = map[string]bool{
	"pass": true, "secrets": true, "credentials": true, "cookies": true, "passwords": true, "apikeys": true, "pat": true,
	"sharedaccesssignature": true, "awssecretaccesskey": true,
}

// keyOwners make a name that ends in key a secret: OPENAI_KEY, but not cache_key.
var keyOwners = []string{
	"openai", "anthropic", "claude", "azure", "cohere", "mistral", "google", "gemini", "vertex", "groq", "together", "replicate",
	"huggingface", "perplexity", "deepseek", "fireworks", "xai", "aws", "stripe", "twilio", "sendgrid", "mailgun", "pinecone",
	"weaviate", "qdrant", "tavily", "serpapi", "serper", "langsmith", "langchain", "langfuse", "wandb", "elevenlabs", "deepgram",
	"assemblyai", "github", "gitlab", "slack", "notion", "linear", "datadog", "sentry", "newrelic", "voyage", "jina", "algolia",
}

// afterthoughts may stand behind the word that makes a name sensitive: password_hash, secret_2.
var afterthoughts = []string{"hash", "value", "plaintext", "plain", "text", "base64", "b64", "pem", "old", "new", "current", "confirm", "confirmation", "again", "env"}

var suspectNames = map[string]bool{"auth": true, "basicauth": true, "httpauth": true, "bearer": true, "sig": true, "signature": true}

var suspectSuffixes = []string{"token", "jwt", "signature"}

// lineNames are headers: outside quotes their value is the rest of the line.
var lineSuffixes = []string{"authorization", "cookie"}

// nameHints is contained in every name that classify does not call harmless.
var nameHints = []string{
	"pass", "pwd", "secret", "key", "token", "auth", "cookie", "credential", "conn", "mnemonic", "seed", "pat", "jwt", "bearer",
	"sig", "shared", "kennwort", "contras", "senha",
}

// compact returns the letters and digits of a name in lower case, those of its end if it is long.
func compact[T ~string | ~[]byte](name T) string {
	if len(name) > maxName {
		name = name[len(name)-maxName:]
	}
	var buf [maxName]byte
	n := 0
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			buf[n] = c + 'a' - 'A'
			n++
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			buf[n] = c
			n++
		}
	}
	return string(buf[:n])
}

func hasSuffix(name string, suffixes []string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// classify takes a compact name.
func classify(name string) level {
	if !hints().finds(name) {
		return harmless
	}
	if isSensitive(name) {
		return sensitive
	}
	if base := strings.TrimRight(name, "0123456789"); base != name && isSensitive(base) {
		return sensitive
	}
	for _, a := range afterthoughts {
		if base, ok := strings.CutSuffix(name, a); ok && isSensitive(base) {
			return sensitive
		}
	}
	if suspectNames[name] || hasSuffix(name, suspectSuffixes) {
		return suspect
	}
	return harmless
}

func isSensitive(name string) bool {
	if sensitiveNames[name] || hasSuffix(name, sensitiveSuffixes) {
		return true
	}
	// One secret or several: client_secrets, but not tokens, which are counted.
	if base, ok := strings.CutSuffix(name, "s"); ok && !strings.HasSuffix(base, "token") && hasSuffix(base, sensitiveSuffixes) {
		return true
	}
	owner, ok := strings.CutSuffix(name, "key")
	return ok && hasSuffix(owner, keyOwners)
}

// minSuspect is the length below which the value of a suspect name is left alone.
const minSuspect = 12

// looksSecret reports whether the value of a suspect name is a credential: one long word of their alphabet.
func looksSecret(v string) bool {
	if len(v) < minSuspect {
		return false
	}
	for i := range len(v) {
		if !tokenChars.has(v[i]) {
			return false
		}
	}
	return true
}

// directory reports the one common field that is named like a password and is none: the working directory of a shell.
func directory(name, value string) bool {
	return (name == "PWD" || name == "OLDPWD") && strings.HasPrefix(value, "/")
}
