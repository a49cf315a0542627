package event

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// Each field is that of the record's struct with the same name, and of its type: two entries of a
// table can't be swapped.
func TestFieldsOfRolls(t *testing.T) {
	types := map[reflect.Type]Type{
		reflect.TypeFor[*string](): Text, reflect.TypeFor[bool](): Boolean, reflect.TypeFor[string](): JSON, reflect.TypeFor[*int64](): Integer,
	}
	for _, r := range Rolls {
		record := r.Empty()
		value := reflect.ValueOf(record).Elem()
		must.Equal(t, len(r.Fields), value.NumField()-1, r.Name, ": fields, and those of the struct beside Row")
		for _, f := range r.Fields {
			field := value.FieldByName(camelCase(f.Name))
			if !field.IsValid() {
				t.Errorf("%s: the struct has no %s", f.Name, camelCase(f.Name))
				continue
			}
			must.Equal(t, reflect.ValueOf(f.At(record)).Pointer(), field.Addr().Pointer(), f.Name, ": where At points to")
			must.Equal(t, f.Type, cmp.Or(types[field.Type()], Time), f.Name, ": type, and that of the struct's field")
		}
	}
}

func TestKept(t *testing.T) {
	user, none := &User{Row: Row{Kept: []string{"banned", "username"}, KeptBecause: "a"}}, Row{}
	organization := &Organization{Row: Row{Kept: []string{"name"}, KeptBecause: "b"}}
	membership := &Membership{Row: Row{Kept: []string{"updated_at"}, KeptBecause: "c"}}
	for want, e := range map[string]Event{
		"[] ":                    {User: &User{Row: none}, Organization: &Organization{Row: none}},
		"[banned username] a":    {User: user, Membership: &Membership{}},
		"[organizations.name] b": {Organization: organization, Membership: &Membership{}},
		"[organizations.name memberships.updated_at] c": {Organization: organization, Membership: membership},
	} {
		columns, because := e.Kept()
		must.Equal(t, fmt.Sprintf("%s %s", columns, because), want, "kept")
	}
}

func camelCase(name string) string {
	var words []string
	for word := range strings.SplitSeq(name, "_") {
		switch word {
		case "id", "url", "sso":
			words = append(words, strings.ToUpper(word))
		default:
			words = append(words, strings.ToUpper(word[:1])+word[1:])
		}
	}
	return strings.Join(words, "")
}
