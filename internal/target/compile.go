package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Statements make a target's table follow its roll. Each takes the batch as $1 sources, $2 ids, and $3
// whether the caller has locked the users; if not, the statement touches only those whose
// roll row this transaction wrote.
type Statements struct {
	Removal string // "" when nothing is to be done about users who are gone
	Upsert  string
	// RemovalSpan and UpsertSpan are the same for all users of a source ($1) after one ($2)
	// up to another ($3) that the transaction has locked or written: half of the work per user.
	RemovalSpan, UpsertSpan string
	// InsertSpan is UpsertSpan for a table that has none of them: half of the work again.
	InsertSpan string
	// RemovalLocked and UpsertLocked return (source, id) of the users whose row another
	// transaction holds, without waiting for it.
	RemovalLocked, UpsertLocked string
	// RemovalWanted and UpsertWanted compute which users a statement is about, and no more.
	RemovalWanted, UpsertWanted string
	// Adoption has users take over rows, as Target.Match says; "" without. It fails for all if one has a verdict
	// other than Adopt. AdoptionSpan is the same for a span, AdoptionLocked as RemovalLocked. Verdicts returns
	// source, id and Verdict.
	Adoption, AdoptionSpan, AdoptionLocked, Verdicts string
	// States says how the target has each user; Differing, in which columns their row differs.
	States, Differing string
	// Release makes null what a user is to lose for another user's sake; "" when no column can be
	// taken that way.
	Release string
}

// Compiler turns a target and its described table into statements, for which PostgreSQL first answers
// the questions about the expressions.
type Compiler struct {
	*Target
	roll  *Roll
	table *Table
	// volatile are the expressions that change without the user, by their SQL.
	volatile map[string]bool
	scope    scope
}

// scope says which users a statement is about.
type scope int

const (
	batch    scope = iota // the sources and ids that its parameters give
	span                  // those of a source between two ids
	everyone              // all of the target's sources
)

// NewCompiler is for a target that fits its table, as Check says.
func NewCompiler(t *Target, roll *Roll, table *Table) *Compiler {
	return &Compiler{Target: t, roll: roll, table: table, volatile: map[string]bool{}}
}

// Compile returns the statements.
func (c *Compiler) Compile() Statements {
	ofSpan := *c
	ofSpan.scope = span
	s := Statements{
		RemovalSpan: ofSpan.removal(), UpsertSpan: ofSpan.upsert(), InsertSpan: ofSpan.insert(),
		Removal: c.removal(), RemovalLocked: c.locked(c.gone(), "for update"), RemovalWanted: c.wanted(c.gone()),
		Upsert: c.upsert(), UpsertLocked: c.locked(c.alive(), "for no key update"), UpsertWanted: c.wanted(c.alive()),
		Release: c.release(),
		States:  c.states(), Differing: c.differing(),
	}
	if c.Match != nil {
		s.Adoption, s.AdoptionSpan, s.AdoptionLocked, s.Verdicts = c.adoption(), ofSpan.adoption(), c.adoptionLocked(), c.verdicts()
	}
	return s
}

// Shown are the statements with the expressions as the file has them: what variables
// stand for is not for the screen.
func (c *Compiler) Shown() Statements {
	shown := *c
	shown.volatile = map[string]bool{}
	written := func(list []Assignment) []Assignment {
		list = slices.Clone(list)
		for i, a := range list {
			list[i].Expr.SQL = cmp.Or(a.Expr.Written, a.Expr.SQL)
			shown.volatile[list[i].Expr.SQL] = c.volatile[a.Expr.SQL]
		}
		return list
	}
	t := *c.Target
	t.Set, t.OnInsert, t.OnDelete.Set = written(t.Set), written(t.OnInsert), written(t.OnDelete.Set)
	if t.Where != nil {
		where := *t.Where
		where.SQL = cmp.Or(where.Written, where.SQL)
		t.Where = &where
	}
	shown.Target = &t
	return shown.Compile()
}

// Keys computes the keys of all users of a batch.
func (c *Compiler) Keys() string { return c.wanted("true") }

// users is the users of a statement as the record new.
func (c *Compiler) users() string {
	source, id := "u."+c.roll.Source, "u."+c.roll.ID
	switch c.scope {
	case span:
		return c.whose(source + ` = $1 and ` + id + ` > $2 and ` + id + ` <= $3
    and ` + c.followed() + `
    and pg_catalog.pg_current_xact_id()::xid in (u.xmax, u.xmin)`)
	case everyone:
		return c.whose(c.followed())
	default:
		return c.batch()
	}
}

// whose are the users u that meet a condition, as the record new.
func (c *Compiler) whose(condition string) string {
	return "from (\n  select " + c.roll.Record() + " from " + c.roll.Table + " u\n  where " + condition + "\n  offset 0\n) new"
}

// followed holds for the users u of the target's sources.
func (c *Compiler) followed() string { return "u." + c.roll.Source + " in (" + c.sources() + ")" }

