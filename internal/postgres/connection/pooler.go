package connection

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
)

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
		return 0, errors.New("a question got no answer")
	}
	pid, err := strconv.ParseUint(string(results[0].Rows[0][0]), 10, 32)
	return uint32(pid), err
}
