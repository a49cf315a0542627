package postgres_test

import (
	"fmt"
	"os"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/sql"
)

const laterIndexes = `select c.relname, i.indisvalid, pg_get_indexdef(c.oid) from pg_index i join pg_class c on c.oid = i.indexrelid
	where i.indrelid = 'rollcall.events'::regclass and c.relname in ('events_kinds', 'events_of_user') order by 1`

// What a migration has left out is built as it would have been, also where an earlier try has failed, and while
// events come in.
func TestBuildIndexes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	want := b.Rows(laterIndexes)
	must.Equal(t, len(want), 2, "indexes after the migration")
	must.Equal(t, must.Get(b.DB.BuildIndexes(t.Context()))(t), nil, "with nothing to build")
	b.Exec("drop index rollcall.events_kinds; update pg_index set indisvalid = false where indexrelid = 'rollcall.events_of_user'::regclass")
	// A transaction that has written is waited for, and holds nobody else up.
	writer := b.Hold("insert into rollcall.events (source, id, type, received_at) values ('app', 'e', 'x', now())")
	built := make(chan []string, 1)
	must.Do(t, fixture.Beside(func() error {
		names, err := b.DB.BuildIndexes(t.Context())
		built <- names
		return err
	}, func() {
		b.Await(`select exists (select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
			and query like '%index concurrently%' and wait_event_type = 'Lock')`, "t")
		b.Applies(fixture.Applied, fixture.Updated("u1", 1, "u1@x"))
		must.Equal(t, must.Get(b.DB.BuildIndexes(t.Context()))(t), nil, "built while another process is at it")
		writer.Run("commit")
	}))
	must.Equal(t, <-built, []string{"events_kinds", "events_of_user"}, "built")
	b.Want(laterIndexes, want...)
}

// A large table is not blocked by the migration, and a partitioned one has its indexes under other names.
func TestIndexesOfLargeTables(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, "")
	b.Exec(fmt.Sprintf("drop table rollcall.replays; delete from rollcall.migrations where version = %d; drop index rollcall.events_kinds, rollcall.events_of_user", migrationOf(t, "0018_history")))
	b.Exec("insert into rollcall.events (source, id, type, received_at, body) select 'app', 'e' || g, 'x', now(), decode(repeat(md5(g::text), 220), 'hex') from generate_series(1, 40000) g")
	b.Exec("alter table rollcall.events alter column body set storage plain")
	b.Exec("update rollcall.events set body = body || ''")
	must.Get(b.DB.Migrate(t.Context()))(t)
	b.Want(laterIndexes)
	must.Equal(t, len(must.Get(b.DB.BuildIndexes(t.Context()))(t)), 2, "built afterwards")

	parts := fixture.EmptyBench(t, "")
	parts.Exec(string(must.Get(os.ReadFile("../../bench/partitions.sql"))(t)))
	must.Equal(t, must.Get(parts.DB.BuildIndexes(t.Context()))(t), nil, "built of a partitioned table")
}

// migrationOf is the version of a migration.
func migrationOf(t *testing.T, name string) int {
	for i, m := range sql.Migrations() {
		if m.Name == name {
			return i + 1
		}
	}
	t.Fatalf("there is no migration %s", name)
	return 0
}
