package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/target"
)

// found returns what a check says of a bench's targets, and wants each finding to be of a severity.
func found(b *fixture.Bench, severity target.Severity) (said []string) {
	b.T.Helper()
	for _, f := range must.Get(b.Check(b.T.Context()))(b.T) {
		must.Equal(b.T, f.Severity, severity, "severity of ", f)
		said = append(said, f.What)
	}
	return said
}

func wantFaults(b *fixture.Bench, want ...string) {
	b.T.Helper()
	must.Equal(b.T, found(b, target.Fault), want, "faults")
}

func wantWarnings(b *fixture.Bench, want ...string) {
	b.T.Helper()
	must.Equal(b.T, found(b, target.Warning), want, "warnings")
}

// A foreign key to the provider's users either stops their deletion or takes the row along. What
// the warning says to run ends it.
func TestForeignKeyToUsers(t *testing.T) {
	t.Parallel()
	const blocks = "the foreign key %s to %s keeps the provider from deleting a user who has a row here; run: %s"
	const loses = "the foreign key %s to %s deletes the row when the provider deletes the user, so on_delete keeps nothing; run: %s"
	const drop = `alter table "public"."p" drop constraint "fk"`
	mend := func(action string) string {
		return drop + `, add constraint "fk" foreign key ("owner") references "auth"."users" ("id") on delete ` + action
	}
	kept, marked := fixture.Everyone(), fixture.Everyone()
	kept.OnDelete.Action, marked.OnDelete = target.DeleteKeep, target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("name: null")}
	for name, tt := range map[string]struct {
		target           target.Target
		column, table    string
		action, notNull  string
		warning, command string
	}{
		"deleted, no action":         {fixture.Everyone(), "owner", "auth.users", "", "", blocks, mend("cascade")},
		"deleted, restrict":          {fixture.Everyone(), "owner", "auth.users", "on delete restrict", "", blocks, mend("cascade")},
		"deleted, cascade":           {fixture.Everyone(), "owner", "auth.users", "on delete cascade", "", "", ""},
		"deleted, set null":          {fixture.Everyone(), "owner", "auth.users", "on delete set null", "", "", ""},
		"deleted, null not allowed":  {fixture.Everyone(), "owner", "auth.users", "on delete set null", "not null", blocks, mend("cascade")},
		"kept, no action":            {kept, "owner", "auth.users", "", "", blocks, mend("set null")},
		"kept, cascade":              {kept, "owner", "auth.users", "on delete cascade", "", loses, mend("set null")},
		"kept, cascade, not null":    {kept, "owner", "auth.users", "on delete cascade", "not null", loses, drop},
		"kept, set null":             {kept, "owner", "auth.users", "on delete set null", "", "", ""},
		"marked, cascade":            {marked, "owner", "auth.users", "on delete cascade", "", loses, mend("set null")},
		"marked, cascade of the key": {marked, "id", "auth.users", "on delete cascade", "", loses, drop},
		"another users table":        {kept, "owner", "public.members", "", "", blocks, strings.ReplaceAll(mend("set null"), `"auth"."users"`, `"public"."members"`)},
		"a table of the application": {kept, "owner", "public.teams", "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.target.UsersTables = []string{"members"}
			b := fixture.EmptyBench(t, fmt.Sprintf(`create schema auth; create table auth.users (id text primary key); create table members (id text primary key); create table teams (id text primary key);
				create table p (id text primary key, owner text %s default 'x', email text, name text, role text);
				alter table p add constraint fk foreign key (%s) references %s (id) %s`, tt.notNull, tt.column, tt.table, tt.action), tt.target)
			if tt.warning == "" {
				wantWarnings(b)
				return
			}
			wantWarnings(b, fmt.Sprintf(tt.warning, "fk", tt.table, tt.command))
			if len(b.Statements("profiles")) == 0 {
				t.Error("a warning took the target out of service")
			}
			b.Exec(tt.command)
			wantWarnings(b)
		})
	}
}

