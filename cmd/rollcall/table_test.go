package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// tableHook is a hook about a user that is in the body only.
func tableHook(id, user string) string {
	return fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"after-user-created"},"user":{"id":%q,"email":"said@x.test","updated_at":"2030-01-01T00:00:00Z"}}`, id, user)
}

// arrives waits until there is one profile, with an e-mail address.
func (l *lobby) arrives(email string) {
	l.t.Helper()
	l.db.Await("select email from profiles", email)
}

// A change counts though its updated_at is before that of the last one, and a deletion at once.
func TestServeFollowsTheTable(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.db.Exec("create constraint trigger rollcall_capture after insert or update or delete on auth.users deferrable initially deferred for each row execute function rollcall.capture('supabase')")
	l.log.await(t, "a capture is watched", 1)
	l.db.Exec("insert into auth.users (id, email, updated_at) values ($1, 'zero@x.test', now())", supaUser)
	l.arrives("zero@x.test")
	l.db.Exec("update auth.users set email = 'one@x.test', updated_at = now()")
	time.Sleep(400 * time.Millisecond)
	l.db.Exec("update auth.users set email = 'two@x.test', updated_at = updated_at - interval '5 ms'")
	l.arrives("two@x.test")
	l.wants(l.supabaseToken(supaUser), "200 "+supaUser+" map[profiles:applied]")

	l.db.Exec("delete from auth.users")
	l.wants(l.supabaseToken(supaUser), "410 deleted map[]")
}

// A hook about a user who is not in the table is stale, and its line says why. A metric tells that the
// table decides, until it can't be read.
func TestServeSaysWhyAnEventIsStale(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	hook := func(id, want string) {
		t.Helper()
		l.expect(signed(t, source.Supabase, source.Hook, tableHook(id, supaUser)), accepted(want))
	}
	hook("nobody", "stale")
	if line := l.log.await(t, "webhook", 1); line["reason"] != "not in auth.users" {
		t.Errorf("log line %v", line)
	}
	l.counts(`rollcall_table_source{source="supabase"} 1`)
	l.db.Exec("alter table auth.users rename to away")
	hook("by its body", "applied")
	l.counts(`rollcall_table_source{source="supabase"} 0`)
}

// Whoever asks gets an answer that was read after the question: a look that is under way already is
// not shared.
func TestSyncSeesItsOwnWrite(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.db.Exec("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$")
	l.db.Exec("create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow()")
	l.db.Exec("insert into auth.users (id, email, updated_at) values ($1, '0@x.test', now())", supaUser)
	var asking sync.WaitGroup
	for n := 1; n <= 5; n++ {
		email := fmt.Sprintf("%d@x.test", n)
		l.db.Exec("update auth.users set email = $1", email)
		token := l.supabaseToken(supaUser)
		asking.Go(func() {
			if a := l.call("POST", token, nil); a.status != 200 || a.User.Email < email {
				t.Errorf("after %s: %s %s", email, a, a.User.Email)
			}
		})
		time.Sleep(100 * time.Millisecond)
	}
	asking.Wait()
}

// While the table has none of the roll's users, nobody is told that they are signed up, or gone.
func TestSyncInDoubt(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	const another = "6f1d0f4e-8a37-4c57-9a55-3c1d7e1d9b22"
	l.db.Exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now()), ($2, 'b@x.test', now())", supaUser, another)
	for _, user := range []string{supaUser, another} {
		l.wants(l.supabaseToken(user), "200 "+user+" map[profiles:applied]")
	}
	l.db.Exec("create table saved as table auth.users")
	l.db.Exec("truncate auth.users")
	if a := l.call("POST", l.supabaseToken(supaUser), nil); a.status != 503 {
		t.Errorf("the answer is %s, want 503", a)
	}
	l.db.Exec("insert into auth.users (id, email, updated_at) select id, email, updated_at from saved where id = $1", another)
	l.wants(l.supabaseToken(supaUser), "410 deleted map[]")
}

const hostedTarget = `
targets:
  profiles:
    table: public.profiles
    from: [supabase]
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

