package target

import (
	"fmt"
	"slices"
	"strings"
)

// ClosedSchemas are the schemas whose tables no target may write: the provider's, Rollcall's
// own, and PostgreSQL's. A target on auth.users deletes the provider's users.
var ClosedSchemas = []string{
	"auth", "rollcall", "rollcall_provider", "rollcall_api", "pg_catalog", "information_schema", "pg_toast",
}

// valueWords are the bare words that are SQL expressions by themselves.
var valueWords = []string{
	"null", "true", "false", "current_date", "current_time", "current_timestamp", "localtime",
	"localtimestamp", "default",
}

// namesOfServer are the bare words that are SQL expressions by themselves, but know nothing of a
// user: where one stands, a text has lost its quotes.
var namesOfServer = map[string]string{
	"user": "the database role", "current_user": "the database role", "current_role": "the database role",
	"session_user": "the database role", "system_user": "the database role",
	"current_catalog": "the database", "current_schema": "a schema",
}

// Lint returns what can be seen to be wrong with a target of a roll without a database.
func (t *Target) Lint(roll *Roll) []Finding {
	found := findings{target: t.Name}
	if found.add(TableClosed, t.At, t.lintName()); len(found.list) > 0 {
		return found.list
	}
	for _, a := range t.assignments() {
		found.add(ExpressionInvalid, a.Expr.At, roll.lintExpr(a.Expr))
	}
	if t.Match != nil && !roll.has("email_verified") {
		found.add(MatchInvalid, t.At, "match: only users have e-mail addresses; leave it out")
	}
	if t.Where != nil {
		found.add(ExpressionInvalid, t.Where.At, roll.lintExpr(*t.Where))
	}
	if len(found.list) == 0 {
		for _, a := range t.keyAssignments() {
			found.add(KeyChanges, a.Expr.At, roll.lintKey(a))
		}
	}
	return found.list
}

// lintName says why a target may not have its table, as far as the name shows it, or "".
func (t *Target) lintName() string {
	schema, name := SplitTable(t.Table)
	isOfUsers := func(table string) bool { return QuoteTable(table) == QuoteTable(t.Table) }
	if slices.Contains(ClosedSchemas, schema) || slices.ContainsFunc(t.UsersTables, isOfUsers) {
		return refuseClosed(schema + "." + name)
	}
	return ""
}

// SharesRows says why a target may not have a table that is a partition, a parent, a child or a view
// of one that no target may write.
func (t *Target) SharesRows(closed string) string {
	return t.Table + " shares its rows with another table: " + refuseClosed(closed)
}

func refuseClosed(table string) string {
	return table + " is a table of the provider, of Rollcall or of PostgreSQL: " +
		"a target would change and delete its rows; name a table of the application"
}

// lintExpr says what keeps a text from being one SQL expression, or "".
func (r *Roll) lintExpr(e Expr) string {
	if strings.ContainsRune(e.SQL, 0) {
		return "the expression holds a NUL character; take it out"
	}
	tokens, open := scan(e.SQL)
	if open != nil {
		return fmt.Sprintf("%v in %s; close it (a comma inside { } or a \" #\" may have cut the expression: write it in block style, between double quotes or after >-)", open, e.abridged())
	}
	if len(tokens) == 0 {
		return "the expression is empty; write null for no value"
	}
	if len(tokens) == 1 && tokens[0].kind == kindWord {
		return r.lintWord(tokens[0].text, e)
	}
	if what := lintNesting(tokens, e); what != "" {
		return what
	}
	return lintNames(tokens, e)
}

// lintWord hints at a text that lost its SQL quotes to YAML.
func (r *Roll) lintWord(word string, e Expr) string {
	if word == "default" {
		return "default is not an expression; leave the column out, PostgreSQL fills it"
	}
	if slices.Contains(valueWords, word) || r.has(word) {
		return ""
	}
	no := "no column of new"
	if of := namesOfServer[word]; of != "" {
		no = "the name of " + of + ", no column of new"
	}
	if meant := Nearest(word, r.Names()); meant != "" && namesOfServer[word] == "" {
		return fmt.Sprintf("%s is %s; did you mean new.%s? A text is written \"'%[1]s'\"", e.abridged(), no, meant)
	}
	return fmt.Sprintf("%[1]s is %[2]s; did you mean the text %[1]s? write \"'%[1]s'\"", e.abridged(), no)
}

