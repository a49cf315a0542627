package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/sql"
)

// BuildIndexes builds the indexes that migrations leave out where rollcall.events is large, without holding up
// webhooks, and returns the names of those that it has built. One that an earlier try has left unfinished is
// built anew. It takes minutes for many millions of events; while another process is at it, it does nothing.
func (db *DB) BuildIndexes(ctx context.Context) ([]string, error) {
	missing, err := db.missingIndexes(ctx)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	lock, err := db.pool.TryLock(ctx, "build indexes")
	if errors.Is(err, connection.ErrRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("build indexes: %w", err)
	}
	defer lock.Release()
	var built []string
	err = lock.During(ctx, func(ctx context.Context) error {
		if missing, err = db.missingIndexes(ctx); err != nil { // another process may have just done it
			return err
		}
		for _, name := range missing {
			if err := db.buildIndex(ctx, name); err != nil {
				return fmt.Errorf("build the index %s of rollcall.events: %w", name, db.pool.Explain(err))
			}
			built = append(built, name)
		}
		return nil
	})
	return built, err
}

// missingIndexes names those of sql.LaterIndexes that are not there, or not valid. A partitioned table has had
// them by the migration, perhaps under other names.
func (db *DB) missingIndexes(ctx context.Context) ([]string, error) {
	const there = `select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = 'rollcall.events'::regclass::oid and i.indisvalid
union all select 'partitioned' from pg_class where oid = 'rollcall.events'::regclass::oid and relkind = 'p'`
	rows, _ := db.pool.Query(ctx, there)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for indexes: %w", db.pool.Explain(err))
	}
	var missing []string
	for _, index := range sql.LaterIndexes {
		if !slices.Contains(names, index.Name) && !slices.Contains(names, "partitioned") {
			missing = append(missing, index.Name)
		}
	}
	return missing, nil
}

// buildIndex builds one in a session of its own: it may not be in a transaction, and waits for those of others.
func (db *DB) buildIndex(ctx context.Context, name string) error {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	at := slices.IndexFunc(sql.LaterIndexes, func(i sql.Index) bool { return i.Name == name })
	for _, statement := range []string{
		"set statement_timeout = 0", "set lock_timeout = 0",
		"drop index concurrently if exists rollcall." + name,
		fmt.Sprintf("create index concurrently %s on %s", name, sql.LaterIndexes[at].On),
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
