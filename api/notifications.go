package api

import (
	"context"
	"time"

	"rollcall/internal/notify"
)

var (
	notificationBacklog = gauge("rollcall_notifications_backlog", "Notifications that are not delivered yet.", "name")
	notificationOldest  = gauge("rollcall_notifications_oldest_seconds", "For how long the oldest of these has waited; 0 when none waits.", "name")
)

// ObserveNotification counts what became of an attempt.
func (s *Server) ObserveNotification(name, outcome string) {
	s.metrics.notifications.WithLabelValues(name, outcome).Inc()
}

// reachNotifications makes the label sets of notifications exist at 0.
func (m *metrics) reachNotifications(names []string) {
	for _, name := range names {
		for _, outcome := range notify.Outcomes {
			m.notifications.WithLabelValues(name, outcome)
		}
	}
}

// askNotifications tells what waits to be said, of all replicas.
func askNotifications(ctx context.Context, cfg *Config, tell tell) {
	if len(cfg.Notifications) == 0 {
		return
	}
	waiting, err := cfg.DB.Transitions().Backlogs(ctx)
	if err != nil {
		cfg.Log.Warn("the notifications that wait can't be counted: their metrics are missing until the database answers", "error", err)
		return
	}
	for _, name := range cfg.Notifications {
		b := waiting[name]
		tell(notificationBacklog, float64(b.Pending), name)
		oldest := 0.0
		if b.Pending > 0 {
			oldest = max(0, time.Since(b.Oldest).Seconds())
		}
		tell(notificationOldest, oldest, name)
	}
}
