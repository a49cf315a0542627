package backfill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
)

// Unfilled is a target that has not followed the roll from its first user on, and has never
// been filled from it.
type Unfilled struct {
	Target string
	Users  int64 // of its sources, in the roll; counted up to a million, for serve waits for it
}

// Unfilled returns the new targets among those in service. A target whose sources have no
// users yet has nothing to be filled with: from now on all users arrive live, and it is
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
	if isNew, err := b.isNew(ctx, t); err != nil || !isNew {
		return 0, err
	}
	if _, err := b.Targets.Pool.Exec(ctx, settle.On(t.Roll, noneSQL), t.Name, b.Targets.Fingerprint(), t.OID, t.Sources()); err != nil {
		return 0, err
	}
	return b.users(ctx, t)
}

// isNew reports whether nothing is known of the filling of a target.
func (b *Backfills) isNew(ctx context.Context, t *catalog.Compiled) (isNew bool, err error) {
	err = b.Targets.Pool.QueryRow(ctx, "select not exists (select from rollcall.backfills where target = $1)", t.Name).Scan(&isNew)
	return isNew, err
}

// users counts those of a target's sources, up to a million.
func (b *Backfills) users(ctx context.Context, t *catalog.Compiled) (n int64, err error) {
	const count = "select pg_catalog.count(*) from (select from rollcall.users where source = any($1) limit 1000000) u"
	err = b.Targets.Pool.QueryRow(ctx, settle.On(t.Roll, count), t.Sources()).Scan(&n)
	return n, err
}

// State is how far a target has been filled.
type State struct {
	Target string
	// New: the roll has users of before the target, and nothing has filled it.
	New bool
	// Users are those of New, or those that an interrupted backfill has visited.
	Users int64
	// Began is when a backfill began that has not ended; the zero time for none.
	Began time.Time
}

// States looks at the targets in service, and notes nothing.
func (b *Backfills) States(ctx context.Context) ([]State, error) {
	var list []State
	for _, t := range b.Targets.All() {
		if t.Outage != nil {
			continue
		}
		s := State{Target: t.Name}
		const open = "select visited, started_at from rollcall.backfills where target = $1 and finished_at is null"
		err := b.Targets.Pool.QueryRow(ctx, open, t.Name).Scan(&s.Users, &s.Began)
		if errors.Is(err, pgx.ErrNoRows) {
			s.New, err = b.isNew(ctx, t)
			if err == nil && s.New {
				s.Users, err = b.users(ctx, t)
			}
			s.New = s.New && s.Users > 0
		}
		if err != nil {
			return nil, fmt.Errorf("look whether target %s is filled: %w", t.Name, err)
		}
		list = append(list, s)
	}
	return list, nil
}
