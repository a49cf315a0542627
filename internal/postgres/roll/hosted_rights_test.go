package roll_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// No other role reads, writes or runs anything in Rollcall's two schemas, whatever the defaults of
// the roles that made them are.
func TestHostedProjectIsClosed(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	for _, role := range []string{"owner", "rollcall"} {
		p.Exec(fmt.Sprintf(`alter default privileges for role %[1]s grant all on tables to %[2]s;
alter default privileges for role %[1]s grant all on functions to %[2]s; alter default privileges for role %[1]s grant all on schemas to %[2]s`,
			p.hosted.Role(role), p.hosted.Role("anon")))
	}
	p.paste()
	p.signUp(1, "one")
	for _, role := range []string{"anon", "authenticated", "service_role", "authenticator", "stranger"} {
		p.Want(fmt.Sprintf(`select o from (
  select n.nspname || '' as o from pg_namespace n where n.nspname in ('rollcall', 'rollcall_provider') and (has_schema_privilege('%[1]s', n.oid, 'usage') or has_schema_privilege('%[1]s', n.oid, 'create'))
  union all
  select c.oid::regclass::text from pg_class c where c.relnamespace::regnamespace::text in ('rollcall', 'rollcall_provider') and c.relkind in ('r', 'v', 'm')
    and has_table_privilege('%[1]s', c.oid, 'select, insert, update, delete, truncate, references, trigger')
  union all
  select c.oid::regclass::text from pg_class c where c.relnamespace::regnamespace::text in ('rollcall', 'rollcall_provider') and case when c.relkind = 'S' then
    has_sequence_privilege('%[1]s', c.oid, 'select, usage, update') end
  union all
  select f.oid::regprocedure::text from pg_proc f where f.pronamespace::regnamespace::text in ('rollcall', 'rollcall_provider') and has_function_privilege('%[1]s', f.oid, 'execute')
    and f.proname <> 'take_bodies' -- of no use without a right to the schema
) x`, p.hosted.Role(role)))
		other := pgtest.Connect(t, p.hosted.As(role)).Conn
		for _, statement := range []string{
			"select from rollcall.users", "select from rollcall_provider.outbox", "insert into rollcall_provider.outbox (source, user_id, gone) values ('app', 'x', true)",
			"insert into rollcall.outbox (source, user_id, gone, data) values ('app', 'x', true, '{}')", "delete from rollcall_provider.outbox",
			"select * from rollcall_provider.users_after(null, null)", "select rollcall_provider.users_count()", "select rollcall.settle_apart('', '{}', '{}')",
			"select rollcall.take_bodies('{}', '{}', '{}')",
			"create table rollcall_provider.mine ()", "create table rollcall.mine ()",
			"create table pg_temp.t (); create trigger t after insert on pg_temp.t for each row execute function rollcall_provider.capture('app')",
		} {
			forbidden(t, other, statement)
		}
	}
	mine := pgtest.Connect(t, p.hosted.As("rollcall")).Conn // and this one no more than it needs
	for _, statement := range []string{
		"select from auth.users", "insert into rollcall_provider.outbox (source, user_id, gone) values ('app', 'x', true)", "update rollcall_provider.outbox set gone = true",
		"truncate rollcall_provider.outbox", "create table rollcall_provider.mine ()",
		"create table pg_temp.t (); create trigger t after insert on pg_temp.t for each row execute function rollcall_provider.capture('app')",
	} {
		forbidden(t, mine, statement)
	}
	var columns string
	must.Do(t, mine.QueryRow(t.Context(), "select string_agg(key, ' ' order by key) from rollcall_provider.users_after(null, null) u, to_jsonb(u) j, jsonb_each(j)").Scan(&columns))
	const want = "app_size banned_until created_at deleted_at email email_confirmed_at id invited_at is_anonymous is_sso_user last_sign_in_at phone phone_confirmed_at raw_app_meta_data raw_user_meta_data updated_at user_size"
	must.True(t, columns == want, "the reader shows %s", columns)
}

