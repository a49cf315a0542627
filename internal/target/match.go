package target

import (
	"fmt"
	"slices"
	"strings"
)

// Match has a user without a row take over one that is there: a row without a key whose Column is the
// user's e-mail address, in whatever case, which the provider has verified.
type Match struct {
	Column string `yaml:"column,required" as:"column" doc:"column of e-mail addresses, with an index on lower(column)"`
}

// Verdict says what becomes of a user without a row, where other rows have their address.
type Verdict string

// The verdicts. All but Adopt park the user.
const (
	Adopt      Verdict = "adopt"      // one row has the address and no key: the user takes it over
	Taken      Verdict = "taken"      // a row of another user has the address
	Several    Verdict = "several"    // several rows have the address and no key
	Unverified Verdict = "unverified" // the provider has not verified the address
	Rivals     Verdict = "rivals"     // several users of the statement would take over the same row
)

// adoption gives users the rows that they take over, by the rows' key. It fails (22012) unless each user who has a
// verdict takes a row over: a caller that knows the verdicts leaves out the others, and a row that another transaction
// has taken meanwhile, or whose key a trigger has not let through, makes it fail as well. The rows are locked in the
// order of their addresses, the same in every transaction.
func (c *Compiler) adoption() string {
	keys := each(c.Key, func(n int, name string) string { return fmt.Sprintf("%s = v.k%d", Quote(name), n+1) })
	return fmt.Sprintf(`%s, adopted as (
update %s t set %s
from (select * from verdict where verdict = 'adopt' order by address) v
where %s
returning %s as kept
)
select 1 / case when (select pg_catalog.count(*) from verdict) operator(pg_catalog.=) (select pg_catalog.count(*) from adopted where kept) then 1 else 0 end`,
		c.judged(), QuoteTable(c.Table), strings.Join(keys, ", "), c.free("v"), c.sameKey("v"))
}

// verdicts returns source, id and Verdict of the users who have one.
func (c *Compiler) verdicts() string {
	return fmt.Sprintf("%s\nselect %s, verdict from verdict", c.judged(), c.roll.identity("verdict"))
}

// adoptionLocked returns (source, id) of the users whose row to take over another transaction holds, without waiting.
func (c *Compiler) adoptionLocked() string {
	return c.heldOf(c.sought(), c.free("wanted"), "for update")
}

// Adoptions counts, of all users of the target's sources, those who would take over a row, and those who have another
// verdict. The target has Match.
func (c *Compiler) Adoptions() string {
	all := *c
	all.scope = everyone
	const count = "pg_catalog.count(*) filter (where verdict %s 'adopt')"
	return fmt.Sprintf("%s\nselect "+count+", "+count+" from verdict", all.judged(), "=", "<>")
}

// judged begins a statement with the users who have a verdict. Users of one statement who have one address are rivals,
// whether a row has it or not, as one after the other the second would be parked, too. One whose address is not
// verified is no rival of one whose address is.
func (c *Compiler) judged() string {
	return fmt.Sprintf(`with sought as materialized (
%s
), judged as (
select sought.*, case
    when rows.taken > 0 then 'taken'
    when rows.free > 1 then 'several'
    when rows.free > 0 and not sought.verified then 'unverified'
    when %[5]s and 1 < case
      when sought.verified then pg_catalog.count(*) filter (where sought.verified) over same
      else pg_catalog.count(*) over same
    end then 'rivals'
    when rows.free > 0 then 'adopt'
  end as verdict
from sought
cross join lateral (
  select pg_catalog.count(*) filter (where %[2]s) as free, pg_catalog.count(*) filter (where not (%[2]s)) as taken
  from %[3]s t where %[4]s
  offset 0
) rows
window same as (partition by sought.address, sought.ascii%[6]s)
), verdict as materialized (
select * from judged where verdict is not null
)`, c.sought(), c.keyless(), QuoteTable(c.Table), c.sameAddress("sought"), c.rivalry(), c.apart())
}

// rivalry holds where users of one address can't all have a row: none can if their rows have the address, too.
func (c *Compiler) rivalry() string {
	written := func(a Assignment) bool { return a.Column == c.Match.Column }
	return fmt.Sprintf("(%t or rows.free > 0)", slices.ContainsFunc(slices.Concat(c.Set, c.OnInsert), written))
}

