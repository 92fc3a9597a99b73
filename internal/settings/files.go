package settings

import "reflect"

// FileChecker is a struct with settings that point to files. CheckFiles reads them as their user would; its error joins
// one *Error for each that cannot be used.
type FileChecker interface {
	CheckFiles() error
}

// CheckFiles asks each struct in the one that ptr points to, which Load has filled and listed as values, whether its files
// can be used, and marks the values whose files cannot. A struct with a setting that cannot be used itself is not asked:
// which of its files are needed, nobody can say.
func CheckFiles(ptr any, values []Value) []error {
	errs := checkFiles(reflect.ValueOf(ptr).Elem(), values)
	attribute(errs, values)
	return errs
}

func checkFiles(v reflect.Value, values []Value) []error {
	var errs []error
	for i := range v.NumField() {
		if sf := v.Type().Field(i); isSection(sf) && v.Field(i).CanSet() {
			errs = append(errs, checkFiles(v.Field(i), values)...)
		}
	}
	checker, ok := v.Addr().Interface().(FileChecker)
	if !ok || anyBad(v, values) {
		return errs
	}
	if err := checker.CheckFiles(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// anyBad reports whether a setting of the struct cannot be used.
func anyBad(v reflect.Value, values []Value) bool {
	from, size := v.Addr().Pointer(), v.Type().Size()
	for _, value := range values {
		if at := value.Field.value.Addr().Pointer(); value.Err != nil && at >= from && at < from+size {
			return true
		}
	}
	return false
}
