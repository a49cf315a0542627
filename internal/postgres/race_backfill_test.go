package postgres

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

// begun is a backfill that has begun and goes step by step.
func (b *bench) begun() *backfill {
	b.t.Helper()
	f := must.Get(b.newBackfill(b.t.Context(), "profiles", nil))(b.t)
	b.t.Cleanup(f.release)
	must.Do(b.t, f.begin(b.t.Context()))
	return f
}

// An older replica's transaction is open when the walk passes its user, and commits after it
// is over: the moment of the write lies before, that of the commit behind.
func TestRaceBackfillBesideAnOpenTransaction(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	old := &bench{DB: b.replica(), t: t, url: b.url, sql: b.sql}
	b.apply(applied, updated("a", 1, "one"))
	open := old.begin(old.rollWork(newBatch(users, []event.Event{updated("new", 1, "newcomer")})))
	f := b.begun()
	must.Do(t, f.walk(t.Context()))
	users, seen, err := f.moved(t.Context())
	if err != nil || len(users) > 0 {
		t.Fatalf("moved %v, %v", users, err)
	}
	f.seen = seen // it looked, and saw nothing yet
	b.wantRows("select id from p", "a")
	open.commit()
	must.Do(t, f.followMoved(t.Context()))
	b.wantRows("select id, email from p order by 1", "a|one", "new|newcomer")
	if f.done.Moved != 1 {
		t.Errorf("%d moved, want 1: the second look must not find the user again", f.done.Moved)
	}
}

// What an older replica's listing has found carries the moment of the listing, which may lie
// long before the backfill.
func TestRaceBackfillBesideAnOldFinding(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	old := b.replica()
	b.apply(applied, updated("a", 1, "one"))
	b.exec("update rollcall.users set changed_at = now() - interval '2 hours'")
	f := b.begun()
	must.Do(t, f.walk(t.Context()))
	found := finding(updated("a", 2, "two"))
	must.Do(t, b.sql.QueryRow(t.Context(), "select now() - interval '1 hour'").Scan(&found.SeenAt))
	mustApply(t, old, found)
	b.wantRows("select email from rollcall.users", "two")
	must.Do(t, f.followMoved(t.Context()))
	b.wantRows("select id, email from p", "a|two")
}

// The walk waits for a session that holds a user of its page, and then sees the newest state.
func TestRaceBackfillBesideADelete(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	old := &bench{DB: b.replica(), t: t, url: b.url, sql: b.sql}
	mustApply(t, old.DB, updated("a", 1, "one"), updated("b", 1, "two"))
	dead := old.begin(old.rollWork(newBatch(users, []event.Event{gone("a", 2)})))
	f := b.begun()
	must.Do(t, beside(func() error { return b.settleSpan(t.Context(), f.target, span{"app", "", "z"}) }, dead.commit))
	b.wantRows("select id from p", "b")
}

// A user who arrives in a page that is locked already is not held, and not the page's
// affair: the batch that brings them may bring their next state while the page is written.
func TestRaceBackfillBesideANewcomer(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	old := b.replica()
	mustApply(t, old, updated("a", 1, "one"))
	p := &paused{b: b, conn: connect(t, b.url), steps: b.spanSteps(b.targetNamed("profiles"), span{"app", "", "z"})}
	p.run(5) // up to the lock
	mustApply(t, old, updated("b", 1, "two"))
	p.run(len(p.steps))
	b.wantRows("select id from p", "a")
	if users, _, err := b.begun().moved(t.Context()); err != nil || len(users) > 0 {
		t.Errorf("%v, %v: a later backfill walks over the user", users, err)
	}
}

// What was parked of those in a page is forgotten with it, but not of one who arrives.
func TestRaceBackfillClearsOnlyTheHeld(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec(`insert into rollcall.users (source, id, version) values ('app', 'a', 1);
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('profiles', 'app', 'a', now(), '23503', '')`)
	p := &paused{b: b, conn: connect(t, b.url), steps: b.spanSteps(b.targetNamed("profiles"), span{"app", "", "z"})}
	p.run(5)
	b.exec(`insert into rollcall.users (source, id, version) values ('app', 'b', 1);
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('profiles', 'app', 'b', now(), '23503', '')`)
	p.run(len(p.steps))
	b.wantRows("select user_id from rollcall.parked", "b")
}
