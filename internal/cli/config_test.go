package cli

import (
	"encoding/json"
	"encoding/pem"
	"flag"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/producersettings"
	"github.com/dashflow/dashstream/internal/settings"
)

// line is the line of the text output that begins with the name.
func line(t *testing.T, o outcome, name string) string {
	t.Helper()
	for l := range strings.Lines(o.stdout) {
		if fields := strings.Fields(l); len(fields) > 0 && fields[0] == name {
			return strings.Join(fields, " ")
		}
	}
	t.Errorf("no %s in %s", name, o.stdout)
	return ""
}

func TestConfigText(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"KAFKA_BOOTSTRAP_SERVERS": "a:1,b", "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "plain",
		"KAFKA_SASL_USERNAME": "alice", "KAFKA_SASL_PASSWORD": "hunter2", "KAFKA_GROUP_ID": "",
		"DASHSTREAM_TOPCI": "x",
	}
	o := runCLI(t, env, "config", "--kafka-topic", "events", "--kafka-lag-check-interval-secs=1m")
	o.want(t, ExitOK, "DASHSTREAM_TOPCI", "did you mean DASHSTREAM_TOPIC?", "sends the secret unencrypted")
	for name, want := range map[string]string{
		"KAFKA_BROKERS":                 "KAFKA_BROKERS a:1,b:9092 env KAFKA_BOOTSTRAP_SERVERS",
		"KAFKA_TOPIC":                   "KAFKA_TOPIC events flag --kafka-topic",
		"KAFKA_DLQ_TOPIC":               "KAFKA_DLQ_TOPIC events-dlq derived",
		"KAFKA_SASL_PASSWORD":           "KAFKA_SASL_PASSWORD ****** env KAFKA_SASL_PASSWORD",
		"KAFKA_SECURITY_PROTOCOL":       "KAFKA_SECURITY_PROTOCOL sasl_plaintext env KAFKA_SECURITY_PROTOCOL",
		"KAFKA_LAG_CHECK_INTERVAL_SECS": "KAFKA_LAG_CHECK_INTERVAL_SECS 60 flag --kafka-lag-check-interval-secs",
		"KAFKA_TENANT_ID":               "KAFKA_TENANT_ID default default",
		"DASHSTREAM_LOG_LEVEL":          "DASHSTREAM_LOG_LEVEL info default",
		"DASHSTREAM_TOPICS_PARTITIONS":  "DASHSTREAM_TOPICS_PARTITIONS (that of the profile) default",
	} {
		if got := line(t, o, name); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if strings.Contains(o.stdout+o.stderr, "hunter2") {
		t.Error("the password is shown")
	}
}

func TestConfigJSON(t *testing.T) {
	t.Parallel()
	o := runCLI(t, map[string]string{"KAFKA_TOPIC": "events", "KAFKA_SASL_PASSWORD": "hunter2", "DASHSTREAM_TOPCI": "x"}, "config", "topics", "--output", "json")
	o.want(t, ExitUsage, "KAFKA_SASL_PASSWORD", "does not authenticate")
	var report configReport
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, o.stdout)
	}
	byName := map[string]configSetting{}
	for _, s := range report.Settings {
		byName[s.Name] = s
	}
	if s := byName["KAFKA_TOPIC"]; s.Value != "events" || s.Source != "env" || s.From != "KAFKA_TOPIC" || s.Flag != "--kafka-topic" || len(s.Commands) != 2 {
		t.Errorf("topic: %+v", s)
	}
	if s := byName["KAFKA_SASL_PASSWORD"]; s.Value != settings.Mask || !s.Secret || !strings.Contains(s.Error, "does not authenticate") {
		t.Errorf("password: %+v", s)
	}
	if len(report.Errors) != 1 || report.Errors[0].Name != "KAFKA_SASL_PASSWORD" {
		t.Errorf("errors: %+v", report.Errors)
	}
	if len(report.Unknown) != 1 || report.Unknown[0] != (configUnknown{"DASHSTREAM_TOPCI", "DASHSTREAM_TOPIC"}) {
		t.Errorf("unknown: %+v", report.Unknown)
	}
	if strings.Contains(o.stdout+o.stderr, "hunter2") {
		t.Error("the password is shown")
	}

	// The shape is the same when there is nothing to tell.
	o = runCLI(t, nil, "config", "version", "-o", "json")
	o.want(t, ExitOK)
	for _, want := range []string{`"errors": []`, `"unknown": []`, `"settings": [`, `"commands": []`} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %s in %s", want, o.stdout)
		}
	}
}

