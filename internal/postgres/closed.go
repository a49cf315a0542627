package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// closedSchemas are the schemas whose tables no target may write: the provider's, Rollcall's
// own, and PostgreSQL's. A target on auth.users deletes the provider's users.
var closedSchemas = []string{
	"auth", "rollcall", "rollcall_provider", "rollcall_api", "pg_catalog", "information_schema", "pg_toast",
}

// usersTables are the tables of the providers' users, as schemas and names.
func (t *Target) usersTables() (schemas, names []string) {
	for _, table := range t.UsersTables {
		schema, name := splitTable(table)
		schemas, names = append(schemas, schema), append(names, name)
	}
	return schemas, names
}

// lintName says why a target may not have its table, as far as the name shows it, or "".
func (t *Target) lintName() string {
	schema, name := splitTable(t.Table)
	schemas, names := t.usersTables()
	closed := slices.Contains(closedSchemas, schema)
	for i := range names {
		closed = closed || schemas[i] == schema && names[i] == name
	}
	if !closed {
		return ""
	}
	return refuseClosed(schema + "." + name)
}

func refuseClosed(table string) string {
	return table + " is a table of the provider, of Rollcall or of PostgreSQL: " +
		"a target would change and delete its rows; name a table of the application"
}

// lintClosed says why a target may not have its table by what the catalog knows of it: it may
// be a partition, a parent, a child or a view of a table that no target may write.
func lintClosed(ctx context.Context, conn *pgx.Conn, t *Target, tab *table) (string, error) {
	schemas, names := t.usersTables()
	var closed string
	err := conn.QueryRow(ctx, sql.Closed, tab.OID, closedSchemas, schemas, names).Scan(&closed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for what %s shares its rows with: %w", t.Table, err)
	}
	return fmt.Sprintf("%s shares its rows with another table: ", t.Table) + refuseClosed(closed), nil
}
