package tokens

import (
	"context"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

const typesSQL = `select a.attname::text, pg_catalog.format_type(a.atttypid, null) from pg_catalog.pg_attribute a
where a.attrelid = pg_catalog.to_regclass($1) and a.attnum > 0 and not a.attisdropped`

// Policy is SQL with the helper functions in schema rollcall_api and a policy of the target's table for a role: a user
// reads their own row, their own memberships and those of their organizations, and their organizations.
func (t Tokens) Policy(ctx context.Context, of *target.Target, role string) (string, error) {
	reader := rowReader{target: of, types: map[string]string{}, role: role}
	var column, kind string
	rows, _ := t.Pool.Query(ctx, typesSQL, target.QuoteTable(of.Table))
	_, err := pgx.ForEachRow(rows, []any{&column, &kind}, func() error {
		reader.types[column] = kind
		return nil
	})
	if err != nil {
		return "", connection.Wrap(t.Pool.Explain(err), "look at the columns of %s", of.Table)
	}
	return reader.policy()
}
