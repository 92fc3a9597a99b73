package security

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests find into docs/security.md")

const page = "../../docs/security.md"

// explanation is the likely cause and what to do about it.
type explanation struct{ cause, fix string }

var explained = regexp.MustCompile(`\(likely cause: (.*?); to do: (.*?)\)(?:[";\n]|$)`)

// explanation finds it in what was said.
func (o outcome) explanation() explanation {
	if o.told != nil {
		return *o.told
	}
	found := explained.FindStringSubmatch(o.text)
	if found == nil {
		return explanation{}
	}
	unquote := strings.NewReplacer(`\"`, `"`)
	return explanation{unquote.Replace(found[1]), unquote.Replace(found[2])}
}

var (
	moment   = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)`)
	loopback = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)
	tempFile = regexp.MustCompile(`/[^ ,)"]*/([a-z]+\.(?:pem|key))`)
)

// shown is the outcome as the page has it.
func (o outcome) shown(b *broker, settings env) result {
	told := o.explanation()
	return result{o.how, explanation{leveled(b, settings, told.cause), leveled(b, settings, told.fix)}}
}

// leveled is a text without what differs from run to run.
func leveled(b *broker, settings env, text string) string {
	text = strings.ReplaceAll(text, settings["KAFKA_TOPIC"], "dashstream-quality")
	if user := settings["KAFKA_SASL_USERNAME"]; user != "" {
		text = strings.ReplaceAll(text, `"`+user+`"`, `"NAME"`)
	}
	text = moment.ReplaceAllString(text, "TIME")
	text = tempFile.ReplaceAllString(text, "/path/$1")
	text = strings.ReplaceAll(text, b.idp.URL, "https://idp.example/token")
	text = strings.ReplaceAll(text, settings["KAFKA_BROKERS"], "kafka.example:9092")
	return loopback.ReplaceAllString(text, "kafka.example:$1")
}

// result is what one of the four was told.
type result struct {
	how string
	explanation
}

// findings are what the page shows.
type findings struct {
	ways     []string
	mistakes []mistakeFound
	acls     []aclFound
	refusals [][2]string // mistake, what is said
}

type aclFound struct {
	aclCase
	without []result // as in aclCase
}

type mistakeFound struct {
	name string
	by   []result // as in actors
}

// row is where the results for a mistake go.
func (f *findings) row(name string) []result {
	f.mistakes = append(f.mistakes, mistakeFound{name, make([]result, len(actors))})
	return f.mistakes[len(f.mistakes)-1].by
}

func (f *findings) waysTable() string {
	var b strings.Builder
	b.WriteString(header("Protocol and mechanism"))
	for _, name := range f.ways {
		fmt.Fprintf(&b, "| %s |%s\n", name, strings.Repeat(" works |", len(actors)))
	}
	return b.String()
}

func header(first string, more ...string) string {
	cells := []string{first}
	for _, a := range actors {
		cells = append(cells, a.name)
	}
	cells = append(cells, more...)
	return "| " + strings.Join(cells, " | ") + " |\n|" + strings.Repeat("---|", len(cells)) + "\n"
}

// mistakesTable has a line for each mistake, and one more where not all are told the same.
func (f *findings) mistakesTable() string {
	var b strings.Builder
	b.WriteString(header("Mistake", "Likely cause, as it is told", "To do, as it is told"))
	for _, m := range f.mistakes {
		shown := map[explanation]bool{}
		name := m.name
		for _, r := range m.by {
			if shown[r.explanation] {
				continue
			}
			shown[r.explanation] = true
			cells := []string{name}
			for _, other := range m.by {
				how := ""
				if other.explanation == r.explanation {
					how = other.how
				}
				cells = append(cells, how)
			}
			cells = append(cells, cell(r.cause), cell(r.fix))
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
			name = ""
		}
	}
	return b.String()
}

func (f *findings) refusalTable() string {
	var b strings.Builder
	b.WriteString("| Mistake | What is said |\n|---|---|\n")
	for _, r := range f.refusals {
		fmt.Fprintf(&b, "| %s | %s |\n", r[0], cell(r[1]))
	}
	return b.String()
}

// aclTable is, for each case, the command that allows it and what is said without a part.
func (f *findings) aclTable() string {
	const program = "kafka-acls.sh --bootstrap-server kafka.example:9092 --command-config admin.properties"
	var b strings.Builder
	b.WriteString("```sh\n")
	for _, c := range f.acls {
		fmt.Fprintf(&b, "# %s\n%s %s\n", c.name, program, strings.Join(c.command("User:NAME", "dashstream-quality"), " "))
	}
	b.WriteString("```\n\n| Who | Without | How it ends | What is said | To do, as it is told |\n|---|---|---|---|---|\n")
	for _, c := range f.acls {
		for i, d := range c.aclCase.without {
			without := "`" + d.operation + "`"
			if d.instead != "" {
				without += ", with `" + d.instead + "`"
			}
			r := c.without[i]
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.name, without, r.how, cell(r.cause), cell(r.fix))
		}
	}
	return b.String()
}

// cell keeps a text from being read as markup.
func cell(text string) string {
	return strings.NewReplacer("\n", "<br>", "|", `\|`, "<", "&lt;", ">", "&gt;", "_*", `_\*`).Replace(text)
}

// compare puts the findings into the page, or fails where they are not what it says.
func (f *findings) compare(t *testing.T) {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for name, part := range map[string]string{"ways": f.waysTable(), "mistakes": f.mistakesTable(), "acls": f.aclTable(), "refusals": f.refusalTable()} {
		begin, end := "<!-- "+name+": written by e2e/security -->\n", "<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no part %q", page, name)
		}
		text = before + begin + "\n" + part + "\n" + end + after
	}
	if text == string(raw) {
		return
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what the tests find. Run them with -update, and look at what changed:\n%s", page, difference(string(raw), text))
}

// difference lists the lines that only one of the texts has.
func difference(was, is string) string {
	var b strings.Builder
	for _, side := range []struct{ mark, of, not string }{{"- ", was, is}, {"+ ", is, was}} {
		for line := range strings.Lines(side.of) {
			if !strings.Contains(side.not, line) {
				b.WriteString(side.mark + line)
			}
		}
	}
	return b.String()
}
