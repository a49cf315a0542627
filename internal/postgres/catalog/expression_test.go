package catalog_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

// operands are whole operands of random expressions, breakers are beginnings and ends of texts, names
// and comments in all their forms, and characters that may mean something between them.
var (
	operands = []string{
		`'a'`, `'it''s'`, `'\'`, `E'a\'b'`, `e'\\'`, `E'\''`, `E'\u0061\x27\047'`, `U&'d\0061'`, `U&'d!0061' uescape '!'`, `N'x'`, `B'01'`, `x'1f'`,
		`$$a'$$`, `$t$ ) $$ ( $t$`, `$é$'$é$`, `$_1$ /* $_1$`,
		`"a"`, `"a""b"`, `U&"\0061"`, `U&"d!0061" uescape '!'`, `a`, `é`, `a$b`, `a$$`, `1`, `1.5e3`, `.5`, `0x1f`, `1_000`, `12`, `null`,
		`f(1)`, `array[1, 2]`, `(1)`, `(select 1)`, `case when true then 1 end`, `a[1]`, `(a).b`, `'a' 'b'`, "'a'\n'b'", "E'a'\r'\\''", "'a'--\n'b'",
	}
	breakers = []string{
		" || ", " - ", "-", "/", "*", "+", "@", "#", "!", "~", "&", "|", "^", "%", "<", ">", "=", "?", "`", ":", "::", ":=", ".", "..", ",", ";", "(", ")", "[", "]", "{", "}",
		"::text", " ", "\t", "\n", "\r", "\r\n", "\f", "\v", "\b", "\x01", "\x7f", "\u00a0", "\u2028", "\ufeff", "-- ' (\n", "-- \" )\r", "-- $$\r\n", "--", "---", "+-", "/-",
		"/* ' */", "/* ( /* ' */ ) */", "/*/ */", "/*/*/**/*/*/", "/**/", "/*", "*/", "**/", "//*", "+/*", "'", `"`, `\`, `\'`, `''`, `""`, "$$", "$t$", "$", "$1", "$1a", "$1$",
		"E'", "e", "U&'", `U&"`, "u&", "N'", "B'", "E", "uescape '", "0x", "1e", "_",
	}
)

func randomExpression(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) { // operands with an operator between, so that many are expressions
		if b.Len() > 0 {
			b.WriteString([]string{" || ", "||", "\n", "\r", " -- '\n", " -- )\r", "/* ( */", "/* /* ' */ ) */", ""}[r.IntN(9)])
		}
		b.WriteString(operands[r.IntN(len(operands))])
	}
	text, all := []rune(b.String()), slices.Concat(operands, breakers)
	for range r.IntN(4) { // and what may break them
		at := r.IntN(len(text) + 1)
		piece := []rune(all[r.IntN(len(all))])
		end := at
		if r.IntN(3) == 0 {
			end = min(len(text), at+1+r.IntN(3))
		}
		text = slices.Concat(text[:at], piece, text[end:])
	}
	return string(text)
}

// parses reports whether PostgreSQL's own parser takes a statement without parameters, whatever
// it says about its meaning, and whether it misses the end of a text, a name or a comment. A wrong
// escape (22025, 22021) ends the parsing, so what follows it has not been looked at.
func parses(ctx context.Context, t *testing.T, conn *pgx.Conn, statement string) (ok, open bool) {
	t.Helper()
	prepared, err := conn.PgConn().Prepare(ctx, "", statement, nil)
	refused, isAnswer := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		return len(prepared.ParamOIDs) == 0, false
	case !isAnswer:
		t.Fatalf("%q: %v", statement, err)
	}
	return !slices.Contains([]string{"42601", "22025", "22021"}, refused.Code), strings.HasPrefix(refused.Message, "unterminated")
}

// lintedAsExpression is what a target is told about an expression.
func lintedAsExpression(text string) string {
	tgt := target.Target{Table: "p", Set: []target.Assignment{{Column: "c", Expr: target.Expr{SQL: text}}}}
	for _, f := range tgt.Lint(catalog.RollOf(&target.Target{})) {
		return f.What
	}
	return ""
}

// isQuery reports whether a text is a query, which is one value between parentheses.
func isQuery(ctx context.Context, t *testing.T, conn *pgx.Conn, text string) bool {
	t.Helper()
	ok, _ := parses(ctx, t, conn, text)
	return ok
}

// What is taken for one expression is one to PostgreSQL, or is none at all: nothing reaches out of
// the parentheses that are put around it. And what PostgreSQL takes for one is not refused.
func TestExpressionsAsPostgreSQLReadsThem(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.New(t)).Conn
	r := rand.New(rand.NewPCG(testtag.Seed(t), 1))
	one, refused := 0, 0
	texts := []string{"new.email -- the address\r", "E'a'\n'b\\'c'", "E'a'\n'\\'' || ')'", "$1$a$", "'a' -- x\n -- y\r 'b'"}
	for n := testtag.Part(100_000); len(texts) < n; {
		texts = append(texts, randomExpression(r))
	}
	for _, text := range texts {
		inside, open := parses(t.Context(), t, conn, "select (\n"+text+"\n)")
		between, _ := parses(t.Context(), t, conn, "select case when true then\n"+text+"\nend")
		said := lintedAsExpression(text)
		if strings.Contains(said, "no column of new") || strings.Contains(said, "has no parameters") {
			continue // these rules are the program's own
		}
		switch {
		case inside && between && said != "":
			t.Errorf("%q is one expression to PostgreSQL, and refused: %s", text, said)
		case said == "" && open:
			t.Errorf("%q misses an end to PostgreSQL, and is taken", text)
		case said == "" && inside && !between && !isQuery(t.Context(), t, conn, text):
			t.Errorf("%q is taken, and is more than an expression to PostgreSQL", text)
		case inside && between:
			one++
		case said != "":
			refused++
		}
	}
	if least := len(texts) / 8; one < least || refused < least {
		t.Errorf("of %d texts %d are expressions and %d refused; want at least %d of each", len(texts), one, refused, least)
	}
}
