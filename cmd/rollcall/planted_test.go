package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/clerktest"
	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// plantedTables have the types whose operators PostgreSQL has for any such type only: varchar,
// an enum, a domain, an array.
const plantedTables = `
create type public.colour as enum ('red', 'blue');
create domain public.short as varchar(20);
create table public.people (id varchar(60) primary key, email varchar(80) unique, name public.short, colour public.colour, tags text[], n bigint, at timestamptz);
create table public.accounts (uid text primary key, colour public.colour not null, name varchar(4), gone public.short, tags varchar[]);`

const plantedSources = oneMachine + `sources:
  supabase:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
    reconcile: {schedule: 0 0 1 1 *}
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
    api: {key: CLERK_KEY, url: "CLERK_URL"}
    reconcile: {schedule: 0 0 1 1 *}
retention: {bodies: 1s, undecodable: 1s, events: 1s}
targets:
  people:
    table: public.people
    key: id
    set:
      id: new.id
      email: new.email
      name: new.first_name
      colour: "'red'"
      tags: array[new.source, new.email]
      n: 7
      at: new.created_at
    on_delete: delete
  accounts:
    table: public.accounts
    key: uid
    set: {uid: new.id, colour: "'blue'", name: "left(new.first_name, 4)", tags: "array['x']", gone: null}
    where: new.email is not null
    on_delete: {gone: "'gone'", name: null, colour: "'red'", tags: null}
`

// plant has another role create, in schema public, functions and operators that match calls with
// these types better than PostgreSQL's own: every function that takes any type, every one that
// Rollcall's SQL names, and every operator. A call counts in planted.calls, which no rollback
// takes back.
const plant = `
create schema planted;
create sequence planted.calls;
grant usage on schema planted to %[1]q;
grant usage on schema planted to public;
grant usage on sequence planted.calls to public;
grant create on schema public to public;
set role %[1]q;
do $do$
declare
  types constant text[] := array['text', 'varchar', 'name', '"char"', 'text[]', 'varchar[]', 'bigint', 'bigint[]', 'integer', 'integer[]',
    'smallint', 'smallint[]', 'oid', 'oid[]', 'xid', 'boolean', 'timestamptz', 'jsonb', 'jsonb[]', 'uuid', 'float8', 'numeric', 'interval',
    'regclass', 'regtype', 'regnamespace', 'public.colour', 'public.colour[]', 'public.short', 'public.short[]'];
  body text := 'begin perform pg_catalog.nextval(''planted.calls''); raise exception ''planted in public''; end';
  a text; b text; f record; symbol text;
begin
  for f in
    select distinct p.proname from pg_catalog.pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind in ('f', 'a', 'w') and p.pronargs between 1 and 2
      and (p.proname = any(%[2]s) or exists (
        select from pg_catalog.unnest(p.proargtypes::oid[]) t join pg_catalog.pg_type y on y.oid = t where y.typname like 'any%%'))
  loop
    foreach a in array types loop
      execute format('create function public.%%I(%%s) returns text language plpgsql as %%L', f.proname, a, body);
      foreach b in array array[a, rtrim(a, '[]'), rtrim(a, '[]') || '[]', 'text', 'integer', 'bigint'] loop
        begin
          execute format('create function public.%%I(%%s, %%s) returns text language plpgsql as %%L', f.proname, a, b, body);
        exception when duplicate_function then null;
        end;
      end loop;
    end loop;
  end loop;
  create function public.make_interval(secs integer) returns interval language plpgsql as
    $$ begin perform pg_catalog.nextval('planted.calls'); raise exception 'planted in public'; end $$;
  create function public.format(text, text, text[], text[]) returns text language plpgsql as
    $$ begin perform pg_catalog.nextval('planted.calls'); raise exception 'planted in public'; end $$;
  foreach a in array types loop
    foreach b in array types loop
      execute format('create function public.planted_operator(%%s, %%s) returns boolean language plpgsql as %%L', a, b, body);
      foreach symbol in array array['=', '<>', '<', '<=', '>', '>=', '+', '-', '*', '/', '&', '||', '->', '->>', '~~', '!~~', '~*', '@>'] loop
        execute format('create operator public.%%s (leftarg = %%s, rightarg = %%s, function = public.planted_operator)', symbol, a, b);
      end loop;
    end loop;
  end loop;
end
$do$;
reset role;`

