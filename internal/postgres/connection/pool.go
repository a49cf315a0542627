// Package connection opens the pools of connections to the database and says in words why they can't be
// used. It hides how a connection string is read, how poolers are found out, what each session is set
// to, how a session of its own holds a lock, and how a batch of statements takes little memory:
//
//	pool, err := connection.Open(connection.Config{URL: url, Log: log})
//	…
//	if _, err := pool.Exec(ctx, statement); err != nil {
//		return pool.Explain(err)
//	}
package connection

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Config describes the database and the bounds of a transaction.
type Config struct {
	// URL is a postgres:// URL or a keyword/value string; pool_max_conns in it bounds the
	// pool, which is DefaultConnections otherwise.
	URL string
	// LockTimeout and StatementTimeout bound every transaction; 800 ms and 4 s when zero.
	LockTimeout, StatementTimeout time.Duration
	// Log takes a warning about parameters that are ignored.
	Log *slog.Logger
}

// Pool holds connections to the database, all set up alike.
type Pool struct {
	*pgxpool.Pool
	// Jobs is a pool for River, whose SQL names no schemas: it has a search path of its own.
	Jobs       *pgxpool.Pool
	conditions conditions
	timeouts   atomic.Pointer[timeouts]
	checking   sync.Mutex // one connection at a time looks for a pooler
	sessions   bool       // there is none, or one that leaves sessions alone
}

// timeouts bound every transaction.
type timeouts struct{ lock, statement time.Duration }

const (
	// DefaultConnections is the size of a pool unless the URL has one.
	DefaultConnections = 6
	// jobsConnections are those of River, which asks for one at a time and seldom for two.
	jobsConnections = 2
	connectTimeout  = 3 * time.Second
	// LeaveTimeout bounds the end of a failed transaction, and of a session.
	LeaveTimeout = time.Second
)

// Open prepares the pools. It does not connect, so a database that is not up yet is no
// error; a URL that can't be parsed is.
func Open(cfg Config) (*Pool, error) {
	config, found, err := poolConfig(cfg.URL)
	if err != nil {
		return nil, err
	}
	p := &Pool{}
	p.setTimeouts(cfg.LockTimeout, cfg.StatementTimeout)
	found.warnOfIgnored(cfg.Log)
	jobs := config.Copy()
	jobs.MaxConns, jobs.MinConns, jobs.MinIdleConns = min(jobsConnections, config.MaxConns), 0, 0
	p.conditions.config = config.Copy()
	config.AfterConnect = p.prepare(pathOfExpressions)
	jobs.AfterConnect = p.prepare(pathOfJobs)
	if p.Pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("open the database pool: %w", err)
	}
	if p.Jobs, err = pgxpool.NewWithConfig(context.Background(), jobs); err != nil {
		p.Pool.Close()
		return nil, fmt.Errorf("open the pool of the jobs: %w", err)
	}
	return p, nil
}

// The search paths. The configuration's expressions may call what is in public; River must not:
// where others may create functions there, a better match than PostgreSQL's own would run as
// Rollcall's role.
const (
	pathOfExpressions = "pg_catalog, public"
	pathOfJobs        = "pg_catalog"
)

// Close closes every connection, after those in use are returned.
func (p *Pool) Close() {
	p.conditions.close()
	p.Jobs.Close()
	p.Pool.Close()
}

// Connections counts the connections of a pool.
type Connections struct {
	InUse, Idle int
	Opening     int
	Most        int // as many as there may be
}

// Connections counts those for transactions and questions; River's are not among them.
func (p *Pool) Connections() Connections {
	s := p.Stat()
	return Connections{int(s.AcquiredConns()), int(s.IdleConns()), int(s.ConstructingConns()), int(s.MaxConns())}
}

// prepare gives each new connection the same settings and a search path, whatever the role's and the
// database's defaults are. Sequential scans are off because a generic plan that was made
// while the tables were empty would keep them for ever; their penalty in the planner's
// estimates would then start the JIT compiler, so that is off, too. The timeouts are those
// of every transaction once more: preparing a statement waits for a locked table, outside
// of any transaction. Rollcall's own transactions say what they are; those of River rely on
// the session's defaults.
func (p *Pool) prepare(path string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		takeArrays(conn)
		if err := p.refusePooler(ctx, conn); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, setUp, append(p.Timeouts(), path)...); err != nil {
			return fmt.Errorf("set up the session: %w", err)
		}
		return nil
	}
}

const setUp = `select
  pg_catalog.set_config('TimeZone', 'UTC', false),
  pg_catalog.set_config('search_path', $3, false),
  pg_catalog.set_config('client_encoding', 'UTF8', false),
  pg_catalog.set_config('standard_conforming_strings', 'on', false),
  pg_catalog.set_config('enable_seqscan', 'off', false),
  pg_catalog.set_config('jit', 'off', false),
  pg_catalog.set_config('default_transaction_isolation', 'read committed', false),
  pg_catalog.set_config('default_transaction_read_only', 'off', false),
  pg_catalog.set_config('lock_timeout', $1, false),
  pg_catalog.set_config('statement_timeout', $2, false)`

// Timeouts are the parameters of settings.sql.
func (p *Pool) Timeouts() []any {
	now := p.timeouts.Load()
	return []any{Milliseconds(now.lock), Milliseconds(now.statement)}
}

// LockTimeout bounds the wait of a statement for a lock.
func (p *Pool) LockTimeout() time.Duration { return p.timeouts.Load().lock }

// StatementTimeout bounds a statement.
func (p *Pool) StatementTimeout() time.Duration { return p.timeouts.Load().statement }

