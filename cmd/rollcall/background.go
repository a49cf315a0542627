package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// What serve does beside answering: it takes what captures note, runs jobs by the clock, and
// looks after targets that are out of service.

// capture takes what the triggers on the tables of users note.
func (sv *service) capture(ctx context.Context) {
	sources := slices.DeleteFunc(slices.Clone(sv.setup.sources), func(s *source.Source) bool { return s.Provider() != source.Supabase })
	capture.Run(ctx, capture.Config{
		Sources: sources, DB: sv.db, Submit: sv.pipeline.SubmitAll, Observe: sv.server.ObserveCapture, Log: sv.log,
	})
}

// The metrics of all users come from a check in the small hours (UTC).
const (
	checkSchedule = "45 3 * * *"
	checkTimeout  = time.Hour
)

// reconcileTimeout bounds a run by the clock. What it leaves is too old to be taken up then:
// the next run begins anew.
const reconcileTimeout = 6 * time.Hour

// scheduled lists what runs by the clock.
func (sv *service) scheduled() []postgres.Job {
	list := []postgres.Job{{
		Name: "check", Schedule: checkSchedule, Timeout: checkTimeout,
		Run: func(ctx context.Context) error {
			_, err := sv.db.Census(ctx, postgres.CensusOptions{})
			return err
		},
	}}
	for _, src := range sv.setup.config.Sources {
		if src.Reconcile == nil || src.Reconcile.Schedule == "" {
			continue
		}
		if src.Provider != config.Supabase {
			sv.log.Warn("the schedule of a source has no effect yet: only Supabase's users can be reconciled", "source", src.Name)
			continue
		}
		list = append(list, postgres.Job{
			Name: "reconcile " + src.Name, Schedule: src.Reconcile.Schedule, Timeout: reconcileTimeout,
			Run: func(ctx context.Context) error { return sv.reconcile(ctx, src.Name) },
		})
	}
	return list
}

func (sv *service) reconcile(ctx context.Context, name string) error {
	cfg, err := sv.setup.reconciliation(name)
	if err != nil {
		return err
	}
	cfg.DB, cfg.Submit, cfg.Log = sv.db, sv.pipeline.SubmitAll, sv.log
	tally, err := reconcile.Run(ctx, cfg)
	if err == nil {
		sv.log.Info("reconciled", "source", name, "created", tally.Created, "updated", tally.Updated,
			"deleted", tally.Deleted, "unchanged", tally.Unchanged, "failed", tally.Failed)
	}
	if err == nil && tally.Failed > 0 {
		err = fmt.Errorf("the roll could not follow %d users of %s", tally.Failed, name)
	}
	return err
}

// startJobs tries until the database lets the jobs start. Webhooks don't wait for that.
func (sv *service) startJobs(ctx context.Context) {
	said := ""
	for {
		stop, err := sv.db.StartJobs(ctx, sv.jobs)
		if err == nil {
			sv.stopJobs = stop
			return
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			sv.log.Error("the jobs can't start yet", "error", err)
		}
		select {
		case <-time.After(databaseRetry):
		case <-ctx.Done():
			return
		}
	}
}

// watchTargets looks again at targets that are out of service, until they are mended.
func (sv *service) watchTargets(ctx context.Context) {
	ticker := time.NewTicker(recheckTargets)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		before := sv.db.Findings()
		if len(before) == 0 {
			continue
		}
		findings, err := sv.db.Check(ctx)
		if err == nil {
			sv.report(findings, before)
			if !slices.Equal(findings, before) { // it counts the roll
				sv.offerBackfills(ctx)
			}
		} else if ctx.Err() == nil {
			sv.log.Warn("targets that are out of service can't be looked at", "error", err)
		}
	}
}

// report says once what is wrong with a target, and once that nothing is any more.
func (sv *service) report(now, before []postgres.Finding) {
	for _, f := range now {
		if !slices.Contains(before, f) {
			sv.log.Error("a target is out of service; its users are parked", "target", f.Target, "at", f.At, "error", f.What)
		}
	}
	for i, f := range before {
		same := func(g postgres.Finding) bool { return g.Target == f.Target }
		if !slices.ContainsFunc(now, same) && !slices.ContainsFunc(before[:i], same) {
			sv.log.Info("a target is in service again; its parked users follow with their next event", "target", f.Target)
		}
	}
}

// offerBackfills says once of each new target how to fill it.
func (sv *service) offerBackfills(ctx context.Context) {
	unfilled, err := sv.db.Unfilled(ctx)
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("new targets can't be looked for", "error", err)
	}
	for _, u := range unfilled {
		if !sv.offered[u.Target] {
			sv.offered[u.Target] = true
			sv.log.Warn("a target is new: its table lacks who was there before it; fill it",
				"target", u.Target, "users", u.Users, "command", "rollcall backfill "+u.Target)
		}
	}
}
