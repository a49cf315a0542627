package testevent

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSet(t *testing.T) {
	for _, test := range []struct{ text, path, word, want string }{
		{`{"a": 1, "b":2}`, "a", "x", `{"a": "x", "b":2}`},
		{`{"a":{"b":{"c":1}}}`, "a.b.c", "null", `{"a":{"b":{"c":null}}}`},
		{`{"a":1,"a":2}`, "a", "3", `{"a":1,"a":3}`},
		{`{}`, "a.b", "true", `{"a":{"b":true}}`},
		{"{ \"a\":1 \n}\n", "b", "Zoé", "{ \"a\":1,\"b\":\"Zoé\" \n}"},
		{`{"a":null}`, "a.b", "<&>", `{"a":{"b":"<&>"}}`},
		{`{"a":null}`, "a.0", "1", `{"a":[1]}`},
		{`{"a":[1,2]}`, "a.1", `{"x": [ 1 ]}`, `{"a":[1,{"x":[1]}]}`},
		{`{"a":[1,{"b":2}]}`, "a[1].b", "it's", `{"a":[1,{"b":"it's"}]}`},
		{`{"a":[1]}`, "a[1]", "+15555550100", `{"a":[1,"+15555550100"]}`},
		{`{"a":[]}`, "a.0.b", `"7"`, `{"a":[{"b":"7"}]}`},
		{`[[0],[0]]`, "1.0", "5", `[[0],[5]]`},
		{`{"a\u002eb":1,"n":12345678901234567890}`, "c", "", `{"a\u002eb":1,"n":12345678901234567890,"c":""}`},
	} {
		got, err := set([]byte(test.text), test.path, valueOf(test.word))
		if err != nil || string(got) != test.want || !json.Valid(got) {
			t.Errorf("%s in %s to %s: got %s, %v, want %s", test.path, test.text, test.word, got, err, test.want)
		}
	}
}

func TestSetRefuses(t *testing.T) {
	for _, test := range []struct{ text, path, want string }{
		{`{"a":`, "a", "the body is not JSON"},
		{`{"a":1}`, "", "write a path such as"},
		{`{"a":1}`, "a..b", "write a path such as"},
		{`{"a":1}`, "a.b", "there is no b in a number"},
		{`{"a":"x"}`, "a.b.c", "there is no b in a text"},
		{`{"a":true}`, "a.b", "there is no b in true or false"},
		{`{"a":[1]}`, "a.b", "there is no b in a list; give an index"},
		{`{"a":[1]}`, "a[2]", "the list has 1 elements; 2 is none of them"},
		{`{"a":[1]}`, "a[-1]", "the list has 1 elements"},
	} {
		if got, err := set([]byte(test.text), test.path, []byte("0")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s in %s: got %s, %v, want an error with %q", test.path, test.text, got, err, test.want)
		}
	}
}
