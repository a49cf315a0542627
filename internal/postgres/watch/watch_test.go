package watch_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// typed is a target with a column v, and without one for whatever else its table has.
func typed(expression string) target.Target {
	return target.Target{
		Name: "typed", At: "test.yaml:1:1", Table: "public.t", From: fixture.FromApp, Key: []string{"id"},
		Set: fixture.Assign("id: new.id", "v: "+expression), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
}

// arrived is an event about a user who has what the tests write.
func arrived(id string) event.Event {
	u := fixture.User(id, 1, "")
	u.CreatedAt = new(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	u.RawUserMetaData = `{"ratio": 0.1, "n": 3000000000, "mood": "proud"}`
	return fixture.Said(u)
}

const (
	ratio = "(new.raw_user_meta_data->>'ratio')::numeric"
	n     = "(new.raw_user_meta_data->>'n')::numeric"
	mood  = "new.raw_user_meta_data->>'mood'"
)

// tableChange is a table t, the expression of its column v, what becomes of it, the outcome of an
// event before the next look, and the value that the user has after it.
type tableChange struct{ table, expression, change, between, want string }

var tableChanges = map[string]tableChange{
	"date to timestamptz":  {"create table t (id text primary key, v date)", "new.created_at", "alter table t alter v type timestamptz", "applied", "2026-03-04 05:06:07+00"},
	"real to double":       {"create table t (id text primary key, v real)", ratio, "alter table t alter v type double precision", "applied", "0.1"},
	"int to bigint":        {"create table t (id text primary key, v int)", n + " - 2999999999 * (new.id = 'before')::int", "alter table t alter v type bigint", "parked", "3000000000"},
	"varchar to text":      {"create table t (id text primary key, v varchar(3))", "left(" + mood + ", case new.id when 'before' then 3 else 9 end)", "alter table t alter v type text", "applied", "proud"},
	"default changed":      {"create table t (id text primary key, w text, v text default 'old')", "new.id || ' ' || new.source", "alter table t alter v set default 'new'", "applied", "between app"},
	"not null set":         {"create table t (id text primary key, v text)", mood, "alter table t alter v set not null", "applied", "proud"},
	"not null dropped":     {"create table t (id text primary key, v text not null)", "case new.id when 'before' then 'x' end", "alter table t alter v drop not null", "applied", "∅"},
	"enum value added":     {"create type mood as enum ('sad'); create table t (id text primary key, v mood)", "case new.id when 'before' then 'sad' else " + mood + " end", "alter type mood add value 'proud'", "applied", "proud"},
	"enum value renamed":   {"create type mood as enum ('sad'); create table t (id text primary key, v mood)", "case new.id when 'before' then 'sad' else " + mood + " end::text", "alter type mood rename value 'sad' to 'proud'", "applied", "proud"},
	"enum label taken":     {"create type mood as enum ('sad'); create table t (id text primary key, v mood)", "'sad'", "alter type mood rename value 'sad' to 'blue'; alter type mood add value 'sad'", "applied", "sad"},
	"domain relaxed":       {"create domain short as text check (length(value) < 4); create table t (id text primary key, v short)", "left(" + mood + ", case new.id when 'before' then 3 else 9 end)", "alter domain short drop constraint short_check", "applied", "proud"},
	"column made anew":     {"create table t (id text primary key, v int)", "case new.id when 'before' then 1 else " + n + " end", "alter table t drop v, add v text", "parked", "3000000000"},
	"table made anew":      {"create table t (id text primary key, v date)", "new.created_at", "begin; drop table t; create table t (id text primary key, v timestamptz); commit", "applied", "2026-03-04 05:06:07+00"},
	"table made anew, key": {"create table t (id text primary key, v date)", "new.created_at", "begin; drop table t; create table t (id uuid, v timestamptz); drop table t; create table t (v timestamptz, id text primary key); commit", "applied", "2026-03-04 05:06:07+00"},
	"trigger reads it": { // as a function whose plans are cached: when PostgreSQL drops those is its own affair
		`create table t (id text primary key, v date); create function note() returns trigger language plpgsql as $$ begin
			if current_setting('app.type', true) <> pg_typeof(new.v)::text then raise datatype_mismatch; end if;
			perform set_config('app.type', pg_typeof(new.v)::text, false); return new; end $$;
		create trigger note before insert or update on t for each row execute function note()`,
		"new.created_at", "alter table t alter v type timestamptz", "parked", "2026-03-04 05:06:07+00",
	},
}

// A table changes between two looks and a user arrives. The look after it settles the user again;
// nobody is parked and the target is in service. What happens before that look depends on what the
// session has cached, so all is done on one connection.
func TestLookSettlesAgain(t *testing.T) {
	t.Parallel()
	for name, c := range tableChanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fixture.NewBench(t, c.table)
			b := db.Bench(db.Address+"&pool_max_conns=1", typed(c.expression))
			b.InService()
			look1(b)
			b.Applies(fixture.Applied, arrived("before"))
			look1(b)
			b.Exec(c.change)
			b.Applies(fixture.All(event.Outcome(c.between), 1), arrived("between"))
			look1(b)
			b.Want("set timezone = 'UTC'; select v from t where id = 'between'", c.want)
			b.Want("select user_id, target, error from rollcall.parked")
			b.Applies(fixture.Applied, arrived("after"))
			b.Want("set timezone = 'UTC'; select v from t where id = 'after'", strings.Replace(c.want, "between", "after", 1))
			b.WantOutages()
		})
	}
}

