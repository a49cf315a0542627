package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// strangers counts the rows of the targets' tables that belong to no user of the roll.
func (c *counting) strangers(ctx context.Context) error {
	for _, shared := range c.sharing() {
		if slices.ContainsFunc(shared, func(t *compiled) bool { return c.trouble[t.Name] != "" }) {
			continue // whose rows they are can't be said
		}
		for at, t := range shared {
			n, err := c.db.countStrangers(ctx, shared, at)
			var not *uncountable
			if errors.As(err, &not) {
				c.trouble[t.Name] = not.Error()
				break
			}
			if err != nil {
				return fmt.Errorf("count the rows of target %s that are no user's: %w", t.Name, err)
			}
			source := ""
			if len(t.From) == 1 {
				source = t.From[0].Source
			}
			if n > 0 {
				tally := c.tally(t, source)
				tally.Users[Extra], tally.Strangers = tally.Users[Extra]+n, n
			}
		}
	}
	return nil
}

// sharing groups the targets by their tables, in the order of the configuration.
func (c *counting) sharing() [][]*compiled {
	var groups [][]*compiled
	for i := range c.db.config.Targets {
		name := c.db.config.Targets[i].Name
		at := slices.IndexFunc(c.targets, func(t *compiled) bool { return t.Name == name })
		if at < 0 {
			continue
		}
		t := c.targets[at]
		same := slices.IndexFunc(groups, func(g []*compiled) bool { return target.QuoteTable(g[0].Table) == target.QuoteTable(t.Table) })
		if same < 0 {
			groups = append(groups, []*compiled{t})
		} else {
			groups[same] = append(groups[same], t)
		}
	}
	return groups
}

// countStrangers counts for the target at a place among those that share its table. If a key
// can't be computed, the users concerned are found and left out: none of them has a row.
func (db *DB) countStrangers(ctx context.Context, shared []*compiled, at int) (int64, error) {
	odd := make([][]userKey, len(shared))
	n, err := db.scanStrangers(ctx, shared, at, odd)
	if sqlstate.Of(err) == "" { // done, or PostgreSQL has not said a word
		return n, err
	}
	for i, t := range shared {
		if odd[i], err = db.withoutKey(ctx, t); err != nil {
			return 0, sorted(err)
		}
	}
	if n, err = db.scanStrangers(ctx, shared, at, odd); err != nil {
		return 0, sorted(err)
	}
	return n, nil
}

func (db *DB) scanStrangers(ctx context.Context, shared []*compiled, at int, odd [][]userKey) (int64, error) {
	args := []any{pgx.QueryExecModeExec}
	compilers := make([]*target.Compiler, len(shared))
	for i, t := range shared {
		compilers[i] = t.compiler
	}
	for _, users := range odd {
		sources, ids := keyArrays(users)
		args = append(args, sources, ids)
	}
	var n int64
	err := db.pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, target.Strangers(compilers, at), args...).Scan(&n)
	})
	return n, err
}

// withoutKey finds the users whose key can't be computed for a target.
func (db *DB) withoutKey(ctx context.Context, t *compiled) ([]userKey, error) {
	var odd []userKey
	keys := piece{target: t, statement: t.compiler.Keys()}
	for _, o := range t.From {
		err := db.walk(ctx, o.Source, func(users []userKey) error {
			refused, err := db.refusals(ctx, keys, users, 0)
			for _, r := range refused {
				odd = append(odd, r.user)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return odd, nil
}
