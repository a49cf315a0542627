package postgres

import (
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
	"rollcall/sql"
)

// banned is an event of a user who is banned until a moment, or for good.
func banned(id string, version int64, until *time.Time) event.Event {
	u := user(id, version, "")
	u.Banned, u.BannedUntil = true, until
	return said(u)
}

// banIsOver makes it so that the time of a ban has passed.
func (b *bench) banIsOver(id string) {
	b.t.Helper()
	b.exec("update rollcall.users set banned_until = now() - interval '1 minute' where id = '" + id + "'")
}

// A ban that is over ends in the roll and in the targets; no other one does.
func TestEndBans(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Set = assign("id: new.id", "banned: new.banned")
	live := target.Target{
		Name: "live", At: "test.yaml:1:1", Table: "public.live", From: fromApp, Key: []string{"id"},
		Set: assign("id: new.id"), Where: &target.Expr{SQL: "not new.banned", At: "test.yaml:1:1"}, OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
	b := newBench(t, "create table p (id text primary key, banned boolean, role text); create table live (id text primary key)", tgt, live)
	over, later := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	b.apply(all(event.Applied, 4), banned("u_soon", 5, &later), banned("u_later", 5, &later), banned("u_forever", 5, nil), updated("u_free", 5, ""))
	if n, err := b.EndBans(t.Context()); n != 0 || err != nil {
		t.Errorf("before it is over: %d ended, error %v", n, err)
	}
	b.wantRows("select id from live", "u_free")
	b.banIsOver("u_soon")
	if found, err := b.BansOver(t.Context()); !found || err != nil {
		t.Errorf("over: %v, error %v", found, err)
	}
	var replicas sync.WaitGroup
	for range 4 {
		replicas.Go(func() {
			if _, err := b.EndBans(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	b.wantRows("select id, banned from p order by id", "u_forever|t", "u_free|f", "u_later|t", "u_soon|f")
	b.wantRows("select id, banned, version from rollcall.users order by id", "u_forever|t|5", "u_free|f|5", "u_later|t|5", "u_soon|f|5")
	b.wantRows("select id from live order by id", "u_free", "u_soon")

	// The same state again, and an older one, don't ban anew; a later ban does.
	again, older := finding(banned("u_soon", 5, &over)), finding(banned("u_soon", 4, &later))
	b.apply([]event.Outcome{event.Applied, event.Stale}, again, older)
	b.wantRows("select banned from p where id = 'u_soon'", "f")
	b.apply(applied, banned("u_soon", 6, &later))
	b.wantRows("select banned from p where id = 'u_soon'", "t")
	b.wantRows("select id from live order by id", "u_free")
}

// A ban that an event has prolonged meanwhile is not ended.
func TestEndBansAfterANewerEvent(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	later := time.Now().Add(time.Hour)
	b.apply(applied, banned("u_a", 1, &later))
	b.banIsOver("u_a")
	users, err := b.bansOver(t.Context(), 10)
	if err != nil || len(users) != 1 {
		t.Fatalf("%v, error %v", users, err)
	}
	b.apply(applied, banned("u_a", 2, &later))
	must.Get(b.commit(t.Context(), endBansWork(users)))(t)
	b.wantRows("select banned from rollcall.users", "t")
}

// Looking for bans that are over reads few rows of a large roll.
func TestBansOverIsCheap(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec(`insert into rollcall.users (source, id, version, banned, banned_until)
select 'app', n::text, 1, n % 100 = 0, case when n % 200 = 0 then now() + interval '1 h' end from generate_series(1, 20000) n; analyze rollcall.users`)
	b.wantRows(`select count(*) from pg_indexes where schemaname = 'rollcall' and tablename = 'users' and indexdef like '%WHERE banned'`, "1")
	if over, err := b.BansOver(t.Context()); over || err != nil {
		t.Errorf("over: %v, error %v", over, err)
	}
	rows := b.rows("set plan_cache_mode = force_generic_plan; prepare q(bigint) as " +
		sql.BansOver + "; explain execute q(1)")
	if len(rows) < 2 || !strings.Contains(strings.Join(rows, " "), "Index Scan using users_banned_until_idx") {
		t.Errorf("the plan is %v", rows)
	}
}
