package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// states says of every user of the batch how the target has them: source, id and a State, null when
// the user is gone and so is their row. An expression that can't be computed for a user is why they
// are parked, so nothing of a parked one is computed, the key included.
func (c *Compiler) states() string {
	gone := c.leftBehind(c.row, func(n int) string { return c.value(c.OnDelete.Set[n]) })
	there := c.row(c.Key[0]) + " is not null" // no key that is found is null
	return fmt.Sprintf(`select %s, case
  when parked.here then 'parked'
  when %s then case
    when not (%s) then 'missing'
    when %s then 'different'
    else 'present' end
  when %s and (%s)%s then 'extra'
end
%s`, c.roll.identity("new"), c.alive(), there, c.unlikeSet(), there, gone, c.unpaired(), c.withRows())
}

// unpaired adds to a condition about a row that no other one stands for its pair.
func (c *Compiler) unpaired() string {
	if !c.byPair() {
		return ""
	}
	return " and not " + c.another("")
}

// differing lists the columns of set in which each user's row differs, and a number for what the row
// has in all columns that a report reads.
func (c *Compiler) differing() string {
	names := each(c.compared(), func(_ int, a Assignment) string {
		return fmt.Sprintf("case when %s then %s end", c.unlike(a.Column, c.row(a.Column), c.value(a)), Literal(a.Column))
	})
	read := each(c.columnsRead(), func(_ int, name string) string { return c.row(name) })
	return fmt.Sprintf(`select %s, pg_catalog.array_remove(array[%s]::text[], null),
  pg_catalog.hashtextextended(row(%s)::text, 0)
%s`,
		c.roll.identity("new"), strings.Join(names, ",\n  "), strings.Join(read, ", "), c.withRows())
}

// Rows reads the whole row of each user of a batch, whether they are parked or not: source, id, a JSON object of the
// columns that the role may read, in the order of the table, null where there is no row, and null. A key that can't be
// computed is an error.
func (c *Compiler) Rows() string { return c.rowsBeside("null::text") }

// Beside is Rows with what the row should have: a JSON object of the columns of set, or of on_delete for a user who is
// gone. It is null where there should be no row, or nothing is said about it. An expression that can't be
// computed is an error.
func (c *Compiler) Beside() string {
	object := func(list []Assignment) string {
		if len(list) == 0 {
			return "null::text"
		}
		values := each(list, func(_ int, a Assignment) string { return c.value(a) + " as " + Quote(a.Column) })
		return "(select pg_catalog.row_to_json(s)::text from (select " + strings.Join(values, ", ") + " offset 0) s)"
	}
	return c.rowsBeside(fmt.Sprintf("case when %s then %s when %s then %s end", c.alive(), object(c.Set), c.gone(), object(c.OnDelete.Set)))
}

func (c *Compiler) rowsBeside(should string) string {
	var columns []string
	for _, column := range c.table.Columns {
		if column.Readable {
			columns = append(columns, "t."+Quote(column.Name))
		}
	}
	return fmt.Sprintf(`select %s, t.found, sought.should
%s
cross join lateral (select %s, %s as should offset 0) sought
left join lateral (
  select pg_catalog.row_to_json(r)::text as found
  from (select %s from %s t where %s offset 0) r
) t on true`, c.roll.identity("new"), c.batch(), strings.Join(c.aliased(c.keyAssignments(), "k"), ", "), should,
		strings.Join(columns, ", "), QuoteTable(c.Table), c.sameKey("sought"))
}

// Personal reports whether a column may tell who a person is: it is made of columns of the roll that do, or it is a
// text or a document that Rollcall does not write.
func (c *Compiler) Personal(column string) bool {
	written := false
	for _, a := range c.assignments() {
		if a.Column != column {
			continue
		}
		written = true
		used := c.roll.used(a.Expr.SQL)
		whole := len(used) == 0 && c.roll.reads(a.Expr.SQL)
		if whole || slices.ContainsFunc(c.roll.Columns, func(f Field) bool { return f.Masked && slices.Contains(used, f.Name) }) {
			return true
		}
	}
	described := c.table.Column(column)
	return !written && (described == nil || described.Textual || strings.HasPrefix(described.Type, "json"))
}

