// Package postgres is the database of a configuration, put together of the packages below it, which alone
// speak to PostgreSQL. Besides, it migrates the schema and forgets old events:
//
//	db, err := postgres.Open(postgres.Config{URL: url, Targets: targets})
//	findings, err := db.Targets().Check(ctx)
//	outcomes, err := db.Roll().Apply(ctx, events)
package postgres

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/parked"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/postgres/watch"
	"rollcall/internal/target"
)

// Config describes the database and what is to be kept in step with it.
type Config struct {
	// URL is a postgres:// URL or a keyword/value string; pool_max_conns in it bounds the
	// pool, which is 6 connections otherwise.
	URL string
	// Targets are the tables to settle; Check compiles them.
	Targets []target.Target
	// LockTimeout and StatementTimeout bound every transaction; 800 ms and 4 s when zero.
	LockTimeout, StatementTimeout time.Duration
	// Metadata is up to how many bytes of a user's metadata are read from a provider's table; 1 MiB
	// when zero.
	Metadata int64
	// Attempts is how often a parked user is tried before they are given up; 20 when zero.
	Attempts int
	// Log takes what an operator must know; slog.Default() when nil.
	Log *slog.Logger
}

// DB is the roll, the targets, the directory and the outbox in one database.
type DB struct {
	pool      *connection.Pool
	directory *directory.Directory
	outbox    *outbox.Outbox
	targets   *settle.Targets
	watch     *watch.Watch
	roll      *roll.Roll
	noted     transitions.Log
}

// Open prepares the pools. It does not connect, so a database that is not up yet is no
// error; a URL that can't be parsed is.
func Open(cfg Config) (*DB, error) {
	if cfg.Metadata == 0 {
		cfg.Metadata = 1 << 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	pool, err := connection.Open(connection.Config{
		URL: cfg.URL, LockTimeout: cfg.LockTimeout, StatementTimeout: cfg.StatementTimeout, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	db := &DB{pool: pool, directory: &directory.Directory{Pool: pool}, noted: transitions.New(pool)}
	db.directory.Metadata.Store(cfg.Metadata)
	db.outbox = outbox.New(pool, db.directory)
	db.targets = settle.New(pool, cfg.Targets, cmp.Or(cfg.Attempts, 20), cfg.Log)
	db.watch = watch.New(db.targets)
	db.roll = roll.New(db.targets, db.directory, db.outbox)
	return db, nil
}

// SetLimits changes the timeouts, Metadata and Attempts, as Config has them; nothing else of it counts.
func (db *DB) SetLimits(cfg Config) {
	if cfg.LockTimeout != db.pool.LockTimeout() || cfg.StatementTimeout != db.pool.StatementTimeout() {
		db.pool.SetTimeouts(cfg.LockTimeout, cfg.StatementTimeout)
	}
	db.directory.Metadata.Store(cmp.Or(cfg.Metadata, 1<<20))
	db.targets.Attempts.Store(int32(cmp.Or(cfg.Attempts, 20))) //nolint:gosec // the configuration's own check keeps it small
}

// Close closes every connection, after those in use are returned.
func (db *DB) Close() { db.pool.Close() }

// Pool holds the connections, for what needs no target.
func (db *DB) Pool() *connection.Pool { return db.pool }

// Directory reads the providers' users.
func (db *DB) Directory() *directory.Directory { return db.directory }

// Outbox has what triggers on the tables of users have noted.
func (db *DB) Outbox() *outbox.Outbox { return db.outbox }

// Targets are the applications' tables.
func (db *DB) Targets() *settle.Targets { return db.targets }

// Watch keeps the targets in step with their tables and with the configuration.
func (db *DB) Watch() *watch.Watch { return db.watch }

// Roll is what is known of the providers' users.
func (db *DB) Roll() *roll.Roll { return db.roll }

// Parked is what targets have refused.
func (db *DB) Parked() parked.Rows { return parked.Rows{Targets: db.targets} }

// Audit holds the targets against the roll.
func (db *DB) Audit() *audit.Audit { return &audit.Audit{Targets: db.targets} }

// Eraser erases users.
func (db *DB) Eraser() erasure.Eraser { return erasure.Eraser{Targets: db.targets, Outbox: db.outbox} }

// History is the recorded events.
func (db *DB) History() history.History { return history.History{Pool: db.pool} }

// Transitions is what is noted for notifications.
func (db *DB) Transitions() transitions.Log { return db.noted }

// Backfills fill targets from the roll.
func (db *DB) Backfills() *backfill.Backfills { return &backfill.Backfills{Targets: db.targets} }

// Preview is Targets.Check as it would be after Migrate, which is undone again.
func (db *DB) Preview(ctx context.Context) ([]target.Finding, error) {
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", db.pool.Explain(err))
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing is to stay
	if _, err := migrateIn(ctx, tx); err != nil {
		return nil, db.explainMigration(err)
	}
	if _, err := tx.Exec(ctx, connection.SettingsSQL, db.pool.Timeouts()...); err != nil { // migrations wait without limit
		return nil, fmt.Errorf("check the targets: %w", err)
	}
	return db.targets.CheckOn(ctx, tx.Conn())
}
