package jobs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/testlog"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// migrated is a fresh database with the schema rollcall.
type migrated struct {
	*pgtest.Conn
	t   testing.TB
	url string
}

func newMigrated(t testing.TB) *migrated {
	t.Helper()
	url := pgtest.New(t)
	migrate(t, url)
	return &migrated{pgtest.Connect(t, url), t, url}
}

func migrate(t testing.TB, url string) {
	t.Helper()
	db := must.Get(postgres.Open(postgres.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	defer db.Close()
	must.Get(db.Migrate(t.Context()))(t)
}

// newReplica opens the database anew.
func newReplica(t testing.TB, url string, log io.Writer) *Replica {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(log, nil))
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: logger}))(t)
	t.Cleanup(pool.Close)
	return NewReplica(pool, Configuration{Hash: "one"}, logger)
}

// silent makes a replica one that has not noted itself for a while.
func (b *migrated) silent(replica string, since time.Duration) {
	b.t.Helper()
	b.Run(fmt.Sprintf(`insert into rollcall.replicas (id, config, seen_at) values ('%s', 0, now() - interval '%d ms')
on conflict (id) do update set seen_at = excluded.seen_at`, replica, since.Milliseconds()))
}

// takeOver has a replica note itself and take over what others have left.
func (r *replica) takeOver() {
	r.t.Helper()
	must.Get(r.Note(r.t.Context()))(r.t)
	must.Do(r.t, r.TakeOver(r.t.Context()))
}

// A run of a replica that is silent goes on at another one. When the first goes on after all, the
// end of its run changes nothing: the run at the other one stays the only one of its name.
func TestJobOfASilentReplica(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var runs atomic.Int64
	releases := []chan struct{}{make(chan struct{}), make(chan struct{})}
	job := never("slow", func(context.Context) error { <-releases[runs.Add(1)-1]; return nil })
	first := startReplica(t, b.url, job)
	first.due("slow")
	must.Await(t, "the first run", func() bool { return runs.Load() == 1 })
	second := startReplica(t, b.url, job)
	second.takeOver()
	b.WantRows("select state, attempt from rollcall.river_job", "running|1")
	b.silent(first.id, ReplicaAge+time.Second)
	second.takeOver()
	b.silent(first.id, 0) // River may give the second run to the first replica
	second.takeOver()
	must.Await(t, "the second run", func() bool { return runs.Load() == 2 })
	const running = "select attempt, attempted_by[1] from rollcall.river_job where state = 'running'"
	b.WantRows(running, "2|"+first.ID())
	if log := second.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "job=slow") {
		t.Errorf("the log says:\n%s", log)
	}

	close(releases[0])
	time.Sleep(time.Second) // River notes the ends of runs in batches
	b.WantRows(running, "2|"+first.ID())
	if first.due("slow") || second.due("slow") {
		t.Error("another run became due although one is under way")
	}
	close(releases[1])
	b.awaitRuns(1, "state = 'completed'")
	b.WantRows("select state, attempt, errors[1]->>'error' from rollcall.river_job order by id",
		"discarded|1|the replica that ran it is gone", "completed|2|∅")
	if !second.due("slow") {
		t.Error("the next run was refused")
	}
}

// A replica that never noted itself is of an earlier version, and one that was seen lately lives:
// their runs are theirs. So are runs of another kind.
func TestJobsThatAreLeftAlone(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	r := startReplica(t, b.url)
	b.silent("living", ReplicaAge-5*time.Second)
	b.silent("gone", ReplicaAge+time.Second)
	b.Run(`insert into rollcall.river_job (kind, args, state, attempt, max_attempts, attempted_at, attempted_by) values
  ('rollcall_job', '{"name": "a"}', 'running', 1, 1, now(), '{gone, old}'), ('rollcall_job', '{"name": "b"}', 'running', 1, 1, now(), '{gone, living}'),
  ('other', '{"name": "c"}', 'running', 1, 1, now(), '{gone}'), ('rollcall_job', '{"name": "d"}', 'running', 1, 1, now(), null)`)
	r.takeOver()
	b.WantRows("select state, count(*) from rollcall.river_job group by 1", "running|4")
}

// A run that ends the process of every replica that takes it up does not go on for ever.
func TestJobThatKillsReplicas(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	log := &testlog.Log{}
	r := newReplica(t, b.url, log)
	b.silent("gone", ReplicaAge+time.Second)
	b.Run(fmt.Sprintf(`insert into rollcall.river_job (kind, args, state, attempt, max_attempts, attempted_at, attempted_by)
  select 'rollcall_job', jsonb_build_object('name', 'job ' || n), 'running', n, 1, now(), '{gone}' from generate_series(%d, %d) n`, takeovers-1, takeovers))
	must.Do(t, r.TakeOver(t.Context()))
	b.WantRows("select args->>'name', attempt from rollcall.river_job where state = 'available'", fmt.Sprintf("job %d|%[1]d", takeovers-1))
	if said := log.String(); strings.Count(said, "level=ERROR") != 1 || !strings.Contains(said, fmt.Sprintf(`job="job %d" replicas`, takeovers)) {
		t.Errorf("the log says:\n%s", said)
	}
}

