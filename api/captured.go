package api

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
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