// look1 is a look that must go well.
func look1(b *fixture.Bench) {
	b.T.Helper()
	must.Do(b.T, b.DB.Watch().Look(b.T.Context()))
}

// misfits are changes after which the target no longer fits, with a part of the finding, and what
// cures the table.
var misfits = map[string]struct{ table, expression, change, finding, cure, want string }{
	"key's index dropped": {"create table t (id text primary key, v text)", "new.id", "alter table t drop constraint t_pkey", "needs a unique index", "create unique index on t (id)", "between"},
	"generated":           {"create table t (id text primary key, v text)", "new.source", "alter table t drop v, add v text generated always as (upper(id)) stored", "is generated", "alter table t alter v drop expression", "app"},
	"default dropped":     {"create table t (id text primary key, v text, w text not null default '')", "new.id", "alter table t alter w drop default", "is not null and has no default", "alter table t alter w set default 'x'", "between"},
	"enum label renamed":  {"create type mood as enum ('sad'); create table t (id text primary key, v mood)", "'sad'", "alter type mood rename value 'sad' to 'blue'", "invalid input value for enum", "alter type mood rename value 'blue' to 'sad'", "sad"},
	"column dropped":      {"create table t (id text primary key, v text)", "new.id", "alter table t drop v", "has no column", "alter table t add v text", "between"},
	"table dropped":       {"create table t (id text primary key, v date)", "new.created_at", "drop table t", "does not exist", "create table t (id text primary key, v timestamptz)", "2026-03-04 05:06:07+00"},
	"a view instead":      {"create table t (id text primary key, v text)", "new.id", "alter table t rename to u; create view t as table u", "is not a table", "drop view t; alter table u rename to t", "between"},
}

// A look takes a target out of service whose table no longer fits, though no event came, and puts
// it back when it fits again; whoever arrived meanwhile is settled by then.
func TestLookFindsMisfits(t *testing.T) {
	t.Parallel()
	for name, c := range misfits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, c.table, typed(c.expression))
			look1(b)
			b.Exec(c.change)
			look1(b)
			b.WantOutages(c.finding)
			b.Applies(fixture.All(event.Parked, 1), arrived("between"))
			look1(b)
			b.Want("select user_id from rollcall.parked", "between")
			b.Exec(c.cure)
			look1(b)
			b.WantOutages()
			b.Want("set timezone = 'UTC'; select v from t where id = 'between'", c.want)
			b.Want("select user_id from rollcall.parked")
		})
	}
}

// Whoever was parked before the change is due after it.
func TestLookMakesParkedDue(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create domain short as text check (length(value) < 4); create table t (id text primary key, v short)", typed(mood))
	b.Applies(fixture.All(event.Parked, 1), arrived("early"))
	b.Exec("update rollcall.parked set retry_at = now() + interval '1 hour'")
	look1(b)
	b.Exec("alter domain short drop constraint short_check")
	look1(b)
	must.Get(b.Parked.CatchUp(t.Context(), "typed"))(t)
	b.Want("select id, v from t", "early|proud")
}

// Who was given up stays so: a change of the table is no news about them.
func TestLookLeavesTheGivenUp(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create domain short as text check (length(value) < 4); create table t (id text primary key, v short)", typed(mood))
	look1(b)
	b.Applies(fixture.All(event.Parked, 2), arrived("given up"), arrived("tried"))
	must.Equal(t, must.Get(b.Parked.GiveUp(t.Context(), "typed", []string{"given up"}))(t), int64(1), "given up")
	b.Exec("update rollcall.parked set attempts = 5, error = '', retry_at = now() + interval '1 minute'; alter table t add column w text")
	look1(b)
	b.Want("select user_id, attempts, given_up, error <> '', retry_at > now() from rollcall.parked order by 1", "given up|5|t|f|t", "tried|5|f|t|t")
}

