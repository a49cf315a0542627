package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestCheckFindings(t *testing.T) {
	t.Parallel()
	const tables = `
		create table p (id text primary key, email text not null, name varchar(5), role text,
			up text generated always as (upper(email)) stored, n int generated always as identity, "Mixed" text);
		create table part (id text, email text); create unique index on part (id) where email is not null;
		create table late (id text unique deferrable, email text);
		create table uuids (id uuid primary key);
		create table own_id (id uuid primary key, user_id text unique);
		create table needs (id text primary key, must text not null);
		create table triggered (id text primary key, must text not null);
		create function fill() returns trigger language plpgsql as $$ begin new.must := 'x'; return new; end $$;
		create trigger fill before insert on triggered for each row execute function fill();
		create view v as select id from p;
		create function everybody() returns setof p language sql stable as 'select * from p';
		create schema other create table triggered (id text, must text);
		create table parts (id text primary key, email text) partition by list (id); create table parts_1 partition of parts default;
		create extension citext; create table ci (id citext primary key); create table pair (a text, b text, unique (a, b)); create table numbered (a text, b int, unique (a, b));
		create type colour as enum ('red', 'green');
		create table coloured (id text primary key, c colour, doc json);`
	ownTable := func(column, expr, table string) string {
		return fmt.Sprintf("column %q: %s reads %s, the target's own table: users who are written at the same moment don't see each other; use a default, a trigger or a job of the application", column, expr, table)
	}
	with := func(change func(*target.Target)) target.Target {
		target := fixture.Everyone()
		target.Set = fixture.Assign("id: new.id", "email: new.email")
		target.OnInsert = nil
		change(&target)
		return target
	}
	only := func(table string, set ...string) target.Target {
		return with(func(t *target.Target) {
			t.Table, t.Set = table, fixture.Assign(append([]string{"id: new.id"}, set...)...)
		})
	}
	keyed := func(table string, key []string, set ...string) target.Target {
		return with(func(t *target.Target) { t.Table, t.Key, t.Set = table, key, fixture.Assign(set...) })
	}
	marked := func(set string) target.Target {
		return with(func(t *target.Target) {
			t.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign(set)}
		})
	}
	tests := []struct {
		name   string
		target target.Target
		want   string // a part of the first finding; empty for none
	}{
		{"fine", with(func(*target.Target) {}), ""},
		{"no table", only("public.nowhere"), "table public.nowhere does not exist; names are exact"},
		{"wrong case", only("public.P"), "table public.P does not exist; names are exact, as in the catalog: schema.table; did you mean public.p?"},
		{"a view", only("public.v"), "public.v is not a table but a view"},
		{"no column", only("public.p", "mail: new.email", "email: new.email"), `public.p has no column "mail" (it has id, email,`},
		{"column in another case", only("public.p", "mixed: new.email", "email: new.email"), `public.p has no column "mixed"; did you mean Mixed?; names are exact, as in the catalog`},
		{"generated column", only("public.p", "email: new.email", "up: 'x'"), `column "up" is generated; PostgreSQL computes it: leave it out`},
		{"identity column", only("public.p", "email: new.email", "n: 1"), `column "n" is an identity column (generated always)`},
		{"no unique index", keyed("public.p", []string{"email"}, "id: new.id", "email: new.id"),
			"key (email) needs a unique index on exactly these columns of public.p; run: create unique index on \"public\".\"p\" (\"email\")"},
		{"partial index", only("public.part"), "part_id_idx is partial (it has a where): it does not keep every user to one row"},
		{"deferrable index", only("public.late"), "late_id_key is deferrable: PostgreSQL can't use it for on conflict"},
		{"ids that don't fit", only("public.uuids"), `key column "id" can't hold the ids of source app, such as u1: invalid input syntax for type uuid`},
		{"ids that don't fit beside the key", with(func(t *target.Target) {
			t.Table, t.Key, t.Set, t.OnInsert = "public.own_id", []string{"user_id"}, fixture.Assign("user_id: new.id"), fixture.Assign("id: new.id")
		}), `column "id" can't hold the ids of source app, such as u1: invalid input syntax for type uuid`},
		{"an id beside the key", with(func(t *target.Target) { t.OnInsert = append(t.OnInsert, fixture.Assign("name: new.id")...) }), ""},
		{"ids made to fit", with(func(t *target.Target) { t.Table, t.Set = "public.uuids", fixture.Assign("id: md5(new.id)") }), ""},
		{"key by a trick", with(func(t *target.Target) { t.Set = fixture.Assign("id: new.id || (new).email", "email: new.email") }), `key column id is made from new.email, which may change; a key uses only new.source, new.id and constants`},
		{"required column", only("public.needs"), "column must of public.needs is not null and has no default: every insert would fail"},
		{"required column filled by a trigger", only("public.triggered"), ""},
		{"one row for all", with(func(t *target.Target) { t.Set = fixture.Assign("id: 'one'", "email: new.email") }), "no key column (id) is made from new.id: all users would be one row"},
		{"key not in set", with(func(t *target.Target) {
			t.Set, t.OnInsert = fixture.Assign("email: new.email"), fixture.Assign("id: new.id")
		}), "every key column must stand in set"},
		{"key of the moment", with(func(t *target.Target) { t.Set = fixture.Assign("id: new.id || now()", "email: new.email") }), `key column "id": new.id || now() may give another value for the same user`},
		{"key of the whole record", with(func(t *target.Target) { t.Set = fixture.Assign("id: new.id || to_jsonb(new)", "email: new.email") }), `may give another value for the same user`},
		{"a set", only("public.p", "email: unnest(array['a', 'b'])"), `column "email": set-returning functions are not allowed in WHERE`},
		{"a window function", only("public.p", "email: first_value(new.email) over ()"), `column "email": window functions are not allowed in WHERE`},
		{"a null in the key", keyed("public.pair", []string{"a", "b"}, "a: new.id", "b: null"), `key column "b": null is null`},
		{"a key that calls different ids equal", only("public.ci"), `key column "id" is a citext, which may call two different ids equal`},
		{"on_delete with nothing that marks", marked("email: gen_random_uuid()"), "on_delete sets only what is another value each time"},
		{"on_delete computes null", marked("email: new.email || 'x'"), `on_delete sets "email" to null, but the column is not null`},
		{"on_delete nulls not null", marked("email: null"), `on_delete sets "email" to null, but the column is not null`},
		{"second column of the key", keyed("public.numbered", []string{"a", "b"}, "a: new.source", "b: new.id"), `key column "b" can't hold the ids of source app, such as u1: invalid input syntax for type integer`},
		{"on_delete can't be computed", marked("email: (new.id || 'x')::int::text"), `column "email": invalid input syntax for type integer: "-x" (22P02) in (new.id || 'x')::int::text`},
		{"on_delete sets the key", marked("id: 'x'"), `on_delete sets the key column "id"`},
		{"unknown field", only("public.p", "email: new.nowhere"), `column "email": column new.nowhere does not exist (42703) in new.nowhere; the record new has source, id,`},
		{"field as in JavaScript", only("public.p", "email: new.firstName"), `column "email": column new.firstname does not exist (42703) in new.firstName; did you mean new.first_name?`},
		{"quoted field as in JavaScript", only("public.p", `email: new."fullName"`), `in new."fullName"; did you mean new.full_name?`},
		{"misspelt field", only("public.p", "email: coalesce(new.fullname, '')"), `did you mean new.full_name?`},
		{"no label of the enum", only("public.coloured", "c: 'purple'"), `column "c": invalid input value for enum colour: "purple" (22P02) in 'purple'; colour has red, green`},
		{"misspelt label of the enum", only("public.coloured", "c: 'gren'"), `in 'gren'; did you mean green? colour has red, green`},
		{"pasted from Clerk", only("public.p", "email: new.email_address"), `it is new.email here`},
		{"pasted from a trigger", only("public.p", "email: NEW.role"), `a provider knows no role of yours`},
		{"wrong type", only("public.coloured", "c: new.created_at"), `column "c": cannot cast type timestamp with time zone to colour (42846) in new.created_at; the expression must give a colour`},
		{"unknown function", only("public.p", "email: nope(new.id)"), `column "email": function nope(text) does not exist (42883)`},
		{"refused by the planner, behind a constant", only("public.p", "email: 'x'", "role: (1/0)::text"), `column "role": division by zero (22012)`},
		{"an aggregate, behind a constant", only("public.p", "email: 'x'", "role: max(new.email)"), `column "role": aggregate functions are not allowed`},
		{"where is no condition", with(func(t *target.Target) { t.Where = &target.Expr{SQL: "new.email"} }), "where: argument of WHERE must be type boolean"},
		{"own table", only("public.p", "email: new.email", "role: case when exists (select 1 from public.p) then 'member' else 'superadmin' end"), ownTable("role", "case when exists (select 1 from public.p) then 'member' e...", "public.p")},
		{"own table by a view", with(func(t *target.Target) { t.OnInsert = fixture.Assign("role: (select count(*)::text from v)") }), ownTable("role", "(select count(*)::text from v)", "public.p")},
		{"own table in on_delete", marked("email: 'gone' || (select count(*) from only p)"), ownTable("email", "'gone' || (select count(*) from only p)", "public.p")},
		{"own table in where", with(func(t *target.Target) {
			t.Where = &target.Expr{SQL: "(select max(email) from p where p.id <> new.id) is distinct from new.email"}
		}), "where: (select max(email) from p where p.id <> new.id) is distin... reads public.p, the target's own table"},
		{"own table in a branch", only("public.p", "email: case new.id when 'x' then (select 'y'::text from p limit 1) else new.email end"), "the target's own table"},
		{"own table by a function that is inlined", only("public.p", "email: (select max(x.email) from everybody() x)"), "the target's own table"},
		{"own table by its partition", only("public.parts", "email: (select max(email) from parts_1)"), ownTable("email", "(select max(email) from parts_1)", "public.parts")},
		{"own table by its parent", only("public.parts_1", "email: (select max(email) from parts)"), ownTable("email", "(select max(email) from parts)", "public.parts_1")},
		{"a table of that name elsewhere", only("public.triggered", "must: (select max(must) from other.triggered)"), ""},
		{"two expressions", only("public.p", "email: new.email) , (new.id"), ") too many in new.email) , (new.id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := fixture.EmptyBench(t, tables, tt.target)
			got := found(b, target.Fault)
			if all := strings.Join(got, "\n"); (tt.want == "") != (len(got) == 0) || len(got) > 1 || !strings.Contains(all, tt.want) {
				t.Errorf("got %q\nwant %q", all, tt.want)
			}
		})
	}
}

