package postgres_test

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
	"rollcall/sql"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Replicas that start at once migrate once, whatever the database's defaults are.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, `do $$ begin
		execute format('alter database %I set default_transaction_isolation = %L', current_database(), 'repeatable read');
		execute format('alter database %I set default_transaction_read_only = on', current_database());
	end $$`)
	var replicas sync.WaitGroup
	var ran atomic.Int64
	for range 4 {
		db := must.Get(postgres.Open(postgres.Config{URL: url}))(t)
		t.Cleanup(db.Close)
		replicas.Go(func() {
			names, err := db.Migrate(t.Context())
			must.True(t, err == nil, "migrate: %v", err)
			ran.Add(int64(len(names)))
		})
	}
	replicas.Wait()
	must.Equal(t, ran.Load(), int64(len(sql.Migrations())), "migrations that ran, each once")
}

// A role that may not make the views for applications goes without them.
func TestMigrateWithoutViews(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		schema string
		want   string
	}{
		"no right to create the schema": {"", "0"},
		"the schema is another role's":  {"create schema rollcall_api; grant usage on schema rollcall_api to %[1]s", "0"},
		"a right to create views in it": {"create schema rollcall_api; grant usage, create on schema rollcall_api to %[1]s", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := fixture.New(t, "create schema rollcall")
			role := d.NewRole("", "grant all on schema rollcall to %[1]s; "+tt.schema)
			db := must.Get(postgres.Open(postgres.Config{URL: pgtest.As(t, d.Address, role)}))(t)
			t.Cleanup(db.Close)
			must.Get(db.Migrate(t.Context()))(t)
			d.Want("select count(*) from pg_views where schemaname = 'rollcall_api'", tt.want)
		})
	}
}

// On a standby nothing can be done but say so.
func TestStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{"wal_level": "replica"}})
	open := func() *postgres.DB {
		db := must.Get(postgres.Open(postgres.Config{URL: server.URL("postgres"), Targets: []target.Target{fixture.Everyone()}}))(t)
		t.Cleanup(db.Close)
		return db
	}
	must.Get(open().Migrate(t.Context()))(t)
	must.Do(t, os.WriteFile(filepath.Join(server.Dir(), "data", "standby.signal"), nil, 0o666))
	must.Do(t, server.Restart(t.Context()))
	db := open()
	const standby = "is a standby, which takes no writes; let database name its primary"
	must.Fail(t, must.Err(db.Migrate(t.Context())), nil, standby)
	must.Fail(t, must.Err(db.Audit().Report(t.Context(), audit.Options{Repair: true})), nil, standby)
	must.Fail(t, must.Err(db.Directory().BeginRun(t.Context(), "app", "")), nil, standby)
}

// A role that may write the roll of users may use what later migrations bring.
func TestWritersMayUseWhatComesLater(t *testing.T) {
	t.Parallel()
	d := fixture.New(t, "create schema rollcall")
	var role string
	for _, m := range sql.Migrations() {
		d.Exec(m.SQL)
		if m.Name == "0013_public" { // since then, functions need a grant
			role = d.NewRole("", `grant usage on schema rollcall to %[1]s; grant all on all tables in schema rollcall to %[1]s;
				grant execute on all functions in schema rollcall to %[1]s`)
		}
	}
	d.Want(`select c.relname, privilege from pg_class c cross join unnest(array['select', 'insert', 'update', 'delete']) privilege
		where c.relnamespace = 'rollcall'::regnamespace and c.relkind in ('r', 'p') and not has_table_privilege('` + role + `', c.oid, privilege)
		and c.relname not in ('audit_log', 'erased')`)
	d.Want(`select p.proname from pg_proc p where p.pronamespace = 'rollcall'::regnamespace and p.prorettype <> 'trigger'::regtype
		and not has_function_privilege('` + role + `', p.oid, 'execute')`)
}
