package jobs

import (
	"context"
	_ "embed"

	"rollcall/internal/postgres/connection"
)

//go:embed count.sql
var countJobs string

// Counts says how many runs and jobs of all replicas are in which state.
type Counts struct {
	Waiting, Running int64 // runs
	Failed           int64 // jobs whose last run failed
}

// Count counts the runs and jobs of all replicas.
func Count(ctx context.Context, pool *connection.Pool) (Counts, error) {
	var c Counts
	err := pool.QueryRow(ctx, countJobs, jobArgs{}.Kind()).Scan(&c.Waiting, &c.Running, &c.Failed)
	return c, connection.Wrap(pool.Explain(err), "count the jobs")
}
