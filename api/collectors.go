package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
)

// What the database is asked for at every scrape.
var (
	targetOutage  = gauge("rollcall_target_breaker_open", "1 while a target is out of service and its users are parked.", "target")
	parkedUsers   = gauge("rollcall_parked_users", "Users that a target does not follow for the moment.", "target")
	targetUsers   = gauge("rollcall_target_users", "Users of a target as the last check has counted them, by how the target has them.", "target", "state")
	targetChecked = gauge("rollcall_target_checked_timestamp_seconds", "When a target was last checked, in Unix time; 0 for never.", "target")
	tableSource   = gauge("rollcall_table_source",
		"1 while a source's table of users decides what is so; 0 while its events do, because the table is elsewhere or can't be read.", "source")
	reconcileUsers   = gauge("rollcall_reconcile_users", "Users of the last reconciliation that ended, by what it did about them.", "source", "result")
	reconcileSuccess = gauge("rollcall_reconcile_last_success_timestamp_seconds", "When a source was last reconciled with success, in Unix time; 0 for never.", "source")
	reconcileStopped = gauge("rollcall_reconcile_stopped", "1 when the last reconciliation was stopped, so that nobody was deleted.", "source")
	captureInstalled = gauge("rollcall_capture_installed", "1 while the trigger of a source's capture is there, fires, and is for this source.", "source")
	captureOldest    = gauge("rollcall_capture_oldest_seconds", "For how long the oldest captured change of a source has waited to be applied; 0 when none waits.", "source")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// collector asks the database when it is scraped: the numbers are the database's, the same at every replica.
// While the database is away there is a gap, which is the truth.
type collector struct {
	config *Config
	gauges []*prometheus.Desc
	ask    func(ctx context.Context, cfg *Config, tell tell)
}

// tell hands the value of a gauge on.
type tell func(of *prometheus.Desc, value float64, labels ...string)

// newCollectors returns one for each question: what one waits for does not delay the others.
func newCollectors(cfg *Config) []prometheus.Collector {
	return []prometheus.Collector{
		&collector{cfg, []*prometheus.Desc{targetOutage, parkedUsers, targetUsers, targetChecked, tableSource}, askTargets},
		&collector{cfg, []*prometheus.Desc{reconcileUsers, reconcileSuccess, reconcileStopped}, askReconciliations},
		&collector{cfg, []*prometheus.Desc{captureInstalled, captureOldest}, askCaptures},
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.gauges {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	c.ask(ctx, c.config, func(of *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(of, prometheus.GaugeValue, value, labels...)
	})
}

// askTargets tells how the targets are doing; while the database is away, without their users.
func askTargets(ctx context.Context, cfg *Config, tell tell) {
	out := map[string]bool{}
	for _, t := range cfg.DB.Targets().States() {
		out[t.Name] = t.Outage != ""
	}
	for _, name := range cfg.Targets {
		tell(targetOutage, truth(out[name]), name)
	}
	for _, s := range cfg.Sources {
		if s.Provider() == source.Supabase {
			tell(tableSource, truth(cfg.DB.Roll().Follows(s.Name())), s.Name())
		}
	}
	parked, err := cfg.DB.Targets().Parked(ctx)
	if err != nil {
		cfg.Log.Warn("parked users are not known", "error", err)
		return
	}
	for _, name := range cfg.Targets {
		tell(parkedUsers, float64(parked[name]), name)
	}
	askChecked(ctx, cfg, tell)
}

// askChecked tells what the last check has counted, whoever ran it.
func askChecked(ctx context.Context, cfg *Config, tell tell) {
	checked, err := cfg.DB.Audit().Checked(ctx)
	if err != nil {
		cfg.Log.Warn("what was checked last is not known", "error", err)
		return
	}
	for _, name := range cfg.Targets {
		tell(targetChecked, unixSeconds(checked[name].At), name)
		for _, state := range audit.States {
			tell(targetUsers, float64(checked[name].Users[state]), name, string(state))
		}
	}
}

// askReconciliations tells how the last reconciliation of each source ended, whoever ran it.
func askReconciliations(ctx context.Context, cfg *Config, tell tell) {
	list, err := cfg.DB.Directory().LastRuns(ctx)
	if err != nil {
		cfg.Log.Warn("the last reconciliations are not known", "error", err)
		return
	}
	bySource := map[string]directory.LastRun{}
	for _, l := range list {
		bySource[l.Source] = l
	}
	for _, src := range cfg.Sources {
		l := bySource[src.Name()]
		tell(reconcileSuccess, unixSeconds(l.Success), src.Name())
		tell(reconcileStopped, truth(l.Stopped), src.Name())
		for result, n := range map[string]int64{
			"created": l.Users.Created, "updated": l.Users.Updated, "touched": l.Users.Touched, "deleted": l.Users.Deleted,
			"unchanged": l.Users.Unchanged, "failed": l.Users.Failed,
		} {
			tell(reconcileUsers, float64(n), src.Name(), result)
		}
	}
}

// askCaptures tells how the captures are doing, of every source that may have one.
func askCaptures(ctx context.Context, cfg *Config, tell tell) {
	if len(cfg.Captures) == 0 {
		return // spare the database the question
	}
	list, err := cfg.DB.Outbox().Captures(ctx, cfg.Captures)
	if err != nil {
		cfg.Log.Warn("how the captures are doing is not known", "error", err)
		return
	}
	for _, s := range list {
		tell(captureInstalled, truth(s.Installed), s.Source)
		tell(captureOldest, s.Oldest, s.Source)
	}
}
