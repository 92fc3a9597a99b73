package settings

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Field is one setting of a struct, with the value it held when Fields looked at it.
type Field struct {
	Flag        string   // flag name without dashes; empty when the setting has no flag
	Envs        []string // canonical name first
	Help        string
	Group       string
	Placeholder string
	Allowed     string // what may be written, in words; empty for any text
	Default     string // text of the value held; Mask for a secret; empty for a zero value where Unset is not
	Unset       string // what an empty or zero value means; may be empty
	Secret      bool

	value    reflect.Value
	min, max reflect.Value // invalid when there is no bound
}

// Env is the canonical variable.
func (f Field) Env() string { return f.Envs[0] }

// Target is the address of the field, by which a command-line library can be told which flag this is.
func (f Field) Target() any { return f.value.Addr().Interface() }

// IsBool reports a setting that a flag without a value turns on. One that is on by default takes a value: there is nothing
// to turn on.
func (f Field) IsBool() bool { return f.value.Kind() == reflect.Bool && !f.value.Bool() }

var (
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
	marshalerType   = reflect.TypeFor[encoding.TextMarshaler]()
	secretType      = reflect.TypeFor[Secret]()
	durationType    = reflect.TypeFor[time.Duration]()
)

// Fields lists the settings of the struct that ptr points to, nested structs included, in order of declaration. The
// error is a mistake in the declaration: a type that cannot be parsed, a bound that does not fit, a name used twice.
func Fields(ptr any) ([]Field, error) {
	v := reflect.ValueOf(ptr)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings: want a pointer to a struct, got %T", ptr)
	}
	var fields []Field
	if err := collect(v.Elem(), "", &fields); err != nil {
		return nil, err
	}
	seen := map[string]string{}
	for _, f := range fields {
		names := f.Envs
		if f.Flag != "" {
			names = append([]string{"--" + f.Flag}, f.Envs...)
		}
		for _, name := range names {
			if other, dup := seen[name]; dup {
				return nil, fmt.Errorf("settings: %s of %T names both %s and %s", name, ptr, other, f.Env())
			}
			seen[name] = f.Env()
		}
	}
	return fields, nil
}

// collect walks the struct. A group on a struct holds for its fields that name none. A command nested in a command is
// left out: its settings are loaded when it is the one to run.
func collect(v reflect.Value, group string, out *[]Field) error {
	for i := range v.NumField() {
		sf, fv := v.Type().Field(i), v.Field(i)
		if !fv.CanSet() {
			continue
		}
		group := firstOf(sf.Tag.Get("group"), group)
		var err error
		switch {
		case sf.Tag.Get("envs") != "":
			err = collectField(sf, fv, group, out)
		case isSection(sf):
			err = collect(fv, group, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isSection reports a nested struct whose fields are settings of the struct around it.
func isSection(sf reflect.StructField) bool {
	_, isCommand := sf.Tag.Lookup("cmd")
	return sf.Type.Kind() == reflect.Struct && !isCommand && sf.Tag.Get("envs") == ""
}

func collectField(sf reflect.StructField, fv reflect.Value, group string, out *[]Field) error {
	f := Field{
		Flag:        sf.Tag.Get("name"),
		Envs:        strings.Split(sf.Tag.Get("envs"), ","),
		Help:        sf.Tag.Get("help"),
		Group:       group,
		Placeholder: sf.Tag.Get("placeholder"),
		Allowed:     sf.Tag.Get("allowed"),
		Unset:       sf.Tag.Get("unset"),
		Secret:      sf.Type == secretType,
		value:       fv,
	}
	for _, env := range f.Envs {
		if env == "" || strings.ToUpper(env) != env || strings.ContainsAny(env, " =") {
			return fmt.Errorf("settings: field %s: %q is not a variable name", sf.Name, env)
		}
	}
	if !parseable(sf.Type) {
		return fmt.Errorf("settings: field %s (%s): type %s cannot be read from text", sf.Name, f.Env(), sf.Type)
	}
	var err error
	if f.min, err = bound(sf, "min"); err != nil {
		return err
	}
	if f.max, err = bound(sf, "max"); err != nil {
		return err
	}
	if f.Allowed == "" {
		f.Allowed = describe(sf.Type)
	}
	f.Allowed += describeBounds(sf.Tag.Get("min"), sf.Tag.Get("max"))
	// Where an empty value has a meaning of its own, a zero says nothing.
	if f.Unset == "" || !fv.IsZero() {
		f.Default = format(fv)
	}
	*out = append(*out, f)
	return nil
}

func bound(sf reflect.StructField, tag string) (reflect.Value, error) {
	text := sf.Tag.Get(tag)
	if text == "" {
		return reflect.Value{}, nil
	}
	if !ordered(sf.Type.Kind()) {
		return reflect.Value{}, fmt.Errorf("settings: field %s: %s bound on type %s", sf.Name, tag, sf.Type)
	}
	v, err := parse(sf.Type, text)
	if err != nil {
		return reflect.Value{}, fmt.Errorf("settings: field %s: %s bound %q: %w", sf.Name, tag, text, err)
	}
	return v, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
