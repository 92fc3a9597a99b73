package dashstream_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dashflow/dashstream"
	pb "github.com/dashflow/dashstream/dashstreampb"
	"github.com/dashflow/dashstream/internal/jcs"
	"github.com/dashflow/dashstream/internal/testkafka"
	"github.com/dashflow/dashstream/internal/wire"
)

// Secrets are put together here, so that no scanner of this repository takes them for real ones. Each value ends in what
// must not be found.
const needle = "xYzZyPlUgH7391qW"

func secrets() map[string]string {
	return map[string]string{
		"openai":       "sk-proj-" + needle + needle,
		"openai old":   "sk-" + needle + needle,
		"anthropic":    "sk-ant-api03-" + needle + needle,
		"google":       "AIza" + strings.Repeat("a1", 12) + needle,
		"github":       "ghp_" + strings.Repeat("a1", 10) + needle,
		"bearer":       "Authorization: Bearer " + needle,
		"jwt":          "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + needle,
		"url":          "postgres://user:" + needle + "@db.internal/x",
		"query":        "https://api.example.com/?password=" + needle,
		"field":        "password=" + needle,
		"printed":      "{'db_password_prod': SecretStr(b'" + needle + "')}",
		"subscript":    `os.environ["API_KEY"] = "` + needle + `"`,
		"name, value":  `{"value":"` + needle + `","name":"password"}`,
		"header pair":  `[["X-Api-Key","` + needle + `"]]`,
		"tuple":        `('X-Api-Key', '` + needle + `')`,
		"next line":    "password:\n  " + needle,
		"sentence":     "the API key is " + needle,
		"encoded":      "https%3A%2F%2Fuser%3A" + needle + "%40host",
		"dsn":          "user:" + needle + "@tcp(db:3306)/x",
		"xml":          `<add key="ApiKey" value="` + needle + `"/>`,
		"command":      "mysql -u root -p" + needle + " db",
		"json":         `{"a":{"api_key":"` + needle + `"}}`,
		"json in json": `{"a":"{\"client_secret\":\"` + needle + `\"}"}`,
		"pem":          "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n" + needle + "\n-----END PRIVATE KEY-----",
		"pem cut off":  "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQ\n" + needle,
	}
}

// fill sets every field of a message, all that can hold text to secret, also the keys of maps.
func fill(m protoreflect.Message, secret string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case fd.IsMap():
			entries := m.Mutable(fd).Map()
			for n, key := range []string{secret, "plain", "other"} {
				k := protoreflect.ValueOfString(key).MapKey()
				if fd.MapValue().Kind() == protoreflect.MessageKind {
					v := entries.NewValue()
					fillOneof(v.Message(), secret, n, depth+1)
					entries.Set(k, v)
				} else {
					entries.Set(k, leafValue(fd.MapValue(), secret))
				}
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for n := range 2 {
				v := list.NewElement()
				switch fd.Kind() {
				case protoreflect.MessageKind:
					fillOneof(v.Message(), secret, n, depth+1)
				case protoreflect.StringKind, protoreflect.BytesKind:
					v = leafValue(fd, secret)
				}
				list.Append(v)
			}
		case fd.ContainingOneof() != nil:
			// fillOneof chooses.
		case fd.Kind() == protoreflect.MessageKind:
			fill(m.Mutable(fd).Message(), secret, depth+1)
		case fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.BytesKind:
			m.Set(fd, leafValue(fd, secret))
		}
	}
}

// fillOneof fills a message and sets one of its alternatives, another for each n.
func fillOneof(m protoreflect.Message, secret string, n, depth int) {
	fill(m, secret, depth)
	if m.Descriptor().Oneofs().Len() == 0 {
		return
	}
	var choices []protoreflect.FieldDescriptor
	alternatives := m.Descriptor().Oneofs().Get(0).Fields()
	for i := range alternatives.Len() {
		fd := alternatives.Get(i)
		switch fd.Kind() {
		case protoreflect.StringKind, protoreflect.BytesKind:
			choices = append(choices, fd)
		case protoreflect.MessageKind:
			if depth < 8 {
				choices = append(choices, fd)
			}
		}
	}
	fd := choices[(n+depth)%len(choices)]
	if fd.Kind() == protoreflect.MessageKind {
		fill(m.Mutable(fd).Message(), secret, depth+1)
		return
	}
	m.Set(fd, leafValue(fd, secret))
}

func leafValue(fd protoreflect.FieldDescriptor, secret string) protoreflect.Value {
	if fd.Kind() == protoreflect.BytesKind {
		return protoreflect.ValueOfBytes([]byte(secret))
	}
	return protoreflect.ValueOfString(secret)
}

