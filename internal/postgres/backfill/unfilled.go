package backfill

import (
	"context"
	"fmt"

	"rollcall/internal/postgres/catalog"
)

// Unfilled is a target that has not followed the roll from its first user on, and has never
// been filled from it.
type Unfilled struct {
	Target string
	Users  int64 // of its sources, in the roll; counted up to a million, for serve waits for it
}

// Unfilled returns the new targets among those in service. A target whose sources have no
// users yet has nothing to be filled with: from now on everybody arrives live, and it is
// noted as filled.
func (b *Backfills) Unfilled(ctx context.Context) ([]Unfilled, error) {
	var list []Unfilled
	for _, t := range b.Targets.All() {
		if t.Outage != nil {
			continue
		}
		users, err := b.unfilled(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("look whether target %s is new: %w", t.Name, err)
		}
		if users > 0 {
			list = append(list, Unfilled{t.Name, users})
		}
	}
	return list, nil
}

// unfilled returns the users that a new target is to be filled with, 0 for any other.
func (b *Backfills) unfilled(ctx context.Context, t *catalog.Compiled) (users int64, err error) {
	var known bool
	err = b.Targets.Pool.QueryRow(ctx, "select exists (select from rollcall.backfills where target = $1)", t.Name).Scan(&known)
	if err != nil || known {
		return 0, err
	}
	if _, err := b.Targets.Pool.Exec(ctx, noneSQL, t.Name, b.Targets.Fingerprint, t.OID, t.Sources()); err != nil {
		return 0, err
	}
	err = b.Targets.Pool.QueryRow(ctx, `select pg_catalog.count(*)
from (select from rollcall.users where source = any($1) limit 1000000) u`, t.Sources()).Scan(&users)
	return users, err
}
