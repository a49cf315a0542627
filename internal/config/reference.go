package config

import (
	"cmp"
	"reflect"

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

// words are what to write for the types that stand for themselves.
var words = map[reflect.Type]string{
	reflect.TypeFor[Secret]():              "text",
	reflect.TypeFor[[]Secret]():            "list of texts",
	reflect.TypeFor[bool]():                "true or false",
	reflect.TypeFor[[]string]():            "list of texts",
	reflect.TypeFor[[]AdminToken]():        "map of name to text",
	reflect.TypeFor[[]target.Origin]():     "list of texts",
	reflect.TypeFor[[]target.Assignment](): "map of column to SQL expression",
	reflect.TypeFor[target.OnDelete]():     "delete, keep or map of column to SQL expression",
	reflect.TypeFor[*target.Expr]():        "SQL expression",
}

// describe names a field's type, and gives the struct below it, if any.
func describe(t reflect.Type, as string) (name string, inner reflect.Type) {
	switch {
	case t == reflect.TypeFor[[]string]() && as == "column":
		return "text or list of texts", nil
	case words[t] != "":
		return words[t], nil
	case numbers[t] != "":
		return numbers[t], nil
	case t.Kind() == reflect.Slice:
		return "map by name", t.Elem()
	case t.Kind() == reflect.Pointer:
		return "map", t.Elem()
	case t.Kind() == reflect.Struct:
		return "map", t
	}
	return cmp.Or(oneOf(as), "text"), nil
}
