package directory

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// Stretch is consecutive users of a table: those whose ids come after After, up to Last.
type Stretch struct {
	After, Last string
	Users       int
	Unknown     bool // the roll knows none of them
}

var (
	//go:embed stretch.sql
	stretchSQL string
	//go:embed stretch_ids.sql
	stretchIDsSQL string
)

// stretchesOf are the statements of Stretch and IDs.
func stretchesOf(u *Users) (stretch, ids string) {
	return fmt.Sprintf(stretchSQL, u.rows.after), fmt.Sprintf(stretchIDsSQL, u.rows.after, u.living)
}

// Stretch returns the next users of the table after an id, n at most, "" for the beginning. It reads their keys
// only. One without users is the end.
func (u *Users) Stretch(ctx context.Context, after string, n int) (Stretch, error) {
	s := Stretch{After: after}
	err := u.directory.Pool.QueryRow(ctx, u.stretch, u.source, known(after), n).Scan(&s.Users, &s.Last, &s.Unknown)
	return s, connection.Wrap(u.directory.Pool.Explain(err), "read the keys of users after %q", after)
}

// IDs returns the ids of the living users of a stretch, and the moment of that by the database's clock.
func (u *Users) IDs(ctx context.Context, s Stretch) (ids []string, at time.Time, err error) {
	rows, _ := u.directory.Pool.Query(ctx, u.ids, s.Last, known(s.After), 2*s.Users)
	var id string
	_, err = pgx.ForEachRow(rows, []any{&id, &at}, func() error { ids = append(ids, id); return nil })
	return ids, at, connection.Wrap(u.directory.Pool.Explain(err), "list users after %q", s.After)
}