// withRows is the batch with each user's row t, if there is one. The columns of t have
// other names than in the table: an expression may call new.email just email. Lateral with
// offset 0 for the same reason as in batch.
func (c *Compiler) withRows() string {
	values := each(c.keyAssignments(), func(n int, a Assignment) string {
		return fmt.Sprintf("case when parked.here then null else %s end as k%d", c.value(a), n+1)
	})
	columns := each(c.columnsRead(), func(n int, name string) string {
		return fmt.Sprintf("t.%s as r%d", Quote(name), n+1)
	})
	return fmt.Sprintf(`%s
left join lateral (
  select true as here from rollcall.parked p
  where p.source = batch.batch_source and p.user_id = batch.batch_id and p.target = %s
  offset 0
) parked on true
cross join lateral (select %s offset 0) sought
left join lateral (
  select %s from %s t where %s offset 0
) t on true`, c.batch(), Literal(c.Name), strings.Join(values, ", "),
		strings.Join(columns, ", "), QuoteTable(c.Table), c.sameKey("sought"))
}

// row is a column of t in withRows.
func (c *Compiler) row(column string) string {
	return fmt.Sprintf("t.r%d", slices.Index(c.columnsRead(), column)+1)
}

// Remaining finds the rows that are there of those of the batch who are gone: source, id, and the row's key as a text
// for each of its columns.
func (c *Compiler) Remaining() string {
	keys := each(c.Key, func(_ int, name string) string { return "t." + Quote(name) + "::text" })
	return fmt.Sprintf("select %s, array[%s]\nfrom (\n%s\n) w join %s t on %s", c.roll.identity("w"),
		strings.Join(keys, ", "), c.wanted(c.gone()), QuoteTable(c.Table), c.sameKey("w"))
}

// columnsRead are those whose values a report compares, each once.
func (c *Compiler) columnsRead() []string {
	var names []string
	for _, a := range slices.Concat(c.keyAssignments(), c.compared(), c.OnDelete.Set) {
		if !slices.Contains(names, a.Column) {
			names = append(names, a.Column)
		}
	}
	return names
}

// compared are the assignments that a row has to agree with. The columns of on_insert are
// the application's own, and what changes with the moment is no difference.
func (c *Compiler) compared() []Assignment {
	return slices.DeleteFunc(slices.Clone(c.Set), func(a Assignment) bool {
		return slices.Contains(c.Key, a.Column) || c.volatile[a.Expr.SQL]
	})
}

// unlikeSet holds for the row t of a user that set describes otherwise.
func (c *Compiler) unlikeSet() string {
	unlike := each(c.compared(), func(_ int, a Assignment) string {
		return c.unlike(a.Column, c.row(a.Column), c.value(a))
	})
	return cmp.Or(strings.Join(unlike, "\n      or "), "false")
}

// leftBehind holds for the row of a user who is gone, if something is still to be done about
// it; row and value as in goneDiffers.
func (c *Compiler) leftBehind(row func(column string) string, value func(n int) string) string {
	switch c.OnDelete.Action {
	case DeleteRow:
		return "true"
	case DeleteSet:
		return c.goneDiffers(row, value)
	default: // DeleteKeep
		return "false"
	}
}

// Unowned counts the rows of a table that belong to no user of the roll. The targets
// share the table; the rows counted are those of the one at a place, unless they are an
// earlier one's as well. Its parameters are, for each target in turn, the sources and the
// ids of the users to leave out because their key can't be computed. A row with a null in
// its key is the application's own.
func Unowned(shared []*Compiler, at int) string {
	t := shared[at]
	conditions := each(t.Key, func(_ int, name string) string { return "t." + Quote(name) + " is not null" })
	conditions = append(conditions, t.space())
	for _, earlier := range shared[:at] {
		conditions = append(conditions, "not "+earlier.space())
	}
	for i, s := range shared {
		conditions = append(conditions, "not "+s.known(2*i+1))
	}
	return fmt.Sprintf("select pg_catalog.count(*) from %s t\nwhere %s",
		QuoteTable(t.Table), strings.Join(conditions, "\nand "))
}

