package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/source"
)

// metrics are what Prometheus scrapes. Labels are closed sets: configured names, known
// types, outcomes.
type metrics struct {
	webhooks       *prometheus.CounterVec
	webhookSeconds *prometheus.HistogramVec
	lastVerified   *prometheus.GaugeVec
	captured       *prometheus.CounterVec
	batchEvents    prometheus.Histogram
	applySeconds   prometheus.Histogram
	turnedAway     prometheus.Counter
	syncs          *prometheus.CounterVec
	syncSeconds    *prometheus.HistogramVec
	looks          *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry, cfg *Config) *metrics {
	m := &metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_webhooks_total", Help: "Requests at the endpoints of the sources, by outcome.",
		}, []string{"source", "type", "outcome"}),
		webhookSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rollcall_webhook_seconds", Help: "Time from the request to its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15), // 0.5 ms to 8 s: past limits.wait
		}, []string{"source"}),
		lastVerified: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_last_verified_event_timestamp_seconds", Help: "When a source last sent a request that verified, in Unix time; 0 for never. Only of sources with an endpoint that is open.",
		}, []string{"source"}),
		captured: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_captured_total", Help: "Users whose changes were taken from the outbox of a capture, by outcome.",
		}, []string{"source", "outcome"}),
		batchEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_batch_events", Help: "Events committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10), // 1 to 512, the largest batch
		}),
		applySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_apply_seconds", Help: "Time to commit a batch, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		turnedAway: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_connections_turned_away_total", Help: "Connections beyond the bound, which were answered 503 unread.",
		}),
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_sync_total", Help: "Requests of just-in-time sync, by result.",
		}, []string{"source", "result"}),
		syncSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rollcall_sync_seconds", Help: "Time from a request of just-in-time sync to its answer; of those whose token was refused, none.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}, []string{"source"}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_sync_lookups_total", Help: "Users that just-in-time sync has looked up at their provider, by result.",
		}, []string{"source", "result"}),
	}
	registry.MustRegister(m.webhooks, m.webhookSeconds, m.lastVerified, m.captured, m.batchEvents, m.applySeconds, m.turnedAway, m.syncs, m.syncSeconds, m.looks,
		newTargetCollector(cfg), newReconcileCollector(cfg), newCaptureCollector(cfg), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, src := range cfg.Sources {
		m.webhookSeconds.WithLabelValues(src.Name())
		m.reach(src, cfg.Refuse[src.Name()])
		if src.Provider() == source.Supabase {
			for _, o := range []event.Outcome{event.Applied, event.Stale, event.Parked, event.UndecodableBody} {
				m.captured.WithLabelValues(src.Name(), string(o))
			}
		}
	}
	m.reachSync(cfg.Sync.Sources)
	return m
}