// messageOf returns an empty message of each kind, ready to be filled.
func kinds() map[string]func() *pb.DashStreamMessage {
	out := map[string]func() *pb.DashStreamMessage{}
	alternatives := (&pb.DashStreamMessage{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range alternatives.Len() {
		fd := alternatives.Get(i)
		out[string(fd.Name())] = func() *pb.DashStreamMessage {
			m := &pb.DashStreamMessage{}
			m.ProtoReflect().Mutable(fd)
			return m
		}
	}
	return out
}

// SEC-02: no secret is left in anything that leaves, wherever it stood.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	sent := 0
	for _, secret := range secrets() {
		for name, build := range kinds() {
			m := build()
			m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				fill(v.Message(), secret, 0)
				return true
			})
			if err := p.Send(m); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			sent++
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	if len(records) < sent {
		t.Errorf("%d records of %d messages", len(records), sent)
	}
	for _, r := range records {
		wantNoSecret(t, r)
	}
	checkAccounts(t, p)
}

func wantNoSecret(t *testing.T, r record) {
	t.Helper()
	plain, err := proto.Marshal(r.msg)
	if err != nil {
		t.Fatal(err)
	}
	all := string(plain) + r.key
	for k, v := range r.headers {
		all += k + v
	}
	// Parts of the secret, too: a cut must not leave half of it.
	for i := 0; i+8 <= len(needle); i += 4 {
		if strings.Contains(all, needle[i:i+8]) {
			t.Errorf("a secret is left in %.2000v", r.msg)
			return
		}
	}
}

// The same for what goes through the methods of a run.
func TestNoSecretLeavesARun(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithCheckpointEvery(1), dashstream.WithTraceContext(nil))
	for name, secret := range secrets() {
		t.Run(name, func(t *testing.T) {
			run := p.StartRun(t.Context(), dashstream.RunSpec{
				ThreadID: secret,
				Graph: dashstream.Graph{
					Name: secret, Manifest: map[string]any{secret: secret}, Schema: `{"x":` + mustQuote(secret) + `}`, SchemaID: secret, EntryPoint: secret,
				},
				InitialState: map[string]any{"s": secret, secret: []string{secret}},
				Attrs:        []slog.Attr{slog.String("note", secret), slog.Any("deep", map[string]any{"a": []any{secret}}), slog.Any("bytes", []byte(secret)), slog.Group("g", slog.String("k", secret))},
			})
			err := errors.New(secret)
			n := run.Node(secret, slog.Any("error", err))
			n.Progress(secret, 1)
			n.Thinking(secret, 1)
			n.Substep(secret, secret)
			n.Warning(secret)
			l := n.LLM(secret, secret)
			l.Token(secret)
			l.Retry(1, err)
			l.End(dashstream.Usage{PromptTokens: 1, FinishReason: secret})
			n.LLM("m", "p").Fail(err)
			tool := n.Tool(secret, map[string]any{"q": secret})
			tool.Retry(err)
			tool.End(secret)
			n.Tool("t", nil).Fail(err)
			run.State(map[string]any{"s": []any{1, secret}})
			run.Checkpoint(map[string]any{"s": map[string]any{"password": needle, "n": 5}})
			run.Edge(secret, secret)
			run.Branch(secret, secret, secret)
			run.Parallel(secret, secret, "b").End()
			run.Interrupt(secret, secret)
			run.Resume(secret, secret)
			run.Quality(dashstream.Quality{Model: secret, QueryID: secret, Tags: map[string]string{secret: secret, "token": needle}})
			run.Error(err, dashstream.ErrorInfo{Code: secret, StackTrace: secret, Context: map[string]string{"authorization": needle}, Suggestions: []string{secret}})
			n.End(err)
			run.End(&err)
		})
	}
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		wantNoSecret(t, r)
	}
}

