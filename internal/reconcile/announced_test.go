package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// announce announces a user, as if so long ago; members are those of the user in the hook.
func (p *project) announce(name, members string, ago time.Duration) {
	p.T.Helper()
	e := p.Source.Decode(source.Request{
		Body:       fmt.Appendf(nil, `{"metadata":{"uuid":%q,"name":"before-user-created"},"user":{%s}}`, name, members),
		ReceivedAt: time.Now().Add(-ago),
	})
	if outcomes, err := p.Submit(p.T.Context(), []event.Event{e}); err != nil || outcomes[0] != event.Announced {
		p.T.Fatal(outcomes, err)
	}
}

// confirm looks up the users who are due.
func (p *project) confirm(want reconcile.Confirmed) {
	p.T.Helper()
	must.Equal(p.T, must.Get(reconcile.Confirm(p.T.Context(), p.Config))(p.T), want, "announcements")
}

func announced(n int) string { return fmt.Sprintf(`"id":%q,"email":"%d@x.test"`, fixture.ID(n), n) }

// signUp creates a user now.
func (p *project) signUp(n int, email, phone string) {
	p.T.Helper()
	p.Exec(fmt.Sprintf(`insert into auth.users (id, email, phone, encrypted_password, raw_user_meta_data, created_at, updated_at)
values ('%s', nullif('%s', ''), nullif('%s', ''), 'hunter2', '{"full_name": "Ada"}', now(), now())`, fixture.ID(n), email, phone))
}

const ends = "select id || ' ' || outcome from rollcall.events order by id"

// A user who exists is added, found by id or else by the announced address.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.announce("a", announced(1), 6*time.Second)
	p.announce("b", `"id":"`+fixture.ID(902)+`","email":"Two@X.test"`, 6*time.Second)
	p.announce("c", `"id":"`+fixture.ID(903)+`","email":"","phone":"4912345"`, 6*time.Second)
	p.announce("d", announced(4), 6*time.Second)
	p.announce("e", `"id":"`+fixture.ID(905)+`","email":"old@x.test"`, 6*time.Second)
	p.announce("f", `"id":"`+fixture.ID(906)+`","email":"","phone":""`, 6*time.Second)
	p.announce("g", announced(7), -time.Hour)
	p.signUp(1, "other@x.test", "")
	p.signUp(2, "two@x.test", "")
	p.signUp(3, "", "4912345")
	p.signUp(5, "old@x.test", "")
	p.Exec("update auth.users set created_at = now() - interval '1 hour' where email = 'old@x.test'")
	p.signUp(7, "7@x.test", "")
	p.signUp(8, "", "")
	p.confirm(reconcile.Confirmed{Applied: 3})
	p.Want(ends, "a applied", "b applied", "c applied", "d announced", "e announced", "f announced", "g announced")
	p.Want("select id::text || ' ' || role from profiles order by 1", fixture.ID(1)+" customer", fixture.ID(2)+" customer", fixture.ID(3)+" customer")
	p.Want("select id || ' ' || extract(epoch from look_at - received_at)::int from rollcall.events where look_at is not null order by id", "d 15", "e 15", "f 15")
	p.confirm(reconcile.Confirmed{}) // no user is due before the next look
}

// The looks go on after a restart; after the last one the announcement ends.
func TestAnnouncedAndNeverCreated(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.announce("a", announced(1), 6*time.Second)
	p.announce("b", announced(2), 6*time.Second)
	p.Exec("update rollcall.events set body = null where id = 'b'") // kept no longer
	p.confirm(reconcile.Confirmed{})
	p.Want("select distinct extract(epoch from look_at - received_at)::int::text from rollcall.events", "15")
	p.signUp(2, "2@x.test", "")
	p.Exec("update rollcall.events set received_at = received_at - interval '1 minute', look_at = look_at - interval '1 minute'")
	again := supabaseProject(p.Database, "")
	again.confirm(reconcile.Confirmed{Applied: 1, NeverCreated: 1})
	p.Want(ends, "a never_created", "b applied")
	p.signUp(1, "1@x.test", "") // too late for the announcement; another endpoint adds the user
	again.confirm(reconcile.Confirmed{})
	p.Want(ends, "a never_created", "b applied")
}

