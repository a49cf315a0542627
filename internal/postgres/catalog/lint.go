package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// What a target is warned of, and what it is refused for by the tables that it shares rows with or reads.
// A warning says that it works, and does to some users, or to the provider, what nobody
// may have meant.

// Around is what in a database lets others act as Rollcall's role. Nothing of it keeps a target from working.
type Around struct {
	Superuser bool
	// Creators are the roles that may create functions in schema public; "public" for every role.
	Creators []string
}

// Surroundings looks at the role and at schema public.
func Surroundings(ctx context.Context, pool *connection.Pool) (a Around, err error) {
	err = pool.QueryRow(ctx, surroundingsSQL, "public").Scan(&a.Superuser, &a.Creators)
	return a, connection.Wrap(pool.Explain(err), "look at the role and the schema public")
}

// lintText warns of an expression that gives a text to a column of another type, where users
// write the text themselves.
func (a *attempt) lintText(p target.Probe) error {
	if p.Text == "" {
		return nil
	}
	described, err := a.conn.PgConn().Prepare(a.ctx, "", p.Text, nil)
	if err != nil {
		return err
	}
	switch described.Fields[0].DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
		a.warned = append(a.warned, p.Warning)
	}
	return nil
}

// lintUsersReferences warns of foreign keys to the tables of the providers' users.
func (a *attempt) lintUsersReferences() {
	schemas, names := tablesOfUsers(a.target)
	rows, _ := a.conn.Query(a.ctx, usersReferencesSQL, a.table.OID, schemas, names)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[reference])
	if err != nil {
		a.err = fmt.Errorf("read the foreign keys of %s from the catalog: %w", a.target.Table, err)
	}
	a.warned = append(a.warned, lintReferences(a.target, list)...)
}

// lintClosed says why a target may not have its table by what the catalog knows of it: it may
// be a partition, a parent, a child or a view of a table that no target may write.
func (a *attempt) lintClosed() {
	schemas, names := tablesOfUsers(a.target)
	var closed string
	err := a.conn.QueryRow(a.ctx, closedSQL, a.table.OID, target.ClosedSchemas, schemas, names).Scan(&closed)
	switch {
	case err == nil:
		a.note(target.TableClosed, a.target.At, a.target.SharesRows(closed))
	case !errors.Is(err, pgx.ErrNoRows):
		a.err = fmt.Errorf("look for what %s shares its rows with: %w", a.target.Table, err)
	}
}

// ownTable refuses the expressions that read the target's own table: two users who are written at
// the same moment do not see each other, so each could become "the first". It asks PostgreSQL's
// plans, which see through views; what a function reads they do not show. If all expressions together don't
// read it, none does.
func (a *attempt) ownTable() {
	_, together := a.compiler.Together()
	reads := true
	if err := a.undone(func() (err error) { reads, err = a.reads(together); return err }); err == nil && !reads {
		return
	}
	for _, p := range a.compiler.Probes() {
		a.try(p.Question, func() error {
			reads, err := a.reads(p.Alone)
			if reads {
				a.note(target.ReadsItself, p.At, fmt.Sprintf("%s reads %s, the target's own table: users who are written at the same moment "+
					"don't see each other; use a default, a trigger or a job of the application", p.Name, a.target.Table))
			}
			return err
		})
	}
}

// reads reports whether a statement over the record new reads the target's table, one of its
// partitions or a table that inherits from it.
func (a *attempt) reads(statement string) (bool, error) {
	var text []byte
	explained := "explain (verbose, costs off, format json) " + statement
	err := a.conn.QueryRow(a.ctx, explained, pgx.QueryExecModeExec).Scan(&text)
	if err != nil {
		return false, err
	}
	var plan any
	if err := json.Unmarshal(text, &plan); err != nil {
		return false, fmt.Errorf("read a plan: %w", err)
	}
	var schemas, names []string
	scanned(plan, func(schema, name string) {
		if schema != "rollcall" {
			schemas, names = append(schemas, schema), append(names, name)
		}
	})
	if len(names) == 0 {
		return false, nil
	}
	var own bool
	err = a.conn.QueryRow(a.ctx, ownTableSQL, a.table.OID, schemas, names).Scan(&own)
	return own, err
}

// scanned finds the tables that a plan of "explain (verbose, format json)" reads, in all its parts.
func scanned(plan any, found func(schema, name string)) {
	switch node := plan.(type) {
	case []any:
		for _, part := range node {
			scanned(part, found)
		}
	case map[string]any:
		name, _ := node["Relation Name"].(string)
		if schema, ok := node["Schema"].(string); ok && name != "" {
			found(schema, name)
		}
		for _, part := range node {
			scanned(part, found)
		}
	}
}

// tablesOfUsers are the tables of the providers' users as schemas and names.
func tablesOfUsers(t *target.Target) (schemas, names []string) {
	for _, table := range t.UsersTables {
		schema, name := target.SplitTable(table)
		schemas, names = append(schemas, schema), append(names, name)
	}
	return schemas, names
}
