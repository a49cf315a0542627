package connection

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
)

// LockSpace keeps our advisory locks apart from an application's: "roll" as four bytes.
const LockSpace = 0x726f6c6c

const (
	// lockPing is the pause between two signs of life of a lock's holder.
	lockPing = 5 * time.Second
	// lockIdle is how long PostgreSQL waits for one before it ends the session and frees the lock.
	// A process that is stopped, or cut off from the network, keeps its TCP connection: only
	// silence tells it from a living one. Others try about every two seconds, so that a lock
	// has a new holder within 25 s.
	lockIdle = 20 * time.Second
	// lockPatience is how long the holder waits for the answer to a ping. It gives the lock up
	// before PostgreSQL does.
	lockPatience = 10 * time.Second
)

// Lock is held by a session of its own, beside the pool: a lock may be held for hours,
// and live traffic needs the pool. The session does nothing but ping, so that it is silent only
// if its process is. The lock ends with the session: a process that is killed leaves none behind.
type Lock struct {
	conn *pgx.Conn // the pinging goroutine's
	key  int32
	lost context.Context //nolint:containedctx // it is the state of the lock
	stop context.CancelFunc
	done chan struct{}
}

// ErrRunning means that another process holds the lock.
var ErrRunning = errors.New("another process runs it")

var errLockLost = fmt.Errorf("%w: the lock is lost; the database has ended the session that held it, or does "+
	"not answer it", event.ErrUnavailable)

// Hash32 is a number for a text: another for another text, in all likelihood.
func Hash32(text string) int32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(text))
	return int32(sum.Sum32()) //nolint:gosec // its bits are all that counts
}

// TryLock takes a named lock; its error wraps ErrRunning when another process holds it.
func (p *Pool) TryLock(ctx context.Context, name string) (*Lock, error) {
	pooled, err := p.Acquire(ctx)
	if err != nil {
		return nil, p.Explain(err)
	}
	l := &Lock{conn: pooled.Conn(), key: Hash32(name), done: make(chan struct{})}
	if err := l.take(ctx); err != nil {
		pooled.Release()
		return nil, err
	}
	l.conn = pooled.Hijack()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	l.lost = ctx
	pinging, stop := context.WithCancel(ctx)
	l.stop = stop
	go l.ping(pinging, cancel)
	return l, nil
}

func (l *Lock) take(ctx context.Context) error {
	var taken bool
	err := l.conn.QueryRow(ctx, "select pg_catalog.pg_try_advisory_lock($1, $2)", LockSpace, l.key).Scan(&taken)
	if err != nil {
		return err
	}
	if !taken {
		return fmt.Errorf("%w (%s)", ErrRunning, l.holder(ctx))
	}
	_, err = l.conn.Exec(ctx, "select pg_catalog.set_config('idle_session_timeout', $1, false)", Milliseconds(lockIdle))
	return err
}

// ping gives signs of life until the lock is released, or lost: then it ends the lock's context.
func (l *Lock) ping(ctx context.Context, lose context.CancelCauseFunc) {
	defer close(l.done)
	ticker := time.NewTicker(lockPing)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		answer, cancel := context.WithTimeout(ctx, lockPatience)
		err := l.conn.Ping(answer)
		cancel()
		if err != nil && ctx.Err() == nil {
			lose(errLockLost)
			return
		}
	}
}

// During runs do with a context that ends with ctx, or when the lock is lost; the error then says
// so.
func (l *Lock) During(ctx context.Context, do func(context.Context) error) error {
	held, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(l.lost, cancel)
	defer stop()
	err := do(held)
	if err != nil && ctx.Err() == nil && l.lost.Err() != nil {
		return context.Cause(l.lost)
	}
	return err
}

// holder names the session that holds the lock.
func (l *Lock) holder(ctx context.Context) string {
	who := "it has just ended"
	_ = l.conn.QueryRow(ctx, `select pg_catalog.format('backend %s%s, connected since %s', pid, ' from ' || pg_catalog.host(client_addr), pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
from pg_locks l join pg_stat_activity using (pid)
where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.classid = $1 and l.objid::bigint = $2::bigint & 4294967295
  and l.database = (select oid from pg_database where datname = current_database())`, LockSpace, l.key).Scan(&who)
	return who
}

// Release gives the lock back and closes the session.
func (l *Lock) Release() {
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), LeaveTimeout)
	defer cancel()
	// The server notices the end of a session a moment later than this.
	_, _ = l.conn.Exec(ctx, "select pg_catalog.pg_advisory_unlock($1, $2)", LockSpace, l.key)
	_ = l.conn.Close(ctx)
}