// The announcement ends as bringing its user did; what the roll knows already is no more news.
func TestAnnouncedOutcomes(t *testing.T) {
	t.Parallel()
	p := newProject(t, "insert into profiles (id, email) values ('"+fixture.ID(99)+"', '1@x.test')")
	for n := range 5 {
		p.announce(fmt.Sprint(n+1), announced(n+1), 3*time.Second)
		p.signUp(n+1, fmt.Sprint(n+1, "@x.test"), "")
	}
	p.Exec("update auth.users set raw_user_meta_data = '{\"a\": " + strings.Repeat("[", 250) + strings.Repeat("]", 250) + "}' where id = '" + fixture.ID(2) + "'")
	p.Exec("update auth.users set deleted_at = now() where id = '" + fixture.ID(3) + "'")
	newer := &event.User{Row: event.Row{Source: "supabase", ID: fixture.ID(4), Version: time.Now().Add(time.Hour).UnixMicro()}, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	must.Get(p.Submit(t.Context(), []event.Event{{Source: "supabase", Op: event.Upsert, UserID: fixture.ID(4), User: newer}}))(t)
	p.confirm(reconcile.Confirmed{Applied: 4, Parked: 1})
	p.Want(ends, "1 parked", "2 applied", "3 applied", "4 applied", "5 applied")
	p.Want("select id::text from profiles order by 1", fixture.ID(2), fixture.ID(4), fixture.ID(5), fixture.ID(99))
	p.Want("select id from rollcall.users where deleted_at is null order by id", fixture.ID(1), fixture.ID(2), fixture.ID(4), fixture.ID(5))
}

// What could not be submitted is looked up again.
func TestAnnouncedWhileNothingCanBeApplied(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.announce("a", announced(1), time.Hour)
	p.signUp(1, "1@x.test", "")
	cfg := p.Config
	cfg.Submit = func(context.Context, []event.Event) ([]event.Outcome, error) {
		return []event.Outcome{event.Unavailable}, event.ErrUnavailable
	}
	must.Fail(t, must.Err(reconcile.Confirm(t.Context(), cfg)), event.ErrUnavailable)
	p.Want(ends, "a announced")
	p.confirm(reconcile.Confirmed{Applied: 1})
}

// A user who can't be read is not declared missing, and is found once they can be read.
func TestAnnouncedAndHidden(t *testing.T) {
	p := newProject(t)
	role := p.Role("")
	reader := supabaseProject(p.Database, role)
	p.announce("a", announced(1), time.Hour)
	p.signUp(1, "1@x.test", "")
	unseen := func(is error) {
		t.Helper()
		err := must.Err(reconcile.Confirm(t.Context(), reader.Config))
		must.Fail(t, err, directory.ErrUnseen)
		must.Fail(t, err, is)
		p.Want(ends, "a announced")
	}
	unseen(nil) // without a right
	p.Exec(fmt.Sprintf("grant usage on schema auth to %[1]s; grant select on auth.users to %[1]s", role))
	unseen(directory.ErrHidden) // behind row security
	p.Exec("alter table auth.users rename to away")
	unseen(nil) // without the table
	p.Exec("alter table auth.away rename to users; alter role " + role + " bypassrls")
	reader.confirm(reconcile.Confirmed{Applied: 1})
}

// sought are the ids of those who are found, "" for the others.
func sought(t *testing.T, users *directory.Users, asked ...directory.Sought) []string {
	t.Helper()
	ids := make([]string, len(asked))
	for i, s := range must.Get(users.Seek(t.Context(), asked))(t) {
		if s.ID != nil {
			ids[i] = *s.ID
		}
	}
	return ids
}

// Of a user who is found, by id or else by e-mail, only the id is read.
func TestSeekReadsTheID(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.signUp(1, "1@x.test", "")
	users := must.Get(p.DB.Directory().Users(t.Context(), "supabase", "auth.users"))(t)
	for _, s := range []directory.Sought{{ID: fixture.ID(1)}, {Email: "1@X.test"}} {
		must.Equal(t, sought(t, users, directory.Sought{ID: fixture.ID(2)}, s), []string{"", fixture.ID(1)}, "ids")
	}
}

// A role with rights to columns only: those of new are enough for a run and for a look, and
// which one it may not read is said.
func TestRightsToColumns(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	role := p.Role("bypassrls")
	p.Exec("grant usage on schema auth to " + role)
	reader := supabaseProject(p.Database, role)
	p.signUp(1, "1@x.test", "")
	p.Exec(`grant select (id, email, phone, raw_user_meta_data, raw_app_meta_data, is_anonymous, email_confirmed_at, banned_until, created_at, updated_at, last_sign_in_at)
on auth.users to ` + role)
	must.Fail(t, must.Err(reader.DB.Directory().Users(t.Context(), "supabase", "auth.users")), directory.ErrUnseen,
		`grant select ("is_sso_user", "phone_confirmed_at", "invited_at", "deleted_at") on "auth"."users" to "`+role+`"`)
	p.Exec("grant select (phone_confirmed_at, deleted_at) on auth.users to " + role)
	users := must.Get(reader.DB.Directory().Users(t.Context(), "supabase", "auth.users"))(t)
	must.Do(t, reader.DB.Roll().Follow(t.Context(), "supabase", "auth.users")) // it lacks columns that older versions do not read
	p.Exec("update auth.users set is_sso_user = true")
	if row := must.Get(users.One(t.Context(), fixture.ID(1)))(t); !strings.Contains(string(row), "1@x.test") || strings.Contains(string(row), "is_sso_user") {
		t.Errorf("read %s", row)
	}
	if page := must.Get(users.Compare(t.Context(), "", "", 10))(t); len(page.Differing) != 1 {
		t.Errorf("compared %+v", page)
	}
	found := sought(t, users, directory.Sought{ID: fixture.ID(2), Email: "1@X.test"})
	must.Equal(t, found, []string{fixture.ID(1)}, "ids sought by e-mail")
	reader.wantRun(directory.Reconciled{Created: 1})
}

// One whose address is as long as a body may be does not keep the others from being found.
func TestAnnouncedWithALongAddress(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 5000)
	p.Exec("update auth.users set created_at = now()")
	p.announce("a", `"id":"`+fixture.ID(9001)+`","email":"`+strings.Repeat("a", 900_000)+`@x.test"`, 3*time.Second)
	p.announce("b", announced(6001), 3*time.Second)
	p.signUp(6001, "6001@x.test", "")
	p.confirm(reconcile.Confirmed{Applied: 1})
	p.Want(ends, "a announced", "b applied")
}

// Many at once, among many users, with the index of Supabase's own table.
func TestAnnouncedMany(t *testing.T) {
	testtag.Parallel(t)
	p := newProject(t, "create index on auth.users (instance_id, lower(email::text))")
	p.InsertUsers(1, 100_000)
	p.Exec(`update auth.users set created_at = now(), instance_id = '00000000-0000-0000-0000-000000000000';
insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
select 'supabase', g::text, 'before-user-created', gen_random_uuid()::text, 'announced', now() - interval '3 s',
  convert_to(format('{"user":{"id":"x","email":"%s@x.test"}}', g), 'UTF8') from generate_series(1, 1200) g`)
	start := time.Now()
	p.confirm(reconcile.Confirmed{Applied: 1200})
	took := time.Since(start)
	t.Logf("1200 of 100,000 users in %s", took)
	if testtag.Timing && took > 2*time.Second { // without the index it is three times that
		t.Errorf("1200 announced users took %s", took)
	}
}
