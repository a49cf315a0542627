package target

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Table describes a table as its catalog does, and what the role may do with it.
type Table struct {
	Kind                string // relkind of pg_class
	RowSecurityHides    bool
	MissingPrivileges   []string
	BeforeInsertTrigger bool
	Role                string
	RowSecurityForced   bool     // also on the role, which owns the table
	RowSecurityBinds    bool     // the role, once it is on
	PartitionedBy       []string // columns; "" for an expression
	Columns             []Column
	Indexes             []Index
}

// Column describes a column of a table.
type Column struct {
	Name       string
	Type       string // without modifier
	Rounded    string // with the modifier, where that rounds and does not cut
	Length     int    // n of a varchar(n), else 0
	NotNull    bool
	Generated  bool
	Identity   string // "", "a" (always) or "d" (by default)
	HasDefault bool
	Compare    string   // "equal" or "text"
	Readable   bool     // the role may select it
	Textual    bool     // any text fits its type
	Labels     []string // of an enum
	Folded     bool     // an index on lower(column), in the column's own collation, has all rows
	Collation  string   // quoted; "" where the type has none
}

// Index describes a unique index.
type Index struct {
	Name         string
	Columns      []string
	Partial      bool
	Deferrable   bool
	OnExpression bool
	Valid        bool
}

// Column returns a column by its exact name, or nil.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// unique reports whether a column is of a unique index.
func (t *Table) unique(name string) bool {
	return slices.ContainsFunc(t.Indexes, func(i Index) bool { return slices.Contains(i.Columns, name) })
}

// Check returns what is wrong with a target for its table.
func (t *Target) Check(roll *Roll, table *Table) []Finding {
	found := findings{target: t.Name}
	if found.add(table.lintAccess(t)); len(found.list) > 0 {
		return found.list
	}
	for _, a := range t.assignments() {
		code, what := table.lintColumn(t, a.Column)
		found.add(code, a.Expr.At, what)
	}
	if len(found.list) > 0 {
		return found.list // an index on a column that is not there would be no help
	}
	found.add(KeyIncomplete, t.At, roll.lintKeys(t))
	found.add(KeyIndex, t.At, table.lintKey(t))
	found.add(KeyType, t.At, table.lintSame(t))
	found.add(ColumnRequired, t.At, table.lintRequired(t))
	code, what := t.lintMatch(roll, table)
	found.add(code, t.At, what)
	for _, a := range t.OnDelete.Set {
		if slices.Contains(t.Key, a.Column) {
			found.add(OnDeleteKey, a.Expr.At, fmt.Sprintf("on_delete sets the key column %s; a key never changes", Quote(a.Column)))
		}
	}
	return found.list
}

// lintAccess says what keeps Rollcall from writing the table and where, or "".
func (t *Table) lintAccess(target *Target) (code Code, at, what string) {
	held := func(right string) bool { return !slices.Contains(t.MissingPrivileges, right) }
	missing := slices.DeleteFunc(target.Rights(), held)
	schema, _ := SplitTable(target.Table)
	switch {
	case !t.IsTable():
		return TableKind, target.At, fmt.Sprintf("%s is not a table but %s; name the table itself", target.Table, t.KindOf())
	case len(missing) > 0:
		return Rights, target.At, fmt.Sprintf("role %[1]s lacks %[2]s on %[3]s; run: grant usage on schema %[4]s to %[1]s; grant %[2]s on %[5]s to %[1]s",
			Quote(t.Role), strings.Join(missing, ", "), target.Table, Quote(schema), QuoteTable(target.Table))
	case t.RowSecurityHides:
		return RowSecurity, target.At, fmt.Sprintf("%s; its rows would be hidden: %s", t.HiddenFrom(target.Table), t.ShowTo(target.Table))
	}
	return "", "", ""
}

// HiddenFrom says why row security hides the table's rows from the role.
func (t *Table) HiddenFrom(name string) string {
	if t.RowSecurityForced {
		return fmt.Sprintf("row security is on for %s and forced on its owner, role %s, which has no BYPASSRLS",
			name, Quote(t.Role))
	}
	return fmt.Sprintf("row security is on for %s and role %s neither owns the table nor has BYPASSRLS",
		name, Quote(t.Role))
}

// ShowTo says what makes the role see the rows.
func (t *Table) ShowTo(name string) string {
	if t.RowSecurityForced {
		return "connect as a role with BYPASSRLS, or run: alter table " + QuoteTable(name) + " no force row level security"
	}
	return "connect as the owner, or as an administrator run: alter role " + Quote(t.Role) + " bypassrls"
}

// IsTable reports whether it is a table, partitioned or not.
func (t *Table) IsTable() bool { return t.Kind == "r" || t.Kind == "p" }

var kinds = map[string]string{"v": "a view", "m": "a materialized view", "f": "a foreign table"}

