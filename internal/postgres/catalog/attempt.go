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

	"rollcall/internal/event"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// checkTarget compiles a target against the catalog. What is wrong with the target is
// a finding; an error means that the database could not be asked.
func checkTarget(ctx context.Context, conn *pgx.Conn, t *target.Target) (*Compiled, []target.Finding, error) {
	a := &attempt{ctx: ctx, conn: conn, target: t, found: t.Lint(RollOf(t))}
	for _, step := range []func(){
		a.readTable, a.lintClosed, a.lintTable, a.expressions, a.ownTable, a.deletedForm, a.defaults, a.statements,
		a.lintUsersReferences,
	} {
		if a.err == nil && len(a.found) == 0 {
			step()
		}
	}
	if a.err != nil || len(a.found) > 0 {
		return broken(t, a.found), a.found, a.err
	}
	return &Compiled{
		Target: t, Roll: event.RollNamed(t.Roll), Statements: a.compiler.Compile(), Compiler: a.compiler,
		OID: a.table.OID, Parents: a.table.Parents, Lockable: a.table.Lockable, Triggers: a.table.Triggers, Found: a.warned,
	}, a.warned, nil
}

// readTable reads the table's description.
func (a *attempt) readTable() {
	a.table, a.err = Read(a.ctx, a.conn, a.target.Table)
	if errors.Is(a.err, ErrNoTable) {
		a.err = a.noTable()
	}
}

// noTable says that a table is missing, and which one may be meant.
func (a *attempt) noTable() error {
	schemas, names := tablesOfUsers(a.target)
	closed := []string{}
	for i := range names {
		closed = append(closed, schemas[i]+"."+names[i])
	}
	_, relation := target.SplitTable(a.target.Table)
	rows, _ := a.conn.Query(a.ctx, nearTablesSQL, relation, target.ClosedSchemas, closed)
	near, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for tables like %s: %w", a.target.Table, err)
	}
	hint := "create it, or correct the name"
	if len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	a.note(target.TableMissing, a.target.At, fmt.Sprintf("table %s does not exist; names are exact, as in the catalog: schema.table; %s",
		a.target.Table, hint))
	return nil
}

// broken is a target out of service: its users are parked until its table or its configuration is corrected.
func broken(t *target.Target, found []target.Finding) *Compiled {
	c := &Compiled{Target: t, Roll: event.RollNamed(t.Roll), Outage: &Outage{State: "42000"}, Found: found}
	if len(found) > 0 {
		c.Outage.Message = found[0].What
	}
	return c
}

// lintTable holds the target against the table.
func (a *attempt) lintTable() {
	a.found = a.target.Check(RollOf(a.target), &a.table.Table)
	a.compiler = target.NewCompiler(a.target, RollOf(a.target), &a.table.Table)
}

// expressions lets PostgreSQL explain each expression by itself, so that a finding has
// its place, unless it accepts them together, and evaluates the keys for a sample id of each source.
func (a *attempt) expressions() {
	together, _ := a.compiler.Together()
	accepted := together != "" && a.undone(func() error { return explain(a.ctx, a.conn, together) }) == nil
	for _, p := range a.compiler.Probes() {
		a.try(p.Question, func() error {
			if !accepted {
				if err := explain(a.ctx, a.conn, p.SQL); err != nil {
					return err
				}
			}
			return a.lintText(p)
		})
	}
	a.ask(a.compiler.KeyPlans(), a.plan)
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
func (a *attempt) try(q target.Question, do func() error) {
	if a.err != nil {
		return
	}
	err := a.undone(do)
	answer, said := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
	case !said || sqlstate.ClassOf(err) == sqlstate.Retry:
		a.err = fmt.Errorf("check target %s: %w", a.target.Name, err)
	case sqlstate.ClassOf(err) == sqlstate.Lock || sqlstate.ClassOf(err) == sqlstate.Server:
		what := "it can't be checked at the moment: " + sqlstate.Masked(answer.Code, answer.Message) +
			"; it is looked at again every few seconds"
		a.found = append(a.found, target.Finding{Code: target.Unchecked, Target: a.target.Name, At: q.At, What: what, Passing: true})
	default:
		code := q.Code
		if answer.Code == sqlstate.InsufficientPrivilege {
			code = target.Rights
		}
		refusal := target.Refusal{Code: answer.Code, Message: answer.Message, Grant: func() string { return a.grants(answer) }}
		a.note(code, q.At, q.Explain(refusal))
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
func (a *attempt) note(code target.Code, at, what string) {
	if what == "" {
		return
	}
	f := target.Finding{Code: code, Target: a.target.Name, At: at, What: what}
	if !slices.Contains(a.found, f) {
		a.found = append(a.found, f)
	}
}

// ask asks questions and notes what is wrong with the answers.
func (a *attempt) ask(questions []target.Question, answer func(statement string) (string, error)) {
	for _, q := range questions {
		a.try(q, func() error {
			said, err := answer(q.SQL)
			if err == nil && q.Judge != nil {
				a.note(q.Code, q.At, q.Judge(said))
			}
			return err
		})
	}
}

// deletedForm evaluates the map of on_delete for a tombstone: what it makes null must be
// allowed to be.
func (a *attempt) deletedForm() {
	a.ask(a.compiler.MomentPlans(), a.plan)
	at, what := a.compiler.Unmarked()
	a.note(target.OnDeleteUnmarked, at, what)
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
