package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/target"
)

// lintClosed says why a target may not have its table by what the catalog knows of it: it may
// be a partition, a parent, a child or a view of a table that no target may write.
func lintClosed(ctx context.Context, conn *pgx.Conn, t *target.Target, tab *Table) (string, error) {
	schemas, names := t.TablesOfUsers()
	var closed string
	err := conn.QueryRow(ctx, closedSQL, tab.OID, target.ClosedSchemas, schemas, names).Scan(&closed)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for what %s shares its rows with: %w", t.Table, err)
	}
	return t.SharesRows(closed), nil
}
