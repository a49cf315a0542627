package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// What serve does beside answering: it takes what captures note, runs jobs by the clock, and
// looks after targets that are out of service.

// capture takes what the triggers on the tables of users note.
func (sv *service) capture(ctx context.Context) {
	sources := slices.DeleteFunc(slices.Clone(sv.setup.Sources), func(s *source.Source) bool { return s.Provider() != source.Supabase })
	capture.Run(ctx, capture.Config{
		Sources: sources, DB: sv.db, Submit: sv.pipeline.SubmitAll, Observe: sv.server.ObserveCapture, Log: sv.log,
	})
}

// The metrics of all users come from a check in the small hours (UTC).
const (
	checkSchedule = "45 3 * * *"
	checkTimeout  = time.Hour
)

// catchUpTimeout bounds one go at a target's parked users; the next one goes on.
const catchUpTimeout = 10 * time.Minute

const (
	// lookAtTargets is the pause between two looks at what has become of the targets.
	lookAtTargets = time.Second
	// probeTargets is the pause between two probes of targets that are out of service.
	probeTargets = 5 * time.Second
)

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

// reconcileTimeout bounds a run by the clock. What it leaves is too old to be taken up then:
// the next run begins anew.
const reconcileTimeout = 6 * time.Hour

// scheduled lists what runs by the clock.
func (sv *service) scheduled() []postgres.Job {
	list := []postgres.Job{{
		Name: "check", Schedule: checkSchedule, Timeout: checkTimeout,
		Run: func(ctx context.Context) error {
			census, err := sv.db.Census(ctx, postgres.CensusOptions{})
			if err == nil {
				sv.sayOverruled(census)
			}
			return err
		},
	}, {
		Name: "retention", Schedule: retentionSchedule, Timeout: retentionTimeout, Run: sv.forget,
	}, {
		Name: endBans, Timeout: endBansTimeout, Run: sv.endBans,
	}}
	list = append(list, sv.confirmations()...)
	for _, t := range sv.setup.Targets {
		list = append(list, postgres.Job{
			Name: catchUp(t.Name), Timeout: catchUpTimeout,
			Run: func(ctx context.Context) error {
				_, err := sv.db.CatchUp(ctx, t.Name)
				return err
			},
		})
	}
	for _, src := range sv.setup.Config.Sources {
		if src.Reconcile == nil || src.Reconcile.Schedule == "" {
			continue
		}
		list = append(list, postgres.Job{
			Name: "reconcile " + src.Name, Schedule: src.Reconcile.Schedule, Timeout: reconcileTimeout,
			Run: func(ctx context.Context) error { return sv.reconcile(ctx, src.Name) },
		})
	}
	return list
}

func (sv *service) forget(ctx context.Context) error {
	done, err := sv.db.Forget(ctx, postgres.Retention(sv.setup.Config.Retention))
	if done != (postgres.Forgotten{}) {
		sv.log.Info("forgot what is kept no longer", "bodies", done.Bodies, "events", done.Events, "never_created", done.Unanswered)
	}
	return err
}

// sayOverruled says once what the triggers of a target's table decide.
func (sv *service) sayOverruled(census *postgres.Census) {
	for _, o := range census.Overruled {
		if _, said := sv.overruled.LoadOrStore(o.Target+" "+string(o.State), true); !said {
			sv.log.Warn("triggers of a table decide otherwise than its target", "target", o.Target,
				"state", o.State, "users", o.Users, "columns", o.Columns, "triggers", o.Triggers)
		}
	}
}

func (sv *service) endBans(ctx context.Context) error {
	ended, err := sv.db.EndBans(ctx)
	if ended > 0 {
		sv.log.Info("ended bans that were over", "users", ended)
	}
	return err
}

