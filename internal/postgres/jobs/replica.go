package jobs

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

const (
	// ReplicaAge is for how long a replica that has noted itself counts as alive.
	ReplicaAge = 20 * time.Second
	// noteTimeout bounds a note; a connection that is dead answers nothing.
	noteTimeout = 5 * time.Second
	// takeovers is how many replicas may be gone in the middle of a run until it is given up: it may
	// be what ends them.
	takeovers = 5
)

// Replica is this process among those that run on one database.
type Replica struct {
	pool    *connection.Pool
	targets int32
	log     *slog.Logger
	id      string // in rollcall.replicas
}

// NewReplica makes a replica with an id of its own. The number targets tells its set of targets from
// others.
func NewReplica(pool *connection.Pool, targets int32, log *slog.Logger) *Replica {
	return &Replica{pool: pool, targets: targets, log: log, id: rand.Text()}
}

var (
	//go:embed note_replica.sql
	noteReplica string
	//go:embed take_over_jobs.sql
	takeOverJobs string
)

// Note notes that this replica lives and returns how many others live with another set of
// targets: each of them writes every user whose events it gets by its own set. It uses the connections of
// the jobs, since the others may all be busy for long.
func (r *Replica) Note(ctx context.Context) (others int, err error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	if err := r.pool.Jobs.QueryRow(ctx, noteReplica, r.id, r.targets, ReplicaAge).Scan(&others); err != nil {
		return 0, fmt.Errorf("note this replica: %w", r.pool.Explain(err))
	}
	return others, nil
}

// TakeOver lets the runs go on, at any replica, that replicas which are gone have under way. A
// replica that has not noted itself is gone, so that others must have had ReplicaAge to do so.
func (r *Replica) TakeOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	rows, _ := r.pool.Jobs.Query(ctx, takeOverJobs, jobArgs{}.Kind(), ReplicaAge, takeovers)
	var job string
	var anew bool
	_, err := pgx.ForEachRow(rows, []any{&job, &anew}, func() error {
		if anew {
			r.log.Warn("a replica is gone in the middle of a job, which runs again", "job", job)
		} else {
			r.log.Error("a job is given up until its next time: every replica that ran it is gone", "job", job, "replicas",
				takeovers)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take jobs over: %w", r.pool.Explain(err))
	}
	return nil
}
