package main

import (
	"context"
	"time"

	"rollcall/internal/postgres"
)

// noteReplica is the pause between two notes that this replica lives.
const noteReplica = 5 * time.Second

// watchReplicas notes that this replica lives, takes the jobs of replicas over that are gone, and
// says so once when another one has other targets: then a user's row depends on which replica gets
// the event.
func (sv *service) watchReplicas(ctx context.Context) {
	differ := false
	var since, last time.Time // of the notes without a gap
	every(ctx, noteReplica, func() {
		others, err := sv.db.NoteReplica(ctx)
		now := time.Now()
		if err != nil || now.Sub(last) > postgres.ReplicaAge/2 {
			since = now // the others may have been kept from it, too
		}
		last = now
		switch {
		case err != nil: // the database is away, which readiness says
		case others > 0 && !differ:
			sv.log.Warn("other replicas run with other targets; give all of them the same configuration",
				"replicas", others)
			differ = true
		case others == 0 && differ:
			sv.log.Info("all replicas have the same targets again")
			differ = false
		}
		if err == nil && now.Sub(since) >= postgres.ReplicaAge {
			sv.takeOverJobs(ctx)
		}
	})
}

func (sv *service) takeOverJobs(ctx context.Context) {
	if err := sv.db.TakeOverJobs(ctx); err != nil && ctx.Err() == nil {
		sv.log.Warn("the jobs of other replicas can't be looked at", "error", err)
	}
}
