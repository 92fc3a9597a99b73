package settings

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// MapEnv is a Lookup over a map, for tests and embedding programs.
func MapEnv(env map[string]string) Lookup {
	return func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
}

// Source is where values come from. A nil Env is an empty environment.
type Source struct {
	Env   Lookup
	Flags map[string]string // by flag name without dashes; present means given
}

// Origin says which kind of source gave a value.
type Origin string

// The origins, in order of precedence.
const (
	FromFlag    Origin = "flag"
	FromEnv     Origin = "env"
	FromDefault Origin = "default"
	// FromOthers is a default that follows from other settings; see Deriver.
	FromOthers Origin = "derived"
)

// Value is a setting as it took effect, or the text that could not be read.
type Value struct {
	Field  Field
	Text   string // masked for a secret, and where it has a password before an @
	Origin Origin
	Name   string // the flag with dashes or the variable that gave the value; empty for a default
	Err    *Error // why the value cannot be used
}

// Deriver is a struct whose settings, when empty, take a value that follows from the others. It returns those values by
// canonical variable, for the list that Load returns; the struct itself stays as it is.
type Deriver interface {
	Derived() map[string]string
}

// Named is a struct that wants to know by which name a setting was given where that is not its canonical variable, to speak
// of it as the user does. It hears of the settings of the structs around it too.
type Named interface {
	GivenAs(variable, name string)
}

// Load fills the struct that ptr points to, which must hold its defaults, and then calls Validate() error of each struct
// in it, innermost first; where a setting could not be read, ValidateFields() error instead. The error joins
// all that is wrong, each an *Error where it concerns one setting. The list has every setting, also when there is an error:
// a setting that could not be read keeps its default, and its Value says why.
func Load(ptr any, src Source) ([]Value, error) {
	fields, err := Fields(ptr)
	if err != nil {
		return nil, err
	}
	var errs []error
	failed := map[place]bool{}
	values := make([]Value, 0, len(fields))
	for _, f := range fields {
		v := f.load(src)
		if v.Err != nil {
			errs = append(errs, v.Err)
			failed[placeOf(f.value)] = true
		}
		values = append(values, v)
	}
	broken := len(errs) > 0
	rules := validate(reflect.ValueOf(ptr).Elem(), failed)
	attribute(rules, values)
	errs = append(errs, rules...)
	if !broken {
		derive(reflect.ValueOf(ptr).Elem(), values)
	}
	tellNames(reflect.ValueOf(ptr).Elem(), values)
	return values, errors.Join(errs...)
}

// attribute puts what the rules found with the values that they found it in. A rule knows its setting by the canonical
// variable; the user knows it by the name that he wrote.
func attribute(rules []error, values []Value) {
	for _, e := range Errors(errors.Join(rules...)) {
		for i := range values {
			v := &values[i]
			if v.Field.Env() != e.Name || v.Err != nil {
				continue
			}
			v.Err = e
			if v.Name != "" {
				e.Name = v.Name
			}
			break
		}
	}
}

// derive completes the list with what empty settings come to.
func derive(v reflect.Value, values []Value) {
	for i := range v.NumField() {
		if sf := v.Type().Field(i); isSection(sf) && v.Field(i).CanSet() {
			derive(v.Field(i), values)
		}
	}
	d, ok := v.Addr().Interface().(Deriver)
	if !ok {
		return
	}
	derived := d.Derived()
	for i := range values {
		if text, ok := derived[values[i].Field.Env()]; ok && values[i].Text == "" {
			values[i].Text, values[i].Origin = text, FromOthers
		}
	}
}

// tellNames calls GivenAs of the structs that have it.
func tellNames(v reflect.Value, values []Value) {
	for i := range v.NumField() {
		if sf := v.Type().Field(i); isSection(sf) && v.Field(i).CanSet() {
			tellNames(v.Field(i), values)
		}
	}
	n, ok := v.Addr().Interface().(Named)
	if !ok {
		return
	}
	for i := range values {
		if name, variable := values[i].Name, values[i].Field.Env(); name != "" && name != variable {
			n.GivenAs(variable, name)
		}
	}
}