// space holds for the rows t that can be this target's: those that agree with the columns of
// the key that are the same for all users of a source.
func (c *Compiler) space() string {
	var same []string
	for _, a := range c.keyAssignments() {
		used := c.roll.used(a.Expr.SQL)
		if slices.Equal(used, []string{c.roll.Source}) || len(used) == 0 && !c.roll.reads(a.Expr.SQL) {
			same = append(same, equal("t."+Quote(a.Column), c.value(a)))
		}
	}
	if len(same) == 0 {
		return "true"
	}
	return fmt.Sprintf("exists (\n  select from pg_catalog.unnest(array[%s]::%s) as new (%s)\n  where %s\n)",
		c.sources(), c.roll.array(c.roll.Source), c.roll.Source, strings.Join(same, " and "))
}

// known holds for the rows t that are a user's, alive or gone; $n and $n+1 are the users to
// leave out. Offset 0 keeps the key from being computed for them all the same.
func (c *Compiler) known(n int) string {
	same := each(c.keyAssignments(), func(_ int, a Assignment) string { return equal("t."+Quote(a.Column), c.value(a)) })
	columns := each(c.roll.keyColumns(), func(_ int, name string) string { return fmt.Sprintf(`u.%s collate "default" as %[1]s`, name) })
	source, id := c.roll.Source, c.roll.ID
	return fmt.Sprintf(`exists (
  select from (
    select %[10]s
    from %[3]s u
    where u.%[1]s in (%[4]s)
      and not exists (select from unnest($%[5]d::%[6]s, $%[7]d::%[8]s) as odd (source, id) where odd.source = u.%[1]s and odd.id = u.%[2]s)
    offset 0
  ) new
  where %[9]s
)`, source, id, c.roll.Table, c.sources(), n, c.roll.array(source), n+1, c.roll.array(id), strings.Join(same, " and "), strings.Join(columns, ", "))
}

// Preview counts all users of the target's sources by what would become of their rows.
func (c *Compiler) Preview() string {
	row := func(column string) string { return "t." + Quote(column) }
	set := c.compared()
	differs := append([]string{"false"}, each(set, func(n int, a Assignment) string {
		return c.unlike(a.Column, row(a.Column), fmt.Sprintf("w.s%d", n+1))
	})...)
	values := slices.Concat([]string{"(" + c.alive() + ") is true as alive", "(" + c.gone() + ") is true as gone"}, c.aliased(c.keyAssignments(), "k"),
		onlyIf(c.alive(), c.aliased(set, "s")), onlyIf(c.gone(), c.aliased(c.OnDelete.Set, "c")))
	removed := c.leftBehind(row, func(n int) string { return fmt.Sprintf("w.c%d", n+1) })
	return fmt.Sprintf(`select pg_catalog.count(*),
  pg_catalog.count(*) filter (where w.alive and %[1]s is null),
  pg_catalog.count(*) filter (where w.alive and %[1]s is not null and (%[2]s)),
  pg_catalog.count(*) filter (where w.gone and %[1]s is not null and (%[3]s))
from (
select %[4]s
%[5]s
) w
left join %[6]s t on %[7]s`,
		row(c.Key[0]), strings.Join(differs, "\n   or "), removed,
		strings.Join(values, ",\n  "), c.whose(c.followed()), QuoteTable(c.Table), c.sameKey("w"))
}

// onlyIf computes values, which have names, for the users only for which a condition holds.
func onlyIf(condition string, values []string) []string {
	return each(values, func(_ int, value string) string {
		at := strings.LastIndex(value, " as ")
		return "case when " + condition + " then " + value[:at] + " end" + value[at:]
	})
}
