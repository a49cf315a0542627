package target

import (
	"strings"
	"testing"

	"rollcall/internal/must"
)

// table describes a table whose columns are texts and may be null, with a unique index on a key.
func table(columns []string, key ...string) *Table {
	t := &Table{Kind: "r", Role: "app", Indexes: []Index{{Name: "key", Columns: key, Valid: true}}}
	for _, name := range columns {
		t.Columns = append(t.Columns, Column{Name: name, Type: "text", Rounded: "text", Compare: "equal", Textual: true})
	}
	return t
}

var profilesTable = table([]string{"id", "email", "name", "role"}, "id")

// teams is a second kind of roll.
var teams = roll("rollcall.teams", "source", "id", "name", "deleted_at")

// teamsTarget follows teams.
func teamsTarget() *Target {
	return &Target{
		Name: "crews", At: "test.yaml:1:1", Table: "public.crew", From: []Origin{{Source: "clerk", SampleID: "org_1"}}, Key: []string{"id"},
		Set: assign("id: new.id", "title: new.name"), OnDelete: OnDelete{Action: DeleteSet, Set: assign("title: null")},
		Where: &Expr{SQL: "name <> 'hidden'", At: "test.yaml:1:1"},
	}
}

// The compiler needs no change for another kind of roll.
func TestCompileForAnotherRoll(t *testing.T) {
	t.Parallel()
	crew := table([]string{"id", "title"}, "id")
	if found := append(teamsTarget().Lint(teams), teamsTarget().Check(teams, crew)...); len(found) > 0 {
		t.Fatalf("findings %v", found)
	}
	c := NewCompiler(teamsTarget(), teams, crew)
	s := c.Compile()
	const record = `from unnest($1::text[], $2::text[]) as batch (batch_source, batch_id)
cross join lateral (
  select u.source collate "default" as source, u.id collate "default" as id, u.name, u.deleted_at from rollcall.teams u
  where u.source = batch.batch_source and u.id = batch.batch_id
    and u.source in ('clerk')
    and ($3::boolean or u.xmin = pg_catalog.pg_current_xact_id()::xid)
  offset 0
) new
`
	const upsert = `insert into "public"."crew" as t ("id", "title")
select
  (
new.id
)::text,
  (
new.name
)::text
` + record + `where new.deleted_at is null and (
name <> 'hidden'
)
order by new.source collate "C", new.id collate "C"
on conflict ("id") do update set
  "title" = excluded."title"
where (t."title" operator(pg_catalog.=) excluded."title" is not true and (t."title" is not null or excluded."title" is not null))`
	const removal = `update "public"."crew" t set
  "title" = gone.c1
from (
select
  (
new.id
)::text as k1,
  (
null
)::text as c1
` + record + `where (new.deleted_at is not null or (
name <> 'hidden'
) is not true)
order by new.source collate "C", new.id collate "C"
) gone
where t."id" operator(pg_catalog.=) gone.k1
  and ((t."title" operator(pg_catalog.=) gone.c1::text is not true and (t."title" is not null or gone.c1::text is not null)))`
	must.Equal(t, s.Upsert, upsert, "upsert")
	must.Equal(t, s.Removal, removal, "removal")
	all := []string{s.RemovalSpan, s.UpsertSpan, s.RemovalLocked, s.UpsertLocked, s.RemovalWanted, s.UpsertWanted, s.States, s.Differing,
		c.Preview(), c.Keys(), Unowned([]*Compiler{c}, 0)}
	for _, p := range c.Probes() {
		all = append(all, p.SQL, p.Alone)
	}
	for _, q := range c.DeletedNulls() {
		all = append(all, q.SQL)
	}
	for _, statement := range all {
		must.Contain(t, statement, "rollcall.teams")
		must.Lack(t, statement, "rollcall.users")
	}
}

