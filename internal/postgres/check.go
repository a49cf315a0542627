package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// checkTarget compiles a target against the catalog. What is wrong with the target is
// a finding; an error means that the database could not be asked.
func checkTarget(ctx context.Context, conn *pgx.Conn, t *Target) (*compiled, []Finding, error) {
	if found := t.Lint(); len(found) > 0 {
		return broken(t, found), found, nil
	}
	tab, err := readTable(ctx, conn, t.Table)
	if errors.Is(err, errNoTable) {
		found := []Finding{{t.Name, t.At, fmt.Sprintf("table %s does not exist; names are exact, as in the catalog: schema.table", t.Table)}}
		return broken(t, found), found, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if found := lintTable(t, tab); len(found) > 0 {
		return broken(t, found), found, nil
	}
	found, err := tryStatements(ctx, conn, compiler{t, tab})
	if err != nil || len(found) > 0 {
		return broken(t, found), found, err
	}
	return compile(t, tab), nil, nil
}

// broken is a target out of service: its users are parked until it is mended.
func broken(t *Target, found []Finding) *compiled {
	c := &compiled{Target: t, outage: &outage{state: "42000"}}
	if len(found) > 0 {
		c.outage.message = found[0].What
	}
	return c
}

// lintTable holds a target against its table.
func lintTable(t *Target, tab *table) []Finding {
	if what := tab.lintAccess(t); what != "" {
		return []Finding{{t.Name, t.At, what}}
	}
	var found []Finding
	add := func(at, what string) {
		if what != "" {
			found = append(found, Finding{t.Name, at, what})
		}
	}
	for _, a := range slices.Concat(t.Set, t.OnInsert, t.Gone) {
		add(a.Expr.At, tab.lintColumn(t, a.Column))
	}
	add(t.At, tab.lintKey(t))
	add(t.At, tab.lintRequired(t))
	for _, a := range t.Gone {
		add(a.Expr.At, tab.lintGone(a))
		if slices.Contains(t.Key, a.Column) {
			add(a.Expr.At, fmt.Sprintf("on_delete sets the key column %s; a key never changes", quote(a.Column)))
		}
	}
	return found
}

// tryStatements lets PostgreSQL parse each expression by itself, so that a finding has
// its place, then the keys with a sample id of each source, then the statements.
func tryStatements(ctx context.Context, conn *pgx.Conn, c compiler) ([]Finding, error) {
	var found []Finding
	try := func(at string, what func(*pgconn.PgError) string, do func() error) error {
		var refused *pgconn.PgError
		err := do()
		if errors.As(err, &refused) && blameOf(err) != blameNobody {
			found = append(found, Finding{c.Name, at, what(refused)})
			return nil
		}
		return err
	}
	for _, p := range c.probes() {
		err := try(p.at, p.explain, func() error { return parse(ctx, conn, p.sql) })
		if err != nil {
			return nil, fmt.Errorf("check target %s: %w", c.Name, err)
		}
	}
	for _, o := range c.From {
		err := try(c.At, c.explainKey(o), func() error { return c.sampleKey(ctx, conn, o) })
		if err != nil {
			return nil, fmt.Errorf("check the key of target %s: %w", c.Name, err)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	whole := compile(c.Target, c.table)
	for _, sql := range []string{whole.removal, whole.upsert, whole.removalLocked, whole.upsertLocked} {
		err := try(c.At, func(e *pgconn.PgError) string { return "its statement is refused: " + words(e) }, func() error { return parse(ctx, conn, sql) })
		if err != nil {
			return nil, fmt.Errorf("check the statements of target %s: %w", c.Name, err)
		}
	}
	return found, nil
}

// parse has PostgreSQL parse and analyse a statement without running it.
func parse(ctx context.Context, conn *pgx.Conn, sql string) error {
	if sql == "" {
		return nil
	}
	_, err := conn.PgConn().Prepare(ctx, "", sql, nil)
	return err
}

// probe is one expression as a statement of its own.
type probe struct {
	at, sql string
	explain func(*pgconn.PgError) string
}

func (c compiler) probes() []probe {
	var list []probe
	nobody := "(select " + record() + " from rollcall.users u) new"
	for _, a := range slices.Concat(c.Set, c.OnInsert, c.Gone) {
		list = append(list, probe{a.Expr.At, "select " + c.value(a) + " from " + nobody, func(e *pgconn.PgError) string {
			return fmt.Sprintf("column %s: %s in %s; %s", quote(a.Column), words(e), a.Expr.abridged(), c.hint(e, a.Column))
		}})
	}
	if c.Where != nil {
		list = append(list, probe{c.Where.At, "select from " + nobody + " where " + enclosed(c.Where.SQL), func(e *pgconn.PgError) string {
			return fmt.Sprintf("where: %s in %s; %s", words(e), c.Where.abridged(), c.hint(e, ""))
		}})
	}
	return list
}

// hint says what to do about a refused expression.
func (c compiler) hint(e *pgconn.PgError, column string) string {
	switch e.Code {
	case "42703", "42P01":
		return "the record new has " + strings.Join(columnsOfNew, ", ")
	case "42846", "42804":
		if tab := c.table.column(column); tab != nil {
			return "the expression must give a " + tab.Type
		}
	case "42883":
		return "name a function with its schema unless it is in pg_catalog or public, and mind the types of its arguments"
	}
	return "write one SQL expression over the record new"
}

// sampleKey evaluates the key for an id such as the source gives. The record has only the
// columns that a key may use.
func (c compiler) sampleKey(ctx context.Context, conn *pgx.Conn, o Origin) error {
	values := make([]string, 0, len(c.Key))
	for _, a := range c.keyAssignments() {
		values = append(values, "("+c.value(a)+") is null")
	}
	_, err := conn.Exec(ctx, "select "+strings.Join(values, ", ")+" from (select $1::text as source, $2::text as id) new", o.Source, o.SampleID)
	return err
}

func (c compiler) explainKey(o Origin) func(*pgconn.PgError) string {
	return func(e *pgconn.PgError) string {
		if e.Code == "42703" {
			return fmt.Sprintf("key (%s): %s; a key uses only new.source, new.id and constants", strings.Join(c.Key, ", "), words(e))
		}
		return fmt.Sprintf("key (%s) can't hold the ids of source %s, such as %s: %s; use a text column, or leave the source out of from",
			strings.Join(c.Key, ", "), o.Source, o.SampleID, words(e))
	}
}

// words is PostgreSQL's own message, with its code.
func words(e *pgconn.PgError) string { return fmt.Sprintf("%s (%s)", e.Message, e.Code) }