// All that is wrong is told at once, and what is right is shown all the same.
func TestConfigTellsAllErrors(t *testing.T) {
	t.Parallel()
	o := runCLI(t, map[string]string{
		"KAFKA_TOPIC": "a/b", "KAFKA_SECURITY_PROTOCOL": "tls", "KAFKA_AUTO_OFFSET_RESET": "oldest",
		"KAFKA_BROKERS": "a:1", "KAFKA_BOOTSTRAP_SERVERS": "b:1", "DASHSTREAM_LOG_LEVEL": "loud",
	}, "config")
	o.want(t, ExitUsage, "KAFKA_TOPIC", "KAFKA_SECURITY_PROTOCOL", "KAFKA_AUTO_OFFSET_RESET", "KAFKA_BROKERS", "DASHSTREAM_LOG_LEVEL", "Try: dashstream config")
	if n := strings.Count(o.stderr, "error: KAFKA_AUTO_OFFSET_RESET"); n != 1 {
		t.Errorf("one mistake is told %d times: %s", n, o.stderr)
	}
	line(t, o, "KAFKA_TENANT_ID")
	// Each bad line shows what was written, where, and what is allowed; the others are not marked.
	for name, want := range map[string]string{
		"KAFKA_SECURITY_PROTOCOL": "KAFKA_SECURITY_PROTOCOL tls env KAFKA_SECURITY_PROTOCOL BAD: not one of plaintext, ssl, sasl_plaintext, sasl_ssl",
		"KAFKA_TOPIC":             "KAFKA_TOPIC a/b env KAFKA_TOPIC BAD: a topic name has only letters, digits, dots, underscores and dashes, not '/'",
		"KAFKA_BROKERS":           "KAFKA_BROKERS a:1 env KAFKA_BROKERS BAD: KAFKA_BOOTSTRAP_SERVERS is another name of this setting",
		"DASHSTREAM_LOG_LEVEL":    "DASHSTREAM_LOG_LEVEL loud env DASHSTREAM_LOG_LEVEL BAD: not one of debug, info, warn, error",
	} {
		if got := line(t, o, name); !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if n := strings.Count(o.stdout, "BAD:"); n < 5 || strings.Contains(line(t, o, "KAFKA_TENANT_ID"), "BAD") || strings.Contains(line(t, o, "KAFKA_DLQ_TOPIC"), "BAD") {
		t.Errorf("%d lines are marked: %s", n, o.stdout)
	}

	// A rule of a command is a matter of settings too, whatever error it comes as.
	o = runCLI(t, map[string]string{"DASHSTREAM_LISTEN": "0.0.0.0:0"}, "config", "gateway")
	o.want(t, ExitUsage, "0.0.0.0:0", "DASHSTREAM_TOKEN")

	o = runCLI(t, map[string]string{"KAFKA_TOPIC": "a/b", "KAFKA_SECURITY_PROTOCOL": "tls"}, "topics", "ensure")
	o.want(t, ExitUsage, `KAFKA_TOPIC="a/b"`, `KAFKA_SECURITY_PROTOCOL="tls"`, "Try: dashstream config")
}

// A file that a client needs is looked at: a deployment that lacks it is found before it runs.
func TestConfigChecksFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"KAFKA_SECURITY_PROTOCOL": "sasl_ssl", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u",
		"KAFKA_SASL_PASSWORD_FILE": empty, "KAFKA_SSL_CA_LOCATION": filepath.Join(dir, "no.pem"),
	}
	o := runCLI(t, env, "config", "tail")
	o.want(t, ExitUsage, "KAFKA_SASL_PASSWORD_FILE=", "is empty", "KAFKA_SSL_CA_LOCATION=", "no.pem", "no such file")
	for name, why := range map[string]string{"KAFKA_SASL_PASSWORD_FILE": "BAD: is empty", "KAFKA_SSL_CA_LOCATION": "BAD: cannot be read"} {
		if got := line(t, o, name); !strings.Contains(got, why) {
			t.Errorf("%s, want %s", got, why)
		}
	}
	// A command that connects says the same, with the same code.
	runCLI(t, env, "tail").want(t, ExitUsage, "KAFKA_SSL_CA_LOCATION=", "no.pem", "Try: dashstream config")
	// One that does not connect needs no such file.
	runCLI(t, env, "config", "version").want(t, ExitOK)

	// Every command tells all of them at once, and so does config, with a mark at each and the name for programs.
	env["DASHSTREAM_TOKEN_FILE"] = filepath.Join(dir, "no-token")
	runCLI(t, env, "topics", "ensure").want(t, ExitUsage, "KAFKA_SASL_PASSWORD_FILE=", "KAFKA_SSL_CA_LOCATION=", "Try: dashstream config")
	for _, args := range [][]string{{"gateway", "--listen", "0.0.0.0:0"}, {"config", "gateway"}} {
		o := runCLI(t, env, args...)
		o.want(t, ExitUsage, "KAFKA_SASL_PASSWORD_FILE=", "KAFKA_SSL_CA_LOCATION=", "DASHSTREAM_TOKEN_FILE=", "no-token", "no such file")
		if n := strings.Count(o.stderr, ": error: "); n != 3 {
			t.Errorf("%v: %d errors for three files: %s", args, n, o.stderr)
		}
		if args[0] == "config" && !strings.Contains(line(t, o, "DASHSTREAM_TOKEN_FILE"), "BAD: cannot be read") {
			t.Errorf("the file is not marked: %s", o.stdout)
		}
	}
	var report configReport
	if err := json.Unmarshal([]byte(runCLI(t, env, "config", "-o", "json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, e := range report.Errors {
		named[e.Name] = true
	}
	if len(report.Errors) != 3 || !named["DASHSTREAM_TOKEN_FILE"] || !named["KAFKA_SASL_PASSWORD_FILE"] || !named["KAFKA_SSL_CA_LOCATION"] {
		t.Errorf("%+v", report.Errors)
	}
}

// A URL pasted whole keeps its password to itself.
func TestConfigHidesPasswordsInAddresses(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		o := runCLI(t, map[string]string{"KAFKA_BROKERS": "kafka://u:hunter2@host:9092", "DASHSTREAM_LISTEN": "http://u:hunter2@host"}, "config", "-o", format)
		o.want(t, ExitUsage, "KAFKA_SASL_PASSWORD_FILE")
		if strings.Contains(o.stdout+o.stderr, "hunter2") || !strings.Contains(o.stdout, "kafka://******@host:9092") {
			t.Errorf("%s %s", o.stdout, o.stderr)
		}
	}
}

