package catalog

import (
	"context"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/target"
)

// CheckCondition returns what is wrong with a condition over the record new of users.
func CheckCondition(ctx context.Context, conn *pgx.Conn, c target.Condition) ([]target.Finding, error) {
	roll := rolls[&event.Users]
	a := &attempt{ctx: ctx, conn: conn, table: &Table{}, target: &target.Target{Name: c.Name, At: c.At}, found: c.Lint(roll)}
	if len(a.found) == 0 {
		q := c.Question(roll)
		a.try(q, func() error { return explain(ctx, conn, q.SQL, "{}") })
	}
	return a.found, a.err
}
