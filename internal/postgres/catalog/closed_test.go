package catalog_test

import (
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
)

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
			target := fixture.Everyone()
			target.Table, target.UsersTables = table, []string{"auth.users", "members"}
			b := fixture.EmptyBench(t, schema, target)
			found, err := b.Check(t.Context())
			if err != nil || len(found) != 1 || !strings.Contains(found[0].What, want) {
				t.Fatalf("findings %v, error %v; want one with %q", found, err, want)
			}
			b.Applies([]event.Outcome{event.Parked}, fixture.Gone("a", 1))
		})
	}
}
