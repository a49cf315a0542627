package reconcile_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// announce announces a user, as if so long ago; members are those of the user in the hook.
func (h *house) announce(name, members string, ago time.Duration) {
	h.t.Helper()
	e := h.Source.Decode(source.Request{
		Body:       fmt.Appendf(nil, `{"metadata":{"uuid":%q,"name":"before-user-created"},"user":{%s}}`, name, members),
		ReceivedAt: time.Now().Add(-ago),
	})
	if outcomes, err := h.Submit(h.t.Context(), []event.Event{e}); err != nil || outcomes[0] != event.Announced {
		h.t.Fatal(outcomes, err)
	}
}

// confirm looks up who is due.
func (h *house) confirm(want reconcile.Confirmed) {
	h.t.Helper()
	got, err := reconcile.Confirm(h.t.Context(), h.Config)
	if err != nil || got != want {
		h.t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func announced(n int) string { return fmt.Sprintf(`"id":%q,"email":"%d@x.test"`, id(n), n) }

// signUp creates a user now.
func (h *house) signUp(n int, email, phone string) {
	h.t.Helper()
	h.exec(fmt.Sprintf(`insert into auth.users (id, email, phone, encrypted_password, raw_user_meta_data, created_at, updated_at)
values ('%s', nullif('%s', ''), nullif('%s', ''), 'hunter2', '{"full_name": "Ada"}', now(), now())`, id(n), email, phone))
}

const ends = "select id || ' ' || outcome from rollcall.events order by id"

// Who is there is brought, by his id, or else by the address under which he was announced.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.announce("a", announced(1), 3*time.Second)
	h.announce("b", `"id":"`+id(902)+`","email":"Two@X.test"`, 3*time.Second)
	h.announce("c", `"id":"`+id(903)+`","email":"","phone":"4912345"`, 3*time.Second)
	h.announce("d", announced(4), 3*time.Second)
	h.announce("e", `"id":"`+id(905)+`","email":"old@x.test"`, 3*time.Second)
	h.announce("f", `"id":"`+id(906)+`","email":"","phone":""`, 3*time.Second)
	h.announce("g", announced(7), 0)
	h.signUp(1, "other@x.test", "")
	h.signUp(2, "two@x.test", "")
	h.signUp(3, "", "4912345")
	h.signUp(5, "old@x.test", "")
	h.exec("update auth.users set created_at = now() - interval '1 hour' where email = 'old@x.test'")
	h.signUp(7, "7@x.test", "")
	h.signUp(8, "", "")
	h.confirm(reconcile.Confirmed{Applied: 3})
	h.want(ends, "a applied", "b applied", "c applied", "d announced", "e announced", "f announced", "g announced")
	h.want("select id::text || ' ' || role from profiles order by 1", id(1)+" customer", id(2)+" customer", id(3)+" customer")
	h.want("select id || ' ' || extract(epoch from look_at - received_at)::int from rollcall.events where look_at is not null order by id", "d 5", "e 5", "f 5")
	h.confirm(reconcile.Confirmed{}) // nobody is due before his next look
}

// The looks go on after a restart; after the last one the announcement ends.
func TestAnnouncedAndNeverCreated(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.announce("a", announced(1), 6*time.Second)
	h.announce("b", announced(2), 6*time.Second)
	h.exec("update rollcall.events set body = null where id = 'b'") // kept no longer
	h.confirm(reconcile.Confirmed{})
	h.want("select distinct extract(epoch from look_at - received_at)::int::text from rollcall.events", "15")
	h.signUp(2, "2@x.test", "")
	h.exec("update rollcall.events set received_at = received_at - interval '1 minute', look_at = look_at - interval '1 minute'")
	again := openHouse(t, h.sql.Config().ConnString(), "")
	again.confirm(reconcile.Confirmed{Applied: 1, NeverCreated: 1})
	h.want(ends, "a never_created", "b applied")
	h.signUp(1, "1@x.test", "") // too late for the announcement; another door brings him
	again.confirm(reconcile.Confirmed{})
	h.want(ends, "a never_created", "b applied")
}

// The announcement ends as bringing its user did; what the roll knows already is no more news.
func TestAnnouncedOutcomes(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "insert into profiles (id, email) values ('"+id(99)+"', '1@x.test')")
	for n := range 5 {
		h.announce(fmt.Sprint(n+1), announced(n+1), 3*time.Second)
		h.signUp(n+1, fmt.Sprint(n+1, "@x.test"), "")
	}
	h.exec("update auth.users set raw_user_meta_data = '{\"a\": " + strings.Repeat("[", 250) + strings.Repeat("]", 250) + "}' where id = '" + id(2) + "'")
	h.exec("update auth.users set deleted_at = now() where id = '" + id(3) + "'")
	newer := &event.User{Row: event.Row{Source: "supabase", ID: id(4), Version: time.Now().Add(time.Hour).UnixMicro()}, RawUserMetaData: "{}", RawAppMetaData: "{}"}
	if _, err := h.Submit(t.Context(), []event.Event{{Source: "supabase", Op: event.Upsert, UserID: id(4), User: newer}}); err != nil {
		t.Fatal(err)
	}
	h.confirm(reconcile.Confirmed{Applied: 4, Parked: 1})
	h.want(ends, "1 parked", "2 applied", "3 applied", "4 applied", "5 applied")
	h.want("select id::text from profiles order by 1", id(2), id(4), id(5), id(99))
	h.want("select id from rollcall.users where deleted_at is null order by id", id(1), id(2), id(4), id(5))
}

