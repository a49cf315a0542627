package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"
)

// holdSpace keeps our advisory locks from an application's: "roll" as four bytes.
const holdSpace = 0x726f6c6c

// hold is an advisory lock on a connection of its own; it ends with the connection, so a
// process that is killed leaves none behind. The connection stands beside the pool: holds
// may last for hours, and a small pool must not run out of what live traffic needs.
type hold struct {
	conn *pgx.Conn
	key  int32
}

// ErrRunning means that another process is at it.
var ErrRunning = errors.New("another process is at it")

func holdKey(name string) int32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return int32(sum.Sum32()) //nolint:gosec // its bits are all that counts
}

// hold takes a named lock; its error wraps ErrRunning when somebody else has it.
func (db *DB) hold(ctx context.Context, name string) (*hold, error) {
	h := &hold{key: holdKey(name)}
	pooled, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, db.explainConnect(err)
	}
	h.conn = pooled.Conn()
	var taken bool
	err = h.conn.QueryRow(ctx, "select pg_catalog.pg_try_advisory_lock($1, $2)", holdSpace, h.key).Scan(&taken)
	if err == nil && !taken {
		err = fmt.Errorf("%w (%s)", ErrRunning, h.holder(ctx))
	}
	if err != nil {
		pooled.Release()
		return nil, err
	}
	h.conn = pooled.Hijack()
	return h, nil
}

// holder says who has the lock.
func (h *hold) holder(ctx context.Context) string {
	who := "it has just ended"
	_ = h.conn.QueryRow(ctx, `select pg_catalog.format('backend %s%s, connected since %s', pid,
  ' from ' || pg_catalog.host(client_addr), pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
from pg_locks l join pg_stat_activity using (pid)
where l.locktype = 'advisory' and l.objsubid = 2 and l.granted and l.classid = $1 and l.objid::bigint = $2::bigint & 4294967295
  and l.database = (select oid from pg_database where datname = current_database())`, holdSpace, h.key).Scan(&who)
	return who
}

// release gives the lock back and closes the connection.
func (h *hold) release() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	// A moment before the server notices the end.
	_, _ = h.conn.Exec(ctx, "select pg_catalog.pg_advisory_unlock($1, $2)", holdSpace, h.key)
	_ = h.conn.Close(ctx)
}
