package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"rollcall/internal/target"
)

// Schema is the JSON Schema (draft 7, which editors know best) of a configuration. It is made from the types and
// tags that the decoder reads, so it knows each field. What a text must look like it leaves to Load, but for
// choices: any text may come from a variable.
func Schema() ([]byte, error) {
	s := objectSchema(reflect.TypeFor[Config]())
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "The configuration of Rollcall"
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(s)
	return out.Bytes(), err
}

func objectSchema(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, f := range fields(t) {
		s := valueSchema(t.Field(f.index).Type, f.as)
		s["description"] = f.doc
		if f.only != "" {
			s["description"] = f.doc + " (" + f.only + " only)"
		}
		if f.def != "" {
			s["default"] = f.def
		}
		properties[f.name] = s
		if f.required {
			required = append(required, f.name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// valueSchema describes what is written for a field's type.
func valueSchema(t reflect.Type, as string) map[string]any {
	_, inner := describe(t, as)
	switch {
	case inner != nil && t.Kind() == reflect.Slice:
		return byNameSchema(objectSchema(inner))
	case t == reflect.TypeFor[[]AdminToken]():
		return byNameSchema(textSchema())
	case inner != nil:
		return objectSchema(inner)
	case t == reflect.TypeFor[[]string]() && as == "column":
		return anyOf(textSchema(), listSchema())
	case t == reflect.TypeFor[[]target.Assignment]():
		return columnsSchema()
	case t == reflect.TypeFor[*target.Expr]():
		return expressionSchema()
	case t == reflect.TypeFor[target.OnDelete]():
		return anyOf(choiceSchema(string(target.DeleteRow), string(target.DeleteKeep)), columnsSchema())
	case t == reflect.TypeFor[[]string]() && oneOf(as) != "":
		return map[string]any{"type": "array", "minItems": 1, "items": choiceSchema(strings.Split(as, "|")...)}
	case t.Kind() == reflect.Slice:
		return listSchema()
	}
	return scalarSchema(t, as)
}

func scalarSchema(t reflect.Type, as string) map[string]any {
	switch {
	case t.Kind() == reflect.Bool:
		return anyOf(map[string]any{"type": "boolean"}, map[string]any{"type": "string", "pattern": `\$\{`})
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64 && !isDuration(t):
		return map[string]any{"type": []string{"integer", "string"}}
	case oneOf(as) != "":
		return choiceSchema(strings.Split(as, "|")...)
	}
	return textSchema()
}

func byNameSchema(each map[string]any) map[string]any {
	return map[string]any{
		"type": "object", "minProperties": 1, "additionalProperties": each,
		"propertyNames": map[string]any{"pattern": nameForm.String()},
	}
}

func isDuration(t reflect.Type) bool { return strings.HasPrefix(numbers[t], "a duration") }

func textSchema() map[string]any { return map[string]any{"type": "string"} }

func listSchema() map[string]any {
	return map[string]any{"type": "array", "minItems": 1, "items": textSchema()}
}

// expressionSchema is SQL; YAML's own null, numbers and booleans are, too.
func expressionSchema() map[string]any {
	return map[string]any{"type": []string{"string", "number", "boolean", "null"}}
}

func columnsSchema() map[string]any {
	return map[string]any{"type": "object", "minProperties": 1, "additionalProperties": expressionSchema()}
}

// choiceSchema is one of some words, or a variable that holds one.
func choiceSchema(words ...string) map[string]any {
	return anyOf(map[string]any{"enum": words}, map[string]any{"type": "string", "pattern": `\$\{`})
}

func anyOf(list ...map[string]any) map[string]any { return map[string]any{"anyOf": list} }