var update = flag.Bool("update", false, "write docs/configuration.md instead of comparing it")

// The reference in the documentation is what the program says of itself.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	o := runCLI(t, nil, "config", "--reference")
	o.want(t, ExitOK)
	path := filepath.Join("..", "..", "docs", "configuration.md")
	if *update {
		if err := os.WriteFile(path, []byte(o.stdout), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != o.stdout {
		t.Errorf("docs/configuration.md is stale; run: go test ./internal/cli -run %s -update", t.Name())
	}
	// Both directions: every setting that is read is there, and nothing else is.
	for _, l := range leaves(commandList()) {
		fields, err := settings.Fields(l.command)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			for _, env := range f.Envs {
				if !strings.Contains(string(have), "`"+env+"`") {
					t.Errorf("%s is not documented", env)
				}
			}
		}
	}
}

// Programs with the SDK may share their environment with the commands, so they take none of their variables for misspelt.
func TestSDKKnowsTheVariablesOfCommands(t *testing.T) {
	t.Parallel()
	var names []string
	targets := []any{&root{}}
	for _, l := range leaves(commandList()) {
		targets = append(targets, l.command)
	}
	for _, target := range targets {
		fields, err := settings.Fields(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			names = append(names, f.Envs...)
		}
	}
	if unknown := producersettings.Unknown(names, new(kafkaclient.Default())); len(unknown) > 0 {
		t.Errorf("the SDK would warn of %v", unknown)
	}
}

// What the README exports for a secured cluster is a whole configuration: it only wants the reader's own values.
func TestReadmeConfiguresACluster(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## On your own Kafka")
	_, block, fenced := strings.Cut(section, "```sh\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !fenced || !closed {
		t.Fatal("the README has no such block")
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	env, commands := map[string]string{}, [][]string{}
	for line := range strings.Lines(block) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "export":
			name, value, _ := strings.Cut(fields[1], "=")
			if strings.HasPrefix(value, "/run/secrets/") {
				content := []byte("a-secret-of-some-length\n")
				if strings.HasSuffix(value, ".pem") {
					content = certificate
				}
				value = filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(value, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env[name] = value
		case len(fields) > 1 && fields[0] == "dashstream":
			commands = append(commands, fields[1:])
		case len(fields) > 0:
			t.Errorf("neither an export nor a command: %q", line)
		}
	}
	if len(env) < 6 || len(commands) < 3 {
		t.Fatalf("%v %v", env, commands)
	}
	for _, args := range commands {
		if args[0] == "config" {
			o := runCLI(t, env, args...)
			o.want(t, ExitOK)
			for name := range env {
				if got := line(t, o, name); !strings.HasSuffix(got, "env "+name) {
					t.Errorf("%s has no effect: %s", name, got)
				}
			}
			continue
		}
		names := []string{}
		for name := range env {
			names = append(names, name)
		}
		prog := Program{Args: args, Env: settings.MapEnv(env), EnvNames: names}
		if _, _, err := prog.prepare(); err != nil {
			t.Errorf("dashstream %s: %v", strings.Join(args, " "), err)
		}
		if unknown := prog.unknownVariables(); len(unknown) > 0 {
			t.Errorf("no such settings: %v", unknown)
		}
	}
}
