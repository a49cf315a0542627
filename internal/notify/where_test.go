package notify

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/transitions"
)

// An expression that fails for one transition fails that notification alone.
func TestWhere(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n")
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	n := b.notifier(Config{Query: transitions.Query{Where: "1 / (3 - substr(new.id, 2)::int) -- of each\n>= 0 -- and so on"}, URL: r.URL, AllowPrivate: true})
	must.Do(t, b.log.Check(t.Context(), n.Query))
	must.True(t, b.log.Check(t.Context(), transitions.Query{Name: "n", Where: "new.nothing"}) != nil, "a column that is not there passes")
	b.appear("u1", "u2", "u3", "u4")
	b.run(n)
	b.Want(states, "u1|delivered|1|∅", "u2|delivered|1|∅", "u3|failed|0|where has no value: division by zero (22012)", "u4|skipped|0|∅")
	must.Equal(t, b.outcomes, map[string]int{"n delivered": 2, "n failed": 1, "n skipped": 1})
	b.Want("select email from p where id = 'u3'", "u3@example.com")
}

// What waits and is of a type or a source that the configuration has no more is skipped.
func TestWantedNoMore(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]transitions.Query{"type": {On: []string{"deleted"}}, "source": {From: []string{"other"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "n")
			r := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
			q.Where = "1 / (length(new.id) - length(new.id)) > 0"
			n := b.notifier(Config{Query: q, URL: r.URL, AllowPrivate: true})
			b.appear("u1")
			b.run(n)
			b.Want(states, "u1|skipped|0|∅")
			must.Equal(t, len(r.got), 0, "requests")
		})
	}
}

// A notification that goes while expressions are evaluated one by one is not sent: its own was not evaluated.
func TestGoneWhileEvaluated(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n")
	r := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	const fails = "1 / case when pg_sleep(1) is null then 1 else 0 end > 0"
	n := b.notifier(Config{Query: transitions.Query{Where: "case when new.id = 'u1' then " + fails + " else false end"}, URL: r.URL, AllowPrivate: true})
	b.appear("u1")
	b.appear("u2")
	const sleeping = "from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
	must.Do(t, fixture.Beside(func() error { return n.Run(t.Context(), b.log) }, func() {
		b.Await("select exists (select "+sleeping+")", "t")
		first := b.Rows("select query_start::text " + sleeping)[0] // of all together
		b.Await("select exists (select "+sleeping+" and query_start > '"+first+"')", "t")
		b.Exec("delete from rollcall.notifications where transition = (select max(id) from rollcall.transitions)")
	}))
	must.Equal(t, len(r.got), 0, "requests")
	b.Want(states, "u1|failed|0|where has no value: division by zero (22012)")
}

// An expression that takes too long has its notification tried again, as the database may have been slow; as many are
// evaluated as a run has time for, and the next runs go on.
func TestWhereTakesTooLong(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n", "other")
	slow := b.notifier(Config{Query: transitions.Query{Where: "pg_sleep(60) is not null"}, Channel: "c"})
	var ids []string
	for i := range batch {
		ids = append(ids, fmt.Sprint("u", i))
	}
	b.appear(ids...)
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	defer cancel()
	must.Do(t, slow.Run(ctx, b.log))
	const late = "select count(*)::text from rollcall.notifications where name = 'n' and state = 'pending' and attempts = 1 and due_at > now() and error like 'where was canceled: %'"
	tried := must.Get(strconv.Atoi(b.Rows(late)[0]))(t)
	must.True(t, tried > 0 && tried < batch, "%d are tried again", tried)
	b.Exec("update rollcall.notifications set attempts = 7, due_at = due_at - interval '1 hour' where name = 'n' and attempts = 1; delete from rollcall.notifications where attempts = 0")
	must.Do(t, slow.Run(ctx, b.log))
	b.Want("select distinct state, attempts::text from rollcall.notifications where attempts > 7", "failed|8")
}

// Expressions of several names that are slow leave connections to the events.
func TestSlowWhereLeavesConnections(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	b := newBench(t, names...)
	b.appear("u1")
	var running sync.WaitGroup
	for _, name := range names {
		n := b.notifier(Config{Query: transitions.Query{Name: name, Where: "pg_sleep(0.5) is not null"}, Channel: "c"})
		running.Go(func() { must.Do(t, n.Run(t.Context(), b.log)) })
	}
	most := "0"
	must.Do(t, fixture.Beside(func() error { running.Wait(); return nil }, func() {
		for b.Rows("select count(*)::text from rollcall.notifications where state = 'pending'")[0] != "0" {
			most = max(most, b.Rows("select count(*)::text from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'")[0])
			time.Sleep(10 * time.Millisecond)
		}
	}))
	must.Equal(t, most, "2", "expressions at once")
}