// apart are the columns of the key that keep users of one address apart, as a list behind others.
func (c *Compiler) apart() string {
	var columns strings.Builder
	for n, name := range c.Key {
		if !slices.Contains(c.idColumns(c.roll), name) {
			fmt.Fprintf(&columns, ", sought.k%d", n+1)
		}
	}
	return columns.String()
}

// sought are the users who have an address and no row.
func (c *Compiler) sought() string {
	email := "new.email"
	if collation := c.table.Column(c.Match.Column).Collation; collation != "" { // in which lower may differ
		email += " collate " + collation
	}
	values := append([]string{
		c.roll.identity("new"), "pg_catalog.lower(" + email + ") as address", asciiOf("new.email") + " as ascii",
		"new.email_verified is true as verified",
	}, c.aliased(c.keyAssignments(), "k")...)
	return fmt.Sprintf(`select w.* from (
select
  %s
%s
where %s and new.email <> ''
offset 0
) w
where not exists (select from %s t where %s offset 0)`,
		strings.Join(values, ",\n  "), c.users(), c.alive(), QuoteTable(c.Table), c.sameKey("w"))
}

// free holds for the rows t without a key that have the address of a user.
func (c *Compiler) free(user string) string { return c.sameAddress(user) + " and " + c.keyless() }

// sameAddress holds for the rows t that have the address of a user, and no column of the key that names another
// source than the user's.
func (c *Compiler) sameAddress(user string) string {
	same := []string{equal(c.folded(), user+".address"), equal(asciiOf("t."+Quote(c.Match.Column)+"::text"), user+".ascii")}
	for n, a := range c.keyAssignments() {
		if !slices.Contains(c.roll.used(a.Expr.SQL), c.roll.ID) {
			column := "t." + Quote(a.Column)
			same = append(same, fmt.Sprintf("(%s is null or %s)", column, equal(column, fmt.Sprintf("%s.k%d", user, n+1))))
		}
	}
	return strings.Join(same, " and ")
}

// folded is the column of addresses of a row t as its index has it.
func (c *Compiler) folded() string { return "pg_catalog.lower(t." + Quote(c.Match.Column) + "::text)" }

// asciiOf is an address with each letter beyond ASCII as a question mark. lower makes a "k" of the Kelvin sign, and of
// a dotted capital I in some collations an "i"; others ignore accents: such an address may be another person's.
func asciiOf(address string) string {
	return "pg_catalog.regexp_replace(pg_catalog.lower(" + address + ` collate "C"), '[^ -~]', '?', 'g')`
}

// keyless holds for the rows t that belong to no user. A condition "is null" would have PostgreSQL read the index of the
// key for all such rows, which may be most of the table.
func (c *Compiler) keyless() string {
	columns := each(c.idColumns(c.roll), func(_ int, name string) string { return "t." + Quote(name) })
	return "pg_catalog.num_nonnulls(" + strings.Join(columns, ", ") + ") operator(pg_catalog.=) 0"
}

// idColumns are the columns of the key that tell a user from the others of a source.
func (t *Target) idColumns(roll *Roll) []string {
	var names []string
	for _, a := range t.keyAssignments() {
		if slices.Contains(roll.used(a.Expr.SQL), roll.ID) {
			names = append(names, a.Column)
		}
	}
	return names
}

// lintMatch says why users can't take over rows of the table, and where, or "".
func (t *Target) lintMatch(roll *Roll, table *Table) (code Code, what string) {
	if t.Match == nil {
		return "", ""
	}
	name := t.Match.Column
	column := table.Column(name)
	required := slices.DeleteFunc(t.idColumns(roll), func(key string) bool { return !table.Column(key).NotNull })
	switch {
	case column == nil:
		_, what = table.lintColumn(t, name)
		return ColumnMissing, "match: " + what
	case slices.Contains(t.Key, name):
		return MatchInvalid, fmt.Sprintf("match: %s is a column of key; name the column of e-mail addresses", Quote(name))
	case !column.Textual:
		return MatchInvalid, fmt.Sprintf("match: column %s is %s; name a column of a text type that has e-mail addresses", Quote(name), column.Type)
	case len(required) > 0:
		return MatchInvalid, fmt.Sprintf("match: key column %s is not null: no row of %s can be without a key; take another column for key, unique, that may be null",
			Quote(required[0]), t.Table)
	case !column.Folded:
		return MatchIndex, fmt.Sprintf("match: rows are found by lower(%[1]s), which needs an index on all of %[2]s; run: create index on %[3]s (lower(%[1]s))",
			Quote(name), t.Table, QuoteTable(t.Table))
	}
	return "", ""
}
