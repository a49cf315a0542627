package tokens

import (
	"context"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/target"
)

const typesSQL = `select a.attname::text, pg_catalog.format_type(a.atttypid, null) from pg_catalog.pg_attribute a
where a.attrelid = pg_catalog.to_regclass($1) and a.attnum > 0 and not a.attisdropped`

// Policy is SQL that lets users read their own rows of a target's table: see target.RowReader.
func (t Tokens) Policy(ctx context.Context, of *target.Target, role string) (string, error) {
	reader := target.RowReader{Target: of, Types: map[string]string{}, Role: role}
	var column, kind string
	rows, _ := t.Pool.Query(ctx, typesSQL, target.QuoteTable(of.Table))
	_, err := pgx.ForEachRow(rows, []any{&column, &kind}, func() error {
		reader.Types[column] = kind
		return nil
	})
	if err != nil {
		return "", connection.Wrap(t.Pool.Explain(err), "look at the columns of %s", of.Table)
	}
	return reader.Policy()
}
