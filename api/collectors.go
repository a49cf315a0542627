package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/postgres/directory"
)

// captureCollector tells how the captures are doing, of every source that may have one.
type captureCollector struct {
	config    *Config
	installed *prometheus.Desc
	oldest    *prometheus.Desc
}

func newCaptureCollector(cfg *Config) *captureCollector {
	return &captureCollector{
		config:    cfg,
		installed: prometheus.NewDesc("rollcall_capture_installed", "1 while the trigger of a source's capture is there, fires, and is for this source.", []string{"source"}, nil),
		oldest:    prometheus.NewDesc("rollcall_capture_oldest_seconds", "For how long the oldest captured change of a source has waited to be applied; 0 when none waits.", []string{"source"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *captureCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.installed
	ch <- c.oldest
}

// Collect implements prometheus.Collector. While the database is away there is a gap.
func (c *captureCollector) Collect(ch chan<- prometheus.Metric) {
	if len(c.config.Captures) == 0 {
		return // spare the database the question
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	list, err := c.config.DB.Outbox().Captures(ctx, c.config.Captures)
	if err != nil {
		c.config.Log.Warn("how the captures are doing is not known", "error", err)
		return
	}
	for _, s := range list {
		installed := 0.0
		if s.Installed {
			installed = 1
		}
		ch <- prometheus.MustNewConstMetric(c.installed, prometheus.GaugeValue, installed, s.Source)
		ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, s.Oldest, s.Source)
	}
}

// reconcileCollector tells how the last reconciliation of each source ended, whoever ran it.
type reconcileCollector struct {
	config  *Config
	users   *prometheus.Desc
	success *prometheus.Desc
	stopped *prometheus.Desc
}

func newReconcileCollector(cfg *Config) *reconcileCollector {
	return &reconcileCollector{
		config:  cfg,
		users:   prometheus.NewDesc("rollcall_reconcile_users", "Users of the last reconciliation that ended, by what it did about them.", []string{"source", "result"}, nil),
		success: prometheus.NewDesc("rollcall_reconcile_last_success_timestamp_seconds", "When a source was last reconciled with success, in Unix time; 0 for never.", []string{"source"}, nil),
		stopped: prometheus.NewDesc("rollcall_reconcile_stopped", "1 when the last reconciliation was stopped, so that nobody was deleted.", []string{"source"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *reconcileCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.users
	ch <- c.success
	ch <- c.stopped
}

// Collect implements prometheus.Collector. While the database is away there is a gap.
func (c *reconcileCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	list, err := c.config.DB.Directory().LastRuns(ctx)
	if err != nil {
		c.config.Log.Warn("the last reconciliations are not known", "error", err)
		return
	}
	bySource := map[string]directory.LastRun{}
	for _, l := range list {
		bySource[l.Source] = l
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, src := range c.config.Sources {
		l := bySource[src.Name()]
		success, stopped := 0.0, 0.0
		if l.Success.Unix() > 0 {
			success = float64(l.Success.UnixMilli()) / 1000
		}
		if l.Stopped {
			stopped = 1
		}
		gauge(c.success, success, src.Name())
		gauge(c.stopped, stopped, src.Name())
		for result, n := range map[string]int64{
			"created": l.Users.Created, "updated": l.Users.Updated, "touched": l.Users.Touched, "deleted": l.Users.Deleted,
			"unchanged": l.Users.Unchanged, "failed": l.Users.Failed,
		} {
			gauge(c.users, float64(n), src.Name(), result)
		}
	}
}
