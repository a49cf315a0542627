package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// unowned counts the rows of the targets' tables that belong to no user of the roll.
func (c *counting) unowned(ctx context.Context) error {
	for _, shared := range c.sharing() {
		if slices.ContainsFunc(shared, func(t *catalog.Compiled) bool { return c.trouble[t.Name] != "" }) {
			continue // whose rows they are can't be said
		}
		for at, t := range shared {
			n, err := c.audit.countUnowned(ctx, shared, at)
			if not, ok := errors.AsType[*uncountable](err); ok {
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
				tally.Users[Extra], tally.Unowned = tally.Users[Extra]+n, n
			}
		}
	}
	return nil
}

// sharing groups the targets by their tables, in the order of the configuration.
func (c *counting) sharing() [][]*catalog.Compiled {
	var groups [][]*catalog.Compiled
	for i := range c.audit.Targets.Configured() {
		name := c.audit.Targets.Configured()[i].Name
		at := slices.IndexFunc(c.targets, func(t *catalog.Compiled) bool { return t.Name == name })
		if at < 0 {
			continue
		}
		t := c.targets[at]
		same := slices.IndexFunc(groups, func(g []*catalog.Compiled) bool { return target.QuoteTable(g[0].Table) == target.QuoteTable(t.Table) })
		if same < 0 {
			same, groups = len(groups), append(groups, nil)
		}
		groups[same] = append(groups[same], t)
	}
	return groups
}

// countUnowned counts for the target at a place among those that share its table. If a key
// can't be computed, the users concerned are found and left out: none of them has a row.
func (a *Audit) countUnowned(ctx context.Context, shared []*catalog.Compiled, at int) (int64, error) {
	odd := make([][]settle.Key, len(shared))
	n, err := a.scanUnowned(ctx, shared, at, odd)
	if sqlstate.Of(err) == "" { // done, or PostgreSQL has not said a word
		return n, err
	}
	for i, t := range shared {
		if odd[i], err = a.withoutKey(ctx, t); err != nil {
			return 0, asUncountable(err)
		}
	}
	if n, err = a.scanUnowned(ctx, shared, at, odd); err != nil {
		return 0, asUncountable(err)
	}
	return n, nil
}

func (a *Audit) scanUnowned(ctx context.Context, shared []*catalog.Compiled, at int, odd [][]settle.Key) (int64, error) {
	args := []any{pgx.QueryExecModeExec}
	compilers := make([]*target.Compiler, len(shared))
	for i, t := range shared {
		compilers[i] = t.Compiler
	}
	for _, users := range odd {
		sources, ids := settle.KeyArrays(users)
		args = append(args, sources, ids)
	}
	var n int64
	err := a.Targets.Pool.Scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, target.Unowned(compilers, at), args...).Scan(&n)
	})
	return n, err
}

// withoutKey finds the users whose key can't be computed for a target.
func (a *Audit) withoutKey(ctx context.Context, t *catalog.Compiled) ([]settle.Key, error) {
	var odd []settle.Key
	keys := settle.Piece{Target: t, Statement: t.Compiler.Keys()}
	for _, o := range t.From {
		err := a.walk(ctx, settle.Key{Roll: t.Roll, Source: o.Source}, func(users []settle.Key) error {
			refused, err := a.refusals(ctx, keys, users, 0)
			for _, r := range refused {
				odd = append(odd, r.User)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return odd, nil
}
