package parked_test

import (
	"context"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/settle"
)

// parkedBench has three users that the table refuses, one of them given up.
func parkedBench(t *testing.T) *fixture.Bench {
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("alter table p add constraint refuse check (email not like 'bad%')")
	b.Applies(fixture.All(event.Parked, 3), fixture.Updated("u1", 1, "bad1"), fixture.Updated("u2", 1, "bad2"), fixture.Updated("u3", 1, "bad3"))
	b.Exec("update rollcall.parked set retry_at = now() + interval '1 hour', attempts = 19; update rollcall.parked set given_up = true, attempts = 20 where user_id = 'u3'")
	return b
}

// A retry tries those at once who would wait, and those who were given up. Others stay as they are.
func TestRetry(t *testing.T) {
	t.Parallel()
	b := parkedBench(t)
	must.Equal(t, must.Get(b.Parked.Retry(t.Context(), "profiles", []string{"u2", "u3", "nobody"}))(t), int64(2), "tried while the table refuses them")
	const parked = "select user_id, attempts, given_up, retry_at > now() from rollcall.parked order by 1"
	b.Want(parked, "u1|19|f|t", "u2|20|t|t", "u3|1|f|t")
	b.Exec("update rollcall.parked set retry_at = now() + interval '1 hour'; alter table p drop constraint refuse")
	must.Equal(t, must.Get(b.Parked.Retry(t.Context(), "profiles", []string{"u2"}))(t), int64(1), "tried")
	b.Want(parked, "u1|19|f|t", "u3|1|f|t")
	b.Exec("update rollcall.parked set retry_at = now() where user_id = 'u1'") // due already
	must.Equal(t, must.Get(b.Parked.Retry(t.Context(), "profiles", nil))(t), int64(2), "tried of all")
	b.Want(parked)
	b.Want("select id, email from p order by 1", "u1|bad1", "u2|bad2", "u3|bad3")
	must.Equal(t, must.Get(b.Parked.Retry(t.Context(), "profiles", nil))(t), int64(0), "with nobody parked")
}

// A retry waits for another transaction that holds a user.
func TestRetryBesideAnother(t *testing.T) {
	t.Parallel()
	b := parkedBench(t)
	b.Exec("alter table p drop constraint refuse")
	tx := must.Get(b.DB.Pool().Begin(t.Context()))(t)
	must.Get(tx.Exec(t.Context(), "select from rollcall.users where id = 'u2' for update"))(t)
	retried := make(chan error)
	go func() { _, err := b.Parked.Retry(t.Context(), "profiles", nil); retried <- err }()
	time.Sleep(time.Second)
	must.Do(t, tx.Rollback(t.Context()))
	must.Do(t, <-retried)
	b.Want("select user_id from rollcall.parked")
}

// Who is given up waits for an event, or for a retry.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	b := parkedBench(t)
	must.Equal(t, must.Get(b.Parked.GiveUp(t.Context(), "profiles", []string{"u1", "u3"}))(t), int64(1), "given up")
	must.Equal(t, must.Get(b.Parked.GiveUp(t.Context(), "other", nil))(t), int64(0), "of another target")
	b.Exec("alter table p drop constraint refuse; update rollcall.parked set retry_at = now()")
	must.Get(b.Parked.CatchUp(t.Context(), "profiles"))(t)
	b.Want("select user_id, given_up from rollcall.parked order by 1", "u1|t", "u3|t")
	b.Applies(fixture.Applied, fixture.Updated("u1", 2, "good"))
	b.Want("select user_id from rollcall.parked", "u3")
}

// To settle users again is no try and no news: those that the target refuses wait as before.
func TestSettleAgain(t *testing.T) {
	t.Parallel()
	b := parkedBench(t)
	targets := b.DB.Targets()
	targets.Attempts.Store(10)
	must.Do(t, targets.Settle(t.Context(), targets.Named("profiles"), keys("u1", "u2", "u3")))
	b.Want("select user_id, attempts, given_up, retry_at > now() + interval '50 minutes' from rollcall.parked order by 1",
		"u1|19|f|t", "u2|19|f|t", "u3|20|t|t")
}

// keys are those of users.
func keys(ids ...string) (list []settle.Key) {
	for _, id := range ids {
		list = append(list, settle.Key{Roll: &event.Users, Source: "app", ID: id})
	}
	return list
}

// A user who is given up while they are being tried, or settled again without news about them, stays given up.
func TestGiveUpBesideATry(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin    func(context.Context, *fixture.Bench) error
		attempts string
	}{
		"try": {func(ctx context.Context, b *fixture.Bench) error {
			_, err := b.Parked.CatchUp(ctx, "profiles")
			return err
		}, "4"},
		"settling": {func(ctx context.Context, b *fixture.Bench) error {
			return b.DB.Targets().Settle(ctx, b.DB.Targets().Named("profiles"), keys("u2"))
		}, "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := parkedBench(t)
			b.Exec("update rollcall.parked set retry_at = now(), attempts = 3 where user_id = 'u2'")
			b.Exec("create sequence tries; " + `create function slow() returns trigger language plpgsql as $$
				begin perform nextval('tries'); perform pg_sleep(0.5); return new; end $$;
				create trigger slow before insert on p for each row execute function slow()`)
			ended := make(chan error)
			go func() { ended <- c.begin(t.Context(), b) }()
			for len(b.Rows("select 1 from tries where is_called")) == 0 {
				time.Sleep(time.Millisecond)
			}
			must.Equal(t, must.Get(b.Parked.GiveUp(t.Context(), "profiles", nil))(t), int64(2), "given up")
			must.Do(t, <-ended)
			b.Want("select user_id, attempts, given_up from rollcall.parked order by 1", "u1|19|t", "u2|"+c.attempts+"|t", "u3|20|t")
		})
	}
}
