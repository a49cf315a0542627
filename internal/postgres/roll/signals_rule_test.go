package roll_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/testlog"
)

// hook is what a hook or a database webhook says about a user.
func hook(n int, id string) event.Event {
	e := fixture.Said(fixture.User(userID(n), 1, "said@x.test"))
	e.ID = id
	return e
}

func insertUsers(b *fixture.Bench, numbers ...int) {
	b.T.Helper()
	for _, n := range numbers {
		b.Exec(fmt.Sprintf("insert into auth.users (id, email) values ('%s', '%d@x.test')", userID(n), n))
	}
}

// logged has the service's log in a buffer.
func logged(b *fixture.Bench) *testlog.Log {
	log := &testlog.Log{}
	b.Log = slog.New(slog.NewTextHandler(log, nil))
	return log
}

const noPlaceholders = "select count(*) from rollcall.users where version is null"

// Ids are compared as uuids, in whatever form they come. What is none is undecodable, recorded
// where it has an id, and never an absent user.
func TestSignalsOfOtherForms(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec("insert into auth.users (id, email) values ('0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90', 'a@x.test')")
	for i, id := range []string{"0B8FF2A7-5C0F-4F0F-8A51-3B1D3C5F7E90", "{0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90}", "0b8ff2a75c0f4f0f8a513b1d3c5f7e90"} {
		e := fixture.Said(fixture.User(id, 1, "said@x.test"))
		e.ID = fmt.Sprint("form", i)
		signal(b, event.Applied, e)
	}
	b.Want("select id, email from rollcall.users", "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90|a@x.test")
	for i, id := range []string{"", "user_1", "x0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90y", "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e9"} {
		e := fixture.Said(fixture.User(id, 1, "said@x.test"))
		e.ID = fmt.Sprint("none", i)
		signal(b, event.UndecodableBody, e, event.Event{Source: "app", Op: event.Delete, UserID: id})
	}
	b.Want("select outcome, count(*) from rollcall.events group by 1 order by 1", "applied|3", "undecodable|4")
	b.Want("select count(*), count(deleted_at) from rollcall.users", "1|0")
}

// A user that the byte budget defers is read by a later transaction of the same call: until then
// the event, the row of the outbox and the user's row stay as they were.
func TestSignalsDeferredByBytes(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec(`create table sizes as select 1; alter table auth.users alter raw_user_meta_data set storage external`)
	for n := 1; n <= 4; n++ {
		b.Exec(fmt.Sprintf(`insert into auth.users (id, email, raw_user_meta_data) values ('%s', '%d@x.test', jsonb_build_object('a', repeat('x', 1000000)))`, userID(n), n))
		b.Exec(fmt.Sprintf(`insert into rollcall.outbox (source, user_id, gone, data) values ('app', '%s', false, '{}')`, userID(n)))
	}
	var events []event.Event
	for n := 1; n <= 4; n++ {
		e := hook(n, fmt.Sprint("e", n))
		e.Captured = []int64{int64(n)}
		events = append(events, e)
	}
	l := b.NewLook("app", events)
	unread := must.Get(l.First(t.Context()))(t)
	must.True(t, len(unread) != 0 && len(unread) != 4, "%d users of 4 are deferred", len(unread))
	read := fmt.Sprint(4 - len(unread))
	for _, table := range []string{"rollcall.users", "rollcall.events", "p"} {
		b.Want("select count(*) from "+table, read)
	}
	b.Want("select count(*) from rollcall.outbox", fmt.Sprint(len(unread)))
	b.Want("select count(*) from rollcall.events where outcome <> 'applied'", "0")
	must.Equal(t, must.Get(l.Rest(t.Context(), unread))(t), fixture.All(event.Applied, 4), "outcomes")
	b.Want("select count(*), count(email) from rollcall.users", "4|4")
	b.Want("select outcome, count(*) from rollcall.events group by 1", "applied|4")
	b.Want("select count(*) from rollcall.outbox", "0")
	signal(b, event.Duplicate, events...)
}