const toTimestamp = "alter table t alter v type timestamptz"

// born is a database with a target that has a date.
func born(t *testing.T) *fixture.Bench {
	t.Helper()
	b := fixture.NewBench(t, "create table t (id text primary key, v date)", typed("new.created_at"))
	look1(b)
	return b
}

// wantMoments is who has the whole moment, and who has the day only.
func wantMoments(b *fixture.Bench, want ...string) {
	b.T.Helper()
	b.Want("set timezone = 'UTC'; select id || case v::time when '05:06:07' then '' else ' cut' end from t order by 1", want...)
}

// Rows that were settled without a change of the roll (a duplicate, a user settled for its own
// sake, a parked user) count as touched, too.
func TestLookSettlesAgainWhoWasOnlyLocked(t *testing.T) {
	t.Parallel()
	b := born(t)
	b.Applies(fixture.All(event.Applied, 3), arrived("duplicate"), arrived("only settled"), arrived("parked"))
	b.Exec("delete from t")
	look1(b)
	b.Exec(toTimestamp)
	b.Applies(fixture.All(event.Duplicate, 1), arrived("duplicate"))
	must.Get(b.Apply(t.Context(), []event.Event{{Source: "app", UserID: "only settled", Op: event.Settle}}))(t)
	b.Exec("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('typed', 'app', 'parked', now(), '22000', 'x')")
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "typed"))(t), 1, "users tried")
	wantMoments(b, "duplicate cut", "only settled cut", "parked cut")
	look1(b)
	wantMoments(b, "duplicate", "only settled", "parked")
}

// Rows written before the change keep what the change made of them.
func TestLookLeavesEarlierRows(t *testing.T) {
	t.Parallel()
	b := born(t)
	var log bytes.Buffer
	b.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.Applies(fixture.Applied, arrived("before"))
	look1(b)
	b.Exec(toTimestamp)
	b.Applies(fixture.Applied, arrived("between"))
	look1(b)
	wantMoments(b, "before cut", "between")
	must.Contain(t, log.String(), "column v was date, is timestamp with time zone", "rollcall check --repair", "target=typed")
	look1(b)
	must.Equal(t, strings.Count(log.String(), "has changed"), 1, &log)
}

// Each replica settles again what it has written until its own look.
func TestLookOfTwoReplicas(t *testing.T) {
	t.Parallel()
	b := born(t)
	other := b.Replica(typed("new.created_at"))
	look1(other)
	b.Exec(toTimestamp)
	look1(b)
	other.Submit(arrived("late"))
	wantMoments(b, "late cut")
	look1(other)
	wantMoments(b, "late")
}

// A replica that is killed before it looks leaves its users to another one.
func TestLookAfterAnotherReplicaWasKilled(t *testing.T) {
	t.Parallel()
	b := born(t)
	other := b.Replica(typed("new.created_at"))
	b.Exec(toTimestamp)
	look1(b)
	look1(b)
	other.Submit(arrived("late"))
	other.DB.Close()
	look1(b)
	wantMoments(b, "late cut")
	b.DB.Watch().SetLateWriters(0)
	look1(b)
	wantMoments(b, "late")
	b.Want("select catalog from rollcall.looks", b.Named("typed").State.Hash)
}

// After a kill between the change and the look, the next start settles again the users that the former
// process has written, though it compiles its statements for the changed table.
func TestLookAfterAKill(t *testing.T) {
	t.Parallel()
	b := born(t)
	b.Exec(toTimestamp)
	b.Applies(fixture.Applied, arrived("between"))
	b.DB.Close()
	wantMoments(b, "between cut")
	next := b.Replica(typed("new.created_at"))
	look1(next)
	wantMoments(b, "between")
}

// What a command has written is settled again before it ends, however short it was.
func TestStartLooksAtItsEnd(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table t (id text primary key, v date)", typed("new.created_at"))
	stop := b.DB.Watch().Start(t.Context())
	must.Await(t, "a look", func() bool { return len(b.Rows("select from rollcall.looks")) > 0 })
	b.Exec(toTimestamp)
	b.Applies(fixture.Applied, arrived("between"))
	stop()
	wantMoments(b, "between")
}

