package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

// What a target is warned of: it works, and does to some users, or to the provider, what nobody
// may have meant.

// Surroundings says what in the database lets others act as Rollcall's role. Nothing of it keeps
// a target from working.
func Surroundings(ctx context.Context, pool *connection.Pool) ([]string, error) {
	var super bool
	var creators []string
	if err := pool.QueryRow(ctx, surroundingsSQL, "public").Scan(&super, &creators); err != nil {
		return nil, fmt.Errorf("look at the role and the schema public: %w", pool.Explain(err))
	}
	var warnings []string
	if super {
		warnings = append(warnings, fmt.Sprintf("role %s is a superuser: the owner of a target's table can act as it "+
			"through a trigger; connect as a role of its own, as docs/running.md shows",
			target.Quote(pool.Config().ConnConfig.User)))
	}
	if len(creators) > 0 {
		who := "other roles (" + strings.Join(creators, ", ") + ")"
		if slices.Contains(creators, "public") {
			who, creators = "all roles", []string{"public"}
		}
		for i, role := range creators {
			if role != "public" {
				creators[i] = target.Quote(role)
			}
		}
		warnings = append(warnings, fmt.Sprintf("%s may create functions in schema public, and the expressions "+
			"of a target may call them as Rollcall's role; run: revoke create on schema public from %s",
			who, strings.Join(creators, ", ")))
	}
	return warnings, nil
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
func lintUsersReferences(ctx context.Context, conn *pgx.Conn, t *target.Target, tab *Table) ([]target.Finding, error) {
	schemas, names := t.TablesOfUsers()
	rows, _ := conn.Query(ctx, usersReferencesSQL, tab.OID, schemas, names)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[target.Reference])
	if err != nil {
		return nil, fmt.Errorf("read the foreign keys of %s from the catalog: %w", t.Table, err)
	}
	return t.LintReferences(list), nil
}
