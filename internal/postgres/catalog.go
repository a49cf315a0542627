package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// table is what the catalog says about a target's table.
type table struct {
	tableRow
	columns []column
	indexes []uniqueIndex
	parents []uint32 // the tables it references
}

type column struct {
	Name       string
	Type       string // without modifier
	Rounded    string // with the modifier, where that rounds and does not cut
	Length     int    // n of a varchar(n), else 0
	NotNull    bool
	Generated  bool
	Identity   string // "", "a" (always) or "d" (by default)
	HasDefault bool
	Compare    string // "equal" or "text"
	Readable   bool   // the role may select it
	Textual    bool   // any text fits its type
}

type uniqueIndex struct {
	Name         string
	Columns      []string
	Partial      bool
	Deferrable   bool
	OnExpression bool
	Valid        bool
}

// splitTable splits schema.table at the first point; the schema defaults to public.
func splitTable(name string) (schema, table string) {
	if s, t, ok := strings.Cut(name, "."); ok {
		return s, t
	}
	return "public", name
}

var errNoTable = errors.New("no such table")

// readTable reads a table's description; errNoTable when there is none.
func readTable(ctx context.Context, conn *pgx.Conn, name string) (*table, error) {
	schema, relation := splitTable(name)
	rows, _ := conn.Query(ctx, sql.Table, schema, relation)
	row, err := pgx.CollectOneRow(rows, pgx.RowToStructByPos[tableRow])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoTable
	}
	if err != nil {
		return nil, fmt.Errorf("read table %s from the catalog: %w", name, err)
	}
	t := &table{tableRow: row}
	return t, t.readParts(ctx, conn)
}

type tableRow struct {
	OID                 uint32
	Kind                string
	RowSecurityHides    bool
	MissingPrivileges   []string
	BeforeInsertTrigger bool
	Lockable            bool
	Triggers            bool
	Role                string
	RowSecurityForced   bool     // also on the role, which owns the table
	PartitionedBy       []string // columns; "" for an expression
}

func (t *table) readParts(ctx context.Context, conn *pgx.Conn) error {
	var err error
	rows, _ := conn.Query(ctx, sql.Columns, t.OID)
	if t.columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[column]); err != nil {
		return fmt.Errorf("read the columns from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, sql.Indexes, t.OID)
	if t.indexes, err = pgx.CollectRows(rows, pgx.RowToStructByPos[uniqueIndex]); err != nil {
		return fmt.Errorf("read the unique indexes from the catalog: %w", err)
	}
	rows, _ = conn.Query(ctx, sql.References, t.OID)
	if t.parents, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
		return fmt.Errorf("read the foreign keys from the catalog: %w", err)
	}
	return nil
}

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].Name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// unique reports whether a column is of a unique index.
func (t *table) unique(name string) bool {
	return slices.ContainsFunc(t.indexes, func(i uniqueIndex) bool { return slices.Contains(i.Columns, name) })
}

// neededRights are those that a target needs to its table.
func neededRights(t *Target) []string {
	needed := []string{"select", "insert", "update"}
	if t.OnDelete == DeleteRow {
		needed = append(needed, "delete")
	}
	return needed
}

// lintAccess says what keeps Rollcall from writing the table, or "".
func (t *table) lintAccess(target *Target) string {
	var missing []string
	for _, p := range neededRights(target) {
		if slices.Contains(t.MissingPrivileges, p) {
			missing = append(missing, p)
		}
	}
	schema, _ := splitTable(target.Table)
	switch {
	case t.Kind != "r" && t.Kind != "p":
		return fmt.Sprintf("%s is not a table but %s; name the table itself", target.Table, relationKind(t.Kind))
	case len(missing) > 0:
		return fmt.Sprintf("role %[1]s lacks %[2]s on %[3]s; run: grant usage on schema %[4]s to %[1]s; grant %[2]s on %[5]s to %[1]s",
			quote(t.Role), strings.Join(missing, ", "), target.Table, quote(schema), quoteTable(target.Table))
	case t.RowSecurityHides:
		return fmt.Sprintf("%s; its rows would be hidden: %s", t.hiddenFrom(target.Table), t.showTo(target.Table))
	}
	return ""
}

// hiddenFrom says why row security hides the table's rows from the role.
func (t *table) hiddenFrom(name string) string {
	if t.RowSecurityForced {
		return fmt.Sprintf("row security is on for %s and forced on its owner, role %s, which has no BYPASSRLS",
			name, quote(t.Role))
	}
	return fmt.Sprintf("row security is on for %s and role %s neither owns the table nor has BYPASSRLS",
		name, quote(t.Role))
}

// showTo says what makes the role see the rows.
func (t *table) showTo(name string) string {
	if t.RowSecurityForced {
		return fmt.Sprintf("run: alter table %s no force row level security; or connect as a role with BYPASSRLS",
			quoteTable(name))
	}
	return "connect as the owner or as a role with BYPASSRLS"
}

func relationKind(relkind string) string {
	switch relkind {
	case "v":
		return "a view"
	case "m":
		return "a materialized view"
	case "f":
		return "a foreign table"
	}
	return "of kind " + relkind
}

// lintKey says why no unique index can serve as the target's key, or "".
func (t *table) lintKey(target *Target) string {
	why := ""
	for _, i := range t.indexes {
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
		strings.Join(target.Key, ", "), target.Table, why, quoteTable(target.Table), quoteAll(target.Key))
}

// lintPartitions says why PostgreSQL can have no unique index on exactly the key, or "".
func (t *table) lintPartitions(target *Target) string {
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
func (t *table) lintSame(target *Target) string {
	for _, name := range target.Key {
		if c := t.column(name); c != nil && c.Compare == "text" {
			return fmt.Sprintf("key column %s is a %s, which may call two different ids equal: they would be one row; use text or uuid", quote(name), c.Type)
		}
	}
	return ""
}

// lintColumn says why a column can't be assigned, or "".
func (t *table) lintColumn(target *Target, name string) string {
	c := t.column(name)
	switch {
	case c == nil:
		return fmt.Sprintf("%s has no column %s%s; names are exact, as in the catalog", target.Table, quote(name), t.nearColumn(name))
	case c.Generated:
		return fmt.Sprintf("column %s is generated; PostgreSQL computes it: leave it out", quote(name))
	case c.Identity == "a":
		return fmt.Sprintf("column %s is an identity column (generated always); PostgreSQL numbers it: leave it out", quote(name))
	}
	return ""
}

// nearColumn suggests the column that differs in case only, else lists them all.
func (t *table) nearColumn(name string) string {
	var names []string
	for _, c := range t.columns {
		if strings.EqualFold(c.Name, name) {
			return "; did you mean " + c.Name + "?"
		}
		names = append(names, c.Name)
	}
	return " (it has " + strings.Join(names, ", ") + ")"
}

// lintRequired says which columns every insert would miss, or "".
func (t *table) lintRequired(target *Target) string {
	var missing []string
	for _, c := range t.columns {
		filled := slices.ContainsFunc(slices.Concat(target.Set, target.OnInsert), func(a Assignment) bool { return a.Column == c.Name })
		if c.NotNull && !c.HasDefault && !c.Generated && !filled && !t.BeforeInsertTrigger {
			missing = append(missing, c.Name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("column %s of %s is not null and has no default: every insert would fail; give it a value in on_insert or set",
		strings.Join(missing, ", "), target.Table)
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func quoteTable(name string) string {
	schema, relation := splitTable(name)
	return pgx.Identifier{schema, relation}.Sanitize()
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return strings.Join(quoted, ", ")
}
