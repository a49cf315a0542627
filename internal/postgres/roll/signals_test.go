package roll_test

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
)

func followed(t *testing.T) *fixture.Bench {
	t.Helper()
	b := fixture.NewBench(t, fixture.UsersTable, fixture.Members())
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	return b
}

func userID(n int) string { return "00000000-0000-0000-0000-00000000000" + string(rune('0'+n)) }

func signal(b *fixture.Bench, want event.Outcome, events ...event.Event) {
	b.T.Helper()
	b.Applies(fixture.All(want, len(events)), events...)
}

func lookAt(n int) event.Event { return event.Event{Source: "app", Op: event.Look, UserID: userID(n)} }

// looksFrom looks at so many users of fixture.ID, numbered from first.
func looksFrom(first, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Source: "app", Op: event.Look, UserID: fixture.ID(first + i)}
	}
	return events
}

// The table decides, also where a version goes back.
func TestSignals(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "one"}')`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select id, email, name from p", userID(1)+"|a@x.test|one")
	b.Exec(`update auth.users set raw_user_meta_data = '{"first_name": "two"}', updated_at = updated_at - interval '5 ms'`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select id, email from p", userID(1)+"|a@x.test")
	b.Want("select first_name from rollcall.users", "two")
	signal(b, event.Stale, lookAt(2))
	b.Want("select count(*) from rollcall.users", "1")
	b.Exec("delete from auth.users")
	e := lookAt(1)
	e.Op = event.Delete
	signal(b, event.Applied, e)
	b.Want("select count(*) from p", "0")
	b.Want("select deleted_at is not null, email is null from rollcall.users", "t|t")
	signal(b, event.Stale, e)
	b.Exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "back"}')`)
	signal(b, event.Applied, lookAt(1))
	b.Want("select name from p", "back")
}

// Large users are read a few at a time, whatever their size looks like when it is compressed; what
// is beyond limits.metadata is not read into the roll. Nobody waits for a statement's timeout.
func TestSignalsOfLargeUsers(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.DB.Directory().Metadata.Store(2 << 20)
	const large = 64
	b.Exec("alter table auth.users alter raw_user_meta_data set storage external")
	b.Exec(fmt.Sprintf(`insert into auth.users (id, email, raw_user_meta_data)
		select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n || '@x.test', jsonb_build_object('first_name', 'n' || n, 'a', repeat('x', 1048576))
		from generate_series(1, %d) n`, large))
	b.Exec("alter table auth.users alter raw_user_meta_data set storage extended")
	b.Exec("insert into auth.users (id, raw_user_meta_data) values ('" + userID(1) + "', jsonb_build_object('first_name', 'never', 'a', repeat('x', 160 << 20)))")
	b.Exec("insert into auth.users (id, raw_user_meta_data) select unnest(array['" + userID(2) + "', '" + userID(3) + "'])::uuid, raw_user_meta_data from auth.users where id = '" + userID(1) + "'")
	b.Want("select count(*) from auth.users where id::text like '00000000-0000-0%' and pg_column_size(raw_user_meta_data) between 400000 and 2097152", "3")
	events := append(looksFrom(1, large), lookAt(1), lookAt(2), lookAt(3))
	began := time.Now()
	signal(b, event.Applied, events...)
	t.Logf("%d users took %s", len(events), time.Since(began))
	b.Want("select count(*), count(first_name), count(kept), pg_size_pretty(max(length(raw_user_meta_data::text))::bigint) from rollcall.users", fmt.Sprintf("%d|%d|3|1024 kB", large+3, large))
	b.Want("select count(*) from p", fmt.Sprint(large+3))
}

// A batch that runs out of time leaves what was read its outcomes, and goes on from there.
func TestSignalsThatRunOutOfTime(t *testing.T) {
	t.Parallel()
	b := followed(t)
	insertUsers(b, 1, 2, 3)
	b.Exec(`create function slow() returns trigger language plpgsql as $$ begin if new.email = '3@x.test' then perform pg_sleep(30); end if; return new; end $$;
		create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow()`)
	b.Exec("alter table auth.users alter raw_user_meta_data set storage external")
	b.Exec("update auth.users set raw_user_meta_data = jsonb_build_object('a', repeat('x', 2 << 20))")
	b.DB.Directory().Metadata.Store(4 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	outcomes := must.Get(b.Apply(ctx, []event.Event{hook(1, "one"), hook(2, "two"), hook(3, "three")}))(t)
	must.True(t, outcomes[0] == event.Applied && outcomes[2] == event.Unavailable, "outcomes %s", outcomes)
	b.Exec("drop trigger slow on rollcall.users")
	b.Applies([]event.Outcome{event.Duplicate, event.Applied}, hook(1, "one"), hook(3, "three"))
	b.Want("select id, outcome from rollcall.events order by 1", "one|applied", "three|applied", "two|applied")
}

// BenchmarkSignals looks at 512 users at a time, new ones and such as have not changed.
func BenchmarkSignals(b *testing.B) {
	const size = 512
	bench := fixture.NewBench(b, fixture.UsersTable, fixture.Members())
	must.Do(b, bench.Follow(b.Context(), "app", "auth.users"))
	bench.Exec(`insert into auth.users (id, email, raw_user_meta_data) select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', '{"full_name": "Ada Lovelace"}'
		from generate_series(0, 102399) g`)
	for n := 0; b.Loop(); n++ {
		must.Get(bench.Apply(b.Context(), looksFrom(n%200*size, size)))(b)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/user")
}

// A plan that was made while the roll was empty goes by single users or a span: by the source alone, it would read all
// users of the roll for a few.
func TestPlansReadWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	b := followed(t)
	for sql, types := range b.StatementsOf("app") {
		nulls := strings.Repeat(", null", strings.Count(types, ","))
		plan := strings.Join(b.Rows("deallocate all; set enable_seqscan = off; set plan_cache_mode = force_generic_plan; prepare q("+types+") as "+
			sql+"; explain (costs off) execute q(null"+nulls+")"), "\n")
		must.True(t, strings.Contains(plan, "rollcall") || strings.Contains(plan, "on users"), "the plan is\n%s", plan)
		must.True(t, !strings.Contains(plan+"\n", "Index Cond: (source = $1)\n"), "an index scan by the source alone:\n%s", plan)
	}
}

// In a partitioned roll, a row of another partition at the same place stays.
func TestDeletesOfPartitions(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.Exec(string(must.Get(os.ReadFile("../../../bench/partitions.sql"))(t)))
	b.Exec("insert into rollcall.users (source, id, version) select 'elsewhere', n::text, 1 from generate_series(1, 200) n")
	const others = "select count(*) from rollcall.users where source = 'elsewhere'"

	signal(b, event.Stale, looksFrom(100, 60)...) // of nobody: placeholders come and go
	b.Want(others, "200")
	b.Want("select count(*) from rollcall.users where source = 'app'", "0")

	gone := b.Rows("insert into rollcall.users (source, id, version) select 'app', '00000000-0000-0000-0000-' || lpad(n::text, 12, '0'), 1 from generate_series(1, 60) n; prepare q(text, text, text) as " +
		b.ForgetGoneSQL("app") + "; execute q('app', '', '~')")
	must.Equal(t, gone[0], "60", "users taken back")
	b.Want(others, "200")
	b.Want("select count(*) from rollcall.users where source = 'app'", "0")
}