func mustQuote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// What has no secret arrives as it is, whatever it is.
func TestRedactionChangesNothingElse(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	const harmless = `{"note": "Tokens: 12, keys are on the table", "n": 9007199254740993, "f": 1.50}`
	want := map[string]*pb.DashStreamMessage{}
	for name, build := range kinds() {
		if name == "event_batch" {
			continue
		}
		m := build()
		m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			fill(v.Message(), harmless, 0)
			return true
		})
		h := wire.HeaderOf(m)
		h.ThreadId, h.TenantId, h.MessageId, h.ParentId, h.TimestampUs = name, "tenant", bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16), 1234567
		if e := m.GetToolExecution(); e != nil {
			e.ErrorDetails.Header = nil
		}
		if d := m.GetStateDiff(); d != nil {
			d.BaseCheckpointId, d.StateHash = bytes.Repeat([]byte{3}, 64), bytes.Repeat([]byte{4}, 32)
		}
		if cp := m.GetCheckpoint(); cp != nil {
			cp.CheckpointId, cp.Checksum = bytes.Repeat([]byte{3}, 16), bytes.Repeat([]byte{4}, 32)
		}
		if tr := m.GetExecutionTrace(); tr != nil {
			tr.ThreadId = name
		}
		before := proto.CloneOf(m)
		if err := p.Send(m); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(before, m) {
			t.Errorf("%s: Send changed the caller's message", name)
		}
		h.Sequence, h.Type, h.SchemaVersion = 1, wire.KindOf(m), 1
		want[name] = m
	}
	flush(t, p)
	for _, r := range readAll(t, c, topic) {
		r.header().Compression = 0
		if w := want[r.header().ThreadId]; !proto.Equal(w, r.msg) {
			t.Errorf("%s became\n%v\nfrom\n%v", r.header().ThreadId, r.msg, w)
		}
	}
}

func TestRedactionOff(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	for i, opt := range []dashstream.Option{
		dashstream.WithRedaction(false),
		dashstream.FromLookup(func(name string) (string, bool) {
			return map[string]string{"DASHFLOW_STATE_REDACT": "off", "KAFKA_BROKERS": strings.Join(c.Brokers(), ","), "KAFKA_TOPIC": topic}[name], name != ""
		}),
	} {
		p := newProducer(t, c, topic, opt)
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint("t", i), InitialState: map[string]string{"password": needle}})
		run.Edge("password="+needle, "b")
		flush(t, p)
		v := replicate(t, readAll(t, c, topic), fmt.Sprint("t", i))
		v.wants(t, map[string]string{"password": needle})
	}
}

func TestRedactionByTheCaller(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic, dashstream.WithRedactionPatterns(regexp.MustCompile(`ACME-\d+`)), dashstream.WithRedactionNames("ssn"))
	run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: "ACME-1", InitialState: map[string]any{"user_ssn": 123456789, "a": "see ACME-77."}})
	run.Edge("ACME-12", "b")
	flush(t, p)
	records := readAll(t, c, topic)
	for _, r := range records {
		if plain, _ := proto.Marshal(r.msg); bytes.Contains(plain, []byte("ACME-")) || bytes.Contains(plain, []byte("123456789")) {
			t.Errorf("left: %v", r.msg)
		}
	}
	replicate(t, records, records[0].key).wants(t, map[string]any{"user_ssn": "[REDACTED]", "a": "see [REDACTED]."})
}

// H-31: the id of a thread that cannot be sent is the same digest everywhere, and differs for different ids.
func TestThreadIDsThatCannotBeSent(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 3)
	long := strings.Repeat("é", 500_000)
	ids := []string{"ghp_" + strings.Repeat("a1", 10) + needle, "\xff\xfe", long, long + "x", strings.Repeat("x", 257), strings.Repeat("x", 256), "日本", "ordinary"}
	want := map[string]string{}
	for _, id := range ids {
		sum := sha256.Sum256([]byte(id))
		want[id] = "sha256-" + hex.EncodeToString(sum[:])
	}
	for _, id := range ids[5:] {
		want[id] = id
	}
	for range 2 {
		p := newProducer(t, c, topic)
		for _, id := range ids {
			run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: id})
			if run.ThreadID() != want[id] {
				t.Errorf("%.50q is sent as %.100q, want %.100q", id, run.ThreadID(), want[id])
			}
			if err := p.Send(&pb.DashStreamMessage{Message: &pb.DashStreamMessage_Event{Event: &pb.Event{Header: &pb.Header{ThreadId: id}}}}); err != nil {
				t.Error(err)
			}
		}
		flush(t, p)
	}
	records := readAll(t, c, topic)
	count := map[string]int{}
	for _, r := range records {
		count[r.key]++
	}
	for _, id := range ids {
		if count[want[id]] != 4 {
			t.Errorf("%d records of %.50q, want 4", count[want[id]], id)
		}
	}
}

