package config

import (
	"reflect"
	"strings"
	"time"

	"rollcall/internal/target"
)

// Field is one line of the configuration's reference.
type Field struct {
	// Path is as in the file; * stands for a name: sources.*.signing_secrets.
	Path string
	// Type says what to write: "text", "a size such as 1MiB", "list of texts".
	Type string
	// Default is as one would write it, "" where there is none.
	Default  string
	Required bool
	// Only names the provider whose sources have the field, "" for all.
	Only string
	Doc  string
}

// Reference lists every field of the configuration, each map before its fields, in the
// order of the types. It reads the tags that the decoder reads, so it can't drift.
func Reference() []Field { return reference(reflect.TypeFor[Config](), "") }

func reference(t reflect.Type, path string) []Field {
	var out []Field
	for _, f := range fields(t) {
		to := t.Field(f.index).Type
		at := join(path, f.name)
		name, inner := describe(to, f.as)
		out = append(out, Field{at, name, f.def, f.required, f.only, f.doc})
		if inner != nil {
			if to.Kind() == reflect.Slice {
				at += ".*"
			}
			out = append(out, reference(inner, at)...)
		}
	}
	return out
}

// describe names a field's type, and gives the struct below it, if any.
func describe(t reflect.Type, as string) (name string, inner reflect.Type) {
	switch t {
	case reflect.TypeFor[Secret]():
		return "text", nil
	case reflect.TypeFor[[]Secret](), reflect.TypeFor[[]target.Origin]():
		return "list of texts", nil
	case reflect.TypeFor[[]string]():
		if as == "column" {
			return "text or list of texts", nil
		}
		return "list of texts", nil
	case reflect.TypeFor[[]target.Assignment]():
		return "map of column to SQL expression", nil
	case reflect.TypeFor[target.OnDelete]():
		return "delete, keep or map of column to SQL expression", nil
	case reflect.TypeFor[*target.Expr]():
		return "SQL expression", nil
	case reflect.TypeFor[time.Duration]():
		return wanted(new(time.Duration), as), nil
	case reflect.TypeFor[string]():
		return textual(as), nil
	}
	return structured(t, as)
}

func structured(t reflect.Type, as string) (name string, inner reflect.Type) {
	switch t.Kind() {
	case reflect.Slice:
		return "map by name", t.Elem()
	case reflect.Pointer:
		return "map", t.Elem()
	case reflect.Struct:
		return "map", t
	}
	return wanted(reflect.New(t).Interface(), as), nil
}

func textual(as string) string {
	if strings.Contains(as, "|") {
		return oneOf(as)
	}
	return "text"
}
