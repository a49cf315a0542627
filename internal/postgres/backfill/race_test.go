package backfill_test

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/postgres/settle"
)

// whole are all users of the source.
var whole = settle.Span{Source: "app", To: "z"}

// begun is a backfill that has begun and goes step by step.
func begun(b *fixture.Bench) backfill.Steps {
	b.T.Helper()
	f := must.Get(b.DB.Backfills().Begin(b.T.Context(), "profiles"))(b.T)
	b.T.Cleanup(f.Release)
	return f
}

// An older replica's transaction is open when the walk passes its user, and commits after it
// is over: the moment of the write lies before, that of the commit behind.
func TestRaceBackfillBesideAnOpenTransaction(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	old := b.Replica()
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "one"))
	open := old.Begin(old.Work([]event.Event{fixture.Updated("new", 1, "newcomer")}))
	f := begun(b)
	must.Do(t, f.Walk(t.Context()))
	must.Equal(t, must.Get(f.Look(t.Context()))(t), 0, "moved users that it sees before the commit")
	b.Want("select id from p", "a")
	open.Commit()
	must.Do(t, f.FollowMoved(t.Context()))
	b.Want("select id, email from p order by 1", "a|one", "new|newcomer")
	must.Equal(t, f.Moved(), 1, "moved: the second look must not find the user again")
}

// What an older replica's listing has found carries the moment of the listing, which may lie
// long before the backfill.
func TestRaceBackfillBesideAnOldFinding(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	old := b.Replica()
	b.Applies(fixture.Applied, fixture.Updated("a", 1, "one"))
	b.Exec("update rollcall.users set changed_at = now() - interval '2 hours'")
	f := begun(b)
	must.Do(t, f.Walk(t.Context()))
	found := fixture.Observed(fixture.Updated("a", 2, "two"))
	must.Do(t, b.SQL.QueryRow(t.Context(), "select now() - interval '1 hour'").Scan(&found.SeenAt))
	old.Submit(found)
	b.Want("select email from rollcall.users", "two")
	must.Do(t, f.FollowMoved(t.Context()))
	b.Want("select id, email from p", "a|two")
}

// The walk waits for a session that holds a user of its page, and then sees the newest state.
func TestRaceBackfillBesideADelete(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	old := b.Replica()
	old.Submit(fixture.Updated("a", 1, "one"), fixture.Updated("b", 1, "two"))
	dead := old.Begin(old.Work([]event.Event{fixture.Gone("a", 2)}))
	must.Do(t, fixture.Beside(func() error { return b.SettleSpan(t.Context(), b.Named("profiles"), whole) }, dead.Commit))
	b.Want("select id from p", "b")
}

// A user who arrives in a page that is locked already is not held, and not the page's
// affair: the batch that brings them may bring their next state while the page is written.
func TestRaceBackfillBesideANewcomer(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	old := b.Replica()
	old.Submit(fixture.Updated("a", 1, "one"))
	p := b.Pause(b.SpanSteps(b.Named("profiles"), whole, b.Named("profiles").UpsertSpan))
	p.Run(5) // up to the lock
	old.Submit(fixture.Updated("b", 1, "two"))
	p.Run(len(p.Left))
	b.Want("select id from p", "a")
	must.Equal(t, must.Get(begun(b).Look(t.Context()))(t), 0, "moved: a later backfill walks over the user")
}

// What was parked of those in a page is forgotten with it, but not of one who arrives.
func TestRaceBackfillClearsOnlyTheHeld(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec(`insert into rollcall.users (source, id, version) values ('app', 'a', 1);
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('profiles', 'app', 'a', now(), '23503', '')`)
	p := b.Pause(b.SpanSteps(b.Named("profiles"), whole, b.Named("profiles").UpsertSpan))
	p.Run(5)
	b.Exec(`insert into rollcall.users (source, id, version) values ('app', 'b', 1);
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('profiles', 'app', 'b', now(), '23503', '')`)
	p.Run(len(p.Left))
	b.Want("select user_id from rollcall.parked", "b")
}

// A table that was empty when the backfill began, and into which another session writes the same row meanwhile.
func TestBackfillBesideOtherRows(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.FillRoll(2500)
	held := b.Hold("select from rollcall.users where id = 'u1' for update")
	var done backfill.Result
	must.Do(t, fixture.Beside(func() (err error) {
		done, err = b.DB.Backfills().Run(t.Context(), "profiles", nil)
		return err
	}, func() {
		b.Exec("insert into p values ('u1', 'other', null, 'other')")
		held.Run("rollback")
	}))
	must.Equal(t, done, backfill.Result{Visited: 2500}, "backfill")
	b.Want("select count(*) from p join rollcall.users u using (id, email)", "2500")
	b.Want("select id from p where role = 'other'", "u1")
}
