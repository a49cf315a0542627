package app

import (
	"context"
	"time"

	"rollcall/internal/postgres/jobs"
)

// noteReplica is the pause between two notes that this replica lives.
const noteReplica = 5 * time.Second

// watchReplicas notes that this replica lives, takes the jobs of replicas over that are gone, and
// says so once when another one has other targets: then a user's row depends on which replica gets
// the event.
func (sv *service) watchReplicas(ctx context.Context) {
	differ := false
	var pulse pulse
	every(ctx, noteReplica, func() {
		others, err := sv.replica.Note(ctx)
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
		if pulse.beat(time.Now(), err) >= jobs.ReplicaAge {
			sv.takeOverJobs(ctx)
		}
	})
}

// pulse is when this replica has noted itself.
type pulse struct{ since, last time.Time }

// beat adds a note and returns for how long there was no gap. After an outage of the database the
// others have not noted themselves either, and must have had the time for it.
func (p *pulse) beat(now time.Time, failed error) time.Duration {
	if failed != nil || now.Sub(p.last) > jobs.ReplicaAge/2 {
		p.since = now
	}
	p.last = now
	return now.Sub(p.since)
}

func (sv *service) takeOverJobs(ctx context.Context) {
	if err := sv.replica.TakeOver(ctx); err != nil && ctx.Err() == nil {
		sv.log.Warn("the jobs of other replicas can't be looked at", "error", err)
	}
}
