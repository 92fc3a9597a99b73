package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/dashflow/dashstream/internal/settings"
)

const (
	programName = "dashstream"
	description = "DashStream carries what AI agents do, live, through Kafka to the people who need to see it."
)

// command is what a command of the tree implements.
type command interface {
	Run(ctx context.Context, p *Process) error
}

// commandList is every command, with the defaults of its settings. It makes new ones each time, so that two runs in one
// process share nothing.
func commandList() []entry {
	return []entry{
		{"up", "Run everything in one process, on an embedded broker.", newUpCommand()},
		{"gateway", "Serve a topic of your cluster to browsers and other clients.", newGatewayCommand()},
		{"exporter", "Turn a topic of your cluster into Prometheus metrics, as a member of a group.", newExporterCommand()},
		{"tail", "Print the log as it grows; joins no group, commits nothing.", newTailCommand()},
		{"demo", "Send runs of simulated agents to a topic of your cluster.", newDemoCommand()},
		{"topics", "Create, check and describe the topics.", newTopicsCommand()},
		{"config", "Show the effective settings and where each comes from.", newConfigCommand()},
		{"version", "Show which build this is.", &versionCommand{}},
		{"help", "Show the help of a command, or the Kafka settings.", &helpCommand{}},
	}
}

type entry struct {
	name, help string
	command    any // a pointer to a struct: a command, or a group with commands in fields tagged cmd
}

// Process is what a command gets from the program around it.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Log            *slog.Logger // to Stderr

	program Program
	flags   map[string]string // settings given as flags
}

// Program is one run of the command line.
type Program struct {
	Args []string // without the program's name
	Env  settings.Lookup
	// EnvNames are the names of all variables, to find misspelt ones under our prefix. Nil looks for none.
	EnvNames       []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Hangup has SIGHUP told instead of ending the process, for a command that does something at one; nil tells of none.
	Hangup func() <-chan os.Signal
}

// Run runs one command line and returns the exit code. It reads no state of the process and ends no process, so tests
// and other programs may call it at will. It returns soon after ctx ends.
func Run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	return Program{Args: args, Env: env, Stdin: stdin, Stdout: stdout, Stderr: stderr}.Run(ctx)
}

// env looks up a variable; without an environment there is none.
func (prog Program) env(name string) (string, bool) {
	if prog.Env == nil {
		return "", false
	}
	return prog.Env(name)
}

// Run is the function Run with all that a program can give.
func (prog Program) Run(ctx context.Context) int {
	err := prog.run(ctx)
	switch {
	case err == nil:
		return ExitOK
	case interrupted(ctx, err):
		say(prog.Stderr, "%s: interrupted", programName)
		return ExitFailure
	}
	prog.printError(err)
	return exitCode(err)
}

func (prog Program) printError(err error) {
	for _, e := range unjoin(err) {
		for line := range strings.SplitSeq(e.Error(), "\n") {
			say(prog.Stderr, "%s: error: %s", programName, line)
		}
	}
	if coded, ok := errors.AsType[*codedError](err); ok && coded.try != "" {
		say(prog.Stderr, "Try: %s", coded.try)
	} else if len(settings.Errors(err)) > 0 {
		say(prog.Stderr, "Try: %s config", programName)
	}
}

// unjoin gives each error of errors.Join a line of its own.
func unjoin(err error) []error {
	switch e := err.(type) { //nolint:errorlint // only the outermost error is asked.
	case *codedError:
		return unjoin(e.err)
	case interface{ Unwrap() []error }:
		var out []error
		text := ""
		for _, inner := range e.Unwrap() {
			out = append(out, unjoin(inner)...)
			text += inner.Error() + "\n"
		}
		// An error that wraps several in a sentence of its own is one error.
		if text == err.Error()+"\n" {
			return out
		}
	}
	return []error{err}
}

// root holds the flags that every command has.
type root struct {
	Version versionFlag `name:"version" help:"Show which build this is, and end."`
	Logging logSettings `embed:""`
}

func (prog Program) run(ctx context.Context) error {
	cmd, p, err := prog.prepare()
	if err != nil || cmd == nil {
		return err
	}
	var unknown []settings.UnknownVariable
	if _, shows := cmd.(showsBadSettings); !shows {
		unknown = prog.unknownVariables()
	}
	for _, u := range unknown {
		p.Log.Warn("no setting has the name of this variable", "name", u.Name, "nearest", u.Nearest)
	}
	return cmd.Run(ctx, p)
}