// forbidden wants a statement to fail for lack of a right.
func forbidden(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	err := must.Err(conn.PgConn().Exec(t.Context(), statement).ReadAll())
	must.Equal(t, sqlstate.Of(err), sqlstate.InsufficientPrivilege, conn.Config().User, ": ", statement, ": ", err)
}

// The auth server's later migrations run beside the script, and the reader goes on in sessions that
// have its plans.
func TestHostedProjectMigrations(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.paste()
	p.follow()
	p.signUp(1, "one")
	p.drain()
	for i, migration := range []string{
		"alter table auth.users alter column email type text",
		"alter table auth.users alter column email type varchar(255), alter column phone type varchar(20)",
		"alter table auth.users add column new_one int default 7",
		"alter table auth.users drop column new_one, drop column is_anonymous",
		"alter table auth.users add column is_anonymous boolean not null default false",
		"create index on auth.users (created_at); drop index auth.users_email_partial_key",
		"alter table auth.users rename column aud to audience",
		"alter table auth.users rename column last_sign_in_at to signed_in_at",
		"alter table auth.users drop column phone cascade",
		"alter table auth.users drop column instance_id, drop column deleted_at",
		"alter table auth.users disable row level security; alter table auth.users enable row level security",
	} {
		p.Exec("set role " + p.hosted.Role("supabase_auth_admin") + "; " + migration + "; reset role")
		p.Exec(fmt.Sprintf(`update auth.users set raw_user_meta_data = '{"first_name": "n%d"}'`, i))
		must.Equal(t, p.drain(), 1, "changes captured after ", migration)
		must.True(t, p.Follows("app"), "no table source after %s", migration)
		p.Want("select email, first_name, is_anonymous from rollcall.users", fmt.Sprintf("1@X.test|n%d|f", i))
		u := must.Get(p.DB.Directory().Users(t.Context(), "app", "auth.users"))(t)
		seen := must.Get(u.Seek(t.Context(), []directory.Sought{{ID: userID(1)}, {Email: "1@x.test"}}))(t)
		must.True(t, seen[0].ID != nil && seen[1].ID != nil, "after %s: seen %v", migration, seen)
		must.Equal(t, must.Get(u.CountAbsent(t.Context()))(t), 0, "absent after ", migration)
	}
	p.Exec("delete from auth.users")
	p.drain()
	p.Want("select count(*) from p", "0")
}

// A source whose reader is taken away goes on by what events say; what is captured waits, and is
// applied when the reader is back.
func TestHostedProjectLosesTheReader(t *testing.T) {
	t.Parallel()
	for name, how := range map[string][2]string{
		"no right":      {"revoke execute on function rollcall_provider.users_of_ids(uuid[]) from rollcall_role", ""},
		"no function":   {"drop function rollcall_provider.users_of_ids(uuid[])", ""},
		"no schema":     {"revoke usage on schema rollcall_provider from rollcall_role", ""},
		"hidden rows":   {"alter role owner_role nobypassrls", "alter role owner_role bypassrls"},
		"owner's right": {"revoke select on auth.users from owner_role", "grant select on auth.users to owner_role"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := hostedProject(t)
			p.paste()
			p.follow()
			p.signUp(1, "one")
			p.drain()
			p.signUp(2, "two")
			named := strings.NewReplacer("rollcall_role", p.hosted.Role("rollcall"), "owner_role", p.hosted.Role("owner"))
			p.Exec(named.Replace(how[0]))
			if name == "hidden rows" {
				p.Pool.Reset() // a session keeps its plan, which reads all rows
			}
			signal(p.Bench, event.Unavailable, lookAt(2))
			must.True(t, !p.Follows("app"), "it is a table source still")
			must.Fail(t, p.Follow(t.Context(), "app", "auth.users"), directory.ErrUnseen)
			must.Equal(t, p.drain(), 0, "changes drained")
			signal(p.Bench, event.Applied, fixture.Said(&event.User{Row: event.Row{Source: "app", ID: userID(1), Version: 1 << 60}, Email: new("by@x.test")}))
			p.Want("select email from p", "by@x.test")
			p.Want("select count(*) from rollcall_provider.outbox", "1")
			p.Exec(named.Replace(how[1]))
			p.paste()
			p.follow()
			p.drain()
			signal(p.Bench, event.Applied, lookAt(1)) // as the next reconciliation does
			p.Want("select email from p order by 1", "1@X.test", "2@X.test")
		})
	}
}