// What could not be submitted is looked up again.
func TestAnnouncedWhileNothingCanBeApplied(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.announce("a", announced(1), time.Hour)
	h.signUp(1, "1@x.test", "")
	cfg := h.Config
	cfg.Submit = func(context.Context, []event.Event) ([]event.Outcome, error) {
		return []event.Outcome{event.Unavailable}, event.ErrUnavailable
	}
	if _, err := reconcile.Confirm(t.Context(), cfg); !errors.Is(err, event.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	h.want(ends, "a announced")
	h.confirm(reconcile.Confirmed{Applied: 1})
}

// Who can't be seen is not declared missing; when he can be, he is found.
func TestAnnouncedAndHidden(t *testing.T) {
	role := "reader_" + strings.ToLower(rand.Text())
	h := newHouse(t, fmt.Sprintf(`create role %[1]s login; grant usage on schema public to %[1]s; grant select, insert, update, delete on profiles to %[1]s`, role))
	h.exec(fmt.Sprintf("grant usage on schema rollcall to %[1]s; grant select, insert, update, delete on all tables in schema rollcall to %[1]s", role))
	t.Cleanup(func() {
		_, _ = h.sql.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s; drop role %[1]s", role))
	})
	reader := openHouse(t, h.sql.Config().ConnString(), role)
	h.announce("a", announced(1), time.Hour)
	h.signUp(1, "1@x.test", "")
	unseen := func(when string, is error) {
		t.Helper()
		if _, err := reconcile.Confirm(t.Context(), reader.Config); !errors.Is(err, postgres.ErrUnseen) || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: %v", when, err)
		}
		h.want(ends, "a announced")
	}
	unseen("without a right", nil)
	h.exec(fmt.Sprintf("grant usage on schema auth to %[1]s; grant select on auth.users to %[1]s", role))
	unseen("behind row security", postgres.ErrHidden)
	h.exec("alter table auth.users rename to away")
	unseen("without the table", nil)
	h.exec("alter table auth.away rename to users; alter role " + role + " bypassrls")
	reader.confirm(reconcile.Confirmed{Applied: 1})
}

// Of a user who is found, by id or else by e-mail, only the id is read.
func TestSeekReadsTheID(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.signUp(1, "1@x.test", "")
	users, err := h.DB.Users(t.Context(), "supabase", "auth.users")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []postgres.Sought{{ID: id(1)}, {Email: "1@X.test"}} {
		seen, err := users.Seek(t.Context(), []postgres.Sought{{ID: id(2)}, s})
		if err != nil || len(seen) != 2 || seen[0].ID != nil || seen[1].ID == nil || *seen[1].ID != id(1) {
			t.Fatalf("got %+v, %v", seen, err)
		}
	}
}