// On a hosted Supabase project serve says what it may not read and which command prints the remedy.
// What that prints is pasted as the project's owner, and then everything works with Rollcall's role.
func TestHostedProject(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHosted(t)
	owner := fixture.At(t, h.As("owner"))
	role := h.Role("rollcall")
	owner.Exec(fmt.Sprintf(`create role %[1]s login; grant connect, create on database %[2]s to %[1]s;
create table public.profiles (id uuid primary key, email text);
grant usage on schema public to %[1]s; grant select, insert, update, delete on public.profiles to %[1]s`, role, owner.SQL.Config().Database))
	yaml := strings.Replace(twoSources, "    database_webhook:", supabaseSession+"    reconcile: {schedule: 0 0 1 1 *}\n    database_webhook:", 1) + hostedTarget
	in := serveAt(t, yaml, h.As("rollcall"))
	in.db = fixture.At(t, h.URL)
	line := in.log.await(t, "the table of users can't be read: what needs it does not work, and changes count by their version", 1)
	reason, _ := line["error"].(string)
	if needs := fmt.Sprint(line["needed_by"]); needs != "[reconcile.schedule session]" || !strings.Contains(reason, "rollcall capture install --print supabase") || strings.Contains(reason, "grant usage") {
		t.Errorf("serve says %v", line)
	}
	command := func(want int, args ...string) string {
		t.Helper()
		got := in.run(t.Context(), args...)
		if got.code != want {
			t.Errorf("%s: want %d, got %s", args, want, got)
		}
		return got.out + got.log
	}
	for _, refused := range [][]string{{"capture", "install", "supabase"}, {"reconcile", "supabase"}} {
		if said := command(cli.ExitProblems, refused...); !strings.Contains(said, "rollcall capture install --print supabase") || strings.Contains(said, "grant usage") {
			t.Errorf("%s: %s", refused, said)
		}
	}
	owner.Exec("insert into auth.users (id, email, created_at, updated_at) values ('" + supaUser + "', 'before@example.com', now(), now())")
	owner.Exec(command(cli.ExitFine, "capture", "install", "--print", "supabase"))
	in.log.await(t, "the table of users can be read: its rows are the truth", 1)
	command(cli.ExitFine, "capture", "status", "supabase")

	want := func(profiles ...string) {
		t.Helper()
		in.db.Await("select email from profiles order by 1", profiles...)
	}
	command(cli.ExitFine, "reconcile", "supabase")
	want("before@example.com")
	owner.Exec("update auth.users set email = 'captured@example.com', updated_at = updated_at - interval '5 ms'")
	want("captured@example.com")
	owner.Exec("insert into auth.users (id, email, created_at, updated_at) values ('5a3f1e00-0000-4000-8000-000000000b01', 'ben@example.com', now(), now())")
	want("ben@example.com", "captured@example.com")
	owner.Exec("delete from auth.users where email = 'ben@example.com'")
	want("captured@example.com")
	command(cli.ExitFine, "check")

	// just-in-time, and an announcement, of users that nothing captures
	in.db.Exec("alter table auth.users disable trigger rollcall_capture")
	const carl, dora = "5a3f1e00-0000-4000-8000-000000000b02", "5a3f1e00-0000-4000-8000-000000000b03"
	owner.Exec("insert into auth.users (id, email, created_at, updated_at) values ('" + carl + "', 'carl@example.com', now(), now()), ('" + dora + "', 'dora@example.com', now(), now())")
	if a := in.call("POST", in.supabaseToken(carl), nil); a.status != 200 || a.User.Email != "carl@example.com" {
		t.Errorf("just-in-time says %s", a)
	}
	in.announce("m1", dora)
	want("captured@example.com", "carl@example.com", "dora@example.com")
	in.db.Exec("delete from auth.users where id = '" + carl + "'")
	if said := command(cli.ExitFine, "reconcile", "supabase", "--max-delete", "100%"); !strings.Contains(said, "1") {
		t.Errorf("reconcile says %s", said)
	}
	want("captured@example.com", "dora@example.com")
	command(cli.ExitFine, "check")
}

// banTarget follows what a provider decides and what a client writes.
const banTarget = `
targets:
  members:
    table: public.members
    key: id
    set:
      id: new.id
      email: new.email
      banned: new.banned
      name: new.full_name
      theme: new.raw_user_meta_data->>'theme'
    on_delete: delete
`

