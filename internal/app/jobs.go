package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"rollcall/internal/postgres"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/claims"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/reconcile"
)

// The metrics of all users come from a check in the small hours (UTC).
const (
	checkSchedule = "45 3 * * *"
	checkTimeout  = time.Hour
)

// catchUpTimeout bounds one go at a target's parked users; the next one goes on.
const catchUpTimeout = 10 * time.Minute

// Events are forgotten once an hour; a run that can't keep up goes on at the next.
const (
	retentionSchedule = "17 * * * *"
	retentionTimeout  = 50 * time.Minute
)

// endBans is the job that ends the bans that are over, wanted once they are.
const (
	endBans        = "end bans"
	endBansTimeout = 10 * time.Minute
)

// endMemberships is the job that ends the memberships of those who were deleted with many.
const (
	endMemberships        = "end memberships"
	endMembershipsTimeout = 10 * time.Minute
)

// reconcileTimeout bounds a run by the clock. What it leaves is too old to be taken up then:
// the next run begins anew.
const reconcileTimeout = 6 * time.Hour

// scheduled lists what runs by the clock.
func (sv *service) scheduled(s *Setup) []jobs.Job {
	list := []jobs.Job{{
		Name: "check", Schedule: checkSchedule, Timeout: checkTimeout,
		Run: func(ctx context.Context) error {
			report, err := sv.db.Audit().Report(ctx, audit.Options{})
			if err == nil {
				sv.sayOverruled(report)
			}
			return err
		},
	}, {
		Name: "retention", Schedule: retentionSchedule, Timeout: retentionTimeout, Run: sv.forget,
	}, {
		Name: endBans, Timeout: endBansTimeout, Run: sv.endBans,
	}, {
		Name: endMemberships, Timeout: endMembershipsTimeout, Run: sv.endMemberships,
	}}
	list = append(list, sv.confirmations(s)...)
	for _, t := range s.Targets {
		list = append(list, jobs.Job{
			Name: catchUp(t.Name), Timeout: catchUpTimeout,
			Run: func(ctx context.Context) error {
				_, err := sv.db.Parked().CatchUp(ctx, t.Name)
				return err
			},
		})
	}
	for _, src := range s.Config.Sources {
		if src.Reconcile == nil || src.Reconcile.Schedule == "" {
			continue
		}
		list = append(list, jobs.Job{
			Name: "reconcile " + src.Name, Schedule: src.Reconcile.Schedule, Timeout: reconcileTimeout,
			Run: func(ctx context.Context) error { return sv.reconcile(ctx, src.Name) },
		})
	}
	return list
}

func (sv *service) forget(ctx context.Context) error {
	done, err := sv.db.Forget(ctx, postgres.Retention(sv.setup().Config.Retention))
	if done != (postgres.Forgotten{}) {
		sv.log.Info("deleted old events and bodies",
			"bodies", done.Bodies, "events", done.Events, "never_created", done.Unanswered)
	}
	_, unforgotten := sv.db.Transitions().Forget(ctx)
	return errors.Join(err, unforgotten, sv.tasks.Forget(ctx, tasksAge), claims.Claims{Pool: sv.db.Pool()}.Forget(ctx))
}

// buildIndexes builds the indexes that a migration has left out, at the start: without them only commands that look
// for events are slow.
func (sv *service) buildIndexes(ctx context.Context) {
	built, err := sv.db.BuildIndexes(ctx)
	if len(built) > 0 {
		sv.log.Info("built indexes of rollcall.events", "indexes", built)
	}
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("looking for events is slow until rollcall migrate has built the indexes", "error", err)
	}
}

func (sv *service) endBans(ctx context.Context) error {
	ended, err := sv.db.Roll().EndBans(ctx)
	if ended > 0 {
		sv.log.Info("ended bans that were over", "users", ended)
	}
	return err
}

func (sv *service) endMemberships(ctx context.Context) error {
	ended, err := sv.db.Roll().EndMemberships(ctx)
	if ended > 0 {
		sv.log.Info("ended memberships of deleted users and organisations", "memberships", ended)
	}
	return err
}

// reconciliation is how the service reconciles a source.
func (sv *service) reconciliation(name string) (reconcile.Config, error) {
	now := sv.now.Load()
	cfg, err := now.setup.Reconciliation(name, now.apis)
	cfg.DB, cfg.Submit, cfg.Log = sv.db, sv.pipeline.SubmitAll, sv.log
	return cfg, err
}

