package api

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"rollcall/internal/admission"
	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// metrics are what Prometheus scrapes. Labels are closed sets: configured names, known
// types, outcomes.
type metrics struct {
	webhooks       *prometheus.CounterVec
	webhookSeconds *prometheus.HistogramVec
	admissions     *prometheus.CounterVec
	lastVerified   *prometheus.GaugeVec
	captured       *prometheus.CounterVec
	batchEvents    prometheus.Histogram
	applySeconds   prometheus.Histogram
	turnedAway     prometheus.Counter
	syncs          *prometheus.CounterVec
	syncSeconds    *prometheus.HistogramVec
	looks          *prometheus.CounterVec
	users          *prometheus.GaugeVec
	notifications  *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry, current func() *Config) *metrics {
	made := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return made.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 15) // 0.5 ms to 8 s: past limits.wait
	durations := func(name, help string) *prometheus.HistogramVec {
		options := prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}
		return made.NewHistogramVec(options, []string{"source"})
	}
	m := &metrics{
		webhooks: counter("rollcall_webhooks_total",
			"Requests at the endpoints of the sources, by outcome.", "source", "type", "outcome"),
		admissions: counter("rollcall_admissions_total",
			"Sign-ups that the rules of a source have decided, by the rule that did and its verdict.", "source", "rule", "verdict"),
		webhookSeconds: durations("rollcall_webhook_seconds", "Time from the request to its answer."),
		lastVerified: made.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_last_verified_event_timestamp_seconds", Help: "When a source last sent a request that verified, in Unix time; 0 for never. Only of sources with an endpoint that is open.",
		}, []string{"source"}),
		captured: counter("rollcall_captured_total",
			"Users whose changes were taken from the outbox of a capture, by outcome.", "source", "outcome"),
		batchEvents: made.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_batch_events", Help: "Events committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10), // 1 to 512, the largest batch
		}),
		applySeconds: made.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_apply_seconds", Help: "Time to commit a batch, retries included.", Buckets: seconds,
		}),
		turnedAway: made.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_connections_turned_away_total", Help: "Connections beyond the bound, which were answered 503 unread.",
		}),
		syncs: counter("rollcall_sync_total", "Requests of just-in-time sync, by result.", "source", "result"),
		syncSeconds: durations("rollcall_sync_seconds",
			"Time from a request of just-in-time sync to its answer; of those whose token was refused, none."),
		looks: counter("rollcall_sync_lookups_total",
			"Users that just-in-time sync has looked up at their provider, by result.", "source", "result"),
		notifications: counter("rollcall_notifications_total",
			"What became of attempts to say a notification; retried ones are tried again.", "name", "outcome"),
		users: made.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_users",
			Help: "Users of the roll as last counted, every ten minutes: live, deleted, and of both those that are parked.",
		}, []string{"source", "state"}),
	}
	made.NewGaugeVec(prometheus.GaugeOpts{
		Name: "rollcall_build_info", Help: "Always 1; the labels say which version runs, and which Go has built it.",
	}, []string{"version", "goversion"}).WithLabelValues(current().Version, runtime.Version()).Set(1)
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	registry.MustRegister(append(newCollectors(current), collectors.NewGoCollector(), process)...)
	m.reachAll(current())
	return m
}

// reachAll makes the label sets of a configuration exist at 0.
func (m *metrics) reachAll(cfg *Config) {
	for _, src := range cfg.Sources {
		m.webhookSeconds.WithLabelValues(src.Name())
		m.reach(src, cfg)
		if src.Provider() == source.Supabase {
			for _, o := range []event.Outcome{event.Applied, event.Stale, event.Parked, event.UndecodableBody} {
				m.captured.WithLabelValues(src.Name(), string(o))
			}
		}
	}
	m.reachSync(cfg.Sync.Sources)
	m.reachNotifications(cfg.Notifications)
}