// A role with rights to columns only: those of new are enough for a run and for a look, and
// which one it may not read is said.
func TestRightsToColumns(t *testing.T) {
	t.Parallel()
	role := "columns_" + strings.ToLower(rand.Text())
	h := newHouse(t, fmt.Sprintf(`create role %[1]s login bypassrls; grant usage on schema auth, public to %[1]s; grant select, insert, update, delete on profiles to %[1]s`, role))
	h.exec(fmt.Sprintf("grant usage on schema rollcall to %[1]s; grant select, insert, update, delete on all tables in schema rollcall to %[1]s", role))
	t.Cleanup(func() {
		_, _ = h.sql.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s; drop role %[1]s", role))
	})
	reader := openHouse(t, h.sql.Config().ConnString(), role)
	h.signUp(1, "1@x.test", "")
	h.exec(`grant select (id, email, phone, raw_user_meta_data, raw_app_meta_data, is_anonymous, email_confirmed_at, banned_until, created_at, updated_at, last_sign_in_at)
on auth.users to ` + role)
	_, err := reader.DB.Users(t.Context(), "supabase", "auth.users")
	if want := `grant select ("is_sso_user", "phone_confirmed_at", "invited_at", "deleted_at") on "auth"."users" to "` + role + `"`; !errors.Is(err, postgres.ErrUnseen) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	h.exec("grant select (phone_confirmed_at, deleted_at) on auth.users to " + role)
	users, err := reader.DB.Users(t.Context(), "supabase", "auth.users")
	if err != nil {
		t.Fatal(err) // it lacks columns that older versions do not read
	}
	if err := reader.DB.Follow(t.Context(), "supabase", "auth.users"); err != nil {
		t.Fatal(err)
	}
	h.exec("update auth.users set is_sso_user = true")
	if row, err := users.One(t.Context(), id(1)); err != nil || !strings.Contains(string(row), "1@x.test") || strings.Contains(string(row), "is_sso_user") {
		t.Errorf("read %s, %v", row, err)
	}
	page, err := users.Compare(t.Context(), "", 10)
	if err != nil || len(page.Differing) != 1 {
		t.Errorf("compared %+v, %v", page, err)
	}
	seen, err := users.Seek(t.Context(), []postgres.Sought{{ID: id(2), Email: "1@X.test"}})
	if err != nil || len(seen) != 1 || seen[0].ID == nil || *seen[0].ID != id(1) {
		t.Errorf("sought by e-mail: %+v, %v", seen, err)
	}
	reader.wantRun(postgres.Reconciled{Created: 1})
}

// One whose address is as long as a body may be does not keep the others from being found.
func TestAnnouncedWithALongAddress(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 5000)
	h.exec("update auth.users set created_at = now()")
	h.announce("a", `"id":"`+id(9001)+`","email":"`+strings.Repeat("a", 900_000)+`@x.test"`, 3*time.Second)
	h.announce("b", announced(6001), 3*time.Second)
	h.signUp(6001, "6001@x.test", "")
	h.confirm(reconcile.Confirmed{Applied: 1})
	h.want(ends, "a announced", "b applied")
}

// Many at once, among many users, with the index of Supabase's own table.
func TestAnnouncedMany(t *testing.T) {
	testtag.Parallel(t)
	h := newHouse(t, "create index on auth.users (instance_id, lower(email::text))")
	h.users(1, 100_000)
	h.exec(`update auth.users set created_at = now(), instance_id = '00000000-0000-0000-0000-000000000000';
insert into rollcall.events (source, id, type, user_id, outcome, received_at, body)
select 'supabase', g::text, 'before-user-created', gen_random_uuid()::text, 'announced', now() - interval '3 s',
  convert_to(format('{"user":{"id":"x","email":"%s@x.test"}}', g), 'UTF8') from generate_series(1, 1200) g`)
	start := time.Now()
	h.confirm(reconcile.Confirmed{Applied: 1200})
	took := time.Since(start)
	t.Logf("1200 of 100,000 users in %s", took)
	if testtag.Timing && took > 2*time.Second { // without the index it is three times that
		t.Errorf("1200 announced users took %s", took)
	}
}
