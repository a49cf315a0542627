package postgres

import (
	"sync"
	"sync/atomic"
	"testing"

	"rollcall/internal/pgtest"
	"rollcall/sql"
)

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
		replicas.Go(func() {
			db, err := Open(Config{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			names, err := db.Migrate(t.Context())
			if err != nil {
				t.Error(err)
			}
			ran.Add(int64(len(names)))
		})
	}
	replicas.Wait()
	if want := int64(len(sql.Migrations())); ran.Load() != want {
		t.Errorf("%d migrations ran, want each of %d once", ran.Load(), want)
	}
}