const members = `create table members (id text primary key, email text, banned boolean, name text, theme text)`

// hostile are metadata that no jsonb of the roll takes.
var hostile = map[string]string{
	"deep":    `{"theme":"x","name":"X","a":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`,
	"numbers": `{"theme":"x","name":"X","a":[` + strings.Repeat(`1e131071,`, 100) + `1]}`,
}

// startKept is a serve whose users are in no table, or in one.
func startKept(t testing.TB, table string) *instance {
	t.Helper()
	yaml := strings.Replace(twoSources, "provider: supabase\n", "provider: supabase\n    users_table: "+table+"\n", 1) + banTarget
	return serveAt(t, yaml, pgtest.NewWith(t, pgtest.Auth, members))
}

// keeps waits until the target has one row so, "" for none, and the roll keeps so many columns.
func (in *instance) keeps(row string, columns int) {
	in.t.Helper()
	in.db.Await(`select coalesce((select concat_ws('|', email, banned, name, theme) from members), '') || '|' ||
		coalesce((select max(cardinality(kept)) from rollcall.users), 0)`, fmt.Sprintf("%s|%d", row, columns))
}

// deliver sends a webhook that is applied.
func (in *instance) deliver(provider string, endpoint source.Endpoint, body string) {
	in.t.Helper()
	in.expect(signed(in.t, provider, endpoint, body), accepted("applied"))
}

const (
	keptID  = "5a3f1e00-0000-4000-8000-000000000b01"
	forever = "2999-01-01T00:00:00+00:00"
)

// A ban, a new e-mail address and a deletion come through Clerk's webhooks, whatever the user
// writes into the metadata, which keeps its last known value.
func TestKeptThroughClerk(t *testing.T) {
	t.Parallel()
	k := startKept(t, "none")
	user := func(version int, rest string) string {
		return fmt.Sprintf(`{"id":"user_1","first_name":"Ada","updated_at":%d,"primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":"%d@example.com"}]%s}`,
			1760000000000+version, version, rest)
	}
	event := func(kind, data string) string {
		return `{"object":"event","type":"` + kind + `","timestamp":1760000000900,"data":` + data + `}`
	}
	k.deliver("clerk", source.Hook, event("user.created", user(1, `,"unsafe_metadata":{"theme":"dark"}`)))
	k.keeps("1@example.com|f|Ada|dark", 0)
	version := 1
	for _, metadata := range hostile {
		version += 3
		k.deliver("clerk", source.Hook, event("user.updated", user(version, `,"banned":true,"unsafe_metadata":`+metadata)))
		k.keeps(fmt.Sprintf("%d@example.com|t|Ada|dark", version), 1)
		session := `{"id":"sess_1","user":` + user(version+1, `,"unsafe_metadata":`+metadata) + `}`
		k.deliver("clerk", source.Hook, event("session.created", session))
		k.keeps(fmt.Sprintf("%d@example.com|f|Ada|dark", version+1), 1)
		k.deliver("clerk", source.Hook, event("user.updated", user(version+2, `,"unsafe_metadata":{"theme":"dark"}`)))
		k.keeps(fmt.Sprintf("%d@example.com|f|Ada|dark", version+2), 0)
	}
	k.deliver("clerk", source.Hook, event("user.updated", user(version+3, `,"banned":true,"public_metadata":`+hostile["deep"])))
	k.keeps(fmt.Sprintf("%d@example.com|t|Ada", version+3), 1)
	line := k.log.await(t, "webhook", 2)
	if line["level"] != "WARN" || line["kept"] != "raw_user_meta_data" || !strings.Contains(fmt.Sprint(line["reason"]), "metadata") || line["user"] != "user_1" {
		t.Errorf("log line %v", line)
	}
	got := k.run(t.Context(), "check", "--user", "user_1")
	if got.code != cli.ExitFine || !strings.Contains(got.out, "last known value is kept of raw_app_meta_data") {
		t.Error(got)
	}
	k.deliver("clerk", source.Hook, event("user.deleted", `{"id":"user_1","deleted":true}`))
	k.keeps("", 0)
}

