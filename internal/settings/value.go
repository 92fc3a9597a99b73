package settings

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// parseable reports whether parse knows the type.
func parseable(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(unmarshalerType) || t == durationType {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true
	case reflect.Slice:
		return t.Elem().Kind() == reflect.String
	default:
		return false
	}
}

// parse reads text as a value of type t. Its errors say what is wrong and leave name and value to the caller.
func parse(t reflect.Type, text string) (reflect.Value, error) {
	p := reflect.New(t)
	v := p.Elem()
	if u, ok := p.Interface().(encoding.TextUnmarshaler); ok {
		return v, u.UnmarshalText([]byte(text))
	}
	trimmed := strings.TrimSpace(text)
	if t == durationType {
		d, err := time.ParseDuration(trimmed)
		if err != nil {
			return v, errors.New("not a duration")
		}
		v.SetInt(int64(d))
		return v, nil
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(trimmed)
	case reflect.Bool:
		b, err := parseBool(trimmed)
		if err != nil {
			return v, err
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(trimmed, 10, t.Bits())
		if err != nil {
			return v, numberError(err, "not a whole number")
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(trimmed, 10, t.Bits())
		if err != nil {
			return v, numberError(err, "not a whole number of 0 or more")
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(trimmed, t.Bits())
		if err != nil {
			return v, numberError(err, "not a number")
		}
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return v, errors.New("not a finite number")
		}
		v.SetFloat(n)
	case reflect.Slice:
		return parseList(t, trimmed), nil
	default:
		return v, fmt.Errorf("type %s cannot be read from text", t)
	}
	return v, nil
}

func numberError(err error, otherwise string) error {
	if errors.Is(err, strconv.ErrRange) {
		return errors.New("too large or too small a number")
	}
	return errors.New(otherwise)
}

// parseBool takes the words that people write into environments, not only those of strconv.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, errors.New("neither yes nor no")
}

// parseList splits at commas and leaves out empty items, so that a trailing comma is no item.
func parseList(t reflect.Type, text string) reflect.Value {
	list := reflect.MakeSlice(t, 0, strings.Count(text, ",")+1)
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = reflect.Append(list, reflect.ValueOf(item).Convert(t.Elem()))
		}
	}
	return list
}

// format is the inverse of parse; a secret gives its mask.
func format(v reflect.Value) string {
	if v.Type().Implements(marshalerType) {
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			text, err := m.MarshalText()
			if err != nil {
				return "?"
			}
			return string(text)
		}
	}
	if v.Type() == durationType {
		return time.Duration(v.Int()).String()
	}
	switch v.Kind() {
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = v.Index(i).String()
		}
		return strings.Join(items, ",")
	case reflect.String:
		return v.String()
	default:
		return fmt.Sprint(v.Interface())
	}
}

// describe says in words what parse takes for the type; text of any kind needs no words.
func describe(t reflect.Type) string {
	if a, ok := reflect.Zero(t).Interface().(Allower); ok {
		return a.Allowed()
	}
	if t == durationType {
		return "a duration (10s, 1m30s)"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true, false (also 1 and 0, yes and no, on and off)"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a comma-separated list"
	default:
		return ""
	}
}

func describeBounds(low, high string) string {
	switch {
	case low != "" && high != "":
		return ", from " + low + " to " + high
	case low != "":
		return ", at least " + low
	case high != "":
		return ", at most " + high
	default:
		return ""
	}
}

func ordered(k reflect.Kind) bool {
	switch k {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return true
	default:
		return false
	}
}

// less compares two values of one ordered type.
func less(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	default:
		return a.Float() < b.Float()
	}
}
