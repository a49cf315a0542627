package main

import (
	"context"
	"time"
)

// noteReplica is the pause between two notes that this replica lives.
const noteReplica = 10 * time.Second

// watchReplicas notes that this replica lives, and says so once when another one has other targets:
// then a user's row depends on which replica gets the event.
func (sv *service) watchReplicas(ctx context.Context) {
	differ := false
	every(ctx, noteReplica, func() {
		others, err := sv.db.NoteReplica(ctx)
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
	})
}
