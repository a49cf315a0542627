package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
)

// kept finds the users about which something that the provider says can't be used.
func (e *examination) kept(ctx context.Context) error {
	var names []string
	for _, s := range e.Sources {
		names = append(names, s.Name())
	}
	list, err := e.survey.Kept(ctx, names)
	for _, k := range list {
		e.add(usersKept, "source "+k.Source, fmt.Sprintf("%d users keep the last known value of some columns, such as %s (%s): what the provider "+
			"says of them can't be used, or is larger than limits.metadata", k.Users, k.ID, strings.Join(k.Columns, ", ")),
			command("rollcall check --user %s", k.ID))
	}
	return err
}

// reconciliations finds the sources that are not compared with their provider as they should be.
func (e *examination) reconciliations(ctx context.Context) error {
	list, err := e.DB.Directory().LastRuns(ctx)
	if err != nil {
		return err
	}
	last := map[string]directory.LastRun{}
	for _, l := range list {
		last[l.Source] = l
	}
	for _, s := range e.File.Sources {
		l, ran := last[s.Name]
		again := command("rollcall reconcile %s", s.Name)
		if ran && l.Stopped {
			e.add(reconcileFailed, "source "+s.Name, fmt.Sprintf("the reconciliation that ended at %s failed: %s", moment(l.Ended), l.Error), again)
		}
		if n := failures(l); n > 0 {
			e.add(reconcileIncomplete, "source "+s.Name, fmt.Sprintf("the reconciliation that ended at %s could not bring %d rows up to date; the log "+
				"names them", moment(l.Ended), n), again)
		}
		if s.Reconcile != nil && s.Reconcile.Schedule != "" {
			e.overdue(s.Name, s.Reconcile.Schedule, l.Success)
		}
	}
	return nil
}

// failures are the rows of all rolls that a run could not bring up to date.
func failures(l directory.LastRun) int64 {
	n := l.Users.Failed
	for _, other := range l.Others {
		n += other.Failed
	}
	return n
}

// reconcileTime is what a run by the clock may take.
const reconcileTime = 6 * time.Hour

// overdue finds a schedule that has been missed twice.
func (e *examination) overdue(name, schedule string, success time.Time) {
	clock, err := cron.ParseStandard(schedule)
	if err != nil {
		return // the configuration's own check says so
	}
	due := clock.Next(clock.Next(later(success, e.since).UTC())).Add(reconcileTime)
	if e.since.IsZero() || e.Now().Before(due) {
		return
	}
	code, meaning := reconcileOld, fmt.Sprintf("source %s was last reconciled %s, and its schedule is %s", name, since(success), schedule)
	if success.Unix() <= 0 {
		code, meaning = reconcileNever, fmt.Sprintf("source %s has never been reconciled, although its schedule is %s", name, schedule)
	}
	e.add(code, e.at("sources", name, "reconcile", "schedule"), meaning, command("rollcall reconcile %s", name))
}

// jobs finds the jobs whose last run failed; what a reconciliation says of itself is more.
func (e *examination) jobs(ctx context.Context) error {
	list, err := e.survey.Jobs(ctx)
	for _, j := range list {
		if j.State == "failed" && !strings.HasPrefix(j.Name, "reconcile ") {
			e.add(jobFailed, "job "+j.Name, fmt.Sprintf("the last run failed at %s: %s", moment(j.At), j.Error), command("rollcall status"))
		}
	}
	return err
}

// replicas finds replicas with other configurations.
func (e *examination) replicas(ctx context.Context) error {
	list, err := e.survey.Replicas(ctx, jobs.ReplicaAge)
	if err == nil && len(list) == 0 {
		return e.died(ctx)
	}
	configs := map[string]bool{}
	for _, r := range list {
		configs[r.Config] = true
	}
	if len(configs) > 1 {
		e.add(replicasDiffer, "table rollcall.replicas", fmt.Sprintf("%d replicas run with %d configurations: a user's row depends on "+
			"which of them gets the event", len(list), len(configs)), command("rollcall status"))
	}
	return err
}

// died finds a serve that has ended without a word, with none in its place. One that is stopped forgets itself.
func (e *examination) died(ctx context.Context) error {
	list, err := e.survey.Replicas(ctx, 24*time.Hour)
	var last time.Time
	for _, r := range list {
		last = later(last, r.SeenAt)
	}
	if !last.IsZero() {
		e.add(replicasGone, "table rollcall.replicas", fmt.Sprintf("no serve runs: the last one was there at %s, and was not stopped", moment(last)), command("rollcall serve"))
	}
	return err
}

// events looks at the size of rollcall.events, and whether what is old is forgotten.
func (e *examination) events(ctx context.Context) error {
	v, err := e.survey.Events(ctx)
	if err != nil {
		return err
	}
	const table = "table rollcall.events"
	keep := e.File.Retention
	if v.Bytes > e.Bounds.EventsBytes {
		e.add(eventsLarge, table, fmt.Sprintf("the table takes %s, for bodies of %s and events of %s", size(v.Bytes), days(keep.Bodies), days(keep.Events)),
			yaml("retention:\n  bodies: 3d\n  events: 30d"))
	}
	if rows := v.Live + v.Dead; rows > e.Bounds.EventsRows && float64(v.Dead) > e.Bounds.EventsDead*float64(rows) {
		e.add(eventsVacuum, table, fmt.Sprintf("%d of %d rows are dead, and vacuum last ran %s", v.Dead, rows, since(v.Vacuumed)),
			sql("vacuum (analyze) rollcall.events"))
	}
	if !v.Autovacuum {
		e.add(eventsAutovacuum, table, "autovacuum is off for the table, which grows without end", sql("alter table rollcall.events reset (autovacuum_enabled)"))
	}
	for _, old := range []struct {
		what string
		at   time.Time
		keep time.Duration
	}{{"body of an event", v.OldestBody, keep.Bodies}, {"event", v.Oldest, keep.Events}} {
		if !old.at.IsZero() && e.Now().Sub(old.at) > old.keep+retentionLate {
			e.add(retentionBehind, table, fmt.Sprintf("the oldest %s is of %s, and retention is %s: no serve runs that forgets it, or it can't keep up",
				old.what, moment(old.at), days(old.keep)), command("rollcall serve"))
		}
	}
	if keep.Events >= retentionOff {
		e.add(retentionNone, e.at("retention", "events"), fmt.Sprintf("events are kept for %s, as good as for ever: the table grows without end", days(keep.Events)),
			yaml("retention:\n  events: 90d"))
	}
	return nil
}

const (
	// retentionLate is how late the job may be, which runs each hour.
	retentionLate = 26 * time.Hour
	// retentionOff is a retention that never ends for a table that grows.
	retentionOff = 2 * 365 * 24 * time.Hour
)

func days(d time.Duration) string { return fmt.Sprintf("%.4g days", d.Hours()/24) }
