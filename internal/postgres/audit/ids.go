package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
)

// userIDs are the last $3 ids of each source ($1) that begin with $2; parkedIDs are those
// of what is parked for targets ($4). '~' is behind all letters, digits and marks of plain ids.
const (
	userIDs = `select u.id from pg_catalog.unnest($1::text[]) s (name) cross join lateral (
  select id from rollcall.users
  where source = s.name collate "C" and id >= $2::text collate "C" and id < ($2::text || '~') collate "C"
  order by source desc, id desc limit $3) u`
	parkedIDs = `select distinct p.user_id from pg_catalog.unnest($1::text[]) s (name) cross join lateral (
  select user_id from rollcall.parked
  where source = s.name collate "C" and user_id >= $2::text collate "C" and user_id < ($2::text || '~') collate "C"
    and target = any ($4::text[])
  order by source desc, user_id desc limit $3) p`
)

// Beginning is the beginning of ids, and of which sources; at most Limit of each are wanted.
type Beginning struct {
	Sources []string
	ID      string
	Limit   int
}

// UserIDs are ids of users, as far as they are plain ASCII: what a shell may complete.
func (a *Audit) UserIDs(ctx context.Context, b Beginning) ([]string, error) {
	return a.ids(ctx, userIDs, b.Sources, b.ID, b.Limit)
}

// ParkedIDs are such ids of what is parked for targets.
func (a *Audit) ParkedIDs(ctx context.Context, b Beginning, targets []string) ([]string, error) {
	return a.ids(ctx, parkedIDs, b.Sources, b.ID, b.Limit, targets)
}

func (a *Audit) ids(ctx context.Context, statement string, args ...any) (ids []string, err error) {
	err = a.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, statement, args...)
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for ids: %w", sqlstate.Mask(err))
	}
	return ids, nil
}