// reachSync makes the label sets of just-in-time sync exist at 0.
func (m *metrics) reachSync(sources []string) {
	for _, name := range sources {
		m.syncSeconds.WithLabelValues(name)
		for _, result := range []string{syncDone, syncParked, syncUnverified, syncDeleted, syncGone, syncLimited, syncUnavailable} {
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
	m.syncs.WithLabelValues(d.source, d.result).Inc()
	if d.result != syncUnverified { // what a stranger waits for says nothing
		m.syncSeconds.WithLabelValues(d.source).Observe(took.Seconds())
	}
}

// reached lists the outcomes that events of an operation can have at an endpoint that verified
// them.
var reached = map[event.Op][]event.Outcome{
	event.Upsert:   {event.Applied, event.Duplicate, event.Stale, event.Parked, event.Ignored, event.UndecodableBody, event.Unavailable},
	event.Delete:   {event.Applied, event.Duplicate, event.Stale, event.Parked, event.Ignored, event.UndecodableBody, event.Unavailable},
	event.Announce: {event.Announced, event.Duplicate, event.Admitted, event.UndecodableBody, event.Unavailable},
	event.Ignore:   {event.Ignored},
}

// reach makes every label set that a source can reach exist at 0, so that a rate over a
// first occurrence is seen.
func (m *metrics) reach(src *source.Source, refuses bool) {
	for endpoint := range endpoints {
		if !src.Open(endpoint) {
			continue
		}
		m.lastVerified.WithLabelValues(src.Name())
		for _, t := range src.Types(endpoint) {
			for _, o := range reached[t.Op] {
				never := o == event.Duplicate && endpoint == source.Database || o == event.Admitted && refuses
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

func (m *metrics) verified(d *delivery) {
	m.lastVerified.WithLabelValues(d.source.Name()).Set(float64(d.arrived.UnixMilli()) / 1000)
}

func (m *metrics) delivered(d *delivery, took time.Duration) {
	m.webhooks.WithLabelValues(d.source.Name(), d.kind(), string(d.outcome)).Inc()
	m.webhookSeconds.WithLabelValues(d.source.Name()).Observe(took.Seconds())
}

// targetCollector asks how the targets are doing when it is scraped: the numbers are the
// database's, the same at every replica.
type targetCollector struct {
	config  *Config
	outage  *prometheus.Desc
	parked  *prometheus.Desc
	users   *prometheus.Desc
	checked *prometheus.Desc
	table   *prometheus.Desc
	timeout time.Duration
}

func newTargetCollector(cfg *Config) *targetCollector {
	return &targetCollector{
		config:  cfg,
		outage:  prometheus.NewDesc("rollcall_target_breaker_open", "1 while a target is out of service and its users are parked.", []string{"target"}, nil),
		parked:  prometheus.NewDesc("rollcall_parked_users", "Users that a target does not follow for the moment.", []string{"target"}, nil),
		users:   prometheus.NewDesc("rollcall_target_users", "Users of a target as the last check has counted them, by how the target has them.", []string{"target", "state"}, nil),
		checked: prometheus.NewDesc("rollcall_target_checked_timestamp_seconds", "When a target was last checked, in Unix time; 0 for never.", []string{"target"}, nil),
		table: prometheus.NewDesc("rollcall_table_source",
			"1 while a source's table of users decides what is so; 0 while its events do, because the table is elsewhere or can't be read.", []string{"source"}, nil),
		timeout: readyTimeout,
	}
}

// Describe implements prometheus.Collector.
func (c *targetCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.outage
	ch <- c.parked
	ch <- c.users
	ch <- c.checked
	ch <- c.table
}

// Collect implements prometheus.Collector. While the database is away the users are left
// out: a gap is the truth.
func (c *targetCollector) Collect(ch chan<- prometheus.Metric) {
	out := map[string]float64{}
	for _, t := range c.config.DB.Targets().States() {
		if t.Outage != "" {
			out[t.Name] = 1
		}
	}
	for _, name := range c.config.Targets {
		ch <- prometheus.MustNewConstMetric(c.outage, prometheus.GaugeValue, out[name], name)
	}
	for _, s := range c.config.Sources {
		if s.Provider() != source.Supabase {
			continue
		}
		follows := 0.0
		if c.config.DB.Roll().Follows(s.Name()) {
			follows = 1
		}
		ch <- prometheus.MustNewConstMetric(c.table, prometheus.GaugeValue, follows, s.Name())
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	parked, err := c.config.DB.Targets().Parked(ctx)
	if err != nil {
		c.config.Log.Warn("parked users are not known", "error", err)
		return
	}
	for _, name := range c.config.Targets {
		ch <- prometheus.MustNewConstMetric(c.parked, prometheus.GaugeValue, float64(parked[name]), name)
	}
	c.collectChecked(ctx, ch)
}

// collectChecked tells what the last check has counted, whoever ran it.
func (c *targetCollector) collectChecked(ctx context.Context, ch chan<- prometheus.Metric) {
	checked, err := c.config.DB.Audit().Checked(ctx)
	if err != nil {
		c.config.Log.Warn("what was checked last is not known", "error", err)
		return
	}
	for _, name := range c.config.Targets {
		at := 0.0
		if t := checked[name].At; !t.IsZero() {
			at = float64(t.UnixMilli()) / 1000
		}
		ch <- prometheus.MustNewConstMetric(c.checked, prometheus.GaugeValue, at, name)
		for _, state := range audit.States {
			ch <- prometheus.MustNewConstMetric(c.users, prometheus.GaugeValue, float64(checked[name].Users[state]), name, string(state))
		}
	}
}
