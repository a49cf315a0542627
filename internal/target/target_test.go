package target

import (
	"slices"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// users is a roll like that of Rollcall's users.
var users = roll("rollcall.users",
	"source", "id", "external_id", "email", "email_verified", "email_confirmed_at", "phone",
	"phone_verified", "phone_confirmed_at", "username", "first_name", "last_name", "full_name",
	"avatar_url", "raw_user_meta_data", "raw_app_meta_data", "is_anonymous", "banned",
	"banned_until", "created_at", "updated_at", "last_sign_in_at", "deleted_at")

func roll(table string, columns ...string) *Roll {
	r := &Roll{Table: table, Source: "source", ID: "id"}
	for _, name := range columns {
		trusted := slices.Contains([]string{"source", "id", "external_id", "raw_app_meta_data"}, name)
		r.Columns = append(r.Columns, Field{Name: name, Type: "text", Trusted: trusted})
	}
	return r
}

// assign reads "column: expression" lines.
func assign(lines ...string) []Assignment {
	var list []Assignment
	for _, line := range lines {
		column, sql, _ := strings.Cut(line, ": ")
		list = append(list, Assignment{Column: column, Expr: Expr{SQL: sql, At: "test.yaml:1:1"}})
	}
	return list
}

// profiles is a target that follows everything of a table p(id, email, name, role).
func profiles() *Target {
	return &Target{
		Name: "profiles", At: "test.yaml:1:1", Table: "public.p", From: []Origin{{Source: "app", SampleID: "u1"}}, Key: []string{"id"},
		Set:      assign("id: new.id", "email: new.email", "name: new.first_name"),
		OnInsert: assign("role: 'customer'"), OnDelete: OnDelete{Action: DeleteRow},
	}
}

// said is what findings say, one in a line.
func said(found []Finding) string {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.What)
	}
	return strings.Join(lines, "\n")
}

func TestScan(t *testing.T) {
	t.Parallel()
	tests := []struct{ sql, want string }{
		{`new.raw_user_meta_data->>'a''b'`, `new|.|raw_user_meta_data|-|>|>|'a''b'`},
		{`E'it\'s' || "Na""me"`, `E'it\'s'|||||Na"me`},
		{"$x$ ) ' $x$ -- ) \n + 1.5e3 /* ( /* ' */ ) */", "$x$ ) ' $x$|+|1.5e3"},
		{`Coalesce(NEW.Email, $1)`, `coalesce|(|new|.|email|,|$1|)`},
		{`$$a$$`, `$$a$$`},
		{`1E'a\'b' 1.5e-3 2e+x 1e5`, `1|E'a\'b'|1.5e-3|2|e|+|x|1e5`},
	}
	for _, tt := range tests {
		tokens, err := scan(tt.sql)
		must.True(t, err == nil, "%s: %v", tt.sql, err)
		var texts []string
		for _, token := range tokens {
			texts = append(texts, token.text)
		}
		must.Equal(t, strings.Join(texts, "|"), tt.want, tt.sql)
	}
	// A text goes on behind a line break, by the rules of its beginning.
	for _, whole := range []string{"'a'\n'b'", "E'a'\n'b\\'c'", "'a' -- why\r -- more\n 'b'"} {
		tokens, err := scan(whole)
		must.True(t, err == nil && len(tokens) == 1, "%q: %d tokens, %v; want one", whole, len(tokens), err)
	}
	for _, open := range []string{`'a`, `"a`, `/* /* */`, `$a$ $b$`, `E'a\'`, `'a''`} {
		_, err := scan(open)
		must.True(t, err != nil, "%s: taken for complete", open)
	}
}