// KindOf names what is no table.
func (t *Table) KindOf() string { return cmp.Or(kinds[t.Kind], "of kind "+t.Kind) }

// lintKey says why no unique index can serve as the target's key, or "".
func (t *Table) lintKey(target *Target) string {
	why := ""
	for _, i := range t.Indexes {
		if i.OnExpression || !sameSet(i.Columns, target.Key) {
			continue
		}
		switch {
		case i.Partial:
			why = fmt.Sprintf("; %s is partial (it has a where): it does not keep every user to one row", i.Name)
		case i.Deferrable:
			why = fmt.Sprintf("; %s is deferrable: PostgreSQL can't use it for on conflict", i.Name)
		case !i.Valid:
			why = fmt.Sprintf("; %s is invalid (a failed create index concurrently): reindex it", i.Name)
		default:
			return ""
		}
	}
	if what := t.lintPartitions(target); what != "" {
		return what
	}
	return fmt.Sprintf("key (%[1]s) needs a unique index on exactly these columns of %[2]s%[3]s; run: create unique index on %[4]s (%[5]s)",
		strings.Join(target.Key, ", "), target.Table, why, QuoteTable(target.Table), QuoteAll(target.Key))
}

// lintPartitions says why PostgreSQL can have no unique index on exactly the key, or "".
func (t *Table) lintPartitions(target *Target) string {
	if slices.Contains(t.PartitionedBy, "") {
		return fmt.Sprintf("%s is partitioned by an expression, for which PostgreSQL has no unique index: "+
			"no key keeps a user to one row; use another table", target.Table)
	}
	isKey := func(column string) bool { return slices.Contains(target.Key, column) }
	missing := slices.DeleteFunc(slices.Clone(t.PartitionedBy), isKey)
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("key (%s): %s is partitioned by (%s), "+
		"and a unique index of a partitioned table has all of these columns; add %s to key and to set, "+
		"with a value that never changes for a user, and a unique index on the whole key; or use another table",
		strings.Join(target.Key, ", "), target.Table, strings.Join(t.PartitionedBy, ", "), strings.Join(missing, ", "))
}

// lintSame says when a key column calls different ids the same, or "".
func (t *Table) lintSame(target *Target) string {
	for _, name := range target.Key {
		if c := t.Column(name); c != nil && c.Compare == "text" {
			return fmt.Sprintf("key column %s is a %s, which may call two different ids equal: they would be one row; use text or uuid", Quote(name), c.Type)
		}
	}
	return ""
}

// lintColumn says why a column can't be assigned, or "".
func (t *Table) lintColumn(target *Target, name string) (Code, string) {
	c := t.Column(name)
	switch {
	case c == nil:
		return ColumnMissing, fmt.Sprintf("%s has no column %s%s; names are exact, as in the catalog", target.Table, Quote(name), t.nearColumn(name))
	case c.Generated:
		return ColumnGenerated, fmt.Sprintf("column %s is generated; PostgreSQL computes it: leave it out", Quote(name))
	case c.Identity == "a":
		return ColumnGenerated, fmt.Sprintf("column %s is an identity column (generated always); PostgreSQL numbers it: leave it out", Quote(name))
	}
	return "", ""
}

// nearColumn suggests the column that differs in case only, else lists them all.
func (t *Table) nearColumn(name string) string {
	var names []string
	for _, c := range t.Columns {
		if strings.EqualFold(c.Name, name) {
			return "; did you mean " + c.Name + "?"
		}
		names = append(names, c.Name)
	}
	return " (it has " + strings.Join(names, ", ") + ")"
}

// lintRequired says which columns every insert would miss, or "".
func (t *Table) lintRequired(target *Target) string {
	var missing []string
	for _, c := range t.Columns {
		filled := slices.ContainsFunc(slices.Concat(target.Set, target.OnInsert), func(a Assignment) bool { return a.Column == c.Name })
		if c.NotNull && !c.HasDefault && !c.Generated && !filled && !t.BeforeInsertTrigger {
			missing = append(missing, c.Name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("column %s of %s is not null and has no default: every insert would fail; give it a value in on_insert or set, or run: alter table %s %s",
		strings.Join(missing, ", "), target.Table, QuoteTable(target.Table), t.withDefaults(missing))
}

// withDefaults gives columns a default by their type; those of other types may be null.
func (t *Table) withDefaults(columns []string) string {
	return strings.Join(each(columns, func(_ int, name string) string {
		value := defaults[t.Column(name).Type]
		if t.Column(name).Textual {
			value = "''"
		}
		if value == "" {
			return "alter column " + Quote(name) + " drop not null"
		}
		return "alter column " + Quote(name) + " set default " + value
	}), ", ")
}

var defaults = map[string]string{
	"boolean": "false", "integer": "0", "bigint": "0", "numeric": "0", "timestamp with time zone": "now()", "date": "current_date",
	"uuid": "gen_random_uuid()", "jsonb": "'{}'",
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}
