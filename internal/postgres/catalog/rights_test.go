package catalog_test

import (
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/target"
)

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