// reachSync makes the label sets of just-in-time sync exist at 0.
func (m *metrics) reachSync(sources []string) {
	for _, name := range sources {
		m.syncSeconds.WithLabelValues(name)
		for _, result := range []string{syncDone, syncParked, syncNotMember, syncNoTeam, syncUnverified, syncDeleted, syncGone, syncLimited, syncUnavailable} {
			m.syncs.WithLabelValues(name, result)
		}
		for _, result := range []string{"found", "gone", "failed"} {
			m.looks.WithLabelValues(name, result)
		}
	}
	if len(sources) > 0 {
		m.syncs.WithLabelValues(unknownSource, syncUnverified)
	}
}

func (m *metrics) synced(d *syncing, took time.Duration) {
	m.syncs.WithLabelValues(d.who.Source, d.result).Inc()
	if d.result != syncUnverified { // how long an unverified request takes says nothing
		m.syncSeconds.WithLabelValues(d.who.Source).Observe(took.Seconds())
	}
}

// reached lists the outcomes that events of an operation can have at an endpoint that verified
// them.
var reached = map[event.Op][]event.Outcome{
	event.Upsert:   {event.Applied, event.Duplicate, event.Stale, event.Parked, event.Ignored, event.UndecodableBody, event.Unavailable},
	event.Delete:   {event.Applied, event.Duplicate, event.Stale, event.Parked, event.Ignored, event.UndecodableBody, event.Unavailable},
	event.Announce: {event.Announced, event.Duplicate, event.Admitted, event.Refused, event.UndecodableBody, event.Unavailable},
	event.Ignore:   {event.Ignored},
}

// reach makes every label set that a source can reach exist at 0, so that a rate over a
// first occurrence is seen.
func (m *metrics) reach(src *source.Source, cfg *Config) {
	admission, rules := cfg.Admissions[src.Name()]
	if rules {
		m.reachAdmissions(src.Name(), admission.Rules.Asked())
	}
	for endpoint := range endpoints {
		if !src.Open(endpoint) {
			continue
		}
		m.lastVerified.WithLabelValues(src.Name())
		for _, t := range src.Types(endpoint) {
			for _, o := range reached[t.Op] {
				never := o == event.Duplicate && endpoint == source.Database || o == event.Admitted && cfg.Refuse[src.Name()] ||
					o == event.Refused && !rules
				if !never {
					m.webhooks.WithLabelValues(src.Name(), t.Name, string(o))
				}
			}
		}
		for _, o := range []event.Outcome{event.UndecodableBody, event.Unverified, event.TooLarge, event.Malformed, event.Unavailable} {
			m.webhooks.WithLabelValues(src.Name(), source.Other, string(o))
		}
	}
}

// reachAdmissions makes the decisions that rules can come to exist at 0. The last rule admits.
func (m *metrics) reachAdmissions(name string, rules []admission.Rule) {
	for i, rule := range rules {
		verdicts := []admission.Verdict{admission.Refused}
		if i == len(rules)-1 {
			verdicts = append(verdicts, admission.Admitted)
		}
		if rule == admission.Require {
			verdicts = append(verdicts, admission.Unavailable)
		}
		for _, v := range verdicts {
			m.admissions.WithLabelValues(name, string(rule), string(v))
		}
	}
}

func (m *metrics) verified(d *delivery) {
	m.lastVerified.WithLabelValues(d.source.Name()).Set(unixSeconds(d.arrived))
}

func (m *metrics) delivered(d *delivery, took time.Duration) {
	m.webhooks.WithLabelValues(d.source.Name(), d.kind(), string(d.outcome)).Inc()
	m.webhookSeconds.WithLabelValues(d.source.Name()).Observe(took.Seconds())
}

// unixSeconds is a time as Prometheus wants it; 0 for never.
func unixSeconds(t time.Time) float64 { return float64(max(0, t.UnixMilli())) / 1000 }

// truth is 1 for what is so.
func truth(so bool) float64 {
	if so {
		return 1
	}
	return 0
}

