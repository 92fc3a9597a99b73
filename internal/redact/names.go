package redact

import (
	"bytes"
	"strings"
	"sync"
)

// level says what a field's name tells of its value.
type level uint8

const (
	harmless  level = iota
	suspect         // a secret if it looks like one: token may be a credential or a word of a model
	sensitive       // a secret whatever it looks like
)

// The rule for names. A name is read as words, which end at a change of case, at a digit and at whatever is no letter. It is
// of a secret if a term ends with one of its words. What follows the term decides whether it still is: nothing or only what
// is in afterthoughts, then yes; otherwise, behind a term of the strong, unless the last word is in aspects, which are about
// a secret and none: password_length, but db_password_prod.

// strong are terms that make a name one of a secret wherever they stand: lower case, letters and digits only.
var strong = []string{
	"password", "passwd", "passphrase", "passcode", "pwd", "secret", "passwort", "kennwort", "motdepasse", "contrasena", "contrasea", "senha",
	"apikey", "secretkey", "accesskey", "privatekey", "signingkey", "encryptionkey", "accountkey", "sharedkey", "masterkey",
	"subscriptionkey", "authkey", "sshkey", "functionkey", "functionskey", "appkey", "applicationkey", "licensekey", "hmackey",
	"storagekey", "serviceaccountkey", "deploykey", "rsakey", "secretkeybase",
	"authtoken", "accesstoken", "refreshtoken", "sessiontoken", "securitytoken", "bearertoken", "apitoken",
	"bottoken", "sastoken", "oauthtoken", "csrftoken", "xsrftoken", "servicetoken", "vaulttoken",
	"credential", "jsessionid", "phpsessid", "connectionstring", "connstr", "seedphrase", "sharedaccesssignature",
}

// last are terms that do so at the end of a name, but for afterthoughts. Those in whole begin with a word as well.
var (
	last  = []string{"authorization", "cookie", "mnemonic"}
	whole = []string{"idtoken", "pat"}
)

// passOwners make a name that ends in pass one of a password, keyOwners one that ends in key: OPENAI_KEY, but not cache_key.
var (
	passOwners = []string{
		"db", "database", "smtp", "mail", "email", "user", "mysql", "pg", "postgres", "redis", "mongo", "rabbitmq", "amqp", "ftp", "ssh",
		"admin", "root", "proxy", "http", "login", "auth", "sudo", "ldap", "kafka", "imap", "git", "registry", "docker", "wifi", "jdbc",
	}
	keyOwners = []string{
		"openai", "anthropic", "claude", "azure", "cohere", "mistral", "google", "gemini", "vertex", "groq", "together", "replicate",
		"huggingface", "perplexity", "deepseek", "fireworks", "xai", "aws", "stripe", "twilio", "sendgrid", "mailgun", "pinecone",
		"weaviate", "qdrant", "tavily", "serpapi", "serper", "langsmith", "langchain", "langfuse", "wandb", "elevenlabs", "deepgram",
		"assemblyai", "github", "gitlab", "slack", "notion", "linear", "datadog", "sentry", "newrelic", "voyage", "jina", "algolia",
	}
)

// vague are terms at the end of a name whose value is judged by its looks.
var vague = []string{"token", "jwt", "signature"}

// exact are compared with the whole name.
var exact = map[string]level{
	"pass": sensitive, "auth": suspect, "basicauth": suspect, "httpauth": suspect, "bearer": suspect, "sig": suspect,
}

func set(words ...string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words {
		out[w] = true
	}
	return out
}

// afterthoughts may stand behind every term, also without a mark between: password_hash, secret_2, passwordfield.
var afterthoughts = set("hash", "value", "plaintext", "plain", "text", "raw", "base", "b", "pem", "old", "new", "current", "confirm",
	"confirmation", "again", "env", "field", "input", "string", "header", "v", "data", "prod", "production", "staging", "stage", "dev", "development",
	"test", "testing", "live", "local", "sandbox", "qa", "uat", "primary", "secondary", "main", "backup", "default")