// batch is the users of a batch. Lateral with offset 0, so that a
// generic plan, made while the tables were empty, still goes by the key: PostgreSQL can't
// turn it into a join over the whole roll.
func (c *Compiler) batch() string {
	r := c.roll
	return `from unnest($1::` + r.array(r.Source) + `, $2::` + r.array(r.ID) + `) as batch (batch_source, batch_id)
cross join lateral (
  select ` + r.Record() + ` from ` + r.Table + ` u
  where u.` + r.Source + ` = batch.batch_source and u.` + r.ID + ` = batch.batch_id
    and ` + c.followed() + `
    and ($3::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
  offset 0
) new`
}

// sources are those that the target follows, as a list of literals.
func (c *Compiler) sources() string {
	return strings.Join(each(c.From, func(_ int, o Origin) string { return Literal(o.Source) }), ", ")
}

// alive holds for the users who have a row; of several that stand for one pair, for the latest.
func (c *Compiler) alive() string {
	alive := "new.deleted_at is null"
	if c.Where != nil {
		alive += " and " + enclosed(c.Where.SQL)
	}
	if c.byPair() {
		alive += "\n  and not " + c.another(c.later())
	}
	return alive
}

// gone holds for the users who have no row, unless another one stands for the same pair.
func (c *Compiler) gone() string {
	gone := "new.deleted_at is not null"
	if c.Where != nil {
		gone = "(new.deleted_at is not null or " + enclosed(c.Where.SQL) + " is not true)"
	}
	if c.byPair() {
		gone += "\n  and not " + c.another("")
	}
	return gone
}

// byPair reports whether the rows of the table are those of pairs: their key does not use ID.
func (c *Compiler) byPair() bool {
	return c.roll.Pair != nil && !slices.ContainsFunc(c.keyAssignments(), func(a Assignment) bool {
		return slices.Contains(c.roll.used(a.Expr.SQL), c.roll.ID)
	})
}

// another holds if a row of the roll beside new stands for the same pair, is alive, and meets a condition about u.
func (c *Compiler) another(condition string) string {
	r := c.roll
	same := each(append([]string{r.Source}, r.Pair.Columns...), func(_ int, name string) string {
		return fmt.Sprintf(`u.%[1]s = new.%[1]s collate "C"`, name)
	})
	where := ""
	if c.Where != nil {
		where = " where " + enclosed(c.Where.SQL)
	}
	return fmt.Sprintf(`exists (
    select from (
      select %s from %s u
      where %s and u.%s <> new.%[4]s collate "C" and u.deleted_at is null%s
      offset 0
    ) new%s
  )`, r.Record(), r.Table, strings.Join(same, " and "), r.ID, condition, where)
}

// later holds if u is later than new.
func (c *Compiler) later() string {
	return fmt.Sprintf(` and (coalesce(u.%[1]s, '-infinity'), u.%[2]s) > (coalesce(new.%[1]s, '-infinity'), new.%[2]s collate "C")`,
		c.roll.Pair.Since, c.roll.ID)
}

func (c *Compiler) upsert() string {
	return fmt.Sprintf("%s\non conflict (%s) %s", c.insert(), QuoteAll(c.Key), c.conflict())
}

func (c *Compiler) insert() string {
	all := slices.Concat(c.Set, c.OnInsert)
	names := each(all, func(_ int, a Assignment) string { return a.Column })
	values := each(all, func(_ int, a Assignment) string { return c.value(a) })
	return fmt.Sprintf(`insert into %s as t (%s)
select
  %s
%s
where %s
%s`,
		QuoteTable(c.Table), QuoteAll(names), strings.Join(values, ",\n  "), c.users(), c.alive(), c.roll.inOrder())
}