func FuzzLintExpr(f *testing.F) {
	for _, s := range []string{`new.email`, `'`, `E'\`, `$a$b$a$`, `/*`, `--`, `1.`, `"`, `$1`} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, sql string) {
		_ = users.lintExpr(Expr{SQL: sql})
		_ = users.used(sql)
		_ = users.reads(sql)
		_ = isConstant(sql)
	})
}

func TestLintExpr(t *testing.T) {
	t.Parallel()
	tests := []struct{ sql, want string }{
		{"new.email", ""},
		{"null", ""},
		{"TRUE", ""},
		{"current_date", ""},
		{"email", ""}, // a column of new
		{"coalesce(new.full_name, '')", ""},
		{"array[1, 2]", ""},
		{"(select max(x) from generate_series(1, 2) x) -- why", ""},
		{"'a;b,c)'", ""},
		{"free", `free is no column of new; did you mean the text free? write "'free'"`},
		{"firstName", `firstName is no column of new; did you mean new.first_name? A text is written "'firstName'"`},
		{"default", "default is not an expression; leave the column out, PostgreSQL fills it"},
		{"user", `user is the name of the database role, no column of new; did you mean the text user? write "'user'"`},
		{" USER\n", `USER is the name of the database role, no column of new; did you mean the text USER? write "'USER'"`},
		{"Current_Role", `Current_Role is the name of the database role, no column of new; did you mean the text Current_Role? write "'Current_Role'"`},
		{"current_user", `current_user is the name of the database role, no column of new; did you mean the text current_user? write "'current_user'"`},
		{"session_user", `session_user is the name of the database role, no column of new; did you mean the text session_user? write "'session_user'"`},
		{"system_user", `system_user is the name of the database role, no column of new; did you mean the text system_user? write "'system_user'"`},
		{"current_catalog", `current_catalog is the name of the database, no column of new; did you mean the text current_catalog? write "'current_catalog'"`},
		{"current_schema", `current_schema is the name of a schema, no column of new; did you mean the text current_schema? write "'current_schema'"`},
		{"current_database", `current_database is no column of new; did you mean the text current_database? write "'current_database'"`},
		{"coalesce(new.username, user)", `user in coalesce(new.username, user) is the name of the database role; if you mean the text, put it between single quotes`},
		{"(USER)", `user in (USER) is the name of the database role; if you mean the text, put it between single quotes`},
		{"case when new.banned then 'x' else Session_User end", `session_user in case when new.banned then 'x' else Session_User end is the name of the database role; if you mean the text, put it between single quotes`},
		{"current_role::text", `current_role in current_role::text is the name of the database role; if you mean the text, put it between single quotes`},
		{"new.user || 'user' || \"user\" || $$user$$ /* user */ -- user", ""},
		{"public.user(new.id)", ""},
		{"current_schema()", ""},
		{"(select x.user from (select 'a' as user) x)", ""},
		{"", "the expression is empty; write null for no value"},
		{"-- nothing", "the expression is empty; write null for no value"},
		{"new.a, new.b", `"," in new.a, new.b: one expression is wanted; in YAML, put the whole between double quotes or after >-`},
		{"1); drop table p; --", ") too many in 1); drop table p; --"},
		{"1; drop table p", `";" in 1; drop table p: one expression is wanted; in YAML, put the whole between double quotes or after >-`},
		{"(array[1)]", ") too many in (array[1)]"},
		{"new.email -- \r) || (new.id", ") too many in new.email -- ) || (new.id"},
		{"new.email\x00", "the expression holds a NUL character; take it out"},
		{"$1", "$1 in $1: an expression has no parameters"},
		{"coalesce(new.full_name", `( is not closed in coalesce(new.full_name; a comma inside { } or a " #" cuts an expression: write it in block style, between double quotes or after >-`},
		{"'it", `a text ' is not closed in 'it; close it (a comma inside { } or a " #" may have cut the expression: write it in block style, between double quotes or after >-)`},
		{"1 /* ) ", `a comment /* is not closed in 1 /* ); close it (a comma inside { } or a " #" may have cut the expression: write it in block style, between double quotes or after >-)`},
	}
	for _, tt := range tests {
		must.Equal(t, users.lintExpr(Expr{SQL: tt.sql}), tt.want, tt.sql)
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	must.Table(t, users.reads, map[string]bool{
		"now()": false, "'new.email'": false, "1": false, "new.email": true, "email": true, "coalesce(new.deleted_at, now())": true,
		"to_jsonb(new)": true, "length(email)": true, "x.email": false, "email('x')": false,
	})
}

func TestIsConstant(t *testing.T) {
	t.Parallel()
	must.Table(t, isConstant, map[string]bool{
		"'deleted'::public.status": true, "NULL::text": true, "5": true, "'x'::character varying": true, "true": true, "'{a,b}'::text[]": true,
		"now()": false, "CURRENT_DATE": false, "(now())::timestamp without time zone": false, "'a' || b": false, "": false, "'": false, "$0": false,
	})
}

func TestLintKey(t *testing.T) {
	t.Parallel()
	lint := func(set string) string {
		to := profiles()
		to.Set = assign(set)
		return said(to.Lint(users))
	}
	must.Table(t, lint, map[string]string{
		"id: new.id":                      "",
		"id: new.source || ':' || new.id": "",
		"id: new.email": "key column id is made from new.email, which may change; " +
			"a key uses only new.source, new.id and constants",
		"id: (new).email": "key column id is made from new.email, which may change; " +
			"a key uses only new.source, new.id and constants",
	})
}

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
			`row security is on for public.p and role "app" neither owns the table nor has BYPASSRLS; its rows would be hidden: connect as the owner, or as an administrator run: alter role "app" bypassrls`},
		"hidden from the owner": {nil, func(t *Table) { t.RowSecurityHides, t.RowSecurityForced = true, true },
			`row security is on for public.p and forced on its owner, role "app", which has no BYPASSRLS; its rows would be hidden: connect as a role with BYPASSRLS, or run: alter table "public"."p" no force row level security`},
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