// What is said about an expression is said about the record of its roll.
func TestLintForAnotherRoll(t *testing.T) {
	t.Parallel()
	lint := func(set string) string {
		to := teamsTarget()
		to.Set = assign(set)
		return said(to.Lint(teams))
	}
	must.Table(t, lint, map[string]string{
		"title: name":          "",
		"title: email":         `email is no column of new; did you mean the text email? write "'email'"`,
		"id: new.id||new.name": "key column id is made from new.name, which may change; a key uses only new.source, new.id and constants",
	})
	c := NewCompiler(teamsTarget(), teams, table([]string{"id", "title"}, "id"))
	unknown := Refusal{Code: "42703", Message: "column new.title does not exist"}
	for _, sql := range []string{"new.title", "new.picture"} { // only users have a picture
		must.Equal(t, c.hint(unknown, "title", sql), "the record new has source, id, name, deleted_at", sql)
	}
}

// Variables are not shown, and what PostgreSQL says about them neither.
func TestVariablesStayHidden(t *testing.T) {
	t.Parallel()
	to := profiles()
	to.Set[1].Expr.SQL, to.Set[1].Expr.Written = "'hunter2'", "'${PEPPER}'"
	c := NewCompiler(to, users, profilesTable)
	must.Lack(t, c.Shown().Upsert, "hunter2")
	must.Contain(t, c.Shown().Upsert, "'${PEPPER}'")
	must.Contain(t, c.Compile().Upsert, "hunter2")
	must.Equal(t, c.ExplainStatement(Refusal{Code: "22P02", Message: `"hunter2"`}), "its statement is refused: refused by PostgreSQL (22P02)", "words")
}

// A volatile value is no difference, and the compiler learns of it by a plan.
func TestMomentPlans(t *testing.T) {
	t.Parallel()
	to := profiles()
	to.Set = assign("id: new.id", "email: new.email", "name: now()::text", "role: 'x' || 'y'")
	c := NewCompiler(to, users, profilesTable)
	plans := c.MomentPlans()
	if len(plans) != 2 {
		t.Fatalf("%d plans, want those of name and role", len(plans))
	}
	plans[0].Judge("(now())::text")
	plans[1].Judge("'xy'::text")
	_, where, _ := strings.Cut(c.Compile().Upsert, "do update set")
	_, where, _ = strings.Cut(where, "where ")
	must.Lack(t, where, `"name"`)
	must.Contain(t, where, `"role"`, `"email"`)
}

// A key is judged by its plan.
func TestKeyPlans(t *testing.T) {
	t.Parallel()
	plans := NewCompiler(profiles(), users, profilesTable).KeyPlans()
	must.Equal(t, plans[0].SQL, "select (\nnew.id\n)::text from (select 'app'::text as source, 'u1'::text as id) new", "plan")
	const another = `key column "id": new.id may give another value for the same user; ` +
		`a key uses only new.source, new.id, constants and immutable functions`
	must.Table(t, plans[0].Judge, map[string]string{
		"'u1'::text":              "",
		"NULL::text":              `key column "id": new.id is null; a unique index does not keep nulls apart`,
		"('u1'::text || now())":   another,
		"(SubPlan 1)":             another,
		"'a5c1'::uuid::text":      "",
		"current_setting('x'::t)": another,
	})
}

// The same targets have the same number at every version of the program: a backfill goes by it.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	a := Target{
		Name: "a", Table: "public.a", From: []Origin{{"app", "u1"}, {"web", "x"}}, Key: []string{"id"}, Set: assign("id: new.id", "email: new.email"),
		OnInsert: assign("role: 'x'"), OnDelete: OnDelete{DeleteSet, assign("email: null")}, Where: &Expr{SQL: "not new.banned"},
	}
	b := Target{Name: "b", Table: "b", From: []Origin{{"app", "u1"}}, Key: []string{"id"}, Set: a.Set[:1], OnDelete: OnDelete{Action: DeleteRow}}
	must.Equal(t, Fingerprint([]Target{a, b}), 1426973991, "fingerprint")
	without := Fingerprint([]Target{a})
	a.Match = &Match{Column: "email"}
	must.True(t, Fingerprint([]Target{a}) != without, "the fingerprint doesn't tell a target with match from one without")
}

// BenchmarkCompile turns a target whose table is known into its statements.
func BenchmarkCompile(b *testing.B) {
	c := NewCompiler(profiles(), users, profilesTable)
	b.ReportAllocs()
	for b.Loop() {
		if c.Compile().Upsert == "" {
			b.Fatal("no statement")
		}
	}
}