// SetTimeouts changes both, as Config has them, for the transactions that begin from now on. Sessions are renewed.
func (p *Pool) SetTimeouts(lock, statement time.Duration) {
	p.setTimeouts(lock, statement)
	p.Reset()
	p.Jobs.Reset()
}

func (p *Pool) setTimeouts(lock, statement time.Duration) {
	p.timeouts.Store(&timeouts{cmp.Or(lock, 800*time.Millisecond), cmp.Or(statement, 4*time.Second)})
}

// Milliseconds is a duration as PostgreSQL reads it. It is never 0, which means no limit.
func Milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(1, d.Milliseconds())) }

// Querier is a pool, or a connection by itself.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// ReadOnly runs do in a read only transaction.
func ReadOnly(ctx context.Context, on Querier, do func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, on, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}, do)
}

// Scan runs do in a transaction that reads whole tables. Its statements are planned anew, and
// never go through one table for every row of another: old statistics may say that a source
// has no users.
func (p *Pool) Scan(ctx context.Context, do func(pgx.Tx) error) error { return p.ScanOn(ctx, p, do) }

// ScanOn is Scan on a connection of its own.
func (p *Pool) ScanOn(ctx context.Context, on Querier, do func(pgx.Tx) error) error {
	return ReadOnly(ctx, on, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, SettingsSQL, Milliseconds(p.LockTimeout()), "0"); err != nil {
			return err
		}
		const forScans = `select pg_catalog.set_config('enable_seqscan', 'on', true),
  pg_catalog.set_config('enable_nestloop', 'off', true), pg_catalog.set_config('plan_cache_mode', 'auto', true)`
		if _, err := tx.Exec(ctx, forScans); err != nil {
			return err
		}
		return do(tx)
	})
}

// Unbounded runs a statement without a time limit.
func (p *Pool) Unbounded(ctx context.Context, statement string, args ...any) error {
	return pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local statement_timeout = 0"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

// Wrap says what an error has kept from being done; without one there is nothing to say.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// Pause waits, unless the context ends before.
func Pause(ctx context.Context, pause time.Duration) error {
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrPooler means that a pooler hands out connections to the server for a transaction at a
// time: settings and prepared statements of a session would end up with others, and those
// of others here. Waiting does not change a pooler's mode.
var ErrPooler = errors.New("a transaction pooler can't be used")

// poolerRounds is how often two connections are compared. A busy pooler may give two
// clients a server of their own for once, not every time.
const poolerRounds = 3

// poolerPatience bounds the wait for a second connection, which a pooler may not have.
const poolerPatience = connectTimeout

// refusePooler returns an ErrPooler when a fresh connection is one to a transaction pooler.
// It runs before anything is set on the connection, for behind a pooler that would be set
// for the next client.
func (p *Pool) refusePooler(ctx context.Context, conn *pgx.Conn) error {
	p.checking.Lock()
	defer p.checking.Unlock()
	if p.sessions {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, poolerPatience)
	defer cancel()
	shared, err := sharesServers(asking, conn)
	at := net.JoinHostPort(conn.Config().Host, strconv.Itoa(int(conn.Config().Port)))
	if errors.Is(asking.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return &connectError{fmt.Sprintf("the pooler at %s gives no second session (%s); it must have %d for each replica, "+
			"or two more than pool_max_conns says in database",
			at, innermost(err), p.Config().MaxConns+jobsConnections), err}
	}
	if err != nil {
		return fmt.Errorf("look for a pooler: %w", err)
	}
	if shared {
		return fmt.Errorf("%w: what answers at %s gives every transaction another connection to PostgreSQL, and "+
			"Rollcall needs sessions of its own; "+
			"put the direct connection, or a pooler in session mode, into database (on Supabase the session pooler, port "+
			"5432 instead of 6543; with PgBouncer pool_mode = session)",
			ErrPooler, at)
	}
	p.sessions = true
	return nil
}

// sharesServers reports whether a connection shares its server process with others. Two
// sessions have a process each, and keep it. Behind a transaction pooler they get the same
// one in turn, or, when it hands its servers out round robin, another one the next time: so
// each is asked twice in a row, too. A server that greets with the id of the process that
// answers is no pooler, which has to make one up; that saves the second connection.
func sharesServers(ctx context.Context, first *pgx.Conn) (bool, error) {
	one, err := serverProcess(ctx, first)
	if err != nil || one == first.PgConn().PID() {
		return false, err
	}
	second, err := pgx.ConnectConfig(ctx, first.Config())
	if err != nil {
		return false, err
	}
	defer func() { _ = second.Close(ctx) }()
	other, err := serverProcess(ctx, second)
	if err != nil {
		return false, err
	}
	for range poolerRounds {
		for _, c := range []struct {
			conn *pgx.Conn
			want uint32
		}{{second, other}, {first, one}, {first, one}, {second, other}} {
			now, err := serverProcess(ctx, c.conn)
			if err != nil || now != c.want || one == other {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// serverProcess asks for the process that answers, in a transaction of its own and without preparing anything.
func serverProcess(ctx context.Context, conn *pgx.Conn) (uint32, error) {
	results, err := conn.PgConn().Exec(ctx, "select pg_catalog.pg_backend_pid()").ReadAll()
	if err != nil {
		return 0, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return 0, errors.New("a query got no answer")
	}
	pid, err := strconv.ParseUint(string(results[0].Rows[0][0]), 10, 32)
	return uint32(pid), err
}

// SettingsSQL gives a transaction its settings; Pool.Timeouts are its parameters.
//
//go:embed settings.sql
var SettingsSQL string
