package target

import (
	"strings"
	"testing"

	"rollcall/internal/must"
)

// A target is held against a described table.
func TestCheck(t *testing.T) {
	t.Parallel()
	column := func(change func(*Column)) func(*Table) {
		return func(t *Table) { change(t.Column("email")) }
	}
	index := func(change func(*Index)) func(*Table) {
		return func(t *Table) { change(&t.Indexes[0]) }
	}
	for name, tt := range map[string]struct {
		target func(*Target)
		table  func(*Table)
		want   string
	}{
		"fine":                      {nil, nil, ""},
		"a view":                    {nil, func(t *Table) { t.Kind = "v" }, "public.p is not a table but a view; name the table itself"},
		"a sequence":                {nil, func(t *Table) { t.Kind = "S" }, "public.p is not a table but of kind S; name the table itself"},
		"no right":                  {nil, func(t *Table) { t.MissingPrivileges = []string{"update", "delete"} }, `role "app" lacks update, delete on public.p; run: grant usage on schema "public" to "app"; grant update, delete on "public"."p" to "app"`},
		"a right that it needs not": {func(t *Target) { t.OnDelete.Action = DeleteKeep }, func(t *Table) { t.MissingPrivileges = []string{"delete"} }, ""},
		"hidden rows": {nil, func(t *Table) { t.RowSecurityHides = true },
			`row security is on for public.p and role "app" neither owns the table nor has BYPASSRLS; its rows would be hidden: connect as the owner or as a role with BYPASSRLS`},
		"hidden from the owner": {nil, func(t *Table) { t.RowSecurityHides, t.RowSecurityForced = true, true },
			`row security is on for public.p and forced on its owner, role "app", which has no BYPASSRLS; its rows would be hidden: run: alter table "public"."p" no force row level security; or connect as a role with BYPASSRLS`},
		"no column":              {func(t *Target) { t.Set[1].Column = "mail" }, nil, `public.p has no column "mail" (it has id, email, name, role); names are exact, as in the catalog`},
		"column's case":          {func(t *Target) { t.Set[1].Column = "Email" }, nil, `public.p has no column "Email"; did you mean email?; names are exact, as in the catalog`},
		"generated":              {nil, column(func(c *Column) { c.Generated = true }), `column "email" is generated; PostgreSQL computes it: leave it out`},
		"identity":               {nil, column(func(c *Column) { c.Identity = "a" }), `column "email" is an identity column (generated always); PostgreSQL numbers it: leave it out`},
		"identity, default":      {nil, column(func(c *Column) { c.Identity = "d" }), ""},
		"no index":               {nil, func(t *Table) { t.Indexes = nil }, `key (id) needs a unique index on exactly these columns of public.p; run: create unique index on "public"."p" ("id")`},
		"partial index":          {nil, index(func(i *Index) { i.Partial = true }), "; key is partial (it has a where): it does not keep every user to one row; run: "},
		"deferrable index":       {nil, index(func(i *Index) { i.Deferrable = true }), "; key is deferrable: PostgreSQL can't use it for on conflict; run: "},
		"invalid index":          {nil, index(func(i *Index) { i.Valid = false }), "; key is invalid (a failed create index concurrently): reindex it; run: "},
		"index on an expression": {nil, index(func(i *Index) { i.OnExpression = true }), "of public.p; run: create unique index"},
		"partitions":             {nil, func(t *Table) { t.Indexes, t.PartitionedBy = nil, []string{"name"} }, "public.p is partitioned by (name), and a unique index of a partitioned table has all of these columns; add name to key"},
		"odd partitions":         {nil, func(t *Table) { t.Indexes, t.PartitionedBy = nil, []string{""} }, "public.p is partitioned by an expression, for which PostgreSQL has no unique index"},
		"ids alike":              {nil, func(t *Table) { t.Columns[0].Compare, t.Columns[0].Type = "text", "citext" }, `key column "id" is a citext, which may call two different ids equal`},
		"required":               {func(t *Target) { t.OnInsert = nil }, func(t *Table) { t.Column("role").NotNull = true }, "column role of public.p is not null and has no default: every insert would fail"},
		"required, default":      {func(t *Target) { t.OnInsert = nil }, func(t *Table) { t.Column("role").NotNull, t.Column("role").HasDefault = true, true }, ""},
		"required, given":        {nil, func(t *Table) { t.Column("role").NotNull = true }, ""},
		"required, trigger":      {func(t *Target) { t.OnInsert = nil }, func(t *Table) { t.Column("role").NotNull, t.BeforeInsertTrigger = true, true }, ""},
		"key not in set":         {func(t *Target) { t.Set = assign("email: new.id") }, nil, "every key column must stand in set"},
		"one row for all":        {func(t *Target) { t.Set[0].Expr.SQL = "'one'" }, nil, "no key column (id) is made from new.id: all users would be one row"},
		"key at deletion":        {func(t *Target) { t.OnDelete = OnDelete{DeleteSet, assign("id: null")} }, nil, `on_delete sets the key column "id"; a key never changes`},
	} {
		to, tab := profiles(), table([]string{"id", "email", "name", "role"}, "id")
		if tt.target != nil {
			tt.target(to)
		}
		if tt.table != nil {
			tt.table(tab)
		}
		found := to.Check(users, tab)
		if got := said(found); (tt.want == "") != (got == "") || len(found) > 1 || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// A table that is not the application's is refused by its name.
func TestClosedTables(t *testing.T) {
	t.Parallel()
	refused := func(name string) bool {
		to := profiles()
		to.Table, to.UsersTables = name, []string{"auth.users", "members"}
		return len(to.Lint(users)) > 0
	}
	must.Table(t, refused, map[string]bool{
		"auth.users": true, "auth.other": true, "rollcall.users": true, "pg_catalog.pg_authid": true, "members": true, "public.members": true,
		"public.p": false, "p": false, "Auth.users": false,
	})
}

func TestQuote(t *testing.T) {
	t.Parallel()
	must.Table(t, func(quoted string) string { return quoted }, map[string]string{
		Quote(`a"b`): `"a""b"`, Quote("a\x00b"): `"ab"`, QuoteTable("shop.User"): `"shop"."User"`, QuoteTable("p"): `"public"."p"`,
		QuoteTable("a.b.c"): `"a"."b.c"`, QuoteAll([]string{"a", "B"}): `"a", "B"`, Literal("it's"): "'it''s'",
	})
}