// prepare does everything up to the command itself. There is no command when help was asked for.
func (prog Program) prepare() (command, *Process, error) {
	g := &root{Logging: defaultLogSettings()}
	entries := commandList()
	parser, helped, err := prog.parser(g, entries)
	if err != nil {
		return nil, nil, fmt.Errorf("build the command line: %w", err)
	}
	if len(prog.Args) == 0 {
		parser.Stdout = prog.Stderr
		_, _ = parser.Parse([]string{"--help"}) // prints; the usage error below is what counts
		return nil, nil, usageError("", "no command given")
	}
	parsed, err := parser.Parse(attachNegatives(prog.Args))
	if *helped {
		return nil, nil, nil // help or version was asked for, and is out
	}
	if err != nil {
		return nil, nil, parseError(parser.Model.Node, err)
	}
	selected := parsed.Selected()
	target := selected.Target.Addr().Interface()
	cmd, ok := target.(command)
	if !ok {
		return nil, nil, usageError(selected.FullPath()+" --help", "%s needs a command", selected.FullPath())
	}
	source := settings.Source{Env: prog.Env, Flags: givenFlags(parsed)}
	_, errRoot := settings.Load(g, source)
	if _, tolerant := cmd.(showsBadSettings); tolerant {
		_, _ = settings.Load(target, source)
	} else {
		values, errCommand := settings.Load(target, source)
		files := settings.CheckFiles(target, values)
		if err := badSettings(errors.Join(append([]error{errRoot, errCommand}, files...)...)); err != nil {
			return nil, nil, err
		}
	}
	return cmd, &Process{
		Stdin: prog.Stdin, Stdout: prog.Stdout, Stderr: prog.Stderr, Log: g.Logging.logger(prog.Stderr), program: prog, flags: source.Flags,
	}, nil
}

// negative matches what the parser would take for flags: a number below zero, and a cursor, whose stream id may begin with a dash.
var negative = regexp.MustCompile(`^-(\.?[0-9]|[A-Za-z0-9_-]{15}:)`)

// attachNegatives attaches a value that begins with a dash to the flag before it, so that it is one, or what is said of it is
// what is allowed there.
func attachNegatives(args []string) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			return append(out, args[i:]...)
		}
		if last := len(out) - 1; last >= 0 && negative.MatchString(arg) && strings.HasPrefix(out[last], "-") && !strings.Contains(out[last], "=") {
			if strings.HasPrefix(out[last], "--") {
				out[last] += "="
			}
			out[last] += arg
			continue
		}
		out = append(out, arg)
	}
	return out
}

// showsBadSettings marks the command that runs with bad settings, to show them.
type showsBadSettings interface{ showsBadSettings() }

// parser builds the command line. helped is set when the user asked for help and got it.
func (prog Program) parser(g *root, entries []entry) (parser *kong.Kong, helped *bool, err error) {
	helped = new(bool)
	options := []kong.Option{
		kong.Name(programName),
		kong.Description(description),
		kong.Writers(prog.Stdout, prog.Stderr),
		kong.Exit(func(int) { *helped = true }),
		kong.ConfigureHelp(helpOptions()),
		kong.Help(printHelp),
	}
	for _, e := range entries {
		options = append(options, kong.DynamicCommand(e.name, e.help, "", e.command))
	}
	structs := []any{g}
	for _, leaf := range leaves(entries) {
		structs = append(structs, leaf.command)
	}
	bind, err := bindSettings(structs)
	if err != nil {
		return nil, nil, err
	}
	parser, err = kong.New(g, append(options, bind)...)
	return parser, helped, err
}

// parseError turns an error of the parser into a usage error with the help of the command that was meant.
func parseError(app *kong.Node, err error) error {
	node := app
	if p, ok := errors.AsType[*kong.ParseError](err); ok && p.Context != nil {
		if selected := p.Context.Selected(); selected != nil {
			node = selected
		}
	}
	text := err.Error()
	if strings.HasPrefix(text, "unexpected argument") && len(node.Children) > 0 {
		var names []string
		for _, child := range node.Children {
			names = append(names, child.Name)
		}
		text += "; commands: " + strings.Join(names, ", ")
	}
	return usageError(node.FullPath()+" --help", "%s", oneLine(text, 1000))
}

// unknownVariables are those under our prefix that no command reads.
func (prog Program) unknownVariables() []settings.UnknownVariable {
	if prog.EnvNames == nil {
		return nil
	}
	known := []string{}
	for _, leaf := range leaves(commandList()) {
		fields, err := settings.Fields(leaf.command)
		if err != nil {
			continue // a test refuses such a command; there is nothing to say to a user about it
		}
		for _, f := range fields {
			known = append(known, f.Envs...)
		}
	}
	if fields, err := settings.Fields(&root{}); err == nil {
		for _, f := range fields {
			known = append(known, f.Envs...)
		}
	}
	return settings.Unknown(prog.EnvNames, known)
}
