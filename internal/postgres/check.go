package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/sql"
)

// checkTarget compiles a target against the catalog. What is wrong with the target is
// a finding; an error means that the database could not be asked.
func checkTarget(ctx context.Context, conn *pgx.Conn, t *Target) (*compiled, []Finding, error) {
	if found := t.Lint(); len(found) > 0 {
		return broken(t, found), found, nil
	}
	tab, err := readTable(ctx, conn, t.Table)
	if errors.Is(err, errNoTable) {
		what, err := noTable(ctx, conn, t)
		found := []Finding{{Target: t.Name, At: t.At, What: what}}
		return broken(t, found), found, err
	}
	if err != nil {
		return nil, nil, err
	}
	what, err := lintClosed(ctx, conn, t, tab)
	if err != nil {
		return nil, nil, err
	}
	if what != "" {
		found := []Finding{{Target: t.Name, At: t.At, What: what}}
		return broken(t, found), found, nil
	}
	if found := lintTable(t, tab); len(found) > 0 {
		return broken(t, found), found, nil
	}
	c := compiler{Target: t, table: tab, volatile: map[string]bool{}}
	found, err := tryStatements(ctx, conn, &c)
	if err != nil || len(Faults(found)) > 0 {
		return broken(t, Faults(found)), Faults(found), err
	}
	lost, err := lintUsersReferences(ctx, conn, &c)
	return c.compile(), append(found, lost...), err
}

// noTable says that a table is missing, and which one may be meant.
func noTable(ctx context.Context, conn *pgx.Conn, t *Target) (string, error) {
	schemas, names := t.usersTables()
	closed := []string{}
	for i := range names {
		closed = append(closed, schemas[i]+"."+names[i])
	}
	_, relation := splitTable(t.Table)
	rows, _ := conn.Query(ctx, sql.NearTables, relation, closedSchemas, closed)
	near, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("look for tables like %s: %w", t.Table, err)
	}
	hint := "create it, or correct the name"
	if len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Sprintf("table %s does not exist; names are exact, as in the catalog: schema.table; %s",
		t.Table, hint), nil
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
		return []Finding{{Target: t.Name, At: t.At, What: what}}
	}
	var found []Finding
	add := func(at, what string) {
		if what != "" {
			found = append(found, Finding{Target: t.Name, At: at, What: what})
		}
	}
	for _, a := range slices.Concat(t.Set, t.OnInsert, t.Gone) {
		add(a.Expr.At, tab.lintColumn(t, a.Column))
	}
	if len(found) > 0 {
		return found // an index on a column that is not there would be no help
	}
	add(t.At, t.lintKeys())
	add(t.At, tab.lintKey(t))
	add(t.At, tab.lintSame(t))
	add(t.At, tab.lintRequired(t))
	for _, a := range t.Gone {
		if slices.Contains(t.Key, a.Column) {
			add(a.Expr.At, fmt.Sprintf("on_delete sets the key column %s; a key never changes", quote(a.Column)))
		}
	}
	return found
}

// tryStatements lets PostgreSQL explain each expression by itself, so that a finding has
// its place, then evaluates the keys for a sample id of each source, and the deleted form
// of a row, and then explains the statements.
func tryStatements(ctx context.Context, conn *pgx.Conn, c *compiler) ([]Finding, error) {
	a := &attempt{ctx: ctx, conn: conn, target: c.Target}
	c.grants = func(e *pgconn.PgError) string { return a.grants(c, e) }
	for _, p := range c.probes() {
		a.try(p.at, p.explain, func() error {
			if err := explain(ctx, conn, p.sql); err != nil {
				return err
			}
			return a.lintText(c, p)
		})
	}
	for _, o := range c.From {
		for _, k := range c.keyAssignments() {
			a.try(k.Expr.At, c.explainKey(o, k), func() error { return a.sampleKey(c, o, k) })
		}
	}
	if len(a.found) == 0 {
		a.ownTable(c)
	}
	if len(a.found) == 0 {
		a.volatility(c)
		a.deletedForm(c)
	}
	if len(a.found) == 0 {
		a.defaults(c)
	}
	if len(a.found) == 0 {
		a.statements(c)
	}
	return append(a.found, a.warned...), a.err
}

// attempt tries what a target needs, and sorts what goes wrong: into findings about the
// target, or the one error that means that the database could not be asked.
type attempt struct {
	ctx    context.Context //nolint:containedctx // one check, from its begin to its end
	conn   *pgx.Conn
	target *Target
	found  []Finding // faults
	warned []Finding
	err    error
}

// try runs do unless something has failed for good before. A lock or a full server is no
// fault of the target's, and is said to pass.
func (a *attempt) try(at string, explain func(*pgconn.PgError) string, do func() error) {
	if a.err != nil {
		return
	}
	var answer *pgconn.PgError
	err := a.apart(do)
	switch {
	case err == nil:
	case !errors.As(err, &answer) || sqlstate.ClassOf(err) == sqlstate.Retry:
		a.err = fmt.Errorf("check target %s: %w", a.target.Name, err)
	case sqlstate.ClassOf(err) == sqlstate.Lock || sqlstate.ClassOf(err) == sqlstate.Server:
		what := "it can't be checked at the moment: " + sqlstate.Masked(answer.Code, answer.Message) +
			"; it is looked at again every few seconds"
		a.found = append(a.found, Finding{Target: a.target.Name, At: at, What: what, Passing: true})
	default:
		a.note(at, explain(answer))
	}
}