// An old trigger works on until the script replaces it; what it has left is drained, too. The table
// source reads the row and not the data.
func TestHostedProjectUpgrade(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	old := func() {
		p.Exec(`create constraint trigger rollcall_capture after insert or update or delete on auth.users
deferrable initially deferred for each row execute function rollcall.capture('app')`)
	}
	old()
	box := p.DB.Outbox()
	state := must.Get(box.State(t.Context(), ofUsers))(t)
	must.True(t, state.Installed && state.Old, "the capture is %+v", state)
	p.signUp(1, "one")
	p.Want("select count(*) from rollcall.outbox", "1")
	p.pasteFails(sqlstate.InsufficientPrivilege) // the owner of the project may not drop the trigger in this database
	p.Want("select count(*) from pg_namespace where nspname = 'rollcall_provider'", "0")
	must.Do(t, box.Remove(t.Context(), ofUsers)) // Rollcall's role may, by its function
	p.Want("select count(*) from pg_trigger where tgname = 'rollcall_capture'", "0")
	old()
	p.Exec("grant " + p.hosted.Role("supabase_auth_admin") + " to " + p.hosted.Role("owner")) // on Supabase, supautils lets postgres do it
	p.paste()
	p.Exec("revoke " + p.hosted.Role("supabase_auth_admin") + " from " + p.hosted.Role("owner"))
	p.signUp(2, "two")
	p.Exec("update auth.users set email = 'now@x.test' where id = '" + userID(1) + "'")
	p.Want("select count(*) from rollcall.outbox", "1")
	p.Want("select count(*) from rollcall_provider.outbox", "2")
	state = must.Get(box.State(t.Context(), ofUsers))(t)
	must.True(t, !state.Old && state.Installed && state.Waiting == 3, "the capture is %+v", state)
	p.Want("select count(*) from pg_trigger where tgrelid = 'auth.users'::regclass and tgname = 'rollcall_capture'", "1")
	// an old replica takes its own outbox by the rule of bodies, and sees no other
	db := p.Database.Bench(p.hosted.As("rollcall"), fixture.Members()).DB
	o := must.Get(db.Outbox().Hold(t.Context()))(t)
	changes := must.Get(o.Next(t.Context(), pageOf(db)))(t)
	o.Release()
	must.True(t, len(changes) == 1 && changes[0].Data != nil, "without the table %v wait", changes)
	p.follow()
	p.drain()
	p.Want("select count(*) from rollcall.outbox union all select count(*) from rollcall_provider.outbox", "0", "0")
	p.Want("select email from p order by id", "now@x.test", "2@X.test")
	// the way back: the old version's command drops what it finds and installs its own
	err := box.Remove(t.Context(), ofUsers)
	const remedy = "drop function rollcall_provider.capture() cascade"
	must.True(t, sqlstate.Of(err) == sqlstate.InsufficientPrivilege && strings.Contains(err.Error(), remedy),
		"remove says %v", err)
	p.asOwner(remedy)
	old()
	p.signUp(3, "three")
	p.Want("select count(*) from rollcall.outbox", "1")
	p.drain()
	p.Want("select count(*) from p", "3")
}