// lintNames refuses the names of the server inside an expression, but for a call, x.user and
// "as user".
func lintNames(tokens []token, e Expr) string {
	for i, t := range tokens {
		of := namesOfServer[t.text]
		if t.kind != kindWord || of == "" || i > 0 && (tokens[i-1].text == "." || tokens[i-1].text == "as") ||
			i+1 < len(tokens) && tokens[i+1].text == "(" {
			continue
		}
		return fmt.Sprintf("%s in %s is the name of %s; if you mean the text, put it between single quotes",
			t.text, e.abridged(), of)
	}
	return ""
}

// lintNesting sees to it that nothing ends the parentheses around an expression, and
// that it is one.
func lintNesting(tokens []token, e Expr) string {
	for depth, i := 0, 0; i < len(tokens) && depth >= 0; i++ {
		switch t := tokens[i]; {
		case t.kind == kindParameter:
			return fmt.Sprintf("%s in %s: an expression has no parameters", t.text, e.abridged())
		case t.kind != kindSymbol:
		case t.text == "(" || t.text == "[":
			depth++
		case t.text == ")" || t.text == "]":
			depth--
		case t.text == ";" || t.text == "," && depth == 0:
			return fmt.Sprintf("%q in %s: one expression is wanted; in YAML, put the whole between double quotes "+
				"or after >-", t.text, e.abridged())
		}
	}
	switch bracket, opens := unmatched(tokens); {
	case bracket == "":
		return ""
	case opens:
		return fmt.Sprintf("%s is not closed in %s; a comma inside { } or a \" #\" cuts an expression: "+
			"write it in block style, between double quotes or after >-", bracket, e.abridged())
	default:
		return fmt.Sprintf("%s too many in %s", bracket, e.abridged())
	}
}

// lintKey allows a key only what never changes and survives in the tombstone.
func (r *Roll) lintKey(a Assignment) string {
	for _, column := range r.used(a.Expr.SQL) {
		if !slices.Contains(r.keyColumns(), column) {
			return fmt.Sprintf("key column %s is made from new.%s, which may change; a key uses only %s and constants",
				a.Column, column, r.keyNames())
		}
	}
	return ""
}

// lintKeys says what is missing in a target's key, or "".
func (r *Roll) lintKeys(t *Target) string {
	keys := t.keyAssignments()
	if len(keys) < len(t.Key) {
		return "every key column must stand in set"
	}
	var used []string
	for _, a := range keys {
		used = append(used, r.used(a.Expr.SQL)...)
	}
	switch {
	case slices.Contains(used, r.ID):
		return ""
	case r.Pair == nil:
		return fmt.Sprintf("no key column (%s) is made from new.%s: all users would be one row", strings.Join(t.Key, ", "), r.ID)
	}
	for _, column := range r.Pair.Columns {
		if !slices.Contains(used, column) {
			return fmt.Sprintf("no key column (%s) is made from new.%s: several would be one row; a key uses new.%s, or all of new.%s",
				strings.Join(t.Key, ", "), column, r.ID, strings.Join(r.Pair.Columns, " and new."))
		}
	}
	return ""
}

// isConstant reports whether an expression, as PostgreSQL prints it after planning, is a
// literal: what it could compute once and for all, it has.
func isConstant(planned string) bool {
	tokens, open := scan(planned)
	if open != nil || len(tokens) == 0 {
		return false
	}
	first := tokens[0]
	literal := first.kind == kindText || first.kind == kindNumber ||
		slices.Contains([]string{"null", "true", "false"}, first.text)
	return literal && (len(tokens) == 1 || tokens[1].text == ":")
}
