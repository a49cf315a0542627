package postgres

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/pgtest"
)

var expressionTexts = flag.Int("expression-texts", 4000, "how many random texts the judgement about expressions is compared for")

// expressionPieces are what random expressions are made of: whole operands, and beginnings and
// ends of texts, names and comments in all their forms.
var expressionPieces = []string{
	`'a'`, `'it''s'`, `'\'`, `E'a\'b'`, `e'\\'`, `E'\''`, `U&'d\0061'`, `N'x'`, `B'01'`, `$$a'$$`, `$t$ ) $$ ( $t$`, `$é$'$é$`,
	`"a"`, `"a""b"`, `U&"\0061"`, `a`, `é`, `a$b`, `1`, `1.5e3`, `12`, `null`, `f(1)`, `array[1, 2]`, `(1)`, `(select 1)`, `case when true then 1 end`,
	" || ", " - ", "-", "/", "*", "+", "@", ".", ",", ";", "(", ")", "[", "]", "::text", " ", "\t", "\n", "\r", "\r\n",
	"-- ' (\n", "-- \" )\r", "-- $$\r\n", "--", "/* ' */", "/* ( /* ' */ ) */", "/*/ */", "/**/", "/*", "*/", "**/", "'", `"`, `\`, "$$", "$t$", "$", "E'", "U&'", "E", "\x01",
}

func randomExpression(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) { // operands with an operator between, so that many are expressions
		if b.Len() > 0 {
			b.WriteString([]string{" || ", "||", "\n", "\r", " -- '\n", " -- )\r", "/* ( */", ""}[r.IntN(8)])
		}
		b.WriteString(expressionPieces[r.IntN(26)])
	}
	text := []rune(b.String())
	for range r.IntN(3) { // and what may break them
		at := r.IntN(len(text) + 1)
		piece := []rune(expressionPieces[r.IntN(len(expressionPieces))])
		end := at
		if r.IntN(3) == 0 {
			end = min(len(text), at+1+r.IntN(3))
		}
		text = append(text[:at:at], append(piece, text[end:]...)...)
	}
	return string(text)
}

// parses reports whether PostgreSQL's own parser takes a statement without parameters, whatever
// it says about its meaning, and whether it misses the end of a text, a name or a comment.
func parses(ctx context.Context, t *testing.T, conn *pgx.Conn, statement string) (ok, open bool) {
	t.Helper()
	prepared, err := conn.PgConn().Prepare(ctx, "", statement, nil)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return len(prepared.ParamOIDs) == 0, false
	case !errors.As(err, &refused):
		t.Fatalf("%q: %v", statement, err)
	}
	return refused.Code != "42601" && refused.Code != "22025", strings.HasPrefix(refused.Message, "unterminated")
}

// What is taken for one expression is one to PostgreSQL, or is none at all: nothing reaches out of
// the parentheses that are put around it. And what PostgreSQL takes for one is not refused.
func TestExpressionsAsPostgreSQLReadsThem(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	const seed = 20261126
	r := rand.New(rand.NewPCG(seed, 1))
	one, refused := 0, 0
	texts := []string{"new.email -- the address\r", "E'a'\n'b\\'c'", "E'a'\n'\\'' || ')'", "$1$a$", "'a' -- x\n -- y\r 'b'"}
	for len(texts) < *expressionTexts {
		texts = append(texts, randomExpression(r))
	}
	for _, text := range texts {
		inside, open := parses(t.Context(), t, conn, "select "+enclosed(text))
		between, _ := parses(t.Context(), t, conn, "select case when true then\n"+text+"\nend")
		said := lintExpr(Expr{SQL: text})
		if strings.Contains(said, "is no column of new") || strings.Contains(said, "has no parameters") {
			continue // these rules are the program's own
		}
		switch {
		case inside && between && said != "":
			t.Errorf("seed %d: %q is one expression to PostgreSQL, and refused: %s", seed, text, said)
		case said == "" && open:
			t.Errorf("seed %d: %q misses an end to PostgreSQL, and is taken", seed, text)
		case said == "" && inside && !between:
			t.Errorf("seed %d: %q is taken, and is more than an expression to PostgreSQL", seed, text)
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
