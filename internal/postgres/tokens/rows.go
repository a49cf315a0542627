package tokens

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/target"
)

// Policy is SQL with the helper functions in schema rollcall_api and a policy of the target's table for a role: a user
// reads their own row, their own memberships and those of their organizations, and their organizations. Where row
// security would hide the table's rows from Rollcall's own role, that is the error.
func (t Tokens) Policy(ctx context.Context, of *target.Target, role string) (string, error) {
	var table *catalog.Table
	err := t.Pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) (err error) {
		table, err = catalog.Read(ctx, conn.Conn(), of.Table)
		return err
	})
	switch {
	case errors.Is(err, catalog.ErrNoTable):
		return "", fmt.Errorf("%s: target %s: table %s does not exist", of.At, of.Name, of.Table)
	case err != nil:
		return "", t.Pool.Explain(err)
	case table.RowSecurityBinds:
		return "", fmt.Errorf("%s: target %s: row security would hide the rows of %s from Rollcall's own role, %s; %s",
			of.At, of.Name, of.Table, target.Quote(table.Role), table.ShowTo(of.Table))
	}
	reader := rowReader{target: of, table: &table.Table, role: role}
	return reader.policy()
}