// A text that users write themselves does not fit another type: those whose text doesn't are
// parked, which is said before.
func TestTextIntoAnotherType(t *testing.T) {
	t.Parallel()
	const table = `create type mood as enum ('glad', 'sad'); create domain phrase as varchar(20); create extension citext;
		create table p (id uuid primary key, settings jsonb, n int, at timestamptz, tags text[], ok bool, num numeric, m mood, t text, v varchar(9), l phrase, c citext, b bpchar(5))`
	for given, want := range map[string]string{
		"settings: new.username":                                 "jsonb",
		"n: new.raw_user_meta_data->>'age'":                      "integer",
		"at: new.raw_user_meta_data->>'born'":                    "timestamp with time zone",
		"ok: coalesce(new.raw_user_meta_data->>'ok', 'false')":   "boolean",
		"num: new.first_name":                                    "numeric",
		"m: new.raw_user_meta_data->>'mood'":                     "mood",
		"tags: new.first_name":                                   "text[]",
		"n: (new.raw_user_meta_data->>'age')::int":               "",
		"settings: to_jsonb(new.username)":                       "",
		"settings: new.raw_user_meta_data":                       "",
		"settings: '{}'":                                         "",
		"at: '2024-01-01'":                                       "",
		"m: 'glad'":                                              "",
		"n: new.raw_app_meta_data->>'tenant'":                    "",
		"t: new.username":                                        "",
		"v: new.username":                                        "",
		"l: new.username":                                        "",
		"c: new.username":                                        "",
		"b: new.username":                                        "",
		"at: new.created_at":                                     "",
		"n: (select max(x) from generate_series(1, 2) as s (x))": "",
	} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			tgt := fixture.Everyone()
			tgt.Set, tgt.OnInsert = fixture.Assign("id: new.id", given), nil
			tgt.From = []target.Origin{{Source: "app", SampleID: "00000000-0000-4000-8000-000000000001"}}
			b := fixture.EmptyBench(t, table, tgt)
			if want == "" {
				wantWarnings(b)
				return
			}
			column, expr, _ := strings.Cut(given, ": ")
			wantWarnings(b, fmt.Sprintf("column %q is %s and %s gives a text: each user whose text is no %[2]s is parked; compute a %[2]s, or write the cast to say that it is meant", column, want, expr))
			b.Applies(fixture.Applied, fixture.Updated("00000000-0000-4000-8000-000000000001", 1, ""))
			odd := fixture.User("00000000-0000-4000-8000-000000000002", 1, "")
			text := "odd one"
			odd.Username, odd.FirstName, odd.RawUserMetaData = &text, &text, `{"age": "odd", "born": "odd", "ok": "odd", "mood": "odd"}`
			b.Applies([]event.Outcome{event.Parked}, fixture.Said(odd))
		})
	}
}

// Row security that binds the owner is no matter of ownership, and a unique index that PostgreSQL
// refuses is no advice.
func TestTrueAdvice(t *testing.T) {
	t.Parallel()
	other := fixture.Everyone()
	other.Table = "public.parts"
	odd := fixture.Everyone()
	odd.Table = "public.odd"
	b := fixture.EmptyBench(t, `create table forced (id text primary key, email text, name text, role text); alter table forced enable row level security; alter table forced force row level security;
		create table parts (id text, email text, name text, role text, region text, year int) partition by list (region);
		create table odd (id text, email text, name text, role text) partition by list (lower(id))`, other, odd)
	wantFaults(b,
		"key (id): public.parts is partitioned by (region), and a unique index of a partitioned table has all of these columns; add region to key and to set, with a value that never changes for a user, and a unique index on the whole key; or use another table",
		"public.odd is partitioned by an expression, for which PostgreSQL has no unique index: no key keeps a user to one row; use another table")
	// The advice can be followed.
	b.Exec("create unique index on parts (id, region); create table part partition of parts default")
	whole := other
	whole.Key, whole.Set = []string{"id", "region"}, append(fixture.Assign("region: 'eu'"), other.Set...)
	wantFaults(b.Database.Bench("", whole))

	forced := fixture.Everyone()
	forced.Table = "public.forced"
	db, role := b.AsRole("alter table forced owner to %[1]s; grant usage on schema public to %[1]s", forced)
	wantFaults(db, fmt.Sprintf(`row security is on for public.forced and forced on its owner, role %q, which has no BYPASSRLS; its rows would be hidden: connect as a role with BYPASSRLS, or run: alter table "public"."forced" no force row level security`, role))
	b.Exec(`alter table "public"."forced" no force row level security`)
	wantFaults(db)
}

