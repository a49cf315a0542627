// Package postgres holds the roll and writes the targets. It is the only room that
// speaks to PostgreSQL.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/sql"
)

// Config describes the database and what is to be kept in step with it.
type Config struct {
	// URL is a postgres:// URL or a keyword/value string; pool_max_conns in it bounds the
	// pool, which is 6 connections otherwise.
	URL string
	// Targets are the tables to settle; Check compiles them.
	Targets []Target
	// LockTimeout and StatementTimeout bound every transaction; 800 ms and 4 s when zero.
	LockTimeout, StatementTimeout time.Duration
	// Attempts is how often a parked user is tried before he is given up; 20 when zero.
	Attempts int
	// Log takes what an operator must know; slog.Default() when nil.
	Log *slog.Logger
}

// DB is the roll, the parked users and the targets in one database.
type DB struct {
	pool   *pgxpool.Pool
	config Config
	log    *slog.Logger
	// fingerprint tells this set of targets from another one.
	fingerprint int32
	replica     string     // names this one in rollcall.replicas
	pooler      sync.Mutex // one connection at a time looks for a pooler
	sessions    bool       // there is none, or one that leaves sessions alone
	changing    sync.Mutex // of targets
	targets     atomic.Pointer[[]*compiled]
	commits     commits // what they say about the database
}

const (
	defaultConnections = 6
	connectTimeout     = 3 * time.Second
	minServerVersion   = 140000
)

// Open prepares the pool. It does not connect, so a database that is not up yet is no
// error; a URL that can't be parsed is.
func Open(cfg Config) (*DB, error) {
	pool, err := poolConfig(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = 800 * time.Millisecond
	}
	if cfg.StatementTimeout == 0 {
		cfg.StatementTimeout = 4 * time.Second
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 20
	}
	db := &DB{config: cfg, log: cfg.Log, fingerprint: fingerprint(cfg.Targets), replica: rand.Text()}
	if db.log == nil {
		db.log = slog.Default()
	}
	db.targets.Store(&[]*compiled{})
	pool.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := db.refusePooler(ctx, conn); err != nil {
			return err
		}
		return prepareSession(ctx, conn, cfg)
	}
	db.pool, err = pgxpool.NewWithConfig(context.Background(), pool)
	if err != nil {
		return nil, fmt.Errorf("open the database pool: %w", err)
	}
	return db, nil
}

// Close closes every connection, after those in use are returned.
func (db *DB) Close() { db.pool.Close() }

func poolConfig(url string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The library's error repeats the URL, which holds a password.
		return nil, errors.New("database: this is no PostgreSQL URL; write postgres://user:password@host:5432/name")
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = defaultConnections
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "rollcall"
	}
	return cfg, nil
}

// prepareSession gives every connection the same surroundings, whatever the role's and the
// database's defaults are. Sequential scans are off because a generic plan that was made
// while the tables were empty would keep them for ever; their penalty in the planner's
// estimates would then start the JIT compiler, so that is off, too. The timeouts are those
// of every transaction once more: preparing a statement waits for a locked table, outside
// of any transaction. Rollcall's own transactions say what they are; those of River rely on
// the session's defaults.
func prepareSession(ctx context.Context, conn *pgx.Conn, cfg Config) error {
	_, err := conn.Exec(ctx, `select
  set_config('TimeZone', 'UTC', false),
  set_config('search_path', 'pg_catalog, public', false),
  set_config('client_encoding', 'UTF8', false),
  set_config('standard_conforming_strings', 'on', false),
  set_config('enable_seqscan', 'off', false),
  set_config('jit', 'off', false),
  set_config('default_transaction_isolation', 'read committed', false),
  set_config('default_transaction_read_only', 'off', false),
  set_config('lock_timeout', $1, false),
  set_config('statement_timeout', $2, false)`, milliseconds(cfg.LockTimeout), milliseconds(cfg.StatementTimeout))
	if err != nil {
		return fmt.Errorf("set up the session: %w", err)
	}
	return nil
}

