package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// What PostgreSQL would refuse in operation is looked for when a target is checked: "explain"
// starts a statement without running it, and so asks for the rights to all tables and functions
// in it.

// explain has PostgreSQL parse, plan and start a statement. Its parameters are texts.
func explain(ctx context.Context, conn *pgx.Conn, sql string, parameters ...string) error {
	values := make([][]byte, len(parameters))
	for i, p := range parameters {
		values[i] = []byte(p)
	}
	return conn.PgConn().ExecParams(ctx, "explain (costs off) "+sql, values, nil, nil, nil).Read().Err
}

// statements explains all that runs for a target.
func (a *attempt) statements(c *compiler) {
	whole := c.compile()
	refused := func(e *pgconn.PgError) string {
		what := "its statement is refused: " + c.words(e)
		if e.Code == sqlstate.InsufficientPrivilege {
			what += "; " + c.grants(e)
		}
		return what
	}
	ofBatch, ofSpan := []string{"{}", "{}", "true"}, []string{"", "", ""}
	for _, s := range []struct {
		sql        string
		parameters []string
	}{
		{whole.removal, ofBatch}, {whole.upsert, ofBatch}, {whole.removalSpan, ofSpan}, {whole.upsertSpan, ofSpan},
		{whole.removalLocked, ofBatch}, {whole.upsertLocked, ofBatch},
		{whole.removalWanted, ofBatch}, {whole.upsertWanted, ofBatch},
		{whole.release, ofBatch}, {whole.census, ofBatch}, {whole.differing, ofBatch},
	} {
		if s.sql != "" {
			a.try(c.At, refused, func() error { return explain(a.ctx, a.conn, s.sql, s.parameters...) })
		}
	}
}

// defaults looks at the columns that an insert leaves to their defaults: the right to a sequence
// behind one is asked for only when it is used.
func (a *attempt) defaults(c *compiler) {
	var assigned []string
	for _, s := range slices.Concat(c.Set, c.OnInsert) {
		assigned = append(assigned, s.Column)
	}
	rows, _ := a.conn.Query(a.ctx, sql.Defaults, c.table.OID, assigned)
	type left struct{ Column, Default, Grant string }
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[left])
	if err != nil {
		a.err = fmt.Errorf("read the defaults of %s from the catalog: %w", c.Table, err)
		return
	}
	for _, d := range list {
		if d.Grant != "" {
			a.note(c.At, fmt.Sprintf("column %s takes its default from a sequence that role %s may not use: "+
				"every insert would fail; run: %s", quote(d.Column), quote(c.table.Role), d.Grant))
			continue
		}
		refused := func(e *pgconn.PgError) string {
			return fmt.Sprintf("column %s: %s in its default %s; %s",
				quote(d.Column), c.words(e), d.Default, c.hint(e, d.Column, ""))
		}
		a.try(c.At, refused, func() error { return explain(a.ctx, a.conn, "select "+d.Default) })
	}
}

// denied is how PostgreSQL says which right is missing; in other languages only its words help.
var denied = regexp.MustCompile(`^permission denied for ([a-z ]+?) (\S+)$`)

// grants says which grant gives the right that a refusal is about.
func (a *attempt) grants(c *compiler, e *pgconn.PgError) string {
	const unknown = "give the role the right to what it names"
	found := denied.FindStringSubmatch(e.Message)
	if found == nil {
		return unknown
	}
	needed := strings.Join(neededRights(c.Target), ", ")
	rows, _ := a.conn.Query(a.ctx, sql.Grants, found[1], strings.Trim(found[2], `"`), c.table.OID, needed)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil || len(list) == 0:
		return unknown
	case len(list) > 1: // of one name
		return "run one of: " + strings.Join(list, "; ")
	}
	return "run: " + list[0]
}
