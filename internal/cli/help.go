package cli

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/dashflow/dashstream/internal/kafkaclient"
	"github.com/dashflow/dashstream/internal/settings"
)

// helpTopicKafka is what "dashstream help" takes besides the commands.
const helpTopicKafka = "kafka"

// helpCommand shows the help of a command, or the Kafka settings that would drown it.
type helpCommand struct {
	Topic []string `arg:"" optional:"" help:"A command, such as: topics ensure; or kafka, for every Kafka setting."`
}

// Run prints the same as --help does.
func (c *helpCommand) Run(ctx context.Context, p *Process) error {
	topic := strings.Join(c.Topic, " ")
	if topic == helpTopicKafka {
		return writeKafkaHelp(p.Stdout)
	}
	names := []string{}
	for _, leaf := range leaves(commandList()) {
		group, _, _ := strings.Cut(leaf.name, " ")
		for _, name := range []string{group, leaf.name} {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if topic != "" && !slices.Contains(names, topic) {
		return usageError(programName+" help", "no command %q; commands: %s; or %s", oneLine(topic, 80), strings.Join(names, ", "), helpTopicKafka)
	}
	prog := p.program
	prog.Args = append(slices.Clone(c.Topic), "--help")
	return prog.run(ctx)
}

// helpOptions are those of every help text.
func helpOptions() kong.HelpOptions {
	return kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true, WrapUpperBound: 120}
}

// printHelp is kong's help with what it leaves out: where the other settings are, and the exit codes.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	selected := ctx.Selected()
	hidden := false
	if selected != nil {
		for _, flags := range selected.AllFlags(false) {
			for _, f := range flags {
				if f.Name == "version" {
					f.Hidden = true // of the program, not of each command
				} else {
					hidden = hidden || f.Hidden
				}
			}
		}
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	var b strings.Builder
	switch {
	case selected == nil:
		b.WriteString("\nExit codes:\n")
		for _, e := range exitCodes {
			fmt.Fprintf(&b, "  %d  %s\n", e.code, e.meaning)
		}
		fmt.Fprintf(&b, "\nRun \"%s help %s\" for the Kafka settings: TLS, SASL, OAuth, AWS, timeouts.\n", programName, helpTopicKafka)
	case hidden:
		fmt.Fprintf(&b, "\nRun \"%s help %s\" for the other Kafka settings: TLS, SASL, OAuth, AWS, timeouts.\n", programName, helpTopicKafka)
	}
	return writeText(ctx.Stdout, b.String())
}

// writeKafkaHelp writes every Kafka setting in the form of the help of a command.
func writeKafkaHelp(w io.Writer) error {
	grammar := &struct {
		Kafka kafkaclient.Settings `embed:""`
	}{kafkaclient.Default()}
	bind, err := bindSettings([]any{grammar})
	if err != nil {
		return err
	}
	options := helpOptions()
	options.NoAppSummary, options.ValueFormatter = true, kong.DefaultHelpValueFormatter
	k, err := kong.New(grammar, kong.Name(programName), kong.Writers(w, w), bind, kong.Description(
		"The Kafka settings of every command that connects to a cluster. Each is a flag or a variable; a flag beats the variable. "+
			"See what takes effect with: "+programName+" config."))
	if err != nil {
		return fmt.Errorf("build the help: %w", err)
	}
	for _, f := range k.Model.Flags {
		f.Hidden = f == k.Model.HelpFlag
	}
	ctx, err := kong.Trace(k, nil)
	if err != nil {
		return fmt.Errorf("build the help: %w", err)
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// helpOf is the help of a flag that is a setting: what it is, what may be written, what it is without, and the variables.
func helpOf(f settings.Field) string {
	allowed, unset := f.Allowed, f.Default
	if f.IsBool() {
		allowed = ""
		if unset == "false" {
			unset = ""
		}
	}
	if unset == "" {
		unset = f.Unset
	}
	return withFacts(f.Help, allowed, unset, "env: "+strings.Join(f.Envs, " or "))
}

// tellFacts brings the help of a flag that is no setting into the same form. Its tags allowed and unset mean what they do
// for a setting.
func tellFacts(flag *kong.Flag) {
	allowed := flag.Tag.Get("allowed")
	if allowed == "" && flag.Enum != "" {
		allowed = strings.ReplaceAll(flag.Enum, ",", ", ")
	}
	if t := flag.Target.Type(); allowed == "" {
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if a, ok := reflect.Zero(t).Interface().(settings.Allower); ok {
			allowed = a.Allowed()
		}
	}
	unset := flag.Tag.Get("unset")
	if unset == "" {
		unset = flag.Default
	}
	flag.Help = withFacts(flag.Help, allowed, unset)
}

func withFacts(help, allowed, unset string, more ...string) string {
	var facts []string
	if allowed != "" {
		facts = append(facts, allowed)
	}
	if unset != "" {
		facts = append(facts, "default: "+unset)
	}
	if facts = append(facts, more...); len(facts) == 0 {
		return help
	}
	return fmt.Sprintf("%s (%s)", help, strings.Join(facts, "; "))
}
