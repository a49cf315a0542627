package event

import (
	"reflect"
	"strings"
	"testing"
)

// Each field is that of the user's struct with the same name, and of its type: two entries of the
// table can't be swapped.
func TestFieldsOfUsers(t *testing.T) {
	types := map[reflect.Type]Type{
		reflect.TypeFor[*string](): Text, reflect.TypeFor[bool](): Boolean, reflect.TypeFor[string](): JSON,
	}
	var u User
	value := reflect.ValueOf(&u).Elem()
	if got, want := len(Users.Fields), value.NumField()-1; got != want {
		t.Errorf("%d fields, the struct has %d beside Row", got, want)
	}
	for _, f := range Users.Fields {
		field := value.FieldByName(camelCase(f.Name))
		if !field.IsValid() {
			t.Errorf("%s: the struct has no %s", f.Name, camelCase(f.Name))
			continue
		}
		if field.Addr().Pointer() != reflect.ValueOf(f.At(&u)).Pointer() {
			t.Errorf("%s: At points to another field", f.Name)
		}
		want, known := types[field.Type()]
		if !known {
			want = Time
		}
		if f.Type != want {
			t.Errorf("%s: type %s, the struct's is %s", f.Name, f.Type, want)
		}
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