func (sv *service) reconcile(ctx context.Context, name string) error {
	cfg, err := sv.setup.Reconciliation(name, sv.apis)
	if err != nil {
		return err
	}
	cfg.DB, cfg.Submit, cfg.Log = sv.db, sv.pipeline.SubmitAll, sv.log
	tally, err := reconcile.Run(ctx, cfg)
	if err == nil {
		sv.log.Info("reconciled", "source", name, "created", tally.Created, "updated", tally.Updated,
			"touched", tally.Touched, "deleted", tally.Deleted, "unchanged", tally.Unchanged, "failed", tally.Failed)
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
		jobs, err := sv.db.StartJobs(ctx, sv.jobs)
		if err == nil {
			sv.running.Store(jobs)
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

// every does something at once and after each pause, until the context ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchTargets says what becomes of the targets, probes those that are out of service, and
// has the users looked after who are due: the parked are tried again, the announced looked up.
func (sv *service) watchTargets(ctx context.Context) {
	ticker := time.NewTicker(lookAtTargets)
	defer ticker.Stop()
	probed := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		out, back := sv.sayChanges()
		if back {
			sv.offerBackfills(ctx)
		}
		var err error
		if out && time.Since(probed) > probeTargets-lookAtTargets/2 { // at the tick that is nearest
			probed = time.Now()
			err = sv.db.Probe(ctx)
		}
		if time.Since(sv.followedAt) > followPause {
			sv.follow(ctx)
		}
		err = errors.Join(err, sv.enqueueDue(ctx))
		if ctx.Err() != nil || err == nil && !sv.unready() {
			continue
		}
		if sv.ready(ctx) == nil && err != nil { // it logs what has changed
			sv.log.Warn("the targets, or the announced users, can't be looked after", "error", err)
		}
	}
}

// saySurroundings logs what lets others act as Rollcall's role.
func (sv *service) saySurroundings(ctx context.Context) {
	warnings, err := sv.db.Surroundings(ctx)
	if err != nil && ctx.Err() == nil {
		sv.log.Warn("the rights of others can't be looked at", "error", err)
	}
	for _, w := range warnings {
		sv.log.Warn("others can act as Rollcall's role", "warning", w)
	}
}

// sayFindings logs all that the first check has found.
func (sv *service) sayFindings(findings []postgres.Finding) {
	for _, f := range findings {
		if f.Severity == postgres.Warning {
			sv.log.Warn("a target needs attention", "target", f.Target, "at", f.At, "warning", f.What)
			continue
		}
		sv.log.Error("a target is out of service; its users are parked", "target", f.Target, "at", f.At, "error", f.What)
	}
	for _, t := range sv.db.TargetStates() {
		sv.outages[t.Name], sv.tables[t.Name] = t.Outage, t.OID
	}
}

// sayChanges logs each target that went out of service, or came back, since it was last asked,
// and reports whether one is out and whether one came back or has another table.
func (sv *service) sayChanges() (out, back bool) {
	for _, t := range sv.db.TargetStates() {
		before := sv.outages[t.Name]
		switch {
		case t.Outage != "" && before == "":
			sv.log.Error("a target is out of service; its users are parked", "target", t.Name, "table", t.Table, "error", t.Outage)
		case t.Outage == "" && before != "":
			sv.log.Info("a target is in service again; it catches up", "target", t.Name)
		}
		if t.Outage == "" && (before != "" || sv.tables[t.Name] != t.OID) {
			delete(sv.offered, t.Name) // its table may be another one
			back = true
		}
		sv.outages[t.Name], sv.tables[t.Name] = t.Outage, t.OID
		out = out || t.Outage != ""
	}
	return out, back
}

// catchUp is the name of the job that settles a target's parked users.
func catchUp(target string) string { return "catch up " + target }

func (sv *service) enqueueDue(ctx context.Context) error {
	jobs := sv.running.Load()
	if jobs == nil {
		return nil
	}
	due, err := sv.db.Due(ctx)
	for i, target := range due {
		due[i] = catchUp(target)
	}
	confirmations, more := sv.dueConfirmations(ctx)
	over, unknown := sv.db.BansOver(ctx)
	if err = errors.Join(err, more, unknown); over {
		due = append(due, endBans)
	}
	for _, job := range append(due, confirmations...) {
		err = errors.Join(err, jobs.Enqueue(ctx, job))
	}
	return err
}

// offerBackfills says of each target that is new, or whose table is, how to fill it: at the start,
// and when it is in service again.
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
