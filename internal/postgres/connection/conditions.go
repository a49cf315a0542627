package connection

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// ConditionConnections are opened when a condition is first checked or asked.
	ConditionConnections = 2
	// ConditionTimeout bounds a condition; a sign-up waits for it.
	ConditionTimeout = 400 * time.Millisecond
)

// conditions is a pool that is made when it is first needed.
type conditions struct {
	config *pgxpool.Config
	mu     sync.Mutex
	pool   *pgxpool.Pool
}

// Conditions is a pool for conditions, which may take any time: however many sign-ups wait for them,
// the other connections stay free. Its transactions are read only. One connection stays open from the first call on: to a
// database far away it takes longer to connect than a sign-up may wait.
func (p *Pool) Conditions() (*pgxpool.Pool, error) {
	c := &p.conditions
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pool != nil {
		return c.pool, nil
	}
	config := c.config.Copy()
	config.MaxConns, config.MinConns, config.MinIdleConns = ConditionConnections, 0, 1
	config.AfterConnect = p.prepareConditions
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open the pool of the conditions: %w", err)
	}
	c.pool = pool
	return pool, nil
}

func (c *conditions) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pool != nil {
		c.pool.Close()
	}
}

// prepareConditions is prepare with a shorter limit, and for reading only.
func (p *Pool) prepareConditions(ctx context.Context, conn *pgx.Conn) error {
	if err := p.prepare(pathOfExpressions)(ctx, conn); err != nil {
		return err
	}
	limit := Milliseconds(ConditionTimeout)
	_, err := conn.Exec(ctx, `select pg_catalog.set_config('default_transaction_read_only', 'on', false),
  pg_catalog.set_config('lock_timeout', $1, false), pg_catalog.set_config('statement_timeout', $1, false)`, limit)
	return Wrap(err, "set up the session for conditions")
}
