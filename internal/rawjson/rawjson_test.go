package rawjson

import (
	"encoding/json"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// A walk must split a document as encoding/json does.
func TestWalk(t *testing.T) {
	const document = ` { "a" : [ 1 , "]" , { "b" : "}" } ] , "\u0062\"" : { } , "c":null,"d" :-1.5e3 , "":"" } `
	var want map[string]json.RawMessage
	must.Do(t, json.Unmarshal([]byte(document), &want))
	count := 0
	for key, value := range members(Object([]byte(document))) {
		must.Equal(t, string(value), string(want[string(key)]), string(key))
		count++
	}
	must.Equal(t, count, len(want), "members")
}

// FuzzValidJSON holds the quick judge of JSON against encoding/json.
func FuzzValidJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-0.5e+7,"\u00e9\\",true,false,null]}`, `01`, `-`, `1.`, `1e`, `"\x"`, `"\u12"`, "\"\n\"", "\"\x00\"", "\xff", "\"\xff\"",
		`[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `nul`, `truefalse`, `[] []`, " \t\r\n{} ", "\u00a0{}", "", strings.Repeat("[", 300), `{"a":1}x`, `"`, `+1`, `.5`, `1E-9`, `[`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, deeper := json.Valid(text), Deeper(text, deepest)
		must.True(t, Valid(text) == want || deeper, "%q: encoding/json says %t", text, want)
		must.True(t, validTokens(text) == want || deeper, "%q: token by token, encoding/json says %t", text, want)
	})
}

// What nests deep is judged without recursion.
func TestValidJSONDeep(t *testing.T) {
	for _, n := range []int{9_999, 10_001, 1_000_000} {
		for inside, want := range map[string]bool{"": true, `"]",1e999999,{"a":null}`: true, "]": false, "{": false, "1,": false, "nul": false} {
			text := []byte(" " + strings.Repeat("[", n) + inside + strings.Repeat("]", n) + "\n")
			must.True(t, Valid(text) == want, "%d levels around %s: %t", n, inside, !want)
		}
	}
}
