package postgres

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"rollcall/internal/sqltext"
)

// Expr is a SQL expression over the record new, as the configuration gives it.
type Expr struct {
	SQL string
	// Written is SQL as the file has it, before variables were replaced: the form that
	// messages quote. SQL when empty.
	Written string
	// At is where it stands (file:line:column), for findings.
	At string
}

// Assignment gives a column its value.
type Assignment struct {
	Column string // the exact name
	Expr   Expr
}

// OnDelete is what becomes of the row of a user who is gone.
type OnDelete string

// The three forms of on_delete. DeleteSet assigns Target.Gone.
const (
	DeleteRow  OnDelete = "delete"
	DeleteKeep OnDelete = "keep"
	DeleteSet  OnDelete = "set"
)

// Target describes a table of an application in the words of the configuration.
type Target struct {
	Name  string
	At    string   // where the target stands in the configuration
	Table string   // schema.table, exact names; the schema defaults to public
	From  []Origin // the sources whose users it follows
	Key   []string // the columns of a unique index
	// Set is written at insert and at every update, OnInsert once.
	Set      []Assignment
	OnInsert []Assignment
	OnDelete OnDelete
	Gone     []Assignment // with DeleteSet
	Where    *Expr        // nil: everybody
	// UsersTables are the tables of the providers' users, as schema.table: a target that
	// wrote one would delete the provider's own users.
	UsersTables []string
}

// Forget is a statement that removes the rows of users whose ids are like a pattern, for people
// to run; "" where the target doesn't follow the source, or has no column of its key that is
// the user's id.
func (t *Target) Forget(source, pattern string) string {
	if !slices.ContainsFunc(t.From, func(o Origin) bool { return o.Source == source }) {
		return ""
	}
	for _, a := range t.Set {
		if slices.Contains(t.Key, a.Column) && strings.TrimSpace(a.Expr.SQL) == "new.id" {
			return fmt.Sprintf("delete from %s where %s::text like %s", quoteTable(t.Table), quote(a.Column), Literal(pattern))
		}
	}
	return ""
}

// Origin is a source of a target's users.
type Origin struct {
	Source string
	// SampleID is an id such as the source gives: a key must be able to hold it.
	SampleID string
}

// Finding is one thing wrong with a target. A target with a Fault stays out of service; its
// users are parked.
type Finding struct {
	Target string
	At     string // file:line:column
	What   string // what is wrong and what to do
	// Passing: a lock or a full server kept the target from being checked; a target that was
	// in service stays there.
	Passing bool
	// Severity is Fault unless the target stays in service.
	Severity Severity
}

// Severity is what a finding does to its target.
type Severity int

// A Fault takes the target out of service; a Warning is only said.
const (
	Fault Severity = iota
	Warning
)

// Faults are the findings that take a target out of service.
func Faults(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return f.Severity == Warning })
}

func (f Finding) String() string { return fmt.Sprintf("%s: target %s: %s", f.At, f.Target, f.What) }