// The lock of a replica that is gone may be taken for some seconds more: what was taken over waits.
func TestJobWaitsForTheLockOfAReplicaThatIsGone(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	var runs atomic.Int64
	r := startReplica(t, b.url, never("locked", func(context.Context) error {
		if runs.Add(1) == 1 {
			return fmt.Errorf("reconcile: %w", connection.ErrRunning)
		}
		return nil
	}))
	b.silent("gone", ReplicaAge+time.Second)
	b.Run(`insert into rollcall.river_job (kind, args, state, attempt, max_attempts, attempted_at, attempted_by)
  values ('rollcall_job', '{"name": "locked"}', 'running', 1, 1, now(), '{gone}')`)
	r.takeOver()
	b.awaitRuns(1, "state = 'completed'")
	if log := r.log.String(); runs.Load() != 2 || strings.Contains(log, "level=ERROR") {
		t.Errorf("%d runs; the log says:\n%s", runs.Load(), log)
	}
}

// A replica counts those with other targets that live; one that has left is none of them.
func TestReplicaLeaves(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	one, other := newReplica(t, b.url, io.Discard), newReplica(t, b.url, io.Discard)
	other.Reloaded(Configuration{Targets: 1, Hash: "two"})
	must.Get(other.Note(t.Context()))(t)
	must.Equal(t, must.Get(one.Note(t.Context()))(t), 1, "others with other targets")
	list := must.Get(Replicas(t.Context(), one.pool))(t)
	must.True(t, len(list) == 2 && Differ(list), "%+v", list)
	must.True(t, list[0].Configuration == "one" && list[0].ReloadedAt == nil && list[0].StartedAt != nil, "%+v", list[0])
	must.True(t, list[1].Configuration == "two" && !list[1].ReloadedAt.Before(*list[1].StartedAt), "%+v", list[1])
	one.Reloaded(Configuration{Targets: 1, Hash: "two"})
	must.Equal(t, must.Get(one.Note(t.Context()))(t), 0, "others with other targets")
	must.True(t, !Differ(must.Get(Replicas(t.Context(), one.pool))(t)), "they differ still")
	one.Reloaded(Configuration{})
	must.Get(one.Note(t.Context()))(t)
	must.Do(t, other.Leave(t.Context()))
	must.Equal(t, must.Get(one.Note(t.Context()))(t), 0, "others, once it has left")
}

// riverTables describes all that belongs to River in the schema rollcall.
const riverTables = `
select 'column', c.relname, c.relpersistence::text, a.attnum::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
       a.attnotnull::text, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'rollcall'::regnamespace and c.relname like 'river%' and c.relkind = 'r' and a.attnum > 0
union all
select 'index', tablename, indexname, indexdef, '', '', '', '' from pg_indexes where schemaname = 'rollcall' and tablename like 'river%'
union all
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', ''
  from pg_constraint where connamespace = 'rollcall'::regnamespace and conrelid::regclass::text like '%river%' and contype <> 'n'
union all
select 'function', proname, pg_get_functiondef(oid), '', '', '', '', '' from pg_proc where pronamespace = 'rollcall'::regnamespace and proname like 'river%'
union all
select 'enum', enumtypid::regtype::text, string_agg(enumlabel, ' ' order by enumsortorder), '', '', '', '', '' from pg_enum group by enumtypid
union all
select 'trigger', tgrelid::regclass::text, tgname, '', '', '', '', '' from pg_trigger where not tgisinternal and tgrelid::regclass::text like '%river%'
union all
select 'sequence', sequencename, data_type::text, '', '', '', '', '' from pg_sequences where schemaname = 'rollcall' and sequencename like 'river%'
union all
select 'version', line, version::text, '', '', '', '', '' from rollcall.river_migration
order by 1, 2, 3, 4`

// The tables that our migrations make for River are those of River's own migrations: a
// newer River that needs more fails here.
func TestRiverTables(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	theirs := pgtest.NewWith(t, "create schema rollcall")
	pool := must.Get(pgxpool.New(t.Context(), theirs))(t)
	defer pool.Close()
	migrator := must.Get(rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema}))(t)
	must.Get(migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil))(t)
	want, got := pgtest.Connect(t, theirs).Rows(riverTables), b.Rows(riverTables)
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 50 {
		t.Errorf("River's own tables have only %d properties: %q", len(want), want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-of River's migrations +of ours):\n%s", diff)
	}
}

// After an outage of the database, or when this replica was stopped, the others must have had time
// to note themselves.
func TestPulse(t *testing.T) {
	t.Parallel()
	var p Pulse
	at := time.Now()
	for i, step := range []struct {
		pause  time.Duration
		failed error
		want   time.Duration
	}{
		{0, nil, 0}, {5 * time.Second, nil, 5 * time.Second}, {5 * time.Second, nil, 10 * time.Second},
		{5 * time.Second, context.DeadlineExceeded, 0}, {5 * time.Second, nil, 5 * time.Second}, {time.Hour, nil, 0}, {time.Second, nil, time.Second},
	} {
		at = at.Add(step.pause)
		if got, gap := p.Beat(at, step.failed); got != step.want || gap != (got == 0) {
			t.Errorf("note %d: %s, want %s", i, got, step.want)
		}
	}
}
