package target

import (
	"strings"
	"testing"
)

func TestScan(t *testing.T) {
	t.Parallel()
	tests := []struct{ sql, want string }{
		{`new.raw_user_meta_data->>'a''b'`, `new|.|raw_user_meta_data|-|>|>|'a''b'`},
		{`E'it\'s' || "Na""me"`, `E'it\'s'|||||Na"me`},
		{"$x$ ) ' $x$ -- ) \n + 1.5e3 /* ( /* ' */ ) */", "$x$ ) ' $x$|+|1.5e3"},
		{`Coalesce(NEW.Email, $1)`, `coalesce|(|new|.|email|,|$1|)`},
		{`$$a$$`, `$$a$$`},
		{`1E'a\'b' 1.5e-3 2e+x 1e5`, `1|E'a\'b'|1.5e-3|2|e|+|x|1e5`},
	}
	for _, tt := range tests {
		tokens, err := scan(tt.sql)
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
		}
		var texts []string
		for _, token := range tokens {
			texts = append(texts, token.text)
		}
		if got := strings.Join(texts, "|"); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.sql, got, tt.want)
		}
	}
	// A text goes on behind a line break, by the rules of its beginning.
	for _, whole := range []string{"'a'\n'b'", "E'a'\n'b\\'c'", "'a' -- why\r -- more\n 'b'"} {
		if tokens, err := scan(whole); err != nil || len(tokens) != 1 {
			t.Errorf("%q: %d tokens, %v; want one", whole, len(tokens), err)
		}
	}
	for _, open := range []string{`'a`, `"a`, `/* /* */`, `$a$ $b$`, `E'a\'`, `'a''`} {
		if _, err := scan(open); err == nil {
			t.Errorf("%s: taken for complete", open)
		}
	}
}