// What is asked for at every scrape: the database, but for the queue and the pool.
var (
	targetOutage  = gauge("rollcall_target_breaker_open", "1 while a target is out of service and its users are parked.", "target")
	parkedUsers   = gauge("rollcall_parked_users", "Users that a target does not follow for the moment.", "target")
	targetUsers   = gauge("rollcall_target_users", "Users of a target as the last check has counted them, by how the target has them.", "target", "state")
	targetChecked = gauge("rollcall_target_checked_timestamp_seconds", "When a target was last checked, in Unix time; 0 for never.", "target")
	tableSource   = gauge("rollcall_table_source",
		"1 while a source's table of users decides what is so; 0 while its events do, because the table is elsewhere or can't be read.", "source")
	reconcileUsers   = gauge("rollcall_reconcile_users", "Users of the last reconciliation that ended, by what it did about them.", "source", "result")
	reconcileOrgs    = gauge("rollcall_reconcile_organizations", "Organizations of the last reconciliation that ended, by what it did about them.", "source", "result")
	reconcileMembers = gauge("rollcall_reconcile_memberships", "Memberships of the last reconciliation that ended, by what it did about them.", "source", "result")
	reconcileSuccess = gauge("rollcall_reconcile_last_success_timestamp_seconds", "When a source was last reconciled with success, in Unix time; 0 for never.", "source")
	reconcileStopped = gauge("rollcall_reconcile_stopped", "1 when the last reconciliation was stopped, so that no user was deleted.", "source")
	captureInstalled = gauge("rollcall_capture_installed", "1 while the trigger of a source's capture is there, fires, and is for this source.", "source")
	jobsByState      = gauge("rollcall_jobs",
		"Runs of jobs that wait and that are under way, and jobs whose last run failed, of all replicas.", "state")
	queueEvents     = gauge("rollcall_queue_events", "Events that wait for a batch.")
	queueOldest     = gauge("rollcall_queue_oldest_seconds", "For how long the oldest of these events has waited; 0 when none waits.")
	poolConnections = gauge("rollcall_pool_connections",
		"Connections to the database, without those of the jobs' own bookkeeping, by state.", "state")
	poolMost      = gauge("rollcall_pool_max_connections", "How many such connections there may be.")
	findingsFound = gauge("rollcall_findings", "What rollcall doctor finds wrong, by code and severity; this replica looks every five minutes.",
		"code", "severity")
	captureOldest = gauge("rollcall_capture_oldest_seconds", "For how long the oldest captured change of a source has waited to be applied; 0 when none waits.", "source")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// collector asks when it is scraped. What the database says is the same at every replica; while it is away there is
// a gap, which is the truth.
type collector struct {
	config func() *Config
	gauges []*prometheus.Desc
	ask    func(ctx context.Context, cfg *Config, tell tell)
}

// tell hands the value of a gauge on.
type tell func(of *prometheus.Desc, value float64, labels ...string)

// newCollectors returns one for each question: what one waits for does not delay the others.
func newCollectors(cfg func() *Config) []prometheus.Collector {
	targets := []*prometheus.Desc{targetOutage, parkedUsers, targetUsers, targetChecked, tableSource}
	return []prometheus.Collector{
		&collector{cfg, targets, askTargets},
		&collector{cfg, []*prometheus.Desc{reconcileUsers, reconcileOrgs, reconcileMembers, reconcileSuccess, reconcileStopped}, askReconciliations},
		&collector{cfg, []*prometheus.Desc{captureInstalled, captureOldest}, askCaptures},
		&collector{cfg, []*prometheus.Desc{jobsByState}, askJobs},
		&collector{cfg, []*prometheus.Desc{queueEvents, queueOldest, poolConnections, poolMost}, askReplica},
		&collector{cfg, []*prometheus.Desc{findingsFound}, askFindings},
		&collector{cfg, []*prometheus.Desc{notificationBacklog, notificationOldest}, askNotifications},
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
	c.ask(ctx, c.config(), func(of *prometheus.Desc, value float64, labels ...string) {
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
	parked, err := cfg.DB.Parked().Count(ctx)
	if err != nil {
		cfg.Log.Warn("the parked users can't be counted: no metric or status has them until the database answers", "error", err)
		return
	}
	for _, name := range cfg.Targets {
		tell(parkedUsers, float64(parked[name]), name)
	}
	askChecked(ctx, cfg, tell)
}

// askChecked tells what the last check has counted, on any replica or by the command.
func askChecked(ctx context.Context, cfg *Config, tell tell) {
	checked, err := cfg.DB.Audit().Checked(ctx)
	if err != nil {
		cfg.Log.Warn("the last check can't be read: its metrics are missing until the database answers", "error", err)
		return
	}
	for _, name := range cfg.Targets {
		tell(targetChecked, unixSeconds(checked[name].At), name)
		for _, state := range audit.States {
			tell(targetUsers, float64(checked[name].Users[state]), name, string(state))
		}
	}
}

// askReconciliations tells how the last reconciliation of each source ended, on any replica or by the command.
func askReconciliations(ctx context.Context, cfg *Config, tell tell) {
	list, err := cfg.DB.Directory().LastRuns(ctx)
	if err != nil {
		cfg.Log.Warn("the last reconciliations can't be read: their metrics are missing until the database answers", "error", err)
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
		tellReconciled(tell, reconcileUsers, src.Name(), l.Users)
		if src.Provider() == source.Clerk {
			tellReconciled(tell, reconcileOrgs, src.Name(), l.Others[event.Organizations.Name])
			tellReconciled(tell, reconcileMembers, src.Name(), l.Others[event.Memberships.Name])
		}
	}
}

func tellReconciled(tell tell, desc *prometheus.Desc, source string, done directory.Reconciled) {
	for result, n := range map[string]int64{
		"created": done.Created, "updated": done.Updated, "touched": done.Touched, "deleted": done.Deleted,
		"unchanged": done.Unchanged, "failed": done.Failed,
	} {
		tell(desc, float64(n), source, result)
	}
}

// askFindings tells what the last examination has found; it asks nothing.
func askFindings(_ context.Context, cfg *Config, tell tell) {
	if cfg.Findings == nil {
		return
	}
	found := map[target.Code]int{}
	for _, f := range cfg.Findings().Findings {
		found[f.Code]++
	}
	for _, k := range doctor.Kinds {
		tell(findingsFound, float64(found[k.Code]), string(k.Code), string(k.Severity))
	}
}

// askCaptures tells how the captures are doing, of every source that may have one.
func askCaptures(ctx context.Context, cfg *Config, tell tell) {
	if len(cfg.Captures) == 0 {
		return // spare the database the question
	}
	list, err := cfg.DB.Outbox().Captures(ctx, cfg.Captures)
	if err != nil {
		cfg.Log.Warn("the captures can't be read: their metrics are missing until the database answers", "error", err)
		return
	}
	for _, s := range list {
		tell(captureInstalled, truth(s.Installed), s.Source)
		tell(captureOldest, s.Oldest, s.Source)
	}
}

// askJobs tells what the jobs of all replicas are at.
func askJobs(ctx context.Context, cfg *Config, tell tell) {
	counts, err := jobs.Count(ctx, cfg.DB.Pool())
	if err != nil {
		cfg.Log.Warn("the jobs can't be counted: their metric is missing until the database answers", "error", err)
		return
	}
	tell(jobsByState, float64(counts.Waiting), "waiting")
	tell(jobsByState, float64(counts.Running), "running")
	tell(jobsByState, float64(counts.Failed), "failed")
}

// askReplica tells what this replica is at; the database is not asked.
func askReplica(_ context.Context, cfg *Config, tell tell) {
	events, oldest := cfg.Queue()
	tell(queueEvents, float64(events))
	tell(queueOldest, oldest.Seconds())
	pool := cfg.DB.Pool().Connections()
	tell(poolConnections, float64(pool.InUse), "in_use")
	tell(poolConnections, float64(pool.Idle), "idle")
	tell(poolConnections, float64(pool.Opening), "opening")
	tell(poolMost, float64(pool.Most))
}
