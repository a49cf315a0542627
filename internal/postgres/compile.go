package postgres

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// compiled is a target as statements. Each takes the batch as $1 sources, $2 ids, and $3
// whether the caller has locked the users; if not, the statement touches only those whose
// roll row this transaction wrote.
type compiled struct {
	*Target
	oid      uint32
	parents  []uint32
	lockable bool   // the role may lock the table
	triggers bool   // the application has some on it
	removal  string // "" when nothing is to be done about users who are gone
	upsert   string
	// removalSpan and upsertSpan are the same for all users of a source ($1) after one ($2)
	// up to another ($3) whom the transaction has locked: half of the work per user.
	removalSpan, upsertSpan string
	// removalLocked and upsertLocked return (source, id) of the users whose row somebody
	// else holds, without waiting for it.
	removalLocked, upsertLocked string
	// removalWanted and upsertWanted compute whom a statement is about, and no more.
	removalWanted, upsertWanted string
	// census says how the target has each user; differing, in which columns his row differs.
	census, differing string
	// release makes null what a user is to lose for somebody else's sake; "" when no column of
	// his can be taken that way.
	release string
	// outage is why the target is out of service; nil when it works.
	outage   *outage
	compiler *compiler    // it was compiled by
	state    catalogState // before it was compiled
}

// shown is the target's statements with its expressions as the file has them: what variables
// stand for is not for the screen.
func (t *compiled) shown() *compiled {
	c := *t.compiler
	c.volatile = map[string]bool{}
	written := func(list []Assignment) []Assignment {
		list = slices.Clone(list)
		for i, a := range list {
			list[i].Expr.SQL = cmp.Or(a.Expr.Written, a.Expr.SQL)
			c.volatile[list[i].Expr.SQL] = t.compiler.volatile[a.Expr.SQL]
		}
		return list
	}
	target := *c.Target
	target.Set, target.OnInsert, target.Gone = written(target.Set), written(target.OnInsert), written(target.Gone)
	if target.Where != nil {
		where := *target.Where
		where.SQL = cmp.Or(where.Written, where.SQL)
		target.Where = &where
	}
	c.Target = &target
	return c.compile()
}

// outage is why a target as a whole can't be written.
type outage struct{ state, message string }

// follows reports whether the target follows the users of a source.
func (t *Target) follows(source string) bool {
	return slices.ContainsFunc(t.From, func(o Origin) bool { return o.Source == source })
}

// compile turns a target into statements for its table.
func (c *compiler) compile() *compiled {
	span := *c
	span.span = true
	return &compiled{
		removalSpan: span.removal(), upsertSpan: span.upsert(),
		Target: c.Target, oid: c.table.OID, parents: c.table.parents, lockable: c.table.Lockable, triggers: c.table.Triggers, compiler: c,
		removal: c.removal(), removalLocked: c.locked(c.gone(), "for update"), removalWanted: c.wanted(c.gone()),
		upsert: c.upsert(), upsertLocked: c.locked(c.alive(), "for no key update"), upsertWanted: c.wanted(c.alive()),
		release: c.release(),
		census:  c.census(), differing: c.differing(),
	}
}

type compiler struct {
	*Target
	table *table
	// volatile are the expressions that change without the user, by their SQL.
	volatile map[string]bool
	span     bool // the users are given as a span, not as a batch
	// grants says which grant gives a missing right, while the target is checked.
	grants func(*pgconn.PgError) string
}

// users is the users of a statement as the record new.
func (c *compiler) users() string {
	if c.span {
		return `from (
  select ` + record() + ` from rollcall.users u
  where u.source = $1 and u.id > $2 and u.id <= $3
    and ` + c.followed() + `
    and u.xmax = pg_catalog.pg_current_xact_id()::xid
  offset 0
) new`
	}
	return c.batch()
}

// followed holds for the users u of the target's sources.
func (c *compiler) followed() string { return "u.source in (" + c.sources() + ")" }

// batch is the users of a batch. Lateral with offset 0, so that a
// generic plan, made while the tables were empty, still goes by the key: PostgreSQL can't
// turn it into a join over the whole roll.
func (c *compiler) batch() string {
	return `from unnest($1::text[], $2::text[]) as batch (batch_source, batch_id)
cross join lateral (
  select ` + record() + ` from rollcall.users u
  where u.source = batch.batch_source and u.id = batch.batch_id
    and ` + c.followed() + `
    and ($3::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
  offset 0
) new`
}

// sources are those that the target follows, as a list of literals.
func (c *compiler) sources() string {
	sources := make([]string, len(c.From))
	for i, o := range c.From {
		sources[i] = Literal(o.Source)
	}
	return strings.Join(sources, ", ")
}

