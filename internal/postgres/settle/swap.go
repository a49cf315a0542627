package settle

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/postgres/sqlstate"
)

// swap settles those of the refused who stand in each other's way: A is to have the e-mail address that
// B gives up for A's. No order of single writes can do that, so first the conflicting unique columns are
// set to null, then all rows are written. A user who is refused even so is left out, keeps what they had,
// and all of it is done again without them. It returns who is still refused.
func (s *separation) swap(ctx context.Context, p Piece, refused []Refusal) ([]Refusal, error) {
	var users []Key
	for _, r := range refused {
		if r.state == sqlstate.UniqueViolation {
			users = append(users, r.User)
		}
	}
	if p.Target.Release == "" {
		return refused, nil
	}
	for range swapPasses {
		if len(users) < 2 {
			break
		}
		again, err := s.trySwap(ctx, p, users)
		if err != nil {
			return nil, err
		}
		if len(again) == 0 {
			return withoutUsers(refused, users), nil
		}
		users = Without(users, again)
	}
	return refused, nil
}

// swapPasses bounds how often a user who is refused even so is left out: each pass may find only the
// first of a chain.
const swapPasses = 64

// trySwap does it for all or for none; then it returns because of which.
func (s *separation) trySwap(ctx context.Context, p Piece, users []Key) ([]Refusal, error) {
	if err := s.exec(ctx, "savepoint swap"); err != nil {
		return nil, err
	}
	sources, ids := KeyArrays(users)
	var refused []Refusal
	_, err := s.conn.Exec(ctx, p.Target.Release, sources, ids, true)
	if err == nil {
		refused, err = s.run(ctx, p, users)
	}
	if err == nil && len(refused) == 0 {
		return nil, s.exec(ctx, "release savepoint swap")
	}
	undone := s.exec(ctx, "rollback to savepoint swap")
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && !s.conn.IsClosed() {
		return refuseAll(p.Target, users, answer), undone
	}
	return refused, errors.Join(err, undone)
}

func withoutUsers(refused []Refusal, users []Key) []Refusal {
	settled := make(map[Key]bool, len(users))
	for _, u := range users {
		settled[u] = true
	}
	return slices.DeleteFunc(refused, func(r Refusal) bool { return settled[r.User] })
}
