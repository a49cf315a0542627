package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/testtag"
)

// keepWeek keeps bodies for a week, unread ones for a month, events for three.
var keepWeek = postgres.Retention{Bodies: 7 * 24 * time.Hour, Undecodable: 30 * 24 * time.Hour, Events: 90 * 24 * time.Hour}

func forgets(b *fixture.Bench, want postgres.Forgotten) {
	b.T.Helper()
	must.Equal(b.T, must.Get(b.DB.Forget(b.T.Context(), keepWeek))(b.T), want, "forgotten")
}

// recorded is an event as it was recorded some days ago.
type recorded struct {
	id, outcome string
	days        float64
	body        string // an SQL expression
}

func record(b *fixture.Bench, events ...recorded) {
	b.T.Helper()
	for _, e := range events {
		b.Exec(fmt.Sprintf(`insert into rollcall.events (source, id, type, outcome, received_at, body)
			values ('app', '%s', 'x', '%s', now() - interval '24 hours' * %g, %s)`, e.id, e.outcome, e.days, e.body))
	}
}

// Each thing is forgotten when it is older than it is kept, and the roll never.
func TestForget(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 2), fixture.Observed(fixture.Updated("u", 1, "u@x")), fixture.Observed(fixture.Gone("v", 1)))
	b.Exec("update rollcall.users set changed_at = '2001-01-01', deleted_at = case when id = 'v' then '2001-01-01'::timestamptz end")
	record(b, []recorded{
		{"01 young", "applied", 6.9, "'b'"},
		{"02 week", "applied", 7.1, "'b'"},
		{"03 parked", "parked", 8, "'b'"},
		{"04 bare", "applied", 8, "null"},
		{"05 unread", "undecodable", 29.9, "'b'"},
		{"06 unread", "undecodable", 30.1, "'b'"},
		{"07 old", "applied", 89.9, "null"},
		{"08 gone", "applied", 90.1, "null"},
		{"09 gone", "stale", 100, "'b'"},
		{"10 gone", "undecodable", 100, "'b'"},
		{"11 announced", "announced", 0.9, "'b'"},
		{"12 announced", "announced", 1.1, "'b'"},
		{"13 announced", "announced", 8, "'b'"},
	}...)
	b.Exec("update rollcall.events set look_at = received_at + interval '5 s' where id like '12%'")
	forgets(b, postgres.Forgotten{Bodies: 4, Events: 3, Unanswered: 2})
	b.Want("select id, outcome, body is not null, look_at from rollcall.events order by id",
		"01 young|applied|t|∅", "02 week|applied|f|∅", "03 parked|parked|f|∅", "04 bare|applied|f|∅",
		"05 unread|undecodable|t|∅", "06 unread|undecodable|f|∅", "07 old|applied|f|∅",
		"11 announced|announced|t|∅", "12 announced|never_created|t|∅", "13 announced|never_created|f|∅")
	b.Want("select id, deleted_at is not null from rollcall.users order by id", "u|f", "v|t")
	forgets(b, postgres.Forgotten{})
}

// Much is forgotten in small transactions, each found by the index, with the plans of an
// empty table.
func TestForgetMany(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	for range 40 { // every connection has its plans
		forgets(b, postgres.Forgotten{})
	}
	b.Exec(`insert into rollcall.events (source, id, type, outcome, received_at, body)
select 'app', 'e' || g, 'x', case when g % 50 = 0 then 'undecodable' else 'applied' end, now() - interval '24 hours' * (g / 400.0), '{"some": "body"}' from generate_series(1, 40000) g`)
	start := time.Now()
	// 400 a day: bodies from day 7 to 90 and from day 30 to 90, events from day 90 on.
	forgets(b, postgres.Forgotten{Bodies: 83*400*49/50 + 60*400/50, Events: 10*400 + 1})
	t.Logf("36,000 of 40,000 rows in %s", time.Since(start))
	start = time.Now()
	forgets(b, postgres.Forgotten{})
	idle := time.Since(start)
	t.Logf("with nothing left in %s", idle)
	if testtag.Timing && idle > 500*time.Millisecond {
		t.Errorf("finding nothing among 36,000 events took %s", idle)
	}
}

// Every statement finds its rows by an index, in its order, whatever the statistics say.
func TestForgetGoesByTheIndexes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
	for name, test := range map[string]struct{ statement, arguments, index string }{
		"events":     {postgres.ForgetEventsSQL, "1, now(), interval '1 day', 1000", "Index Scan using events_kept"},
		"bodies":     {postgres.ForgetBodiesSQL, "1, now(), interval '1 day', 1000", "Index Scan using events_kept"},
		"unanswered": {postgres.UnansweredSQL, "interval '1 day', 1000", "Index Scan using events_announced"},
	} {
		b.Exec("prepare " + name + " as " + test.statement)
		plan := strings.Join(b.Rows("explain (costs off) execute "+name+" ("+test.arguments+")"), "\n")
		must.Contain(t, plan, test.index, "Tid Scan on events")
		must.Lack(t, plan, "Sort", "Seq Scan")
	}
}

