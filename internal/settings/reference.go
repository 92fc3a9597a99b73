package settings

import (
	"fmt"
	"io"
	"strings"
)

// Reference writes the fields as markdown, a table for each group in order of first appearance. Its output depends on
// nothing but the fields.
func Reference(w io.Writer, fields []Field) error {
	var order []string
	groups := map[string][]Field{}
	for _, f := range fields {
		if _, ok := groups[f.Group]; !ok {
			order = append(order, f.Group)
		}
		groups[f.Group] = append(groups[f.Group], f)
	}
	var b strings.Builder
	for i, group := range order {
		if i > 0 {
			b.WriteString("\n")
		}
		if group != "" {
			fmt.Fprintf(&b, "## %s\n\n", group)
		}
		b.WriteString("| Variable | Flag | Default | Meaning | Allowed |\n|---|---|---|---|---|\n")
		for _, f := range groups[group] {
			b.WriteString(f.row())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f Field) row() string {
	variable := code(f.Env())
	if aliases := f.Envs[1:]; len(aliases) > 0 {
		quoted := make([]string, len(aliases))
		for i, a := range aliases {
			quoted[i] = code(a)
		}
		variable += " (alias " + strings.Join(quoted, ", ") + ")"
	}
	flag := ""
	if f.Flag != "" {
		flag = code("--" + f.Flag)
	}
	def := cell(f.Unset)
	if f.Default != "" {
		def = code(f.Default)
	}
	help := f.Help
	if f.Secret {
		help += " Never printed."
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |\n", variable, flag, def, cell(help), cell(f.Allowed))
}

func code(s string) string { return "`" + strings.ReplaceAll(s, "|", "\\|") + "`" }

// cell keeps text from ending its cell or becoming a tag.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "\n", " ").Replace(s)
}
