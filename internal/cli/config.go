package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// configCommand shows what settings the commands would run with here. It takes the Kafka flags, so that a command line
// can be tried out.
type configCommand struct {
	Command []string             `arg:"" optional:"" help:"Show only the settings of this command, such as: gateway."`
	Kafka   kafkaclient.Settings `embed:""`

	Reference bool `help:"Print the reference of all settings, in Markdown, instead of their values."`
	Output
}

func newConfigCommand() *configCommand { return &configCommand{Kafka: kafkaclient.Default()} }

func (c *configCommand) showsBadSettings() {}

// configReport is the contract of --output json.
type configReport struct {
	Settings []configSetting `json:"settings"`
	Errors   []configError   `json:"errors"`
	Unknown  []configUnknown `json:"unknown"`
}

type configSetting struct {
	Name     string   `json:"name"`
	Flag     string   `json:"flag"` // with dashes; empty when there is none
	Value    string   `json:"value"`
	Source   string   `json:"source"` // flag, env, default, derived
	From     string   `json:"from"`   // the flag or variable; empty for a default
	Secret   bool     `json:"secret"`
	Commands []string `json:"commands"`
	Error    string   `json:"error"` // why the value cannot be used, and what is allowed; empty when it can

	group, unset string
}

type configError struct {
	Message string `json:"message"`
	Name    string `json:"name"` // empty when it is not about one setting
}

type configUnknown struct {
	Name    string `json:"name"`
	Nearest string `json:"nearest"`
}

// Run prints the settings and then fails if any is bad, so that it can check a deployment.
func (c *configCommand) Run(_ context.Context, p *Process) error {
	if c.Reference && len(c.Command) > 0 {
		return usageError(programName+" config --help", "--reference is of all settings, not of one command: leave out %q, or --reference", strings.Join(c.Command, " "))
	}
	if c.Reference {
		return writeReference(p.Stdout)
	}
	report, errs, err := c.report(p)
	if err != nil {
		return err
	}
	if c.JSON() {
		err = writeJSON(p.Stdout, report)
	} else {
		err = writeConfig(p, report)
	}
	return errors.Join(err, badSettings(errors.Join(errs...)))
}

func (c *configCommand) report(p *Process) (configReport, []error, error) {
	report := configReport{Settings: []configSetting{}, Errors: []configError{}, Unknown: []configUnknown{}}
	wanted := strings.Join(c.Command, " ")
	var errs []error
	found := false
	tell := func(err error) {
		for _, e := range unjoin(err) {
			if e == nil || slices.ContainsFunc(report.Errors, func(seen configError) bool { return seen.Message == e.Error() }) {
				continue
			}
			entry := configError{Message: e.Error()}
			if one := settings.Errors(e); len(one) == 1 {
				entry.Name = one[0].Name
			}
			report.Errors = append(report.Errors, entry)
			errs = append(errs, e)
		}
	}
	add := func(name string, command any) {
		values, err := settings.Load(command, settings.Source{Env: p.program.Env, Flags: p.flags})
		files := settings.CheckFiles(command, values)
		for _, v := range values {
			report.add(name, v)
		}
		tell(errors.Join(append(files, err)...))
	}
	if wanted == "" {
		for _, s := range sharedSettings() {
			add("", s)
		}
	}
	var names []string
	for _, leaf := range leaves(commandList()) {
		names = append(names, leaf.name)
		if wanted == "" || leaf.name == wanted || strings.HasPrefix(leaf.name, wanted+" ") {
			found = true
			add(leaf.name, leaf.command)
		}
	}
	if !found {
		return report, nil, usageError(programName+" config", "no command %q; commands: %s", wanted, strings.Join(names, ", "))
	}
	add("", &root{Logging: defaultLogSettings()})
	for _, u := range p.program.unknownVariables() {
		report.Unknown = append(report.Unknown, configUnknown(u))
	}
	return report, errs, nil
}

// add merges a setting that several commands have with the same value; no command name means all.
func (r *configReport) add(command string, v settings.Value) {
	s := configSetting{
		Name: v.Field.Env(), Value: v.Text, Source: string(v.Origin), From: v.Name, Secret: v.Field.Secret,
		Commands: []string{}, group: v.Field.Group, unset: v.Field.Unset,
	}
	if v.Field.Flag != "" {
		s.Flag = "--" + v.Field.Flag
	}
	if v.Err != nil {
		s.Error = v.Err.Why()
	}
	for i, have := range r.Settings {
		if have.Name == s.Name && have.Flag == s.Flag && have.Value == s.Value && have.Source == s.Source && have.Error == s.Error {
			if command != "" {
				r.Settings[i].Commands = append(have.Commands, command)
			}
			return
		}
	}
	if command != "" {
		s.Commands = []string{command}
	}
	r.Settings = append(r.Settings, s)
}

func writeConfig(p *Process, report configReport) error {
	var t table
	var groups []string
	for _, s := range report.Settings {
		if !slices.Contains(groups, s.group) {
			groups = append(groups, s.group)
		}
	}
	repeated := map[string]int{}
	for _, s := range report.Settings {
		repeated[s.Name]++
	}
	for i, group := range groups {
		if i > 0 {
			t.row()
		}
		t.row("# " + group)
		for _, s := range report.Settings {
			if s.group != group {
				continue
			}
			source := s.Source
			if s.From != "" {
				source += " " + s.From
			}
			// One variable may have several defaults; then it must be told whose is which.
			if repeated[s.Name] > 1 {
				source += " (" + strings.Join(s.Commands, ", ") + ")"
			}
			if s.Error != "" {
				source += "  BAD: " + oneLine(s.Error, 300)
			}
			t.row(s.Name, shownValue(s), source)
		}
	}
	if err := t.write(p.Stdout); err != nil {
		return err
	}
	for _, u := range report.Unknown {
		hint := ""
		if u.Nearest != "" {
			hint = fmt.Sprintf("; did you mean %s?", u.Nearest)
		}
		say(p.Stderr, "%s: warning: %s is set, but no setting has this name%s", programName, u.Name, hint)
	}
	for _, w := range kafkaWarnings(p) {
		say(p.Stderr, "%s: warning: %s", programName, w)
	}
	return nil
}

// kafkaWarnings says what is allowed but unwise in the Kafka settings; bad ones are said elsewhere.
func kafkaWarnings(p *Process) []string {
	kafka, ok := kafkaSettings(p)
	if !ok {
		return nil
	}
	return kafka.Warnings()
}

// kafkaSettings are those that every command with a client would have here, when they can be used.
func kafkaSettings(p *Process) (s kafkaclient.Settings, ok bool) {
	s = kafkaclient.Default()
	_, err := settings.Load(&s, settings.Source{Env: p.program.Env, Flags: p.flags})
	return s, err == nil
}

// shownValue makes an empty value visible and keeps any other on its line.
func shownValue(s configSetting) string {
	switch {
	case s.Value != "":
		const shown = 200
		return oneLine(s.Value, shown)
	case s.unset != "":
		return "(" + s.unset + ")"
	default:
		return "-"
	}
}
