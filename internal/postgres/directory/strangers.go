package directory

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// Strangers are users of a table, one after the other, of whom the roll knows none.
type Strangers struct {
	After, Last string
	Users       int // 0 at the end of the table
}

var (
	//go:embed strangers.sql
	strangersSQL string
	//go:embed span_ids.sql
	spanIDsSQL string
)

// spansOf are the statements of Strangers and IDs.
func spansOf(u *Users) (strangers, ids string) {
	return fmt.Sprintf(strangersSQL, u.rows.after), fmt.Sprintf(spanIDsSQL, u.rows.after, u.living)
}

// Strangers returns the next users of the table after an id, n at most; ok is false when the roll knows
// somebody among them.
func (u *Users) Strangers(ctx context.Context, after string, n int) (s Strangers, ok bool, err error) {
	s.After = after
	err = u.directory.Pool.QueryRow(ctx, u.strangers, u.source, known(after), n).Scan(&s.Users, &s.Last, &ok)
	return s, ok, connection.Wrap(u.directory.Pool.Explain(err), "look for users that the roll does not know after %q", after)
}

// IDs returns the living users of a span of the table, as of a moment.
func (u *Users) IDs(ctx context.Context, s Strangers) (ids []string, at time.Time, err error) {
	rows, _ := u.directory.Pool.Query(ctx, u.ids, s.Last, known(s.After), 2*s.Users)
	var id string
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error { ids = append(ids, id); return nil })
	return ids, at, connection.Wrap(u.directory.Pool.Explain(err), "list users after %q", s.After)
}