// The same through Supabase's endpoints, where the table of users is elsewhere.
func TestKeptThroughSupabase(t *testing.T) {
	t.Parallel()
	for name, metadata := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKept(t, "none")
			row := func(minute int, rest string) string {
				return fmt.Sprintf(`{"id":%q,"email":"%d@example.com","updated_at":"2026-11-21T01:%02d:00+00:00"%s}`, keptID, minute, minute, rest)
			}
			change := func(kind, record, old string) string {
				return `{"type":"` + kind + `","schema":"auth","table":"users","record":` + record + `,"old_record":` + old + `}`
			}
			hook := func(minute int, user string) string {
				return fmt.Sprintf(`{"metadata":{"uuid":"%s-%d","name":"after-user-created"},"user":%s}`, keptID, minute, user)
			}
			k.deliver("supabase", source.Hook, hook(1, row(1, `,"user_metadata":{"theme":"dark","name":"Ada"}`)))
			k.keeps("1@example.com|f|Ada|dark", 0)
			k.deliver("supabase", source.Hook, hook(2, row(2, `,"banned_until":"`+forever+`","user_metadata":`+metadata)))
			k.keeps("2@example.com|t|Ada|dark", 6)
			k.deliver("supabase", source.Database, change("UPDATE", row(3, `,"raw_user_meta_data":`+metadata), row(2, `,"raw_user_meta_data":`+metadata)))
			k.keeps("3@example.com|f|Ada|dark", 6)
			k.deliver("supabase", source.Database, change("UPDATE", row(4, `,"raw_user_meta_data":{"name":"Bea"}`), "null"))
			k.keeps("4@example.com|f|Bea", 0)
			k.deliver("supabase", source.Database, change("DELETE", "null", row(5, `,"raw_user_meta_data":`+metadata)))
			k.keeps("", 0)
		})
	}
}

// The same by capture and by reconciliation, which ends with success night after night.
func TestKeptFromTheTable(t *testing.T) {
	t.Parallel()
	k := startKept(t, "auth.users")
	large := `{"theme":"x","name":"X","a":"` + strings.Repeat("a", 2<<20) + `"}`
	k.db.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, '1@example.com', '{"theme":"dark","name":"Ada"}', now())`, keptID)
	k.run(t.Context(), "capture", "install", "supabase")
	update := func(n int, set string, args ...any) {
		k.db.Exec(fmt.Sprintf(`update auth.users set email = '%d@example.com', updated_at = now(), %s`, n, set), args...)
	}
	update(2, `banned_until = null`)
	k.keeps("2@example.com|f|Ada|dark", 0)
	update(3, `banned_until = '`+forever+`', raw_user_meta_data = $1`, large)
	k.keeps("3@example.com|t|Ada|dark", 6)
	line := k.log.await(t, "columns keep their last known value; the rest is applied", 1)
	if line["level"] != "WARN" || line["user"] != keptID || !strings.Contains(fmt.Sprint(line["reason"]), "limits.metadata") {
		t.Errorf("log line %v", line)
	}
	for range 2 {
		if got := k.run(t.Context(), "reconcile", "supabase"); got.code != cli.ExitFine || !strings.Contains(got.out, "unchanged 1") {
			t.Error(got)
		}
	}
	k.run(t.Context(), "capture", "remove", "supabase")
	update(4, `banned_until = null`)
	if got := k.run(t.Context(), "reconcile", "supabase"); got.code != cli.ExitFine {
		t.Error(got)
	}
	k.keeps("4@example.com|f|Ada|dark", 6)
	update(5, `raw_user_meta_data = '{"name":"Bea"}'`)
	k.run(t.Context(), "reconcile", "supabase")
	k.keeps("5@example.com|f|Bea", 0)
	update(6, `deleted_at = now(), raw_user_meta_data = $1`, large)
	k.db.Exec(`insert into auth.users (id, email, updated_at) values (gen_random_uuid(), null, now())`)
	k.run(t.Context(), "reconcile", "supabase", "--max-delete", "100%")
	k.db.Exec("delete from members where email is null")
	k.keeps("", 0)
}
