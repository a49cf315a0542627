// Package directory reads a provider's users: in a table of this database, by the table's reader, or as
// pages of a list, each beside the roll. It also records the runs that compare them all. It hides the
// SQL of a users table: which columns there are, which of them the role may read, how metadata that is
// too large is left alone, and how a row becomes a user of the roll (StateOfRows).
//
//	d := &directory.Directory{Pool: pool, Metadata: 1 << 20}
//	users, err := d.Users(ctx, "app", "auth.users")
//	page, err := users.Compare(ctx, "", 1000)
package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
)

// Directory reads providers' users beside the roll.
type Directory struct {
	Pool *connection.Pool
	// Metadata is up to how many bytes of a user's metadata are read from a table.
	Metadata int64
}

// Table reads the description of a table of users.
func (d *Directory) Table(ctx context.Context, name string) (*catalog.Table, error) {
	conn, err := d.Pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, d.Pool.Explain(err))
	}
	defer conn.Release()
	t, err := catalog.Read(ctx, conn.Conn(), name)
	switch {
	case errors.Is(err, catalog.ErrNoTable):
		return nil, unseen{fmt.Errorf("this database has no table %s; Rollcall must be in the database of the "+
			"provider's own tables: correct database, or users_table of the source", name)}
	case err != nil:
		return nil, err
	case !t.IsTable():
		return nil, unseen{fmt.Errorf("%s is not a table but %s; name the table itself in users_table", name, t.KindOf())}
	}
	return t, nil
}

// Pair is a user as the provider's API has them and as the roll has them.
type Pair struct {
	ID   string
	Row  []byte      // as a JSON object; nil when the table, or the list, does not have them
	Roll *event.User // nil when the roll does not know them
	// Known is the moment as of which the roll has them so.
	Known time.Time
	At    time.Time // the moment they were so at the provider, by the database's clock
}

// scanPair reads id, row, the version, the columns of new, changed_at and kept of the roll, and the moment.
func scanPair(row pgx.CollectableRow) (Pair, error) {
	var p Pair
	var u event.User
	var source, id *string
	var version *int64
	var known *time.Time
	columns, done := event.Users.Scan(&u)
	dest := slices.Concat([]any{&p.ID, &p.Row, &version, &source, &id}, columns, []any{&known, &u.Kept, &p.At})
	if err := row.Scan(dest...); err != nil || version == nil {
		return p, err
	}
	done()
	u.Source, u.ID, u.Version = *source, *id, *version
	if u.BanOver(p.At) { // as the provider's row is read
		u.Banned = false
	}
	p.Roll, p.Known = &u, *known
	return p, nil
}
