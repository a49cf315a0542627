package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// exchange settles those of the refused who stand in each other's way: A is to have the
// e-mail that B gives up for A's. No order of single writes can do that, so first everybody
// loses what he is to lose, then everybody is written. Who is refused even so is left out, and
// all of it is done again without him: he keeps what he had. It returns who is still refused.
func (s *separation) exchange(ctx context.Context, p piece, refused []refusal) ([]refusal, error) {
	var users []userKey
	for _, r := range refused {
		if r.state == uniqueViolation {
			users = append(users, r.user)
		}
	}
	if p.target.release == "" {
		return refused, nil
	}
	for range exchangePasses {
		if len(users) < 2 {
			break
		}
		again, err := s.tryExchange(ctx, p, users)
		if err != nil {
			return nil, err
		}
		if len(again) == 0 {
			return withoutUsers(refused, users), nil
		}
		users = without(users, again)
	}
	return refused, nil
}

// exchangePasses bounds how often somebody who is refused even so is left out: each pass may
// find only the first of a chain.
const exchangePasses = 64

// tryExchange does it for all or for nobody; then it says because of whom.
func (s *separation) tryExchange(ctx context.Context, p piece, users []userKey) ([]refusal, error) {
	if err := s.exec(ctx, "savepoint exchange"); err != nil {
		return nil, err
	}
	sources, ids := keyArrays(users)
	var refused []refusal
	_, err := s.conn.Exec(ctx, p.target.release, sources, ids, true)
	if err == nil {
		refused, err = s.run(ctx, p, users)
	}
	if err == nil && len(refused) == 0 {
		return nil, s.exec(ctx, "release savepoint exchange")
	}
	undone := s.exec(ctx, "rollback to savepoint exchange")
	var answer *pgconn.PgError
	if errors.As(err, &answer) && !s.conn.IsClosed() {
		return refuseAll(p.target, users, answer), undone
	}
	return refused, errors.Join(err, undone)
}

func withoutUsers(refused []refusal, users []userKey) []refusal {
	settled := map[userKey]bool{}
	for _, u := range users {
		settled[u] = true
	}
	var left []refusal
	for _, r := range refused {
		if !settled[r.user] {
			left = append(left, r)
		}
	}
	return left
}