// conflict is what happens to a row that is there: the set columns, if one differs.
func (c *Compiler) conflict() string {
	var assign, differs []string
	for _, a := range c.Set {
		if slices.Contains(c.Key, a.Column) {
			continue
		}
		name := Quote(a.Column)
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

func (c *Compiler) removal() string {
	keys := c.aliased(c.keyAssignments(), "k")
	switch c.OnDelete.Action {
	case DeleteRow:
		return fmt.Sprintf("delete from %s t\nusing (\n%s\n) gone\nwhere %s", QuoteTable(c.Table), c.goneRows(keys), c.sameKey("gone"))
	case DeleteSet:
		rows := c.goneRows(append(keys, c.aliased(c.OnDelete.Set, "c")...))
		differs := c.goneDiffers(func(column string) string { return "t." + Quote(column) },
			func(n int) string { return fmt.Sprintf("gone.c%d", n+1) })
		return fmt.Sprintf("update %s t set\n  %s\nfrom (\n%s\n) gone\nwhere %s\n  and (%s)",
			QuoteTable(c.Table), c.goneAssign(), rows, c.sameKey("gone"), differs)
	default: // DeleteKeep
		return ""
	}
}

// release sets the columns to null that are of a unique index, may be null, and differ: two
// users who have exchanged their e-mails can't be written one after the other otherwise.
func (c *Compiler) release() string {
	var taken []Assignment
	for _, a := range c.Set {
		if !slices.Contains(c.Key, a.Column) && !c.volatile[a.Expr.SQL] && !c.table.Column(a.Column).NotNull && c.table.unique(a.Column) {
			taken = append(taken, a)
		}
	}
	if len(taken) == 0 {
		return ""
	}
	var assign, differs []string
	for i, a := range taken {
		name, unlike := Quote(a.Column), c.differs(a.Column, "t."+Quote(a.Column), fmt.Sprintf("held.c%d", i+1))
		assign = append(assign, fmt.Sprintf("%s = case when %s then null else t.%[1]s end", name, unlike))
		differs = append(differs, unlike)
	}
	values := append(c.aliased(c.keyAssignments(), "k"), c.aliased(taken, "c")...)
	return fmt.Sprintf("update %s t set\n  %s\nfrom (\nselect\n  %s\n%s\nwhere %s\n) held\nwhere %s\n  and (%s)",
		QuoteTable(c.Table), strings.Join(assign, ",\n  "), strings.Join(values, ",\n  "), c.batch(), c.alive(), c.sameKey("held"), strings.Join(differs, " or "))
}

func (c *Compiler) goneRows(values []string) string {
	return fmt.Sprintf("select\n  %s\n%s\nwhere %s\n%s", strings.Join(values, ",\n  "), c.users(), c.gone(), c.roll.inOrder())
}

func (c *Compiler) goneAssign() string {
	return strings.Join(each(c.OnDelete.Set, func(n int, a Assignment) string {
		return fmt.Sprintf("%s = gone.c%d", Quote(a.Column), n+1)
	}), ",\n  ")
}

// goneDiffers holds for a row that is not yet in its deleted form; row gives its columns,
// value the nth value of that form. A volatile one such as now() is always another; it
// counts while the column is null.
func (c *Compiler) goneDiffers(row func(column string) string, value func(n int) string) string {
	return strings.Join(each(c.OnDelete.Set, func(n int, a Assignment) string {
		if c.volatile[a.Expr.SQL] {
			return row(a.Column) + " is null"
		}
		return c.unlike(a.Column, row(a.Column), value(n))
	}), "\n    or ")
}

// locked asks who of the wanted users has a row that another transaction holds.
func (c *Compiler) locked(wanted, strength string) string {
	return c.heldOf(c.wanted(wanted), c.sameKey("wanted"), strength)
}

// heldOf asks it of users, who are wanted, for the rows t for which a condition holds.
func (c *Compiler) heldOf(users, rows, strength string) string {
	return fmt.Sprintf(`with wanted as materialized (
%s
), free as materialized (
select %s from wanted join %s t on %s %s of t skip locked
)
select %[2]s from wanted join %[3]s t on %[4]s
except
select %[6]s, %[7]s from free`,
		users, c.roll.identity("wanted"), QuoteTable(c.Table), rows, strength, c.roll.Source, c.roll.ID)
}

// wanted are the users of a statement, with their keys.
func (c *Compiler) wanted(who string) string {
	return fmt.Sprintf("select %s,\n  %s\n%s\nwhere %s",
		c.roll.identity("new"), strings.Join(c.aliased(c.keyAssignments(), "k"), ",\n  "), c.users(), who)
}

func (c *Compiler) sameKey(with string) string {
	return strings.Join(each(c.Key, func(n int, name string) string {
		return equal("t."+Quote(name), fmt.Sprintf("%s.k%d", with, n+1))
	}), " and ")
}

// aliased returns the values of assignments, named k1, k2 … or c1, c2 ….
func (c *Compiler) aliased(list []Assignment, prefix string) []string {
	return each(list, func(n int, a Assignment) string { return fmt.Sprintf("%s as %s%d", c.value(a), prefix, n+1) })
}

// value is an expression as its column's type, without the modifier: a cast to
// varchar(50) would cut what the assignment refuses.
func (c *Compiler) value(a Assignment) string {
	return enclosed(a.Expr.SQL) + "::" + c.table.Column(a.Column).Type
}

// unlike holds for a row whose column is not what assigning the value would store there.
func (c *Compiler) unlike(name, old, value string) string {
	col := c.table.Column(name)
	value += "::" + col.Rounded
	if col.Length > 0 { // blanks beyond it are dropped, whatever else is there is refused
		value = fmt.Sprintf("case when pg_catalog.rtrim(pg_catalog.substr(%[1]s, %[2]d + 1), ' ') = '' "+
			"then pg_catalog.left(%[1]s, %[2]d) else %[1]s end", value, col.Length)
	}
	return c.differs(name, old, value)
}

func (c *Compiler) differs(name, old, value string) string {
	if c.table.Column(name).Compare == "text" {
		return fmt.Sprintf(`%s::text collate "C" is distinct from %s::text collate "C"`, old, value)
	}
	return fmt.Sprintf("(%s is not true and (%s is not null or %s is not null))", equal(old, value), old, value)
}
