package roll_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/target"
)

// banned is an event of a user who is banned until a moment, or for good.
func banned(id string, version int64, until *time.Time) event.Event {
	u := fixture.User(id, version, "")
	u.Banned, u.BannedUntil = true, until
	return fixture.Said(u)
}

// banIsOver makes it so that the time of a ban has passed.
func banIsOver(b *fixture.Bench, id string) {
	b.T.Helper()
	b.Exec("update rollcall.users set banned_until = now() - interval '1 minute' where id = '" + id + "'")
}

// A ban that is over ends in the roll and in the targets; no other one does.
func TestEndBans(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Set = fixture.Assign("id: new.id", "banned: new.banned")
	live := target.Target{
		Name: "live", At: "test.yaml:1:1", Table: "public.live", From: fixture.FromApp, Key: []string{"id"},
		Set: fixture.Assign("id: new.id"), Where: &target.Expr{SQL: "not new.banned", At: "test.yaml:1:1"}, OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
	b := fixture.NewBench(t, "create table p (id text primary key, banned boolean, role text); create table live (id text primary key)", tgt, live)
	over, later := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	b.Applies(fixture.All(event.Applied, 4), banned("u_soon", 5, &later), banned("u_later", 5, &later), banned("u_forever", 5, nil), fixture.Updated("u_free", 5, ""))
	must.Equal(t, must.Get(b.EndBans(t.Context()))(t), 0, "bans ended before they are over")
	b.Want("select id from live", "u_free")
	banIsOver(b, "u_soon")
	must.Equal(t, must.Get(b.BansOver(t.Context()))(t), true, "a ban is over")
	var replicas sync.WaitGroup
	for range 4 {
		replicas.Go(func() {
			if _, err := b.EndBans(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	b.Want("select id, banned from p order by id", "u_forever|t", "u_free|f", "u_later|t", "u_soon|f")
	b.Want("select id, banned, version from rollcall.users order by id", "u_forever|t|5", "u_free|f|5", "u_later|t|5", "u_soon|f|5")
	b.Want("select id from live order by id", "u_free", "u_soon")

	// The same state again, and an older one, don't ban anew; a later ban does.
	again, older := fixture.Observed(banned("u_soon", 5, &over)), fixture.Observed(banned("u_soon", 4, &later))
	b.Applies([]event.Outcome{event.Applied, event.Stale}, again, older)
	b.Want("select banned from p where id = 'u_soon'", "f")
	b.Applies(fixture.Applied, banned("u_soon", 6, &later))
	b.Want("select banned from p where id = 'u_soon'", "t")
	b.Want("select id from live order by id", "u_free")
}

// A ban that an event has prolonged meanwhile is not ended.
func TestEndBansAfterANewerEvent(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	later := time.Now().Add(time.Hour)
	b.Applies(fixture.Applied, banned("u_a", 1, &later))
	banIsOver(b, "u_a")
	users := must.Get(b.BannedUntil(t.Context(), 10))(t)
	must.Equal(t, len(users), 1, "users")
	b.Applies(fixture.Applied, banned("u_a", 2, &later))
	must.Get(b.Commit(t.Context(), roll.EndBansWork(users)))(t)
	b.Want("select banned from rollcall.users", "t")
}

// Looking for bans that are over reads few rows of a large roll.
func TestBansOverIsCheap(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec(`insert into rollcall.users (source, id, version, banned, banned_until)
select 'app', n::text, 1, n % 100 = 0, case when n % 200 = 0 then now() + interval '1 h' end from generate_series(1, 20000) n; analyze rollcall.users`)
	b.Want(`select count(*) from pg_indexes where schemaname = 'rollcall' and tablename = 'users' and indexdef like '%WHERE banned'`, "1")
	must.Equal(t, must.Get(b.BansOver(t.Context()))(t), false, "a ban is over")
	rows := b.Rows("set plan_cache_mode = force_generic_plan; prepare q(bigint) as " +
		roll.BansOverSQL + "; explain execute q(1)")
	must.True(t, len(rows) >= 2 && strings.Contains(strings.Join(rows, " "), "Index Scan using users_banned_until_idx"),
		"the plan is %v", rows)
}
