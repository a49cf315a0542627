package postgres

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5/pgxpool"
)

// holdSpace keeps our advisory locks from an application's: "roll" as four bytes.
const holdSpace = 0x726f6c6c

// hold is an advisory lock on a connection of its own; it ends with the connection, so a
// process that is killed leaves none behind.
type hold struct {
	conn *pgxpool.Conn
	key  int32
}

func holdKey(name string) int32 {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(name))
	return int32(sum.Sum32()) //nolint:gosec // its bits are all that counts
}

// hold takes a named lock; nil when somebody else has it.
func (db *DB) hold(ctx context.Context, name string) (*hold, error) {
	h := &hold{key: holdKey(name)}
	var err error
	if h.conn, err = db.pool.Acquire(ctx); err != nil {
		return nil, fmt.Errorf("take the lock %s: %w", name, db.explainConnect(err))
	}
	var taken bool
	err = h.conn.QueryRow(ctx, "select pg_try_advisory_lock($1, $2)", holdSpace, h.key).Scan(&taken)
	if err == nil && taken {
		return h, nil
	}
	h.conn.Release()
	if err != nil {
		return nil, fmt.Errorf("take the lock %s: %w", name, err)
	}
	return nil, nil //nolint:nilnil // nobody's error: another has it
}

// release gives the lock back, if need be by closing the connection.
func (h *hold) release() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if _, err := h.conn.Exec(ctx, "select pg_advisory_unlock($1, $2)", holdSpace, h.key); err != nil {
		_ = h.conn.Conn().Close(ctx)
	}
	h.conn.Release()
}