// An absence that no signal explains counts only if the table knows another user of the roll. A
// signal that says so counts at once.
func TestSignalsGuard(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1, 2, 3)
	signal(b, event.Applied, lookAt(1), lookAt(2), lookAt(3))
	b.Exec("create table saved as table auth.users; truncate auth.users")
	signal(b, event.Stale, lookAt(1), lookAt(2), lookAt(3)) // all that the roll has, at once
	signal(b, event.Stale, lookAt(1))
	signal(b, event.Stale, hook(2, "a hook"))
	b.Want("select count(*) from rollcall.users where deleted_at is null", "3")
	b.Want("select count(*) from p", "3")
	b.Want("select outcome from rollcall.events", "stale")
	b.Exec("insert into auth.users (id) values (gen_random_uuid())") // another project's
	signal(b, event.Stale, lookAt(1))
	b.Want("select count(*) from p", "3")
	b.Exec("insert into auth.users select * from saved where id = '" + userID(3) + "'")
	signal(b, event.Applied, lookAt(1))
	signal(b, event.Applied, lookAt(2), lookAt(3))
	b.Want("select id from p", userID(3))
	b.Exec("delete from auth.users")
	gone := lookAt(3)
	gone.Op = event.Delete
	signal(b, event.Applied, gone)
	b.Want("select count(*) from p", "0")
	b.Want(noPlaceholders, "0")
}

// The last user of the roll may be gone without a further one to ask the table about.
func TestSignalsOfTheOnlyUser(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	signal(b, event.Applied, lookAt(1))
	b.Exec("delete from auth.users")
	signal(b, event.Applied, lookAt(1))
	b.Want("select count(*) from p", "0")
}

// A user whose row has not changed is settled all the same, and one who is back after a tombstone
// lives.
func TestSignalsSettleTheUnchanged(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	signal(b, event.Applied, lookAt(1))
	written := b.Rows("select xmin from rollcall.users")
	b.Exec("delete from p")
	signal(b, event.Applied, lookAt(1))
	b.Want("select email from p", "1@x.test")
	b.Want("select xmin from rollcall.users", written...)
	b.Exec("delete from auth.users")
	signal(b, event.Applied, event.Event{Source: "app", Op: event.Delete, UserID: userID(1)})
	b.Exec("insert into p (id) values ('" + userID(1) + "')") // by hand
	signal(b, event.Stale, lookAt(1))
	b.Want("select count(*) from p", "0")
	insertUsers(b, 1)
	signal(b, event.Applied, hook(1, "back"))
	b.Want("select email, deleted_at from rollcall.users", "1@x.test|∅")
	b.Want("select email from p", "1@x.test")
}

// A repeated event settles its user and is a duplicate, also in one batch.
func TestSignalsDuplicates(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	b.Applies([]event.Outcome{event.Applied, event.Duplicate, event.Applied}, hook(1, "one"), hook(1, "one"), hook(1, "two"))
	b.Exec("delete from p; update auth.users set email = 'new@x.test'")
	signal(b, event.Duplicate, hook(1, "one"))
	b.Want("select email from p", "new@x.test")
	b.Want("select id, outcome from rollcall.events order by 1", "one|applied", "two|applied")
}

// An event about a user that neither the table nor the roll has says why it is stale; many within
// a minute are one warning.
func TestSignalsAboutNobody(t *testing.T) {
	t.Parallel()
	b := followed(t)
	log := logged(b)
	var reasons []string
	for i := range 3 * roll.ManyUnlisted {
		e := hook(1, fmt.Sprint(i))
		e.Explain = func(reason string) { reasons = append(reasons, reason) }
		signal(b, event.Stale, e)
	}
	must.True(t, len(reasons) == 3*roll.ManyUnlisted && reasons[0] == "not in auth.users",
		"%d reasons: %.1q", len(reasons), reasons)
	must.Equal(t, strings.Count(log.String(), "wrong database?"), 1, log)
	b.Want("select outcome, count(*) from rollcall.events group by 1", fmt.Sprintf("stale|%d", 3*roll.ManyUnlisted))
	b.Want("select count(*) from rollcall.users", "0")
	b.Want("select count(*) from rollcall.parked", "0")
}

// The outcome of a signal whose user a target refuses is parked, in the answer and in the record,
// by whichever path; users that nobody knows are never parked.
func TestSignalsParked(t *testing.T) {
	t.Parallel()
	for name, constraint := range map[string]string{
		"at once":  "alter table p add constraint c unique (email)",
		"deferred": "alter table p add constraint c unique (email) deferrable initially deferred",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := followed(t)
			b.Exec(constraint)
			insertUsers(b, 1, 2)
			b.Exec("update auth.users set email = 'same@x.test'")
			signal(b, event.Applied, hook(1, "one"))
			b.Applies([]event.Outcome{event.Parked, event.Stale, event.Applied}, hook(2, "two"), hook(3, "three"), lookAt(1))
			b.Want("select id, outcome from rollcall.events order by id", "one|applied", "three|stale", "two|parked")
			b.Want("select user_id, sqlstate from rollcall.parked", userID(2)+"|23505")
			b.Exec("update auth.users set email = 'own@x.test' where id = '" + userID(2) + "'")
			signal(b, event.Applied, lookAt(2))
			b.Want("select count(*) from rollcall.parked", "0")
			b.Want(noPlaceholders, "0")
		})
	}
}