// namesCalled are all words before a parenthesis in Rollcall's SQL, as a SQL array.
func namesCalled(t *testing.T) string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../../sql/*/*.sql", "../../internal/postgres/*.go", "../../internal/postgres/*/*.go", "../../internal/postgres/*/*.sql", "../../internal/target/*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("no file %s, %v", pattern, err)
		}
		files = append(files, more...)
	}
	names := map[string]bool{}
	for _, file := range files {
		text := must.Get(os.ReadFile(file))(t)
		for _, m := range regexp.MustCompile(`([a-z_0-9]+)\(`).FindAllSubmatch(text, -1) {
			names["'"+string(m[1])+"'"] = true
		}
	}
	var list []string
	for name := range names {
		list = append(list, name)
	}
	return "array[" + strings.Join(list, ", ") + "]"
}

// What another role has planted in public never runs as Rollcall's role: not in a migration, a
// batch, a removal, another try, a job, a backfill, a check, a repair, a replay or a reconciliation.
func TestPlantedFunctions(t *testing.T) {
	t.Parallel()
	db := fixture.New(t, pgtest.Auth, plantedTables)
	db.Exec("set search_path = pg_catalog")
	role := db.Rows("select 'planter_' || current_database()")[0]
	db.Exec(fmt.Sprintf("create role %q", role))
	t.Cleanup(func() {
		_, _ = db.SQL.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]q cascade; drop role %[1]q", role))
	})
	db.Exec(fmt.Sprintf(plant, role, namesCalled(t)))
	live(t, db)
	db.Want("select last_value from planted.calls where is_called union all select 0 limit 1", "0")
}

// plantedUser is the id of a user but for the last digit.
const plantedUser = "00000000-0000-4000-8000-00000000000"

// unplanted runs a command line, which meets nothing that is planted.
func unplanted(t testing.TB, c commandLine, args ...string) {
	t.Helper()
	if got := c.run(t.Context(), args...); got.code != cli.ExitFine || strings.Contains(got.String(), "planted in public") {
		t.Fatalf("%v: %s", args, got)
	}
}

// live does all that Rollcall can do to a database.
func live(t *testing.T, db *fixture.Database) {
	t.Helper()
	clerk := clerktest.New(t)
	clerk.PutMany(20)
	yaml := strings.NewReplacer("CLERK_KEY", clerk.Key(), "CLERK_URL", clerk.URL()).Replace(plantedSources)
	c := newCLI(t, yaml, db.Address)
	command := func(args ...string) {
		t.Helper()
		unplanted(t, c, args...)
	}
	command("migrate", "--print")
	command("migrate")
	command("capture", "install", "supabase")
	in := serveAt(t, yaml, db.Address)
	in.db = db // the test itself must not call what is planted either

	changeUsers(in)
	// A user without any event, and one who was deleted without an event.
	db.Exec(fmt.Sprintf(`insert into auth.users (id, email, created_at, updated_at) values ('%[1]s9', '9@example.com', now(), now()); delete from auth.users where id = '%[1]s0'`, plantedUser))
	command("reconcile", "supabase", "--dry-run", "--max-delete", "100%")
	command("reconcile", "supabase", "--max-delete", "100%")
	db.Await(fmt.Sprintf("select (select count(*) from public.people where id = '%[1]s0') || ' ' || (select count(*) from public.people where id = '%[1]s9')", plantedUser), "0 1")
	db.Exec(`alter table auth.users enable trigger rollcall_capture`)
	in.expect(created(t, "user_made"), accepted("applied"))
	command("reconcile", "clerk", "--dry-run", "--max-delete", "100%")
	command("reconcile", "clerk", "--max-delete", "100%")
	db.Await("select count(*)::text from public.people where id like 'user%'", "21")
	db.Exec("truncate public.people, public.accounts")
	for _, target := range []string{"people", "accounts"} {
		command("backfill", target, "--dry-run")
		command("backfill", target)
	}
	db.Exec("update public.people set name = 'other', colour = null, email = null; delete from public.accounts where uid like '%9'")
	command("check", "--repair")
	command("check")
	for _, args := range [][]string{
		{"events", "--since", "2h", "--outcome", "applied", "--type", "user.created", "--source", "clerk"},
		{"events", "--user", "user_made"}, {"user", "user_made"},
		{"replay", "--since", "2h", "--user", "user_made", "--dry-run"}, {"replay", "--since", "2h", "--user", "user_made"},
		{"parked", "--user", "user_made"}, {"parked", "retry"}, {"parked", "give-up", "people"},
	} {
		command(args...)
	}
	command("capture", "status")
	for _, job := range []string{"check", "retention", "reconcile clerk", "reconcile supabase", "catch up people"} {
		in.due(job)
	}
	db.Await("select count(*)::text from rollcall.river_job where finalized_at is null", "0")
	get(t, in.admin+"/metrics", "")
	command("capture", "remove", "supabase")
	in.stop()
	for _, line := range in.log.Lines("") {
		if line["level"] == "ERROR" || strings.Contains(fmt.Sprint(line), "planted in public") {
			t.Errorf("the log says %v", line)
		}
	}
}

// changeUsers has users change in all ways that a capture and an announcement tell.
func changeUsers(in *instance) {
	const user = plantedUser
	db := in.db
	for n := range 6 {
		db.Exec(fmt.Sprintf(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at) values ('%[1]s%[2]d', '%[2]d@example.com', '{"first_name": "Ann%[2]d"}', now(), now())`, user, n))
	}
	db.Await("select (select count(*) from public.people) || ' ' || (select count(*) from public.accounts)", "6 6")
	// Two users swap their addresses: refused at first, then settled by a job.
	db.Exec(fmt.Sprintf(`begin; update auth.users set email = 'free@example.com', updated_at = now() where id = '%[1]s1';
		update auth.users set email = '1@example.com', updated_at = now() where id = '%[1]s2';
		update auth.users set email = '2@example.com', updated_at = now() where id = '%[1]s1'; commit`, user))
	db.Await(fmt.Sprintf("select (select email from public.people where id = '%[1]s1') || ' ' || (select email from public.people where id = '%[1]s2')", user), "2@example.com 1@example.com")
	// A constraint refuses a user, who is parked; the others are found by halves. Where an
	// expression fails, its column is looked for, too.
	db.Exec("alter table public.people add constraint fits check (n < 7) not valid")
	db.Exec(fmt.Sprintf(`update auth.users set email = 'refused@example.com', updated_at = now() where id = '%s3'`, user))
	db.Await("select count(*)::text from rollcall.parked", "1")
	db.Exec("alter table public.people drop constraint fits")
	db.Exec(fmt.Sprintf(`update auth.users set email = repeat('x', 81), updated_at = now() where id = '%s5'`, user))
	db.Await("select count(*)::text from rollcall.parked where error like 'column \"email\": %'", "1")
	db.Exec(fmt.Sprintf(`update auth.users set email = '5@example.com', updated_at = now() where id = '%s5'`, user))
	db.Await(fmt.Sprintf("select count(*)::text from rollcall.parked where user_id = '%s5'", user), "0")
	unplanted(in.t, in.commandLine, "check", "--user", user+"3", "--repair")
	db.Exec(fmt.Sprintf("delete from auth.users where id = '%s4'", user))
	db.Await(fmt.Sprintf("select (select count(*) from public.people) || ' ' || coalesce((select gone from public.accounts where uid = '%s4'), '')", user), "5 gone")
	// Announced, then found in auth.users.
	db.Exec(`alter table auth.users disable trigger rollcall_capture`)
	db.Exec(fmt.Sprintf(`insert into auth.users (id, email, created_at, updated_at) values ('%[1]s7', '7@example.com', now(), now())`, user))
	in.announce("m1", user+"7")
	db.Await(fmt.Sprintf("select count(*)::text from public.people where id = '%s7'", user), "1")
	in.announce("m2", user+"8")
}
