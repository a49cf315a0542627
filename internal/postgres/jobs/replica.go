package jobs

import (
	"context"
	"crypto/rand"
	_ "embed"
	"log/slog"
	"slices"
	"sync/atomic"
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
	log     *slog.Logger
	id      string // in rollcall.replicas
	started time.Time
	runs    atomic.Pointer[runs]
}

// Configuration identifies what a replica runs with, to be compared with others'.
type Configuration struct {
	Targets int32  // the set of targets
	Hash    string // of all that replicas have in common
}

// runs is a configuration, and when it took the place of another one; the zero time for the first.
type runs struct {
	Configuration
	reloaded time.Time
}

// NewReplica makes a replica with an id of its own.
func NewReplica(pool *connection.Pool, with Configuration, log *slog.Logger) *Replica {
	r := &Replica{pool: pool, log: log, id: rand.Text(), started: time.Now().UTC()}
	r.runs.Store(&runs{Configuration: with})
	return r
}

// Name is its id in rollcall.replicas.
func (r *Replica) Name() string { return r.id }

// Reloaded sets what the replica runs with from now on; the next Note records it.
func (r *Replica) Reloaded(with Configuration) { r.runs.Store(&runs{with, time.Now().UTC()}) }

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
	now := r.runs.Load()
	var reloaded *time.Time
	if !now.reloaded.IsZero() {
		reloaded = &now.reloaded
	}
	args := []any{r.id, now.Targets, ReplicaAge, now.Hash, r.started, reloaded}
	err = r.pool.Jobs.QueryRow(ctx, noteReplica, args...).Scan(&others)
	return others, connection.Wrap(r.pool.Explain(err), "note this replica")
}

// ReplicaState is what a living replica has recorded about itself.
type ReplicaState struct {
	ID string `json:"id"`
	// Configuration is the hash of what it runs with, the same for replicas that differ in nothing but their listeners,
	// log and secrets; empty of an older version.
	Configuration string     `json:"configuration"`
	StartedAt     *time.Time `json:"started_at,omitempty"`
	ReloadedAt    *time.Time `json:"reloaded_at,omitempty"`
	SeenAt        time.Time  `json:"seen_at"`
}

// Replicas returns the living replicas, the one that has run longest first.
func Replicas(ctx context.Context, pool *connection.Pool) ([]ReplicaState, error) {
	rows, _ := pool.Query(ctx, `select id, coalesce(configuration, ''), started_at, reloaded_at, seen_at
from rollcall.replicas where seen_at > pg_catalog.now() - $1::interval order by started_at nulls first, id`, ReplicaAge)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ReplicaState])
	return list, connection.Wrap(pool.Explain(err), "look at the replicas")
}

// Differ reports whether replicas run with different configurations.
func Differ(list []ReplicaState) bool {
	return slices.ContainsFunc(list, func(r ReplicaState) bool { return r.Configuration != list[0].Configuration })
}

// Leave deletes the record of this replica, so that its next start does not count it as another. None of its runs
// may be under way any more.
func (r *Replica) Leave(ctx context.Context) error {
	_, err := r.pool.Jobs.Exec(ctx, "delete from rollcall.replicas where id = $1", r.id)
	return connection.Wrap(r.pool.Explain(err), "forget this replica")
}

// TakeOver has runs that belong to replicas which are gone run again, at any replica. A replica that has not called
// Note for ReplicaAge counts as gone, so call this only when the others have had so long to do so.
func (r *Replica) TakeOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	rows, _ := r.pool.Jobs.Query(ctx, takeOverJobs, jobArgs{}.Kind(), ReplicaAge, takeovers)
	var job string
	var anew bool
	_, err := pgx.ForEachRow(rows, []any{&job, &anew}, func() error {
		if anew {
			r.log.Warn("a replica ended during a job, which runs again", "job", job)
		} else {
			r.log.Error("a job is given up until its next time: every replica that ran it ended", "job", job, "replicas",
				takeovers)
		}
		return nil
	})
	return connection.Wrap(r.pool.Explain(err), "take jobs over")
}

// Pulse is when a replica has noted itself.
type Pulse struct{ since, last time.Time }

// Beat adds a note, or one that failed. It returns for how long there has been no gap, and whether there was one before
// this note: the first has one, too. After an outage of the database the others have not noted themselves either, and
// must have had the time for it.
func (p *Pulse) Beat(now time.Time, failed error) (steady time.Duration, gap bool) {
	now = now.Round(0) // the monotonic clock stands still while a machine is suspended
	gap = failed != nil || now.Sub(p.last) > ReplicaAge/2
	if gap {
		p.since = now
	}
	p.last = now
	return now.Sub(p.since), gap
}