// A target that is gone parks the users of signals that the roll knows, and opens its breaker.
func TestSignalsBesideAnOutage(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1, 2)
	b.Exec("alter table p rename to away")
	b.Applies([]event.Outcome{event.Parked, event.Stale}, hook(1, "one"), hook(3, "three"))
	b.Applies([]event.Outcome{event.Parked, event.Stale}, hook(2, "two"), hook(4, "four")) // the breaker is open
	b.Want("select user_id from rollcall.parked order by 1", userID(1), userID(2))
	b.Want("select id, outcome from rollcall.events order by id", "four|stale", "one|parked", "three|stale", "two|parked")
	b.Want(noPlaceholders, "0")
}

// Who may read the table no more falls back to the body rule; what says nothing itself waits.
func TestSignalsWithoutTheTable(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]string{
		"42501": "revoke select on auth.users from rollcall_role", "42P01": "alter table auth.users rename to away", "3F000": "alter schema auth rename to away",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, role := followedBySomeone(t)
			log := logged(b)
			insertUsers(b, 1, 2)
			signal(b, event.Applied, lookAt(1))
			b.Exec(strings.ReplaceAll(lose, "rollcall_role", role))
			b.Exec("insert into rollcall.outbox (source, user_id, gone, data) values ('app', '" + userID(2) + "', false, '{}')")
			captured := lookAt(2)
			captured.Captured = []int64{1}
			later := hook(1, "later")
			later.User.Version = 1 << 60
			b.Applies([]event.Outcome{event.Applied, event.Unavailable}, later, captured)
			must.True(t, !b.Follows("app"), "it is a table source still")
			signal(b, event.Unavailable, captured) // and now that it is none
			b.Want("select email from rollcall.users", "said@x.test")
			b.Want("select count(*) from rollcall.outbox", "1")
			must.Equal(t, strings.Count(log.String(), "can't be read any more"), 1, log)
		})
	}
}

// A timeout, a column that is gone, or a full server is no reason to fall back.
func TestSignalsKeepTheTable(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1)
	holder := b.Hold("lock table auth.users in access exclusive mode")
	began := time.Now()
	must.Fail(t, applying(b, lookAt(1))(), nil)
	t.Logf("given up after %s", time.Since(began))
	holder.Run("rollback")
	b.Exec("alter table auth.users drop column phone")
	signal(b, event.Applied, lookAt(1))
	must.True(t, b.Follows("app"), "it is no table source any more")
	b.Want(noPlaceholders, "0")
}

// followedBySomeone is followed, as a role that has only the rights it needs.
func followedBySomeone(t *testing.T) (*fixture.Bench, string) {
	t.Helper()
	d := fixture.New(t, fixture.UsersTable)
	role := d.NewRole("", `grant usage on schema auth to %[1]s; grant select on auth.users to %[1]s;
		grant select, insert, update, delete on p to %[1]s; do $$ begin execute 'grant create on database ' || current_database() || ' to %[1]s'; end $$`)
	b := d.Bench(pgtest.As(t, d.Address, role), fixture.Members())
	must.Get(b.DB.Migrate(t.Context()))(t)
	b.InService()
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	return b, role
}

// A table that begins to hide its rows, which no error tells of, is noticed when it is looked at again.
func TestSignalsOfATableThatHides(t *testing.T) {
	t.Parallel()
	b, role := followedBySomeone(t)
	b.Exec("alter table auth.users enable row level security; create policy all_rows on auth.users for select to " + role + " using (true)")
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	must.True(t, b.Follows("app"), "it is no table source")
	insertUsers(b, 1, 2)
	signal(b, event.Applied, lookAt(1), lookAt(2))
	b.Exec("drop policy all_rows on auth.users")
	signal(b, event.Stale, lookAt(1), lookAt(2))
	must.Fail(t, b.Follow(t.Context(), "app", "auth.users"), nil)
	must.True(t, !b.Follows("app"), "it is a table source still")
	b.Want("select count(*) from p", "2")
}