// record is the select list of new. The roll's keys have collation "C"; carried into the
// application's table that would keep PostgreSQL from using the table's own index.
func record() string {
	list := make([]string, len(columnsOfNew))
	for i, name := range columnsOfNew {
		list[i] = "u." + name
		if name == "source" || name == "id" {
			list[i] += ` collate "default" as ` + name
		}
	}
	return strings.Join(list, ", ")
}

func (c *compiler) alive() string {
	if c.Where == nil {
		return "new.deleted_at is null"
	}
	return "new.deleted_at is null and " + enclosed(c.Where.SQL)
}

func (c *compiler) gone() string {
	if c.Where == nil {
		return "new.deleted_at is not null"
	}
	return "(new.deleted_at is not null or " + enclosed(c.Where.SQL) + " is not true)"
}

func (c *compiler) upsert() string {
	all := slices.Concat(c.Set, c.OnInsert)
	names, values := make([]string, len(all)), make([]string, len(all))
	for i, a := range all {
		names[i], values[i] = a.Column, c.value(a)
	}
	return fmt.Sprintf(`insert into %s as t (%s)
select
  %s
%s
where %s
order by new.source collate "C", new.id collate "C"
on conflict (%s) %s`,
		quoteTable(c.Table), quoteAll(names), strings.Join(values, ",\n  "), c.users(), c.alive(), quoteAll(c.Key), c.conflict())
}

// conflict is what happens to a row that is there: the set columns, if one differs.
func (c *compiler) conflict() string {
	var assign, differs []string
	for _, a := range c.Set {
		if slices.Contains(c.Key, a.Column) {
			continue
		}
		name := quote(a.Column)
		assign = append(assign, name+" = excluded."+name)
		if !c.volatile[a.Expr.SQL] {
			differs = append(differs, c.differs(a.Column, "t."+name, "excluded."+name))
		}
	}
	if len(differs) == 0 {
		return "do nothing"
	}
	return fmt.Sprintf("do update set\n  %s\nwhere %s", strings.Join(assign, ",\n  "), strings.Join(differs, "\n   or "))
}

func (c *compiler) removal() string {
	keys := c.aliased(c.keyAssignments(), "k")
	switch c.OnDelete {
	case DeleteRow:
		return fmt.Sprintf("delete from %s t\nusing (\n%s\n) gone\nwhere %s", quoteTable(c.Table), c.goneRows(keys), c.sameKey("gone"))
	case DeleteSet:
		rows := c.goneRows(append(keys, c.aliased(c.Gone, "c")...))
		differs := c.goneDiffers(func(column string) string { return "t." + quote(column) },
			func(n int) string { return fmt.Sprintf("gone.c%d", n+1) })
		return fmt.Sprintf("update %s t set\n  %s\nfrom (\n%s\n) gone\nwhere %s\n  and (%s)",
			quoteTable(c.Table), c.goneAssign(), rows, c.sameKey("gone"), differs)
	default: // DeleteKeep
		return ""
	}
}

// release sets the columns to null that are of a unique index, may be null, and differ: two
// users who have exchanged their e-mails can't be written one after the other otherwise.
func (c *compiler) release() string {
	var taken []Assignment
	for _, a := range c.Set {
		if !slices.Contains(c.Key, a.Column) && !c.volatile[a.Expr.SQL] && !c.table.column(a.Column).NotNull && c.table.unique(a.Column) {
			taken = append(taken, a)
		}
	}
	if len(taken) == 0 {
		return ""
	}
	var assign, differs []string
	for i, a := range taken {
		name, unlike := quote(a.Column), c.differs(a.Column, "t."+quote(a.Column), fmt.Sprintf("held.c%d", i+1))
		assign = append(assign, fmt.Sprintf("%s = case when %s then null else t.%[1]s end", name, unlike))
		differs = append(differs, unlike)
	}
	values := append(c.aliased(c.keyAssignments(), "k"), c.aliased(taken, "c")...)
	return fmt.Sprintf("update %s t set\n  %s\nfrom (\nselect\n  %s\n%s\nwhere %s\n) held\nwhere %s\n  and (%s)",
		quoteTable(c.Table), strings.Join(assign, ",\n  "), strings.Join(values, ",\n  "), c.batch(), c.alive(), c.sameKey("held"), strings.Join(differs, " or "))
}

func (c *compiler) goneRows(values []string) string {
	return fmt.Sprintf("select\n  %s\n%s\nwhere %s\norder by new.source collate \"C\", new.id collate \"C\"", strings.Join(values, ",\n  "), c.users(), c.gone())
}

