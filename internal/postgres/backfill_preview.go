package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/sqlstate"
)

// Preview is what a backfill that begins anew would do now, in users; those whom the target
// would refuse are counted as if it didn't.
type Preview struct{ Visit, Insert, Change, Remove int64 }

// PreviewBackfill computes, with the target's own expressions and in a transaction that may
// only read, what a backfill would do. An expression that fails for one user fails it as a
// whole, where a backfill would park him.
func (db *DB) PreviewBackfill(ctx context.Context, target string) (Preview, error) {
	var p Preview
	t := db.targetNamed(target)
	if err := t.fillable(); err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, err)
	}
	err := db.scan(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, t.compiler.preview()).Scan(&p.Visit, &p.Insert, &p.Change, &p.Remove)
	})
	if err != nil {
		return p, fmt.Errorf("preview of backfill %s: %w", target, sqlstate.Mask(err))
	}
	return p, nil
}

// preview counts all users of the target's sources by what would become of their rows.
func (c *compiler) preview() string {
	row := func(column string) string { return "t." + quote(column) }
	set := c.compared()
	differs := []string{"false"}
	for i, a := range set {
		differs = append(differs, c.unlike(a.Column, row(a.Column), fmt.Sprintf("w.s%d", i+1)))
	}
	values := slices.Concat([]string{"(" + c.alive() + ") is true as alive"}, c.aliased(c.keyAssignments(), "k"),
		onlyIf(c.alive(), c.aliased(set, "s")), onlyIf(c.gone(), c.aliased(c.Gone, "c")))
	removed := c.leftBehind(row, func(n int) string { return fmt.Sprintf("w.c%d", n+1) })
	return fmt.Sprintf(`select pg_catalog.count(*),
  pg_catalog.count(*) filter (where w.alive and %[1]s is null),
  pg_catalog.count(*) filter (where w.alive and %[1]s is not null and (%[2]s)),
  pg_catalog.count(*) filter (where not w.alive and %[1]s is not null and (%[3]s))
from (
select %[4]s
from (select %[5]s from rollcall.users u where %[6]s offset 0) new
) w
left join %[7]s t on %[8]s`,
		row(c.Key[0]), strings.Join(differs, "\n   or "), removed,
		strings.Join(values, ",\n  "), record(), c.followed(), quoteTable(c.Table), c.sameKey("w"))
}

// onlyIf computes values, which have names, for those users only for whom a condition holds.
func onlyIf(condition string, values []string) []string {
	list := make([]string, len(values))
	for i, value := range values {
		at := strings.LastIndex(value, " as ")
		list[i] = "case when " + condition + " then " + value[:at] + " end" + value[at:]
	}
	return list
}