// While a target is out of service nobody is settled again, and nobody is forgotten: the value
// written between the change and the look is renewed when the target is back.
func TestLookWaitsForATargetOutOfService(t *testing.T) {
	t.Parallel()
	b := born(t)
	b.Exec(toTimestamp)
	b.Applies(fixture.Applied, arrived("between"))
	b.Exec("alter table t drop constraint t_pkey")
	b.DB.Watch().SetLateWriters(0)
	look1(b)
	look1(b)
	wantMoments(b, "between cut")
	b.Exec("alter table t add primary key (id)")
	look1(b)
	wantMoments(b, "between")
}

// A snapshot of a server that knew more transactions, or of long ago, says nothing: each user is
// settled again.
func TestSweepWithoutASnapshot(t *testing.T) {
	t.Parallel()
	b := born(t)
	b.Applies(fixture.All(event.Applied, 2), arrived("a"), arrived("b"))
	now := b.Rows("select pg_current_snapshot()")[0]
	for _, since := range []struct {
		snapshot string
		want     int
	}{{now, 0}, {"99000000000:99000000000:", 2}, {"3:3:", 2}} { // in this order: to settle users touches them
		b.Exec("delete from t")
		users := must.Get(b.DB.Watch().Sweep(t.Context(), b.Named("typed"), since.snapshot))(t)
		must.Equal(t, users, since.want, "users settled since ", since.snapshot)
		b.Want("select count(*) from t", strconv.Itoa(since.want))
	}
}

// A table changes while a backfill is under way: it begins anew, and in the end every row is as
// the changed table can hold it.
func TestBackfillBesideAChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]tableChange{
		"date to timestamptz": {"create table t (id text primary key, v date)", "new.created_at", toTimestamp, "", "2026-03-04 05:06:07+00"},
		"enum label taken":    {"create type mood as enum ('sad'); create table t (id text primary key, v mood)", "'sad'", tableChanges["enum label taken"].change, "", "sad"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, c.table, typed(c.expression))
			b.FillRoll(2500)
			b.Exec("update rollcall.users set created_at = '2026-03-04 05:06:07+00'")
			var totals []int64
			changed := false
			done := must.Get(b.DB.Backfills().Run(t.Context(), "typed", func(visited, _ int64) {
				totals = append(totals, visited)
				if visited > 0 && !changed {
					changed = true
					b.SQL.Run(c.change)
				}
			}))(t)
			b.Want("set timezone = 'UTC'; select v, count(*) from t group by v", c.want+"|2500")
			if done.Visited != 2500 || done.Parked != 0 || !slices.Contains(totals[slices.IndexFunc(totals, func(n int64) bool { return n > 0 }):], 0) {
				t.Errorf("%+v, visited %v: want 2500, anew", done, totals)
			}
		})
	}
}

// A plan that was cached on the session for a former type fails with 0A000, here one of a trigger's
// over a table that no target has. The batch runs again on a new session: nobody is parked, and the
// target stays in service.
func TestCachedPlanOfAFormerTypeParksNobody(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, `create table other as select 1 as n; create table t (id text primary key, v date, w text);
		create function note() returns trigger language plpgsql as $$ begin
			if not exists (select from pg_prepared_statements where name = 'noted') then execute 'prepare noted as select n from other'; end if;
			execute 'execute noted' into new.w;
			return new;
		end $$;
		create trigger note before insert on t for each row execute function note()`,
		typed("case new.id when 'bad' then (new.raw_user_meta_data->>'mood')::date else new.created_at end"))
	b.Applies(fixture.Applied, arrived("a"))
	b.Exec("alter table other alter n type text")
	b.Applies(fixture.All(event.Applied, 2), arrived("b"), arrived("c"))
	b.Exec("alter table other alter n type int using n::int")
	b.Applies([]event.Outcome{event.Parked, event.Applied}, arrived("bad"), arrived("d"))
	b.Want("select id, w from t order by 1", "a|1", "b|1", "c|1", "d|1")
	b.Want("select user_id, sqlstate from rollcall.parked", "bad|22007")
	b.WantOutages()
}

// BenchmarkLook takes one look at the tables of ten targets.
func BenchmarkLook(b *testing.B) {
	var tables strings.Builder
	var targets []target.Target
	for i := range 10 {
		target := fixture.Everyone()
		target.Name, target.Table = fmt.Sprint("t", i), fmt.Sprint("public.t", i)
		targets = append(targets, target)
		tables.WriteString(strings.ReplaceAll(fixture.PTable, "p (", fmt.Sprint("t", i, " (")))
	}
	bench := fixture.NewBench(b, tables.String(), targets...)
	for b.Loop() {
		look1(bench)
	}
}