func (c *compiler) goneAssign() string {
	assign := make([]string, len(c.Gone))
	for i, a := range c.Gone {
		assign[i] = fmt.Sprintf("%s = gone.c%d", quote(a.Column), i+1)
	}
	return strings.Join(assign, ",\n  ")
}

// goneDiffers holds for a row that is not yet in its deleted form; row gives its columns,
// value the nth value of that form. A volatile one such as now() is always another; it
// counts while the column is null.
func (c *compiler) goneDiffers(row func(column string) string, value func(n int) string) string {
	differs := make([]string, len(c.Gone))
	for i, a := range c.Gone {
		if c.volatile[a.Expr.SQL] {
			differs[i] = row(a.Column) + " is null"
			continue
		}
		differs[i] = c.unlike(a.Column, row(a.Column), value(i))
	}
	return strings.Join(differs, "\n    or ")
}

// locked asks who of the wanted users has a row that somebody else holds.
func (c *compiler) locked(wanted, strength string) string {
	return fmt.Sprintf(`with wanted as materialized (
%s
), free as materialized (
select wanted.source, wanted.id from wanted join %s t on %s %s of t skip locked
)
select wanted.source, wanted.id from wanted join %[2]s t on %[3]s
except
select source, id from free`,
		c.wanted(wanted), quoteTable(c.Table), c.sameKey("wanted"), strength)
}

// wanted are the users of a statement, with their keys.
func (c *compiler) wanted(who string) string {
	return fmt.Sprintf("select new.source, new.id,\n  %s\n%s\nwhere %s",
		strings.Join(c.aliased(c.keyAssignments(), "k"), ",\n  "), c.users(), who)
}

func (c *compiler) sameKey(with string) string {
	same := make([]string, len(c.Key))
	for i, name := range c.Key {
		same[i] = equal("t."+quote(name), fmt.Sprintf("%s.k%d", with, i+1))
	}
	return strings.Join(same, " and ")
}

// aliased returns the values of assignments, named k1, k2 … or c1, c2 ….
func (c *compiler) aliased(list []Assignment, prefix string) []string {
	values := make([]string, len(list))
	for i, a := range list {
		values[i] = fmt.Sprintf("%s as %s%d", c.value(a), prefix, i+1)
	}
	return values
}

// value is an expression as its column's type, without the modifier: a cast to
// varchar(50) would cut what the assignment refuses.
func (c *compiler) value(a Assignment) string {
	return enclosed(a.Expr.SQL) + "::" + c.table.column(a.Column).Type
}

// unlike holds for a row whose column is not what assigning the value would store there.
func (c *compiler) unlike(name, old, value string) string {
	col := c.table.column(name)
	value += "::" + col.Rounded
	if col.Length > 0 { // blanks beyond it are dropped, whatever else is there is refused
		value = fmt.Sprintf("case when pg_catalog.rtrim(pg_catalog.substr(%[1]s, %[2]d + 1), ' ') = '' "+
			"then pg_catalog.left(%[1]s, %[2]d) else %[1]s end", value, col.Length)
	}
	return c.differs(name, old, value)
}

func (c *compiler) differs(name, old, value string) string {
	if c.table.column(name).Compare == "text" {
		return fmt.Sprintf(`%s::text collate "C" is distinct from %s::text collate "C"`, old, value)
	}
	return fmt.Sprintf("(%s is not true and (%s is not null or %s is not null))", equal(old, value), old, value)
}

// equal compares two values by PostgreSQL's own operator. A bare = between two varchar, enum,
// array or domain values takes an operator of schema public, if a role has made one for exactly these
// types. So does "is distinct from".
func equal(a, b string) string { return a + " operator(pg_catalog.=) " + b }

// enclosed keeps an expression by itself: a comment at its end takes nothing along.
func enclosed(sql string) string { return "(\n" + sql + "\n)" }

// Literal is a text in SQL.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// inOrder puts parents before the tables that reference them, and otherwise goes by name.
// Members of a circle keep their names' order.
func inOrder(targets []*compiled) []*compiled {
	rest := slices.Clone(targets)
	slices.SortFunc(rest, func(a, b *compiled) int { return strings.Compare(a.Name, b.Name) })
	ordered := make([]*compiled, 0, len(rest))
	for len(rest) > 0 {
		next := slices.IndexFunc(rest, func(t *compiled) bool {
			return !slices.ContainsFunc(rest, func(o *compiled) bool {
				return o != t && o.oid != t.oid && slices.Contains(t.parents, o.oid)
			})
		})
		next = max(next, 0)
		ordered = append(ordered, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return ordered
}