// What a role of an application's database often lacks is said before it is missed.
func TestCheckAccess(t *testing.T) {
	t.Parallel()
	hidden := fixture.Everyone()
	hidden.Name, hidden.Table = "hidden", "public.hidden"
	b := fixture.EmptyBench(t, fixture.PTable+`create table hidden (like p including all); alter table hidden enable row level security;`, fixture.Everyone(), hidden)
	db, _ := b.AsRole("grant select, insert on p to %[1]s; grant all on hidden to %[1]s", fixture.Everyone(), hidden)
	said := found(db, target.Fault)
	if len(said) != 2 {
		t.Fatalf("findings %q; want two", said)
	}
	must.Contain(t, said[0], `lacks update, delete on public.p; run: grant usage on schema "public"`)
	must.Contain(t, said[1], "row security is on for public.hidden")
}

// A right that PostgreSQL asks for only in operation is missed at the start, with its column and
// its grant; once granted, the target works.
func TestMissingRights(t *testing.T) {
	t.Parallel()
	const schema = `create schema app; create schema secret; create type secret.level as enum ('low', 'high'); create type app.mood as enum ('glad');
		revoke usage on type app.mood from public;
		create table secret.tiers (id int, name text); create view app.shown as select * from secret.tiers;
		create table app.plans (id int, name text); insert into app.plans values (1, 'free'); insert into secret.tiers values (1, 'free');
		create function secret.plan(text) returns text language plpgsql as $$ begin return 'free'; end $$;
		create function app.plan(text) returns text language plpgsql as $$ begin return 'free'; end $$;
		create function app.plan(int) returns text language plpgsql as $$ begin return 'free'; end $$;
		create function app.token() returns text language plpgsql as $$ begin return 'x'; end $$;
		revoke execute on all functions in schema app from public;
		create table app.p (id text primary key, n serial, email text, plan text, m app.mood);
		create table app.tokens (id text primary key, email text, token text default app.token());
		create table app.columns (id text primary key, email text);`
	const base = `grant usage on schema app to %[1]s; grant select, insert, update, delete on app.p, app.tokens to %[1]s; grant select (id), insert, update, delete on app.columns to %[1]s;`
	const sequence = `grant usage on sequence app.p_n_seq to %[1]s;`
	with := func(table string, set ...string) target.Target {
		target := fixture.Everyone()
		target.Table, target.OnInsert = table, nil
		target.Set = fixture.Assign(append([]string{"id: new.id", "email: new.email"}, set...)...)
		return target
	}
	for name, tt := range map[string]struct {
		target  target.Target
		granted string
		want    string // of the only finding; %s is the role
		grant   string // what is still missing behind that
	}{
		"sequence of a default": {with("app.p"), base,
			`column "n" takes its default from a sequence that role "%[1]s" may not use: every insert would fail; run: grant usage on sequence app.p_n_seq to %[1]s`, ""},
		"table of a subquery": {with("app.p", "plan: (select name from app.plans where id = 1)"), base + sequence,
			`column "plan": permission denied for table plans (42501) in (select name from app.plans where id = 1); run: grant select on app.plans to %[1]s`, ""},
		"view of a subquery": {with("app.p", "plan: (select name from app.shown where id = 1)"), base + sequence,
			`column "plan": permission denied for view shown (42501) in (select name from app.shown where id = 1); run: grant select on app.shown to %[1]s`, ""},
		"function": {with("app.p", "plan: app.plan(new.id)"), base + sequence,
			`column "plan": permission denied for function plan (42501) in app.plan(new.id); run one of: grant execute on function app.plan(integer) to %[1]s; grant execute on function app.plan(text) to %[1]s`, ""},
		"schema of a function": {with("app.p", "plan: secret.plan(new.id)"), base + sequence,
			`column "plan": permission denied for schema secret (42501) in secret.plan(new.id); run: grant usage on schema secret to %[1]s`, ""},
		"schema of a table": {with("app.p", "plan: (select name from secret.tiers limit 1)"), base + sequence,
			`column "plan": permission denied for schema secret (42501) in (select name from secret.tiers limit 1); run: grant usage on schema secret to %[1]s`,
			"grant select on secret.tiers to %[1]s"},
		"schema of a type": {with("app.p", "plan: 'low'::secret.level"), base + sequence,
			`column "plan": permission denied for schema secret (42501) in 'low'::secret.level; run: grant usage on schema secret to %[1]s`, ""},
		"function of a default": {with("app.tokens"), base,
			`column "token": permission denied for function token (42501) in its default app.token(); run: grant execute on function app.token() to %[1]s`, ""},
		"columns of the table": {with("app.columns"), base,
			`its statement is refused: permission denied for table columns (42501); run: grant select, insert, update, delete on app.columns to %[1]s`, ""},
		// PostgreSQL asks for the usage of a type only where something is made of it.
		"type": {with("app.p", "m: 'glad'"), base + sequence, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.EmptyBench(t, schema, tt.target)
			db, role := b.AsRole(tt.granted, tt.target)
			want := tt.want
			for want != "" {
				want = strings.ReplaceAll(want, "%[1]s", role)
				said := found(db, target.Fault)
				if len(said) != 1 || said[0] != want && !strings.HasSuffix(said[0], "run: "+want) {
					t.Fatalf("findings %q\nwant %s", said, want)
				}
				_, grant, _ := strings.Cut(strings.ReplaceAll(said[0], "run one of: ", "run: "), "run: ")
				b.Exec(grant)
				want, tt.grant = tt.grant, ""
			}
			wantFaults(db)
			db.Applies(fixture.Applied, fixture.Updated("a", 1, "a@x"))
			b.Want("table rollcall.parked")
		})
	}
}

// A target out of service parks its users; the others never notice.
func TestBrokenTargetDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	missing := fixture.Everyone()
	missing.Name, missing.Table = "missing", "public.nowhere"
	b := fixture.EmptyBench(t, fixture.PTable, fixture.Everyone(), missing)
	must.Equal(t, len(found(b, target.Fault)), 1, "findings")
	b.Applies(fixture.All(event.Parked, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Applies([]event.Outcome{event.Stale, event.Duplicate}, fixture.Updated("a", 0, "a0@x"), fixture.Updated("b", 1, "b@x"))
	b.Want("select id, email from p order by 1", "a|a@x", "b|b@x")
	b.Want("select target, user_id, attempts, error from rollcall.parked order by 2",
		"missing|a|1|table public.nowhere does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name",
		"missing|b|1|table public.nowhere does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name")
	b.Want("select id, outcome from rollcall.events order by 1", "a-0|stale", "a-1|parked", "b-1|parked")
}