// timeouts are the parameters of settings.sql.
func (db *DB) timeouts() []any {
	return []any{milliseconds(db.config.LockTimeout), milliseconds(db.config.StatementTimeout)}
}

// milliseconds never says 0, which PostgreSQL takes for no limit.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(1, d.Milliseconds())) }

// Check compiles every target against the catalog and puts the result into service. The
// findings are about single targets, which stay out of service; an error means that the
// database could not be asked and that nothing has changed.
func (db *DB) Check(ctx context.Context) ([]Finding, error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", db.explainConnect(err))
	}
	defer conn.Release()
	return db.check(ctx, conn.Conn())
}

// Preview is Check as it would be after Migrate, which is undone again.
func (db *DB) Preview(ctx context.Context) ([]Finding, error) {
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, fmt.Errorf("check the targets: %w", db.explainConnect(err))
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing is to stay
	if _, err := migrateIn(ctx, tx); err != nil {
		return nil, db.explainMigration(err)
	}
	if _, err := tx.Exec(ctx, sql.Settings, db.timeouts()...); err != nil { // migrations wait without limit
		return nil, fmt.Errorf("check the targets: %w", err)
	}
	return db.check(ctx, tx.Conn())
}

func (db *DB) check(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	var all []Finding
	list := make([]*compiled, 0, len(db.config.Targets))
	for i := range db.config.Targets {
		c, found, err := checkTarget(ctx, conn, &db.config.Targets[i])
		if err != nil {
			return nil, err
		}
		if before := db.inService(c.Name); before != nil && !slices.ContainsFunc(found, func(f Finding) bool { return !f.Passing }) && c.outage != nil {
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

// explainConnect says in words what keeps a connection from being made. The address, the
// user and the database are named, the password is not.
func (db *DB) explainConnect(err error) error {
	var failed *pgconn.ConnectError
	if !errors.As(err, &failed) {
		return db.explainStandby(err)
	}
	to, at := db.pool.Config().ConnConfig, db.address()
	switch stateOf(err) {
	case "28P01":
		return fmt.Errorf("the server at %s refuses user %s; correct the name or the password in database", at, to.User)
	case "28000":
		return fmt.Errorf("the server at %s refuses the connection of user %s (%w); look at pg_hba.conf, sslmode, and whether the role may log in", at, to.User, err)
	case "3D000":
		return fmt.Errorf("the server at %s has no database %s; create it, or correct its name in database", at, to.Database)
	case "":
		var network *net.OpError
		if errors.As(err, &network) {
			return fmt.Errorf("no PostgreSQL answers at %s (%w); start it, or correct the address in database", at, network.Err)
		}
	}
	return err
}

func (db *DB) address() string {
	to := db.pool.Config().ConnConfig
	return net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
}

// explainStandby says in words that a server refuses what would write because it is a standby.
func (db *DB) explainStandby(err error) error {
	if state := stateOf(err); state != readOnlyTransaction && state != notSupported {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	var standby bool
	if db.pool.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby) != nil || !standby {
		return err
	}
	return fmt.Errorf("the server at %s is a standby, which takes no writes; let database name its primary: %w", db.address(), err)
}

// Parked counts the parked users of each configured target.
func (db *DB) Parked(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, t := range db.config.Targets {
		counts[t.Name] = 0
	}
	rows, _ := db.pool.Query(ctx, "select target, count(*) from rollcall.parked group by target")
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
}

// TargetStates returns the state of every target, in the order of settling.
func (db *DB) TargetStates() []TargetState {
	var states []TargetState
	for _, t := range *db.targets.Load() {
		s := TargetState{Name: t.Name, Table: t.Table}
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
			shown := t.shown()
			return slices.DeleteFunc([]string{shown.removal, shown.upsert}, func(s string) bool { return s == "" })
		}
	}
	return nil
}
