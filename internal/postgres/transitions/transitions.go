// Package transitions notes what happens to users and memberships, and which notifications are to say it. It hides the
// triggers on the rolls, the rules by which they note something, and the tables rollcall.transitions and
// rollcall.notifications:
//
//	log := transitions.New(pool)
//	err := log.Register(ctx, replica, []transitions.Rule{{Name: "welcome", On: []string{"appeared"}}})
//	…
//	batch, err := log.Due(ctx, transitions.Query{Name: "welcome"}, 64)
//	err = log.End(ctx, transitions.Result{ID: batch[0].ID, State: transitions.Delivered, Attempts: 1})
package transitions

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// OfMemberships are the types of transitions of memberships; the others are of users.
var OfMemberships = []string{"joined", "left", "role_changed"}

// Columns are what a notification may say of a user or a membership, beside source and id.
var Columns = []string{
	"external_id", "email", "email_verified", "email_confirmed_at", "phone", "phone_verified", "phone_confirmed_at",
	"username", "first_name", "last_name", "full_name", "avatar_url", "is_anonymous", "is_sso_user", "locked", "banned",
	"banned_until", "invited_at", "created_at", "organization_id", "user_id", "role", "role_name",
}

// Rule says which transitions are noted for a notification.
type Rule struct {
	Name string
	On   []string // types of transitions
	From []string // sources; none for all
}

// Both are the rules of two configurations, so that nothing is missed while the one takes the place of the other.
func Both(a, b []Rule) []Rule {
	all := slices.Clone(a)
	for _, r := range b {
		at := slices.IndexFunc(all, func(had Rule) bool { return had.Name == r.Name })
		if at < 0 {
			all = append(all, r)
			continue
		}
		had := &all[at]
		had.On = union(had.On, r.On)
		if len(had.From) == 0 || len(r.From) == 0 { // every source
			had.From = nil
			continue
		}
		had.From = union(had.From, r.From)
	}
	return all
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// Log is what is noted in a database.
type Log struct {
	Pool *connection.Pool

	reading chan struct{}
}

// New makes a Log, to be shared.
func New(pool *connection.Pool) Log { return Log{pool, make(chan struct{}, readers)} }

// readers is how many read at once what is due: an expression may be slow, and events need connections, too.
const readers = 2

const (
	// rulesLock is the advisory lock of who changes the rules.
	rulesLock = "the rules of notifications"
	// registerWait bounds the wait for a roll, on which the triggers are put: writers wait behind it. The longest
	// is a vacuum, which PostgreSQL ends after a second.
	registerWait = "1300ms"
	// tidyWait is that of a trigger that is no longer needed, for which readers wait, too.
	tidyWait = "100ms"
)

// The statements; the files describe their parameters.
var (
	//go:embed register.sql
	registerSQL string
	//go:embed forget_rules.sql
	forgetRulesSQL string
	//go:embed needless.sql
	needlessSQL string
	//go:embed begin.sql
	beginSQL string
)

// Register notes what a replica wants to be noted, instead of what it wanted before. What other replicas want is noted,
// too. From its return on, no transition is missed.
func (l Log) Register(ctx context.Context, replica string, rules []Rule) error {
	err := l.change(ctx, registerWait, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "delete from rollcall.rules where replica = $1", replica); err != nil {
			return err
		}
		for _, r := range rules {
			if _, err := tx.Exec(ctx, registerSQL, replica, r.Name, r.On, r.From); err != nil {
				return err
			}
		}
		if err := watch(ctx, tx, put); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, beginSQL, replica)
		return err
	})
	return connection.Wrap(l.Pool.Explain(err), "note which transitions are wanted for notifications")
}

// Tidy forgets the rules of replicas that have not noted themselves for so long, and takes triggers off that no rule
// wants.
func (l Log) Tidy(ctx context.Context, age time.Duration) error {
	var left bool
	err := l.Pool.QueryRow(ctx, needlessSQL, age).Scan(&left)
	if err == nil && left {
		err = l.change(ctx, tidyWait, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, forgetRulesSQL, age); err != nil {
				return err
			}
			return watch(ctx, tx, take)
		})
	}
	return connection.Wrap(l.Pool.Explain(err), "forget which transitions were wanted")
}

// change changes the rules while no other process does.
func (l Log) change(ctx context.Context, wait string, do func(pgx.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}
	return pgx.BeginTxFunc(ctx, l.Pool, options, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `select pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('search_path', 'pg_catalog', true)`, wait)
		if err == nil {
			_, err = tx.Exec(ctx, "select pg_catalog.pg_advisory_xact_lock($1, $2)", connection.LockSpace, connection.Hash32(rulesLock))
		}
		if err != nil {
			return err
		}
		return do(tx)
	})
}

// What is done about the triggers.
type doing bool

const (
	put  doing = false
	take doing = true
)

// watch puts the triggers on the rolls that the rules want, or takes off what they don't: of users first, as everywhere.
func watch(ctx context.Context, tx pgx.Tx, what doing) error {
	for _, roll := range []string{"users", "memberships"} {
		if _, err := tx.Exec(ctx, "select rollcall.watch_roll($1, $2)", roll, bool(what)); err != nil {
			return fmt.Errorf("watch the roll of %s: %w", roll, err)
		}
	}
	return nil
}

// IsMembership reports whether a type of transition is about memberships.
func IsMembership(kind string) bool { return slices.Contains(OfMemberships, kind) }
