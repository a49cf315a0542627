package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rollcall/sql"
)

// What a target is warned of: it works, and does to some users, or to the provider, what nobody
// may have meant.

// Surroundings says what in the database lets others act as Rollcall's role. Nothing of it keeps
// a target from working.
func (db *DB) Surroundings(ctx context.Context) ([]string, error) {
	var super bool
	var creators []string
	if err := db.pool.QueryRow(ctx, sql.Surroundings, "public").Scan(&super, &creators); err != nil {
		return nil, fmt.Errorf("look at the role and the schema public: %w", db.explainConnect(err))
	}
	var warnings []string
	if super {
		warnings = append(warnings, fmt.Sprintf("role %s is a superuser: the owner of a target's table can act as it "+
			"through a trigger; connect as a role of its own, as docs/running.md shows",
			quote(db.pool.Config().ConnConfig.User)))
	}
	if len(creators) > 0 {
		who := "other roles (" + strings.Join(creators, ", ") + ")"
		if slices.Contains(creators, "public") {
			who, creators = "all roles", []string{"public"}
		}
		for i, role := range creators {
			if role != "public" {
				creators[i] = quote(role)
			}
		}
		warnings = append(warnings, fmt.Sprintf("%s may create functions in schema public, and the expressions "+
			"of a target may call them as Rollcall's role; run: revoke create on schema public from %s",
			who, strings.Join(creators, ", ")))
	}
	return warnings, nil
}

// trusted are the columns of new that a user's own client can't fill.
var trusted = []string{"source", "id", "external_id", "raw_app_meta_data"}

// lintText warns of an expression that gives a text to a column of another type, where users
// write the text themselves. A cast in the expression says that it is meant.
func (a *attempt) lintText(c *compiler, p probe) error {
	if p.given == nil || c.table.column(p.given.Column).Textual || !readsNew(p.given.Expr.SQL) {
		return nil
	}
	used := usedColumns(p.given.Expr.SQL)
	if len(used) > 0 && !slices.ContainsFunc(used, func(name string) bool { return !slices.Contains(trusted, name) }) {
		return nil
	}
	described, err := a.conn.PgConn().Prepare(a.ctx, "", "select "+enclosed(p.given.Expr.SQL)+" from "+everyUser(), nil)
	if err != nil {
		return err
	}
	switch described.Fields[0].DataTypeOID {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID:
		column := c.table.column(p.given.Column)
		a.warned = append(a.warned, Finding{Target: c.Name, At: p.at, Severity: Warning, What: fmt.Sprintf(
			"column %s is %s and %s gives a text: each user whose text is no %[2]s is parked; "+
				"compute a %[2]s, or write the cast to say that it is meant",
			quote(column.Name), column.Type, p.given.Expr.abridged())})
	}
	return nil
}

// reference is a foreign key to a table of a provider's users.
type reference struct {
	Name       string
	Columns    []string
	Required   bool // one of them may not be null
	Table      string
	Referenced []string
	OnDelete   string // confdeltype of pg_constraint
}

// lintUsersReferences warns of foreign keys that keep the provider from deleting its users, or
// that delete the rows that on_delete keeps.
func lintUsersReferences(ctx context.Context, conn *pgx.Conn, c *compiler) ([]Finding, error) {
	schemas, names := c.usersTables()
	rows, _ := conn.Query(ctx, sql.UsersReferences, c.table.OID, schemas, names)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[reference])
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys of %s from the catalog: %w", c.Table, err)
	}
	var found []Finding
	for _, r := range list {
		if what := c.lintReference(r); what != "" {
			found = append(found, Finding{Target: c.Name, At: c.At, What: what, Severity: Warning})
		}
	}
	return found, nil
}

func (c *compiler) lintReference(r reference) string {
	const noAction, restrict, setNull, cascade = "a", "r", "n", "c"
	blocks := r.OnDelete == noAction || r.OnDelete == restrict || r.OnDelete == setNull && r.Required
	switch {
	case blocks:
		return fmt.Sprintf("the foreign key %s to %s keeps the provider from deleting a user who has a row here; run: %s",
			r.Name, r.Table, c.remedy(r))
	case r.OnDelete == cascade && c.OnDelete != DeleteRow:
		return fmt.Sprintf("the foreign key %s to %s deletes the row when the provider deletes the user, "+
			"so on_delete keeps nothing; run: %s", r.Name, r.Table, c.remedy(r))
	}
	return ""
}

// remedy is the statement after which the foreign key does what on_delete says.
func (c *compiler) remedy(r reference) string {
	drop := fmt.Sprintf("alter table %s drop constraint %s", quoteTable(c.Table), quote(r.Name))
	isKey := slices.ContainsFunc(r.Columns, func(name string) bool { return slices.Contains(c.Key, name) })
	action := "cascade"
	if c.OnDelete != DeleteRow {
		if r.Required || isKey { // a row that stays can't point to a user who is gone
			return drop
		}
		action = "set null"
	}
	return fmt.Sprintf("%s, add constraint %s foreign key (%s) references %s (%s) on delete %s",
		drop, quote(r.Name), quoteAll(r.Columns), quoteTable(r.Table), quoteAll(r.Referenced), action)
}