// A reader of an older version returns fewer columns: the source goes on, what it lacks stays empty and
// is named, and the script brings the rest.
func TestHostedProjectWithAnOlderReader(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.paste()
	for _, f := range []string{"users_of_ids(uuid[])", "users_after(uuid, bigint)", "users_known_by(text, text, timestamptz)"} {
		name, _, _ := strings.Cut(f, "(")
		var body string
		must.Do(t, p.owner.QueryRow(t.Context(), "select pg_get_functiondef('rollcall_provider."+f+"'::regprocedure)").Scan(&body))
		older := regexp.MustCompile(`, (null::\w+ as )?(is_sso_user|invited_at)\b( boolean| timestamp with time zone|::\w+)?`).ReplaceAllString(body, "")
		p.asOwner("drop function rollcall_provider." + f + "; " + older + "; revoke all on function rollcall_provider." + name + " from public; grant execute on function rollcall_provider." + name + " to " + p.hosted.Role("rollcall"))
	}
	said := logged(p.Bench)
	p.follow()
	p.signUp(1, "one")
	p.Exec("update auth.users set is_sso_user = true, invited_at = '2026-01-02' where id = '" + userID(1) + "'")
	p.drain()
	const row = "select email is not null, is_sso_user, invited_at is not null from rollcall.users"
	p.Want(row, "t|f|f")
	users := must.Get(p.DB.Directory().Users(t.Context(), "app", "auth.users"))(t)
	must.Contain(t, string(must.Get(users.One(t.Context(), userID(1)))(t)), `"is_sso_user":null`)
	must.Equal(t, must.Get(users.Compare(t.Context(), "", "", 10))(t).Same, 1, "users that are the same")
	must.Contain(t, said.String(), "is_sso_user invited_at")
	p.paste()
	signal(p.Bench, event.Applied, lookAt(1))
	p.Want(row, "t|t|t")
}

// pasteFails runs the script, which fails with a state and leaves nothing open.
func (p *project) pasteFails(want string) {
	p.T.Helper()
	_, err := p.owner.PgConn().Exec(p.T.Context(), p.DB.Outbox().ByHand(ofUsers)).ReadAll()
	if sqlstate.Of(err) != want {
		p.T.Errorf("the script ends with %v, want %s", err, want)
	}
	pgtest.Exec(p.T, p.owner, "rollback")
}

// Any role that may create schemas could make what looks like a reader, and an outbox with
// triggers that run as Rollcall's role: only one whose role decides about the table counts.
func TestHostedProjectBelievesNoStranger(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	stranger := p.hosted.Role("stranger")
	p.Exec(fmt.Sprintf("grant create on database %s to %s", p.database(), stranger))
	other := pgtest.Connect(t, p.hosted.As("stranger")).Conn
	script := strings.ReplaceAll(p.DB.Outbox().ByHand(ofUsers), target.QuoteTable("auth.users"), "rollcall_provider.users")
	script = strings.Replace(script, "create table if not exists", "create table rollcall_provider.users (like public.nothing); create table if not exists", 1)
	p.Exec("create table public.nothing (id uuid, email text, raw_user_meta_data jsonb, raw_app_meta_data jsonb, created_at timestamptz); grant select on public.nothing to " + stranger)
	pgtest.Exec(t, other, script)
	pgtest.Exec(t, other, fmt.Sprintf("insert into rollcall_provider.outbox (source, user_id, gone) values ('app', '%s', false)", userID(1)))
	must.Fail(t, p.Follow(t.Context(), "app", "auth.users"), directory.ErrUnseen)
	must.Equal(t, p.drain(), 0, "changes of a stranger drained")
	p.pasteFails(sqlstate.InsufficientPrivilege)
	p.Exec(fmt.Sprintf(`alter role %[1]s bypassrls; set role supabase_admin_%[2]s; grant usage on schema auth to %[1]s; reset role;
set role supabase_auth_admin_%[2]s; grant select on auth.users to %[1]s; reset role`, p.hosted.Role("rollcall"), strings.TrimPrefix(stranger, "stranger_")))
	p.follow() // the table itself
	must.Equal(t, p.drain(), 0, "changes of a stranger drained")
}
