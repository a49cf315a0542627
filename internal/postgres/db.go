// Package postgres holds the roll and writes the targets. It is the only room that
// speaks to PostgreSQL.
package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/target"
	"rollcall/sql"
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

// DB is the roll, the parked users and the targets in one database.
type DB struct {
	pool      *connection.Pool
	directory *directory.Directory
	outbox    *outbox.Outbox
	config    Config
	log       *slog.Logger
	// fingerprint tells this set of targets from another one.
	fingerprint int32
	changing    sync.Mutex // of targets and tables
	targets     atomic.Pointer[[]*compiled]
	looking     sync.Mutex          // one look at the catalog at a time
	watched     map[string]*watched // by target; nil before the first look
	lateWriters time.Duration
	commits     commits                                 // what they say about the database
	tables      atomic.Pointer[map[string]*tableSource] // by source
}

const minServerVersion = 140000

// Open prepares the pools. It does not connect, so a database that is not up yet is no
// error; a URL that can't be parsed is.
func Open(cfg Config) (*DB, error) {
	if cfg.Metadata == 0 {
		cfg.Metadata = 1 << 20
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 20
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	db := &DB{
		config: cfg, log: cfg.Log, fingerprint: target.Fingerprint(cfg.Targets),
		lateWriters: lateWriters,
	}
	db.targets.Store(&[]*compiled{})
	var err error
	db.pool, err = connection.Open(connection.Config{
		URL: cfg.URL, LockTimeout: cfg.LockTimeout, StatementTimeout: cfg.StatementTimeout, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	db.directory = &directory.Directory{Pool: db.pool, Metadata: cfg.Metadata}
	db.outbox = outbox.New(db.pool, db.directory)
	return db, nil
}

// Close closes every connection, after those in use are returned.
func (db *DB) Close() {
	db.pool.Close()
}

// Pool holds the connections, for what needs no target.
func (db *DB) Pool() *connection.Pool { return db.pool }

// Directory reads the providers' users.
func (db *DB) Directory() *directory.Directory { return db.directory }

// Outbox has what triggers on the tables of users have noted.
func (db *DB) Outbox() *outbox.Outbox { return db.outbox }

// Fingerprint tells this set of targets from another one.
func (db *DB) Fingerprint() int32 { return db.fingerprint }

// Check compiles every target against the catalog and puts the result into service. The
// findings are about single targets, which stay out of service; an error means that the
// database could not be asked and that nothing has changed.
func (db *DB) Check(ctx context.Context) ([]target.Finding, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", db.pool.Explain(err))
	}
	defer conn.Release()
	return db.check(ctx, conn.Conn())
}

// Preview is Check as it would be after Migrate, which is undone again.
func (db *DB) Preview(ctx context.Context) ([]target.Finding, error) {
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", db.pool.Explain(err))
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing is to stay
	if _, err := migrateIn(ctx, tx); err != nil {
		return nil, db.explainMigration(err)
	}
	if _, err := tx.Exec(ctx, sql.Settings, db.pool.Timeouts()...); err != nil { // migrations wait without limit
		return nil, fmt.Errorf("check the targets: %w", err)
	}
	return db.check(ctx, tx.Conn())
}

func (db *DB) check(ctx context.Context, conn *pgx.Conn) ([]target.Finding, error) {
	var all []target.Finding
	list := make([]*compiled, 0, len(db.config.Targets))
	for i := range db.config.Targets {
		c, found, err := compileTarget(ctx, conn, &db.config.Targets[i])
		if err != nil {
			return nil, err
		}
		if before := db.inService(c.Name); before != nil && !slices.ContainsFunc(found, func(f target.Finding) bool { return !f.Passing }) && c.outage != nil {
			c, found = before, nil
		}
		list, all = append(list, c), append(all, found...)
	}
	list = inOrder(list)
	db.changing.Lock()
	defer db.changing.Unlock()
	db.targets.Store(&list)
	return all, nil
}

// inService returns a target that works, or nil.
func (db *DB) inService(name string) *compiled {
	for _, t := range *db.targets.Load() {
		if t.Name == name && t.outage == nil {
			return t
		}
	}
	return nil
}

// Parked counts the parked users of each configured target.
func (db *DB) Parked(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, t := range db.config.Targets {
		counts[t.Name] = 0
	}
	rows, _ := db.pool.Query(ctx, "select target, pg_catalog.count(*) from rollcall.parked group by target")
	var target string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&target, &n}, func() error {
		if _, configured := counts[target]; configured {
			counts[target] = n
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count parked users: %w", err)
	}
	return counts, nil
}

// TargetState is how a target is doing.
type TargetState struct {
	Name   string
	Table  string
	Outage string // why it is out of service; empty when it works
	OID    uint32 // of the table; 0 while there is none that fits
}

// TargetStates returns the state of every target, in the order of settling.
func (db *DB) TargetStates() []TargetState {
	var states []TargetState
	for _, t := range *db.targets.Load() {
		s := TargetState{Name: t.Name, Table: t.Table, OID: t.oid}
		if t.outage != nil {
			s.Outage = t.outage.message
		}
		states = append(states, s)
	}
	return states
}

// Statements returns the compiled statements of a target for people to read; empty for
// one that is out of service.
func (db *DB) Statements(target string) []string {
	for _, t := range *db.targets.Load() {
		if t.Name == target && t.outage == nil {
			shown := t.compiler.Shown()
			return slices.DeleteFunc([]string{shown.Removal, shown.Upsert}, func(s string) bool { return s == "" })
		}
	}
	return nil
}