// Who else may act as Rollcall's role is said at the start.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	want := func(b *fixture.Bench, want catalog.Around) {
		t.Helper()
		if want.Creators == nil {
			want.Creators = []string{}
		}
		must.Equal(t, must.Get(catalog.Surroundings(t.Context(), b.Pool))(t), want, "surroundings")
	}
	b.Exec("revoke create on schema public from public")
	want(b, catalog.Around{Superuser: true})
	db, role := b.AsRole("grant all on schema public to %[1]s")
	want(db, catalog.Around{})
	want(b, catalog.Around{Superuser: true, Creators: []string{role}})
	b.Exec("grant create on schema public to public")
	want(db, catalog.Around{Creators: []string{"public"}})
}

// A target on the provider's users, or on Rollcall's own tables, would delete their rows.
func TestClosedTables(t *testing.T) {
	t.Parallel()
	const schema = `create schema auth;
		create table public.everybody (id text primary key, email text, name text, role text);
		create table auth.users (primary key (id)) inherits (public.everybody);
		create table public.some (primary key (id)) inherits (auth.users);
		create table public.parts (like public.everybody including defaults, primary key (id)) partition by list (id);
		create table auth.parts_of_it partition of public.parts default;
		create table public.members (like public.everybody, primary key (id)) partition by list (id);
		create table public.members_rest partition of public.members default;
		create view public.people as select * from auth.users;
		create view public.more_people as select * from public.people;
		create table auth.other (like public.everybody including all);`
	for table, want := range map[string]string{
		"auth.users":           "auth.users is a table of the provider",
		"auth.other":           "auth.other is a table of the provider",
		"auth.nothing":         "auth.nothing is a table of the provider",
		"rollcall.users":       "rollcall.users is a table of the provider",
		"rollcall.migrations":  "rollcall.migrations is a table",
		"pg_catalog.pg_authid": "pg_catalog.pg_authid is a table",
		"members":              "public.members is a table of the provider",
		"public.members":       "public.members is a table of the provider",
		"public.members_rest":  "public.members_rest shares its rows with another table: public.members is a table of the provider",
		"public.everybody":     "public.everybody shares its rows with another table: auth.users is a table of the provider",
		"public.some":          "public.some shares its rows with another table: auth.users is a table of the provider",
		"public.parts":         "public.parts shares its rows with another table: auth.parts_of_it is a table of the provider",
		"public.people":        "public.people shares its rows with another table: auth.users is a table of the provider",
		"public.more_people":   "public.more_people shares its rows with another table: auth.users is a table of the provider",
		// No hint leads there.
		"public.other":           "table public.other does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name",
		"public.users":           "table public.users does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name",
		"public.Members":         "table public.Members does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name",
		"deadstock.members_rest": "did you mean public.members_rest?",
	} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			closed := fixture.Everyone()
			closed.Table, closed.UsersTables = table, []string{"auth.users", "members"}
			b := fixture.EmptyBench(t, schema, closed)
			said := found(b, target.Fault)
			must.Equal(t, len(said), 1, "findings: ", said)
			must.Contain(t, strings.Join(said, "\n"), want)
			b.Applies([]event.Outcome{event.Parked}, fixture.Gone("a", 1))
		})
	}
}
