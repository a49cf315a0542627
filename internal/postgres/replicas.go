package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
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

// NoteReplica notes that this replica lives and returns how many others live with another set of
// targets: each of them writes every user it hears of by its own set. It uses the connections of
// the jobs, since the others may all be busy for long.
func (db *DB) NoteReplica(ctx context.Context) (others int, err error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	if err := db.pool.Jobs.QueryRow(ctx, sql.NoteReplica, db.replica, db.fingerprint, ReplicaAge).Scan(&others); err != nil {
		return 0, fmt.Errorf("note this replica: %w", db.pool.Explain(err))
	}
	return others, nil
}

// TakeOverJobs lets the runs go on, at any replica, that replicas which are gone have under way. A
// replica that has not noted itself is gone, so that others must have had ReplicaAge to do so.
func (db *DB) TakeOverJobs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	rows, _ := db.pool.Jobs.Query(ctx, sql.TakeOverJobs, jobArgs{}.Kind(), ReplicaAge, takeovers)
	var job string
	var anew bool
	_, err := pgx.ForEachRow(rows, []any{&job, &anew}, func() error {
		if anew {
			db.log.Warn("a replica is gone in the middle of a job, which runs again", "job", job)
		} else {
			db.log.Error("a job is given up until its next time: every replica that ran it is gone", "job", job, "replicas", takeovers)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("take jobs over: %w", db.pool.Explain(err))
	}
	return nil
}