// apart keeps a refusal from ending the transaction that a preview runs in.
func (a *attempt) apart(do func() error) error {
	if a.conn.PgConn().TxStatus() == 'I' {
		return do()
	}
	if _, err := a.conn.Exec(a.ctx, "savepoint attempt"); err != nil {
		return err
	}
	err := do()
	_, back := a.conn.Exec(a.ctx, "rollback to savepoint attempt")
	return errors.Join(err, back)
}

func (a *attempt) note(at, what string) {
	f := Finding{Target: a.target.Name, At: at, What: what}
	if !slices.Contains(a.found, f) {
		a.found = append(a.found, f)
	}
}

// probe is one expression as a statement of its own.
type probe struct {
	at, sql string
	given   *Assignment // nil for where
	name    string      // what it is, for messages
	value   string      // the expression alone
	explain func(*pgconn.PgError) string
}

// everyUser is all users as the record new.
func everyUser() string { return "(select " + record() + " from rollcall.users u) new" }

func (c *compiler) probes() []probe {
	var list []probe
	for _, a := range slices.Concat(c.Set, c.OnInsert, c.Gone) {
		// In a condition PostgreSQL itself refuses what is no single value: aggregates, window
		// functions, sets.
		list = append(list, probe{
			at: a.Expr.At, sql: "select " + c.value(a) + " from " + everyUser() + " where (" + c.value(a) + ") is null",
			given: &a, name: "column " + quote(a.Column) + ": " + a.Expr.abridged(),
			value: c.value(a), explain: c.explainColumn(a),
		})
	}
	if c.Where != nil {
		list = append(list, probe{
			at: c.Where.At, sql: "select from " + everyUser() + " where " + enclosed(c.Where.SQL),
			name: "where: " + c.Where.abridged(), value: enclosed(c.Where.SQL),
			explain: func(e *pgconn.PgError) string {
				return fmt.Sprintf("where: %s in %s; %s", c.words(e), c.Where.abridged(), c.hint(e, "", c.Where.SQL))
			},
		})
	}
	return list
}

// sampleKey plans a column of the key for an id such as the source gives. The record has only
// the columns that a key may use, and PostgreSQL must be able to compute the key once and for
// all: what depends on the moment or on other rows would make a second row of a user.
func (a *attempt) sampleKey(c *compiler, o Origin, k Assignment) error {
	planned, err := plan(a.ctx, a.conn, fmt.Sprintf("select %s from (select %s::text as source, %s::text as id) new",
		c.value(k), Literal(o.Source), Literal(o.SampleID)))
	if err != nil {
		return err
	}
	if strings.HasPrefix(planned, "NULL::") {
		a.note(k.Expr.At, fmt.Sprintf("key column %s: %s is null; a unique index does not keep nulls apart",
			quote(k.Column), k.Expr.abridged()))
	} else if !isConstant(planned) {
		a.note(k.Expr.At, fmt.Sprintf("key column %s: %s may give another value for the same user; "+
			"a key uses only new.source, new.id, constants and immutable functions", quote(k.Column), k.Expr.abridged()))
	}
	return nil
}

// volatility finds the expressions that give another value each time without any change
// of the user, such as now(): those that read no column of new and are no constant.
func (a *attempt) volatility(c *compiler) {
	for _, s := range slices.Concat(c.Set, c.Gone) {
		if readsNew(s.Expr.SQL) {
			continue
		}
		a.try(s.Expr.At, c.explainColumn(s), func() error {
			planned, err := plan(a.ctx, a.conn, "select "+c.value(s))
			c.volatile[s.Expr.SQL] = !isConstant(planned)
			return err
		})
	}
}

// deletedForm evaluates the map of on_delete for a tombstone: what it makes null must be
// allowed to be.
func (a *attempt) deletedForm(c *compiler) {
	unmarked := len(c.Gone) > 0
	for _, g := range c.Gone {
		unmarked = unmarked && c.volatile[g.Expr.SQL] && c.table.column(g.Column).NotNull
	}
	if unmarked {
		a.note(c.Gone[0].Expr.At, "on_delete sets only what is another value each time, in columns that are never null: nothing would tell that a row is in its deleted form; add a column such as deleted_at")
	}
	for _, g := range c.Gone {
		if !c.table.column(g.Column).NotNull {
			continue
		}
		a.try(g.Expr.At, c.explainColumn(g), func() error {
			var isNull bool
			const tombstone = `'{"source": "-", "id": "-", "deleted_at": "now"}'`
			err := a.conn.QueryRow(a.ctx, "select ("+c.value(g)+") is null from (select "+record()+
				" from pg_catalog.jsonb_populate_record(null::rollcall.users, "+tombstone+") u) new").Scan(&isNull)
			if isNull {
				a.note(g.Expr.At, fmt.Sprintf("on_delete sets %s to null, but the column is not null; give it another value or drop the constraint", quote(g.Column)))
			}
			return err
		})
	}
}

// plan returns an expression as PostgreSQL would compute it.
func plan(ctx context.Context, conn *pgx.Conn, sql string) (string, error) {
	rows, _ := conn.Query(ctx, "explain (verbose, costs off) "+sql)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	for _, line := range lines {
		if _, output, ok := strings.Cut(line, "Output: "); ok {
			return output, nil
		}
	}
	return "", nil
}

func (t *Target) lintKeys() string {
	keys := t.keyAssignments()
	if len(keys) < len(t.Key) {
		return "every key column must stand in set"
	}
	for _, a := range keys {
		if slices.Contains(usedColumns(a.Expr.SQL), "id") {
			return ""
		}
	}
	return fmt.Sprintf("no key column (%s) is made from new.id: all users would be one row", strings.Join(t.Key, ", "))
}
