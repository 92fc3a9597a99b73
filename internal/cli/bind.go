package cli

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/dashflow/dashstream/internal/settings"
)

// A setting is declared once, by its field. The parser of the command line only learns its flag and collects the text
// that was given: it would otherwise overwrite the default, read variables by rules of its own, and stop at the first
// bad value. settings.Load does the rest.

// bindSettings makes the parser collect the settings of the structs as text, and tell their defaults and variables in
// the help.
func bindSettings(structs []any) (kong.Option, error) {
	byTarget := map[any]settings.Field{}
	for _, s := range structs {
		fields, err := settings.Fields(s)
		if err != nil {
			return nil, err
		}
		for _, f := range fields {
			byTarget[f.Target()] = f
		}
	}
	return kong.PostBuild(func(k *kong.Kong) error {
		return kong.Visit(k.Model.Node, func(node kong.Visitable, next kong.Next) error {
			if flag, ok := node.(*kong.Flag); ok && flag.Target.CanAddr() {
				if field, ok := byTarget[flag.Target.Addr().Interface()]; ok {
					collectAsText(flag, field)
				} else {
					tellFacts(flag)
				}
				// Each flag has a group of its own making, so this changes a title once.
				if g := flag.Group; g != nil && !strings.HasSuffix(g.Title, ":") {
					g.Title += ":"
				}
			}
			return next(nil)
		})
	}), nil
}

func collectAsText(flag *kong.Flag, field settings.Field) {
	flag.Target = reflect.New(reflect.TypeFor[string]()).Elem()
	flag.Mapper = textMapper{isBool: field.IsBool()}
	flag.Tag.Type = "" // kong would derive a placeholder from it
	flag.Help = helpOf(field)
}

// textMapper keeps what was written after a flag.
type textMapper struct{ isBool bool }

// Decode is for kong.Mapper.
func (m textMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if m.isBool && ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetString("true")
		return nil
	}
	token, err := ctx.Scan.PopValue("text")
	if err != nil {
		return err
	}
	target.SetString(fmt.Sprint(token.Value))
	return nil
}

// IsBool is for kong.BoolMapper: a flag that takes no value unless it is attached with "=".
func (m textMapper) IsBool() bool { return m.isBool }

// givenFlags are the settings given as flags, by name.
func givenFlags(parsed *kong.Context) map[string]string {
	given := map[string]string{}
	for _, element := range parsed.Path {
		if f := element.Flag; f != nil && !element.Resolved {
			if _, isSetting := f.Mapper.(textMapper); isSetting {
				given[f.Name] = f.Target.String()
			}
		}
	}
	return given
}

// leaf is a command that runs, as opposed to a group of commands.
type leaf struct {
	name    string // with the names of its groups: "topics ensure"
	command any
}

// leaves lists the commands in the entries, in order.
func leaves(entries []entry) []leaf {
	var out []leaf
	for _, e := range entries {
		out = append(out, leavesOf(e.name, reflect.ValueOf(e.command).Elem())...)
	}
	return out
}

func leavesOf(name string, v reflect.Value) []leaf {
	if cmd, ok := v.Addr().Interface().(command); ok {
		return []leaf{{name, cmd}}
	}
	var out []leaf
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if _, isCommand := sf.Tag.Lookup("cmd"); !isCommand {
			continue
		}
		sub := sf.Tag.Get("name")
		if sub == "" {
			sub = strings.ToLower(sf.Name)
		}
		out = append(out, leavesOf(name+" "+sub, v.Field(i))...)
	}
	return out
}
