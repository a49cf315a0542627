package target

import (
	"fmt"
	"slices"
	"strings"
)

// Preview counts all users of the target's sources by what would become of their rows.
func (c *Compiler) Preview() string {
	row := func(column string) string { return "t." + Quote(column) }
	set := c.compared()
	differs := []string{"false"}
	for i, a := range set {
		differs = append(differs, c.unlike(a.Column, row(a.Column), fmt.Sprintf("w.s%d", i+1)))
	}
	values := slices.Concat([]string{"(" + c.alive() + ") is true as alive"}, c.aliased(c.keyAssignments(), "k"),
		onlyIf(c.alive(), c.aliased(set, "s")), onlyIf(c.gone(), c.aliased(c.OnDelete.Set, "c")))
	removed := c.leftBehind(row, func(n int) string { return fmt.Sprintf("w.c%d", n+1) })
	return fmt.Sprintf(`select pg_catalog.count(*),
  pg_catalog.count(*) filter (where w.alive and %[1]s is null),
  pg_catalog.count(*) filter (where w.alive and %[1]s is not null and (%[2]s)),
  pg_catalog.count(*) filter (where not w.alive and %[1]s is not null and (%[3]s))
from (
select %[4]s
from (select %[5]s from %[9]s u where %[6]s offset 0) new
) w
left join %[7]s t on %[8]s`,
		row(c.Key[0]), strings.Join(differs, "\n   or "), removed,
		strings.Join(values, ",\n  "), c.roll.record(), c.followed(), QuoteTable(c.Table), c.sameKey("w"), c.roll.Table)
}

// onlyIf computes values, which have names, for the users only for which a condition holds.
func onlyIf(condition string, values []string) []string {
	list := make([]string, len(values))
	for i, value := range values {
		at := strings.LastIndex(value, " as ")
		list[i] = "case when " + condition + " then " + value[:at] + " end" + value[at:]
	}
	return list
}
