package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// checkTarget compiles a target against the catalog. What is wrong with the target is
// a finding; an error means that the database could not be asked.
func checkTarget(ctx context.Context, conn *pgx.Conn, t *target.Target) (*Compiled, []target.Finding, error) {
	if found := t.Lint(RollOfUsers); len(found) > 0 {
		return broken(t, found), found, nil
	}
	tab, err := Read(ctx, conn, t.Table)
	if errors.Is(err, ErrNoTable) {
		what, err := noTable(ctx, conn, t)
		found := []target.Finding{{Target: t.Name, At: t.At, What: what}}
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
		found := []target.Finding{{Target: t.Name, At: t.At, What: what}}
		return broken(t, found), found, nil
	}
	if found := t.Check(RollOfUsers, &tab.Table); len(found) > 0 {
		return broken(t, found), found, nil
	}
	a := &attempt{ctx: ctx, conn: conn, target: t, table: tab, compiler: target.NewCompiler(t, RollOfUsers, &tab.Table)}
	a.tryStatements()
	if a.err != nil || len(a.found) > 0 {
		return broken(t, a.found), a.found, a.err
	}
	lost, err := lintUsersReferences(ctx, conn, t, tab)
	return a.compiled(), append(a.warned, lost...), err
}

// compiled is the target in service.
func (a *attempt) compiled() *Compiled {
	return &Compiled{
		Target: a.target, Statements: a.compiler.Compile(), Compiler: a.compiler,
		OID: a.table.OID, Parents: a.table.Parents, Lockable: a.table.Lockable, Triggers: a.table.Triggers,
	}
}

// noTable says that a table is missing, and which one may be meant.
func noTable(ctx context.Context, conn *pgx.Conn, t *target.Target) (string, error) {
	schemas, names := t.TablesOfUsers()
	closed := []string{}
	for i := range names {
		closed = append(closed, schemas[i]+"."+names[i])
	}
	_, relation := target.SplitTable(t.Table)
	rows, _ := conn.Query(ctx, nearTablesSQL, relation, target.ClosedSchemas, closed)
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
func broken(t *target.Target, found []target.Finding) *Compiled {
	c := &Compiled{Target: t, Outage: &Outage{State: "42000"}}
	if len(found) > 0 {
		c.Outage.Message = found[0].What
	}
	return c
}

// tryStatements lets PostgreSQL explain each expression by itself, so that a finding has
// its place, then evaluates the keys for a sample id of each source, and the deleted form
// of a row, and then explains the statements.
func (a *attempt) tryStatements() {
	for _, p := range a.compiler.Probes() {
		a.try(p.At, p.Explain, func() error {
			if err := explain(a.ctx, a.conn, p.SQL); err != nil {
				return err
			}
			return a.lintText(p)
		})
	}
	a.ask(a.compiler.KeyPlans(), a.plan)
	for _, step := range []func(){a.ownTable, a.deletedForm, a.defaults, a.statements} {
		if len(a.found) == 0 {
			step()
		}
	}
}

// attempt tries what a target needs, and sorts what goes wrong: into findings about the
// target, or the one error that means that the database could not be asked.
type attempt struct {
	ctx      context.Context //nolint:containedctx // one check, from its begin to its end
	conn     *pgx.Conn
	target   *target.Target
	table    *Table
	compiler *target.Compiler
	found    []target.Finding // faults
	warned   []target.Finding
	err      error
}

// try runs do unless something has failed for good before. A lock or a full server is no
// fault of the target's, and is said to pass.
func (a *attempt) try(at string, explain func(target.Refusal) string, do func() error) {
	if a.err != nil {
		return
	}
	var answer *pgconn.PgError
	err := a.undone(do)
	switch {
	case err == nil:
	case !errors.As(err, &answer) || sqlstate.ClassOf(err) == sqlstate.Retry:
		a.err = fmt.Errorf("check target %s: %w", a.target.Name, err)
	case sqlstate.ClassOf(err) == sqlstate.Lock || sqlstate.ClassOf(err) == sqlstate.Server:
		what := "it can't be checked at the moment: " + sqlstate.Masked(answer.Code, answer.Message) +
			"; it is looked at again every few seconds"
		a.found = append(a.found, target.Finding{Target: a.target.Name, At: at, What: what, Passing: true})
	default:
		a.note(at, explain(target.Refusal{Code: answer.Code, Message: answer.Message, Grant: func() string { return a.grants(answer) }}))
	}
}

// undone keeps a refusal from ending the transaction that a preview runs in.
func (a *attempt) undone(do func() error) error {
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

// note takes a fault; "" is none.
func (a *attempt) note(at, what string) {
	if what == "" {
		return
	}
	f := target.Finding{Target: a.target.Name, At: at, What: what}
	if !slices.Contains(a.found, f) {
		a.found = append(a.found, f)
	}
}

// ask asks questions and notes what is wrong with the answers.
func (a *attempt) ask(questions []target.Question, answer func(statement string) (string, error)) {
	for _, q := range questions {
		a.try(q.At, q.Explain, func() error {
			said, err := answer(q.SQL)
			if err == nil {
				a.note(q.At, q.Judge(said))
			}
			return err
		})
	}
}

// deletedForm evaluates the map of on_delete for a tombstone: what it makes null must be
// allowed to be.
func (a *attempt) deletedForm() {
	a.ask(a.compiler.MomentPlans(), a.plan)
	a.note(a.compiler.Unmarked())
	a.ask(a.compiler.DeletedNulls(), func(statement string) (string, error) {
		var isNull bool
		err := a.conn.QueryRow(a.ctx, statement).Scan(&isNull)
		return strconv.FormatBool(isNull), err
	})
}

// plan returns an expression as PostgreSQL would compute it.
func (a *attempt) plan(statement string) (string, error) {
	rows, _ := a.conn.Query(a.ctx, "explain (verbose, costs off) "+statement)
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