// A place within a table is one within each of its partitions: only what is due may go.
func TestForgetOfPartitions(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec(string(must.Get(os.ReadFile("../../bench/partitions.sql"))(t)))
	for n := range 60 {
		record(b, recorded{fmt.Sprintf("%02d old", n), "applied", 100, "'b'"})
		record(b, recorded{fmt.Sprintf("%02d week", n), "applied", 8, "'b'"})
		record(b, recorded{fmt.Sprintf("%02d announced", n), "announced", 1.1, "'b'"})
		record(b, recorded{fmt.Sprintf("%02d young", n), "applied", 1, "'b'"})
	}
	if parts := b.Rows("select tableoid from rollcall.events group by 1 having count(*) > 1"); len(parts) < 2 {
		t.Fatalf("the events are in %d partitions", len(parts))
	}
	forgets(b, postgres.Forgotten{Bodies: 60, Events: 60, Unanswered: 60})
	b.Want("select substr(id, 4), outcome, body is not null, count(*) from rollcall.events group by 1, 2, 3 order by 1",
		"announced|never_created|t|60", "week|applied|f|60", "young|applied|t|60")
	forgets(b, postgres.Forgotten{})
}

// Forgetting waits for nobody and holds no live event up; what is held is left for the next
// time.
func TestForgetBesideLiveEvents(t *testing.T) {
	testtag.Parallel(t)
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	record(b, recorded{"held", "applied", 100, "'b'"})
	record(b, recorded{"week", "applied", 8, "'b'"})
	record(b, recorded{"old", "applied", 100, "'b'"})
	holder := pgtest.Connect(t, b.Address).Conn
	pgtest.Exec(t, holder, "begin; select from rollcall.events where id = 'held' for update")
	start := time.Now()
	forgets(b, postgres.Forgotten{Bodies: 1, Events: 1})
	if took := time.Since(start); testtag.Timing && took > 200*time.Millisecond {
		t.Errorf("beside a held row it took %s", took)
	}
	pgtest.Exec(t, holder, "rollback; begin; delete from rollcall.events where id = 'held'; update rollcall.events set body = null")
	start = time.Now()
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	if took := time.Since(start); testtag.Timing && took > 200*time.Millisecond {
		t.Errorf("a live event beside one that is being forgotten took %s", took)
	}
	pgtest.Exec(t, holder, "rollback")
	forgets(b, postgres.Forgotten{Events: 3}) // the live ones say that they are of 2023
}

// A run that is told to end does so between two batches, and the next one goes on.
func TestForgetEndsEarly(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into rollcall.events (source, id, type, received_at) select 'app', 'e' || g, 'x', now() - interval '100 days' from generate_series(1, 2500) g")
	ctx, cancel := context.WithTimeout(t.Context(), postgres.ForgetPause/2)
	defer cancel()
	got, err := b.DB.Forget(ctx, keepWeek)
	must.Fail(t, err, context.DeadlineExceeded)
	must.True(t, got.Events < 2500, "forgotten before the end: %+v", got)
	// The batch that was cut off may be under way still, and is committed without being counted.
	must.Await(t, "no event is left", func() bool {
		got.Events += must.Get(b.DB.Forget(t.Context(), keepWeek))(t).Events
		return b.Rows("select count(*) from rollcall.events")[0] == "0"
	})
	must.True(t, got.Events <= 2500, "%d events forgotten of 2500", got.Events)
}

// What a list has shown is forgotten when no run can go on with it, as of a source that was
// removed; not before, and not while a run is at it, however long that takes.
func TestForgetAbandonedListings(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	for source, began := range map[string]string{"removed": "7 hours", "interrupted": "5 hours", "running": "7 hours", "ended": "1 hour"} {
		b.Exec(fmt.Sprintf("insert into rollcall.reconciliations (source, listed, started_at) values ('%[1]s', 'x', now() - interval '%[2]s'); insert into rollcall.listed values ('%[1]s', '1'), ('%[1]s', '2')", source, began))
	}
	b.Exec("update rollcall.reconciliations set finished_at = now() where source = 'ended'; insert into rollcall.listed values ('unknown', '1')")
	running := must.Get(b.Pool.TryLock(t.Context(), "reconcile running"))(t)
	defer running.Release()
	forgets(b, postgres.Forgotten{})
	b.Want("select distinct source from rollcall.listed order by 1", "interrupted", "running")
}