// A secret in the chunks of a model's answer is found although it comes in pieces; all other text arrives whole.
func TestSecretsInPieces(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	key := "sk-ant-api03-" + strings.Repeat("aB3", 20) + needle
	pem := "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n" + needle + "\nAAAA\n-----END PRIVATE KEY-----"
	for size := 1; size < 12; size++ {
		run := p.StartRun(t.Context(), dashstream.RunSpec{ThreadID: fmt.Sprint("t", size)})
		l := run.Node("n").LLM("m", "p")
		text := "The key is " + key + ", and this one:\n" + pem + "\nUse it well: a_b-c/d 12+3=15 and password=" + needle
		for len(text) > 0 {
			n := min(size, len(text))
			l.Token(text[:n])
			text = text[n:]
		}
		l.End(dashstream.Usage{})
	}
	flush(t, p)
	got := map[string]string{}
	final := map[string]bool{}
	for _, r := range readAll(t, c, topic) {
		wantNoSecret(t, r)
		if k := r.msg.GetTokenChunk(); k != nil {
			got[r.key] += k.Text
			final[r.key] = k.IsFinal
		}
	}
	for thread, text := range got {
		if want := "The key is [REDACTED], and this one:\n[REDACTED]\nUse it well: a_b-c/d 12+3=15 and password=[REDACTED]"; text != want {
			t.Errorf("%s: %q, want %q", thread, text, want)
		}
		if !final[thread] {
			t.Errorf("%s: the last chunk is not final", thread)
		}
	}
}

// A state that a caller compressed is searched as well, and a hash never belongs to another state than that beside it.
func TestSecretsInStateOfTheCaller(t *testing.T) {
	t.Parallel()
	c := testkafka.Start(t, testkafka.Options{})
	topic := c.Topic(t, 1)
	p := newProducer(t, c, topic)
	state := []byte(`{"password":"` + needle + `","n":1}`)
	packed, err := wire.Compress(nil, state)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(state)
	h := func() *pb.Header { return &pb.Header{ThreadId: "t"} }
	for _, m := range []*pb.DashStreamMessage{
		{Message: &pb.DashStreamMessage_Checkpoint{Checkpoint: &pb.Checkpoint{
			Header: h(), State: packed, Checksum: sum[:], Metadata: map[string]string{"hash": "jcs"},
			CompressionInfo: &pb.CompressionInfo{Type: pb.CompressionType_COMPRESSION_ZSTD, CompressedSize: uint64(len(packed)), UncompressedSize: uint64(len(state))},
		}}},
		{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{Header: h(), FullState: state, StateHash: sum[:]}}},
		{Message: &pb.DashStreamMessage_StateDiff{StateDiff: &pb.StateDiff{Header: h(), StateHash: sum[:], Operations: []*pb.DiffOperation{
			{Path: "/config/api_key", Value: []byte(`"` + needle + `"`)}, {Path: "/credentials/a/b", Value: []byte(`["` + needle + `"]`)},
		}}}},
	} {
		if err := p.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, p)
	records := readAll(t, c, topic)
	for _, r := range records {
		wantNoSecret(t, r)
	}
	const clean = `{"password":"[REDACTED]","n":1}`
	cp := records[0].msg.GetCheckpoint()
	if got, err := wire.CheckpointState(cp, 1<<20); err != nil || string(got) != clean || !bytes.Equal(cp.Checksum, sum256(clean)) || cp.Metadata["hash"] != "" {
		t.Errorf("checkpoint %v: %s, %v", cp, got, err)
	}
	doc, _ := jcs.Canonicalize([]byte(clean))
	d := records[1].msg.GetStateDiff()
	if string(d.FullState) != clean || !bytes.Equal(d.StateHash, sum256(string(doc.JSON))) {
		t.Errorf("diff %v", d)
	}
	if d := records[2].msg.GetStateDiff(); len(d.StateHash) != 0 {
		t.Errorf("a diff whose result is not known has the hash %x", d.StateHash)
	}
}

func sum256(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// Invariants: whatever a caller sends, Send does not panic, what arrives decodes, and the accounts add up.
func FuzzSend(f *testing.F) {
	for _, build := range kinds() {
		m := build()
		m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			fill(v.Message(), "password=x", 0)
			return true
		})
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	c := testkafka.Start(f, testkafka.Options{})
	topic := c.Topic(f, 1)
	p := newProducer(f, c, topic, dashstream.WithLinger(0), dashstream.WithFlushTimeout(time.Minute))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &pb.DashStreamMessage{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		_ = p.Send(m)
		checkAccounts(t, p)
	})
	f.Cleanup(func() {
		_ = p.Flush(context.Background())
		checkAccounts(f, p)
		if n := p.Stats().Total().Dropped[dashstream.DropInvalid]; n > 0 {
			f.Logf("%d messages were refused", n)
		}
	})
}
