package catalog

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/target"
)

// What PostgreSQL would refuse in operation is looked for when a target is checked: "explain"
// starts a statement without running it, and so asks for the rights to all tables and functions
// in it.

// explain has PostgreSQL parse, plan and start a statement. Its parameters are texts.
func explain(ctx context.Context, conn *pgx.Conn, sql string, parameters ...string) error {
	sql, values := explained{sql, parameters}.message()
	return conn.PgConn().ExecParams(ctx, sql, values, nil, nil, nil).Read().Err
}

// explained is a statement to explain.
type explained struct {
	sql        string // "" for none
	parameters []string
}

// message is what is sent.
func (s explained) message() (sql string, values [][]byte) {
	for _, p := range s.parameters {
		values = append(values, []byte(p))
	}
	return "explain (costs off) " + s.sql, values
}

// explainAll explains statements in one round trip, up to the first that is refused.
func explainAll(ctx context.Context, conn *pgx.Conn, list []explained) error {
	var batch pgconn.Batch
	for _, s := range list {
		if s.sql != "" {
			sql, values := s.message()
			batch.ExecParams(sql, values, nil, nil, nil)
		}
	}
	return conn.PgConn().ExecBatch(ctx, &batch).Close()
}

// statements explains all that runs for a target; where one is refused, each by itself. InsertSpan is the beginning of
// UpsertSpan.
func (a *attempt) statements() {
	whole := a.compiler.Compile()
	ofBatch, ofSpan := []string{"{}", "{}", "true"}, []string{"", "", ""}
	list := []explained{
		{whole.Removal, ofBatch}, {whole.Upsert, ofBatch}, {whole.RemovalSpan, ofSpan}, {whole.UpsertSpan, ofSpan},
		{whole.RemovalLocked, ofBatch}, {whole.UpsertLocked, ofBatch},
		{whole.RemovalWanted, ofBatch}, {whole.UpsertWanted, ofBatch},
		{whole.Adoption, ofBatch}, {whole.AdoptionSpan, ofSpan}, {whole.AdoptionLocked, ofBatch}, {whole.Verdicts, ofBatch},
		{whole.Release, ofBatch}, {whole.States, ofBatch}, {whole.Differing, ofBatch},
	}
	if a.undone(func() error { return explainAll(a.ctx, a.conn, list) }) == nil {
		return
	}
	for _, s := range list {
		if s.sql != "" {
			q := target.Question{At: a.target.At, Code: target.StatementRefused, Explain: a.compiler.ExplainStatement}
			a.try(q, func() error { return explain(a.ctx, a.conn, s.sql, s.parameters...) })
		}
	}
}

// defaults looks at the columns that an insert leaves to their defaults: the right to a sequence
// behind one is asked for only when it is used.
func (a *attempt) defaults() {
	t := a.target
	var assigned []string
	for _, s := range slices.Concat(t.Set, t.OnInsert) {
		assigned = append(assigned, s.Column)
	}
	rows, _ := a.conn.Query(a.ctx, defaultsSQL, a.table.OID, assigned)
	type left struct{ Column, Default, Grant string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[left])
	if err != nil {
		a.err = fmt.Errorf("read the defaults of %s from the catalog: %w", t.Table, err)
		return
	}
	for _, d := range list {
		if d.Grant != "" {
			a.note(target.Rights, t.At, fmt.Sprintf("column %s takes its default from a sequence that role %s may not use: "+
				"every insert would fail; run: %s", target.Quote(d.Column), target.Quote(a.table.Role), d.Grant))
			continue
		}
		refused := func(r target.Refusal) string { return a.compiler.ExplainDefault(r, d.Column, d.Default) }
		a.try(target.Question{At: t.At, Code: target.DefaultRefused, Explain: refused}, func() error { return explain(a.ctx, a.conn, "select "+d.Default) })
	}
}

// denied is how PostgreSQL says which right is missing; in other languages only its words help.
var denied = regexp.MustCompile(`^permission denied for ([a-z ]+?) (\S+)$`)

// grants says which grant gives the right that a refusal is about.
func (a *attempt) grants(e *pgconn.PgError) string {
	const unknown = "give the role the right to what it names"
	found := denied.FindStringSubmatch(e.Message)
	if found == nil {
		return unknown
	}
	needed := strings.Join(a.target.Rights(), ", ")
	rows, _ := a.conn.Query(a.ctx, grantsSQL, found[1], strings.Trim(found[2], `"`), a.table.OID, needed)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil || len(list) == 0:
		return unknown
	case len(list) > 1: // of one name
		return "run one of: " + strings.Join(list, "; ")
	}
	return "run: " + list[0]
}