// load sets the field from the first source that has it.
func (f Field) load(src Source) Value {
	text, name, origin, conflict := f.find(src)
	if origin == FromDefault {
		return Value{Field: f, Text: f.Default, Origin: FromDefault}
	}
	refused := func(err *Error) Value {
		return Value{Field: f, Text: f.shown(text), Origin: origin, Name: name, Err: err}
	}
	if conflict != nil {
		return refused(conflict)
	}
	parsed, err := parse(f.value.Type(), text)
	if err != nil {
		return refused(f.invalid(name, text, err.Error()))
	}
	if f.min.IsValid() && less(parsed, f.min) {
		return refused(f.invalid(name, text, "below the minimum"))
	}
	if f.max.IsValid() && less(f.max, parsed) {
		return refused(f.invalid(name, text, "above the maximum"))
	}
	f.value.Set(parsed)
	return Value{Field: f, Text: maskUserinfo(format(parsed)), Origin: origin, Name: name}
}

// find returns the text of the first source that has the setting; err says that two of its names disagree.
func (f Field) find(src Source) (text, name string, origin Origin, err *Error) {
	if f.Flag != "" {
		if text, ok := src.Flags[f.Flag]; ok {
			return text, "--" + f.Flag, FromFlag, nil
		}
	}
	if src.Env == nil {
		return "", "", FromDefault, nil
	}
	for _, env := range f.Envs {
		got, ok := src.Env(env)
		if !ok || f.blank(got) {
			continue
		}
		if name == "" {
			text, name = got, env
			continue
		}
		if !f.same(text, got) {
			return text, name, FromEnv, &Error{
				Name: name, Value: f.shown(text),
				Reason: fmt.Sprintf("%s is another name of this setting and has a different value (%q); unset one of them", env, shorten(f.shown(got))),
			}
		}
	}
	if name == "" {
		return "", "", FromDefault, nil
	}
	return text, name, FromEnv, nil
}

// blank reports an empty variable. Spaces may be a secret, but nothing else.
func (f Field) blank(text string) bool {
	if f.Secret {
		return text == ""
	}
	return strings.TrimSpace(text) == ""
}

// same compares by meaning where both texts can be read: "SSL" and "ssl" do not differ.
func (f Field) same(a, b string) bool {
	if a == b {
		return true
	}
	if f.Secret {
		return false
	}
	va, errA := parse(f.value.Type(), a)
	vb, errB := parse(f.value.Type(), b)
	return errA == nil && errB == nil && format(va) == format(vb)
}

func (f Field) shown(text string) string {
	if f.Secret {
		return Mask
	}
	return maskUserinfo(text)
}

func (f Field) invalid(name, text, reason string) *Error {
	e := &Error{Name: name, Value: f.shown(text), Reason: reason, Allowed: f.Allowed}
	if e.Allowed != "" && strings.Contains(reason, e.Allowed) {
		e.Allowed = "" // the type has said it
	}
	return e
}

// place identifies a field: a struct and its first field share an address, but not a type.
type place struct {
	addr uintptr
	typ  reflect.Type
}

func placeOf(v reflect.Value) place { return place{v.Addr().Pointer(), v.Type()} }

type validator interface{ Validate() error }

// FieldValidator is a struct that can check its settings one by one. It is asked where Validate is not: when a setting
// could not be read, rules between settings would complain about values that nobody wrote.
type FieldValidator interface {
	ValidateFields() error
}

// validate visits nested structs before the struct that holds them.
func validate(v reflect.Value, failed map[place]bool) []error {
	errs, _ := validateStruct(v, failed)
	return errs
}

func validateStruct(v reflect.Value, failed map[place]bool) (errs []error, broken bool) {
	for i := range v.NumField() {
		sf, fv := v.Type().Field(i), v.Field(i)
		if !fv.CanSet() {
			continue
		}
		if failed[placeOf(fv)] {
			broken = true
			continue
		}
		if !isSection(sf) {
			continue
		}
		inner, innerBroken := validateStruct(fv, failed)
		errs = append(errs, inner...)
		broken = broken || innerBroken || len(inner) > 0
	}
	if broken {
		if val, ok := v.Addr().Interface().(FieldValidator); ok {
			if err := val.ValidateFields(); err != nil {
				errs = append(errs, err)
			}
		}
		return errs, true
	}
	if val, ok := v.Addr().Interface().(validator); ok {
		if err := val.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs, false
}