func (sv *service) reconcile(ctx context.Context, name string) error {
	cfg, err := sv.reconciliation(name)
	if err != nil {
		return err
	}
	tally, err := reconcile.Run(ctx, cfg)
	if err == nil {
		sv.log.Info("reconciled", append([]any{"source", name}, counters(tally)...)...)
	}
	if failed := tally.Failures(); err == nil && failed > 0 {
		err = fmt.Errorf("the roll could not follow %s about %d rows", name, failed)
	}
	return err
}

// counters are those of users, and those of the other rolls in groups.
func counters(t reconcile.Tally) []any {
	of := func(r directory.Reconciled) []any {
		return []any{"created", r.Created, "updated", r.Updated, "touched", r.Touched, "deleted", r.Deleted, "unchanged", r.Unchanged, "failed", r.Failed}
	}
	list := of(t.Reconciled)
	others := t.Others()
	for _, name := range slices.Sorted(maps.Keys(others)) {
		list = append(list, slog.Group(name, of(others[name])...))
	}
	return list
}

// startJobs tries until the database lets the jobs start. Webhooks don't wait for that.
func (sv *service) startJobs(ctx context.Context) {
	said := ""
	for ; ctx.Err() == nil; _ = connection.Pause(ctx, databaseRetry) {
		running, err := sv.replica.Start(ctx, sv.now.Load().jobs)
		if err == nil {
			sv.running.Store(running)
			if err := running.Change(sv.now.Load().jobs); err != nil { // a reload may have come meanwhile
				sv.log.Error("the jobs can't be changed", "error", err)
			}
			return
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			sv.log.Error("the jobs can't start yet", "error", err)
		}
	}
}

// catchUp is the name of the job that settles a target's parked users.
func catchUp(target string) string { return "catch up " + target }

func (sv *service) enqueueDue(ctx context.Context) error {
	jobs := sv.running.Load()
	if jobs == nil {
		return nil
	}
	due, err := sv.db.Parked().Due(ctx)
	for i, target := range due {
		due[i] = catchUp(target)
	}
	confirmations, more := sv.dueConfirmations(ctx)
	over, unknown := sv.db.Roll().BansOver(ctx)
	many, failed := sv.db.Roll().MembershipsToEnd(ctx)
	if err = errors.Join(err, more, unknown, failed); over {
		due = append(due, endBans)
	}
	if many {
		due = append(due, endMemberships)
	}
	waiting, unseen := sv.tasks.Due(ctx)
	notifications, unsaid := sv.dueNotifications(ctx)
	err = errors.Join(err, unseen, unsaid)
	for _, job := range slices.Concat(due, confirmations, waiting, notifications) {
		err = errors.Join(err, jobs.Enqueue(ctx, job))
	}
	return err
}

// noteReplica is the pause between two notes that this replica lives.
const noteReplica = 5 * time.Second

// watchReplicas notes that this replica lives, takes the jobs of replicas over that are gone, and
// says so once when another one has other targets: then a user's row depends on which replica gets
// the event.
func (sv *service) watchReplicas(ctx context.Context) {
	differ := false
	var pulse jobs.Pulse
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
		if err == nil && others == 0 {
			sv.forgetRemoved(ctx)
		}
		steady, gap := pulse.Beat(time.Now(), err)
		if steady >= jobs.ReplicaAge {
			sv.takeOverJobs(ctx)
			sv.tidyRules(ctx)
		}
		if gap {
			sv.unregistered.Store(true)
		}
		if err == nil && sv.unregistered.Load() {
			sv.registerAgain(ctx)
		}
		sv.boundNotifications(ctx)
	})
}

func (sv *service) takeOverJobs(ctx context.Context) {
	if err := sv.replica.TakeOver(ctx); err != nil && ctx.Err() == nil {
		sv.log.Warn("the jobs of other replicas can't be read", "error", err)
	}
}

const (
	// countPause is the pause between two counts of the users, for the metrics: a count reads the whole roll, which
	// takes half a second for a million users.
	countPause = 10 * time.Minute
	// recountPause is the pause after one that failed.
	recountPause = time.Minute
	// countTimeout bounds one.
	countTimeout = 2 * time.Minute
)

// countUsers counts the users of the roll for the metrics, which have none while that fails.
func (sv *service) countUsers(ctx context.Context) {
	for ctx.Err() == nil {
		counting, cancel := context.WithTimeout(ctx, countTimeout)
		counts, err := sv.db.Roll().Count(counting)
		cancel()
		sv.server.ObserveUsers(counts)
		pause := countPause
		if err != nil && ctx.Err() == nil {
			sv.log.Warn("the users can't be counted: their metric is missing until a later count succeeds", "error", err)
			pause = recountPause
		}
		_ = connection.Pause(ctx, pause)
	}
}