// aspects are what a field can be about that names a secret and does not hold it: counts, ids, flags, kinds, places.
var aspects = set("length", "len", "min", "max", "minimum", "maximum", "count", "counts", "counter", "total", "size", "number", "limit", "limits",
	"budget", "usage", "used", "remaining", "window", "rate", "cost", "price", "index", "position", "offset", "id", "ids", "uid", "uuid", "guid",
	"name", "names", "username", "user", "owner", "group", "type", "types", "kind", "class", "schema", "table", "column", "model",
	"url", "urls", "uri", "link", "links", "endpoint", "host", "path", "paths", "file", "files", "filename", "dir", "directory", "location", "arn",
	"region", "selector", "ref", "refs", "reference", "policy", "policies", "rule", "rules", "requirement", "requirements", "regex", "pattern",
	"format", "encoding", "algorithm", "alg", "hasher", "hashing", "scheme", "version", "versions", "status", "state", "history", "log", "logs",
	"required", "require", "optional", "enabled", "enable", "disabled", "allowed", "supported", "present", "missing", "empty", "exists", "valid",
	"invalid", "set", "is", "has", "reset", "change", "changed", "update", "updated", "created", "expired", "expires", "expiry", "expiration",
	"at", "on", "in", "by", "for", "from", "with", "via", "to", "here", "date", "time", "timestamp", "ttl", "age", "days", "hours", "minutes",
	"seconds", "ms", "interval", "frequency", "rotation", "rotated", "attempt", "attempts", "retry", "retries", "failures", "error", "errors",
	"strength", "score", "complexity", "entropy", "check", "checks", "checker", "validator", "validation", "validated", "verify", "verified",
	"verification", "verifier", "provider", "providers", "manager", "managers", "management", "store", "vault", "backend", "source", "engine",
	"scanner", "scanning", "generator", "label", "title", "placeholder", "description", "prompt", "message", "reason", "help", "docs", "hint",
	"level", "scope", "scopes", "protected", "protection", "based", "sharing", "free", "less", "only", "method", "mode", "strategy", "flow",
	"fingerprint", "pair", "prefix", "suffix", "mask", "masked", "redacted", "created", "revoked", "leak", "leaked", "detected", "found")

// term is what a literal of terms says of a name in which it is found.
type term struct {
	level    level
	anywhere bool // strong: also with words behind it
	begins   bool // it begins with a word
	plural   bool // one secret or several: secrets, but not tokens, which are counted
}

// terms is the automaton over all terms, and what they say.
var terms = sync.OnceValues(func() (*automaton, []term) {
	var literals []string
	var says []term
	add := func(t term, suffix string, words []string) {
		for _, w := range words {
			t.plural = !strings.HasSuffix(w, "token")
			literals, says = append(literals, w+suffix), append(says, t)
		}
	}
	add(term{level: sensitive, anywhere: true}, "", strong)
	add(term{level: sensitive}, "", last)
	add(term{level: sensitive, begins: true}, "", whole)
	add(term{level: sensitive, begins: true}, "pass", passOwners)
	add(term{level: sensitive}, "key", keyOwners)
	add(term{level: suspect}, "", vague)
	return newAutomaton(literals), says
})

// nameHints is contained in every name that classify does not call harmless.
var nameHints = []string{
	"pass", "pwd", "secret", "key", "token", "auth", "cookie", "credential", "conn", "mnemonic", "seed", "pat", "jwt", "bearer",
	"sig", "shared", "sessid", "jsession", "kennwort", "contras", "senha",
}

// textHints is contained in every other text that has fields: the options of userOptions in a list.
var textHints = []string{`-u"`, `-u'`, `user"`, `user'`}

// maxName bounds the part of a name that is looked at, from its end.
const maxName = 80

// words is a name without anything but its letters and digits, in lower case, and where its words end.
type words struct {
	buf  [maxName]byte
	n    int
	ends [maxName + 1]bool // also true at 0
}