// fingerprint is a number for a set of targets: the same at every replica that has the same,
// and in all likelihood another for any other.
func fingerprint(targets []Target) int32 {
	sum := fnv.New32a()
	for _, t := range targets {
		plain := func(list []Assignment) []string {
			var lines []string
			for _, a := range list {
				lines = append(lines, a.Column+": "+a.Expr.SQL)
			}
			return lines
		}
		where := ""
		if t.Where != nil {
			where = t.Where.SQL
		}
		fmt.Fprintf(sum, "%q %q %q %q %q %q %q %q %q\n", t.Name, t.Table, t.From, t.Key, plain(t.Set), plain(t.OnInsert), t.OnDelete, plain(t.Gone), where)
	}
	return int32(sum.Sum32()) //nolint:gosec // its bits are all that counts
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

// Lint returns what can be seen to be wrong with a target without a database.
func (t *Target) Lint() []Finding {
	if what := t.lintName(); what != "" {
		return []Finding{{Target: t.Name, At: t.At, What: what}}
	}
	var found []Finding
	add := func(e Expr, problem string) {
		if problem != "" {
			found = append(found, Finding{Target: t.Name, At: e.At, What: problem})
		}
	}
	for _, a := range slices.Concat(t.Set, t.OnInsert, t.Gone) {
		add(a.Expr, lintExpr(a.Expr))
	}
	if t.Where != nil {
		add(*t.Where, lintExpr(*t.Where))
	}
	if len(found) == 0 {
		for _, a := range t.keyAssignments() {
			add(a.Expr, lintKey(a))
		}
	}
	return found
}

// lintExpr says what keeps a text from being one SQL expression, or "".
func lintExpr(e Expr) string {
	if strings.ContainsRune(e.SQL, 0) {
		return "the expression holds a NUL character; take it out"
	}
	tokens, err := sqltext.Scan(e.SQL)
	if err != nil {
		return fmt.Sprintf("%v in %s; close it (a comma inside { } or a \" #\" may have cut the expression: write it in block style, between double quotes or after >-)", err, e.abridged())
	}
	if len(tokens) == 0 {
		return "the expression is empty; write null for no value"
	}
	if len(tokens) == 1 && tokens[0].Kind == sqltext.Word {
		return lintWord(tokens[0].Text, e)
	}
	if what := lintNesting(tokens, e); what != "" {
		return what
	}
	return lintNames(tokens, e)
}

// lintWord hints at a text that lost its SQL quotes to YAML.
func lintWord(word string, e Expr) string {
	if word == "default" {
		return "default is not an expression; leave the column out, PostgreSQL fills it"
	}
	if slices.Contains(valueWords, word) || slices.Contains(columnsOfNew, word) {
		return ""
	}
	no := "no column of new"
	if of := namesOfServer[word]; of != "" {
		no = "the name of " + of + ", no column of new"
	}
	return fmt.Sprintf("%[1]s is %[2]s; did you mean the text %[1]s? write \"'%[1]s'\"", e.abridged(), no)
}

// lintNames refuses the names of the server inside an expression, but for a call, x.user and
// "as user".
func lintNames(tokens []sqltext.Token, e Expr) string {
	for i, t := range tokens {
		of := namesOfServer[t.Text]
		if t.Kind != sqltext.Word || of == "" || i > 0 && (tokens[i-1].Text == "." || tokens[i-1].Text == "as") ||
			i+1 < len(tokens) && tokens[i+1].Text == "(" {
			continue
		}
		return fmt.Sprintf("%s in %s is the name of %s; if you mean the text, put it between single quotes",
			t.Text, e.abridged(), of)
	}
	return ""
}

// lintNesting sees to it that nothing ends the parentheses around an expression, and
// that it is one.
func lintNesting(tokens []sqltext.Token, e Expr) string {
	for depth, i := 0, 0; i < len(tokens) && depth >= 0; i++ {
		switch t := tokens[i]; {
		case t.Kind == sqltext.Param:
			return fmt.Sprintf("%s in %s: an expression has no parameters", t.Text, e.abridged())
		case t.Kind != sqltext.Symbol:
		case t.Text == "(" || t.Text == "[":
			depth++
		case t.Text == ")" || t.Text == "]":
			depth--
		case t.Text == ";" || t.Text == "," && depth == 0:
			return fmt.Sprintf("%q in %s: one expression is wanted; in YAML, put the whole between double quotes "+
				"or after >-", t.Text, e.abridged())
		}
	}
	switch bracket, opens := sqltext.Unmatched(tokens); {
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
func lintKey(a Assignment) string {
	for _, column := range usedColumns(a.Expr.SQL) {
		if column != "source" && column != "id" {
			return fmt.Sprintf("key column %s is made from new.%s, which may change; a key uses only new.source, new.id and constants", a.Column, column)
		}
	}
	return ""
}

// keyAssignments returns the assignments of the key columns, in the key's order.
func (t *Target) keyAssignments() []Assignment {
	var keys []Assignment
	for _, name := range t.Key {
		for _, a := range t.Set {
			if a.Column == name {
				keys = append(keys, a)
			}
		}
	}
	return keys
}

// usedColumns returns the columns of new that an expression reads, as new.email or as a
// bare email.
func usedColumns(sql string) []string {
	tokens, err := sqltext.Scan(sql)
	if err != nil {
		return nil
	}
	var used []string
	for i, t := range tokens {
		if t.Kind != sqltext.Word && t.Kind != sqltext.Name || !slices.Contains(columnsOfNew, t.Text) {
			continue
		}
		bare := i == 0 || tokens[i-1].Text != "." && tokens[i-1].Text != ":"
		call := i+1 < len(tokens) && tokens[i+1].Text == "("
		qualified := i > 1 && tokens[i-1].Text == "." && tokens[i-2].Text == "new"
		if (bare && !call || qualified) && !slices.Contains(used, t.Text) {
			used = append(used, t.Text)
		}
	}
	return used
}

// readsNew reports whether an expression reads the record new, as a whole or by column.
func readsNew(sql string) bool {
	tokens, _ := sqltext.Scan(sql)
	return len(usedColumns(sql)) > 0 || slices.ContainsFunc(tokens, func(t sqltext.Token) bool { return t.Text == "new" })
}

// isConstant reports whether an expression, as PostgreSQL prints it after planning, is a
// literal: what it could compute once and for all, it has.
func isConstant(planned string) bool {
	tokens, err := sqltext.Scan(planned)
	if err != nil || len(tokens) == 0 {
		return false
	}
	first := tokens[0]
	literal := first.Kind == sqltext.Text || first.Kind == sqltext.Number ||
		slices.Contains([]string{"null", "true", "false"}, first.Text)
	return literal && (len(tokens) == 1 || tokens[1].Text == ":")
}

// abridged quotes an expression for a message.
func (e Expr) abridged() string {
	line := strings.Join(strings.Fields(cmp.Or(e.Written, e.SQL)), " ")
	if len(line) > 60 {
		line = strings.ToValidUTF8(line[:57], "") + "..."
	}
	return line
}