// read takes a name, the end of it if it is long. Escapes of URLs are read as what they say.
func (w *words) read(name string) {
	if len(name) > maxName {
		name = name[len(name)-maxName:]
	}
	w.ends[0] = true
	var prev byte
	for i := 0; i < len(name); i++ {
		c, next := name[i], i+1
		if c == '%' {
			if d, after, ok := percent(name, i); ok {
				c, next = d, after
			}
		}
		if !alnum.has(c) {
			w.ends[w.n] = true
			prev = 0
			i = next - 1
			continue
		}
		switch {
		case prev == 0:
		case isUpper(c):
			if !isUpper(prev) || next < len(name) && 'a' <= name[next] && name[next] <= 'z' && !pluralAt(name, next) {
				w.ends[w.n] = true
			}
		case digits.has(c) != digits.has(prev):
			w.ends[w.n] = true
		}
		w.buf[w.n] = lower(c)
		w.n++
		prev = c
		i = next - 1
	}
	w.ends[w.n] = true
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// pluralAt reports the small s behind an abbreviation, as in APIs.
func pluralAt(name string, i int) bool {
	return name[i] == 's' && (i+1 == len(name) || !alnum.has(name[i+1]) || isUpper(name[i+1]))
}

// maxBehind is how many words may stand behind a term that says what they are about.
const maxBehind = 6

// follows says what stands behind a term that ends at i: nothing of import, or other words. It is neither if the term is
// but the beginning of a word, as in secretary.
func (w *words) follows(i int, plural bool) (nothing, others bool) {
	if !w.ends[i] {
		end := w.next(i)
		if rest := w.buf[i:end]; !(plural && string(rest) == "s") && !afterthoughts[string(rest)] {
			return false, false
		}
		i = end
	}
	nothing = true
	for n := 0; i < w.n; n++ {
		if n == maxBehind {
			return false, false
		}
		end := w.next(i)
		nothing = nothing && (digits.has(w.buf[i]) || afterthoughts[string(w.buf[i:end])])
		i = end
	}
	return nothing, true
}

// next returns where the word at i ends.
func (w *words) next(i int) int {
	for i++; !w.ends[i]; i++ {
	}
	return i
}

// aboutAspect reports that the last word, but for numbers, is in aspects.
func (w *words) aboutAspect() bool {
	end := w.n
	for end > 0 && digits.has(w.buf[end-1]) {
		end--
	}
	start := end
	for start > 0 && (start == end || !w.ends[start]) {
		start--
	}
	return aspects[string(w.buf[start:end])]
}

// classify returns what the built-in terms say of a name, and whether it ends with its term.
func classify(w *words) (l level, ending bool) {
	if l := exact[string(w.buf[:w.n])]; l != harmless {
		return l, true
	}
	automaton, says := terms()
	state := uint16(0)
	for i := range w.n {
		state = automaton.step(state, w.buf[i])
		for _, n := range automaton.found[state] {
			t := says[n]
			if t.level < l || t.level == l && ending || t.begins && !w.ends[i+1-automaton.lengths[n]] {
				continue
			}
			nothing, others := w.follows(i+1, t.plural)
			switch {
			case nothing:
				l, ending = t.level, true
			case others && t.anywhere && t.level > l && !w.aboutAspect():
				l, ending = t.level, false
			}
		}
	}
	return l, ending
}

// read returns the level of a name, and whether the name ends with what makes it so.
func (r *Redactor) read(name string) (l level, ending bool) {
	if r.names == nil && !hints().finds(name) {
		return harmless, false
	}
	var w words
	w.read(name)
	for _, n := range r.names {
		if i := bytes.LastIndex(w.buf[:w.n], []byte(n)); i >= 0 {
			if nothing, others := w.follows(i+len(n), true); nothing || others && !w.aboutAspect() {
				return sensitive, nothing
			}
		}
	}
	return classify(&w)
}

func (r *Redactor) level(name string) level {
	l, _ := r.read(name)
	return l
}

// endsWithAny reports whether a word of the list ends the name.
func endsWithAny(name string, list ...string) bool {
	for _, s := range list {
		if len(name) >= len(s) && strings.EqualFold(name[len(name)-len(s):], s) {
			return true
		}
	}
	return false
}

// ofLine reports the names of headers: outside quotes their value is the rest of the line.
func ofLine(name string) bool { return endsWithAny(name, last[:2]...) }

// ofName reports fields whose value names what another beside them holds: {"name": "password", "value": "…"}.
func ofName(name string) bool {
	if len(name) > len("environmentvariable") {
		return false
	}
	switch strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]) {
	case "name", "key", "k", "header", "field", "id", "label", "title", "variable", "var", "param", "parameter", "property", "attribute", "option",
		"setting", "headername", "header_name", "fieldname", "field_name", "keyname", "key_name", "varname", "var_name", "variablename",
		"variable_name", "env", "envvar", "env_var":
		return true
	}
	return false
}

// ofValue reports fields that hold what another beside them names.
func ofValue(name string) bool {
	switch len(name) {
	case 1:
		return name == "v" || name == "V"
	case 3:
		return strings.EqualFold(name, "val")
	}
	return endsWithAny(name, "value", "values")
}

// minSuspect is the length below which the value of a suspect name is left alone, unless it is a user and a password.
const minSuspect = 12

// looksSecret reports whether the value of a suspect name is a credential: one long word of their alphabet.
func looksSecret(v string) bool {
	if len(v) < minSuspect {
		return isUserAndPassword(v)
	}
	for i := range len(v) {
		if !tokenChars.has(v[i]) {
			return false
		}
	}
	return true
}

// minProse is the length from which a word of a sentence is taken for a secret.
const minProse = 6

// noWord reports whether a word of a sentence about a secret is no word of the language, and so the secret: letters with
// digits or signs among them. Addresses, paths and participles (SHA256-based) are none.
func noWord(v string) bool {
	if len(v) < minProse || strings.Contains(v, "/") || endsWithAny(v, "ed", "bit", "bits", "bytes", "chars") {
		return false
	}
	letters, others := false, false
	for i := range len(v) {
		switch c := v[i]; {
		case digits.has(c) || strings.IndexByte("!@#$%^&*+=~", c) >= 0:
			others = true
		case alnum.has(c):
			letters = true
		}
	}
	return letters && others
}

// noSecrets are values without quotes that say that there is none, or of which kind it is.
var noSecrets = set("true", "false", "yes", "no", "null", "none", "nil", "undefined", "str", "string", "bytes", "any",
	"secretstr", "text", "varchar", "required", "optional")

// directory reports the one common field that is named like a password and is none: the working directory of a shell.
func directory(name, value string) bool {
	return (name == "PWD" || name == "OLDPWD") && strings.HasPrefix(value, "/")
}
