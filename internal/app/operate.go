package app

import (
	"context"
	"time"

	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/netip"

	"github.com/go-chi/chi/v5"
	dto "github.com/prometheus/client_model/go"

	"rollcall/internal/admin"
	"rollcall/internal/console"
	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/claims"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/reconcile"
	"rollcall/internal/replay"
	"rollcall/internal/source"
	"rollcall/internal/trial"
)

const (
	// tasksAge is for how long tasks that have ended are kept.
	tasksAge = 30 * 24 * time.Hour
	// backfillTimeout bounds a backfill that the admin API was asked for; the next goes on where it stood.
	backfillTimeout = 6 * time.Hour
	// replayTimeout bounds a replay: as long as one that was interrupted goes on where it was.
	replayTimeout = 6 * time.Hour
)

// newOperate makes the admin API and the console. Without a token the API is closed, and the console says how to set
// one.
func (sv *service) newOperate(s *Setup) {
	o := &admin.Operator{
		DB: sv.db, Pool: sv.db.Pool(), Ready: sv.ready, Tasks: sv.tasks, Claims: claims.Claims{Pool: sv.db.Pool(), Log: sv.log}, Version: sv.options.Version, Log: sv.log,
		Admissions: func() []admin.AdmissionRules { return admissionRules(sv.setup()) },
		Sources:    func() []string { return names(sv.setup().Sources) }, Findings: sv.findings.Last, Reload: sv.Reload,
		Installation: func(ctx context.Context) *doctor.Status { return doctor.Read(ctx, sv.setup().Doctor(sv.db, nil)) },
		Replay:       sv.replay,
	}
	o.Trial = func() trial.Trial {
		return trial.Trial{Replay: o.Replay(), Table: sv.deciding, Decide: sv.decide, Base: sv.base}
	}
	sv.guard = admin.NewGuard(tokensOf(s))
	sv.console = console.New(console.Config{
		Operator: o, Guard: sv.guard, Hosts: func() []string { return sv.setup().Config.AdminHosts }, Metrics: metricsOf{sv}, Log: sv.log,
	})
	r := chi.NewRouter()
	r.Mount(admin.Path, admin.New(o, sv.guard).Handler())
	r.Mount("/", sv.console.Handler())
	sv.operate = r
}

// replay replays events by the path of a webhook.
func (sv *service) replay() replay.Replay {
	return replay.Replay{DB: sv.db, Sources: sv.setup().Sources, Submit: sv.pipeline.SubmitAll}
}

// deciding is the table that decides about the users of a source, "" where their versions do.
func (sv *service) deciding(source string) string {
	for _, c := range sv.setup().Captures() {
		if c.Source == source && sv.db.Roll().Follows(source) {
			return c.Table
		}
	}
	return ""
}

// receiver is where this replica receives, for requests of its own.
func receiver(public net.Addr) string {
	at, err := netip.ParseAddrPort(public.String())
	if err == nil && at.Addr().IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", at.Port())
	}
	return "http://" + public.String()
}

// tokensOf are the admin tokens of a configuration.
func tokensOf(s *Setup) []admin.Token {
	var tokens []admin.Token
	for _, t := range s.Config.Admins() {
		tokens = append(tokens, admin.Token{Holder: t.Name, Token: t.Token.Reveal()})
	}
	return tokens
}

func names(sources []*source.Source) []string {
	list := []string{}
	for _, s := range sources {
		list = append(list, s.Name())
	}
	return list
}

// metricsOf are the metrics of the service, which is still being made.
type metricsOf struct{ *service }

// Gather implements prometheus.Gatherer.
func (m metricsOf) Gather() ([]*dto.MetricFamily, error) { return m.server.Metrics().Gather() }

// wake has a job run as soon as a replica has time. Before the jobs run it does nothing: their start finds what is due.
func (sv *service) wake(ctx context.Context, job string) error {
	if running := sv.running.Load(); running != nil {
		return running.Enqueue(ctx, job)
	}
	return nil
}

// taskKinds are what the admin API begins. Each does what the command of its name does.
func (sv *service) taskKinds() []tasks.Kind {
	return []tasks.Kind{
		{Name: admin.Check, Timeout: checkTimeout, Run: sv.checkTask},
		{Name: admin.Backfill, Timeout: backfillTimeout, Run: sv.backfillTask},
		{Name: admin.Reconcile, Timeout: reconcileTimeout, Run: sv.reconcileTask},
		{Name: admin.Retry, Timeout: catchUpTimeout, Run: sv.retryTask},
		{Name: admin.Replay, Timeout: replayTimeout, Run: sv.replayTask},
	}
}

func (sv *service) checkTask(ctx context.Context, t tasks.Task, progress func(done, total int64)) (any, error) {
	var o admin.CheckOptions
	if err := json.Unmarshal(t.Options, &o); err != nil {
		return nil, fmt.Errorf("read the options of a check: %w", err)
	}
	report, err := sv.db.Audit().Report(ctx, audit.Options{Repair: o.Repair, Progress: progress})
	if err != nil {
		return nil, err
	}
	return report, nil
}

func (sv *service) backfillTask(ctx context.Context, t tasks.Task, progress func(done, total int64)) (any, error) {
	return sv.db.Backfills().Run(ctx, t.Subject, progress)
}

// retryTask counts as done what is no longer parked.
func (sv *service) retryTask(ctx context.Context, t tasks.Task, progress func(done, total int64)) (any, error) {
	var o admin.RetryOptions
	if err := json.Unmarshal(t.Options, &o); err != nil {
		return nil, fmt.Errorf("read the options of a retry: %w", err)
	}
	tried, err := sv.db.Parked().Retry(ctx, t.Subject, o.IDs)
	if err != nil {
		return nil, err
	}
	groups, err := sv.db.Audit().ParkedGroups(ctx, audit.ParkedFilter{Targets: []string{t.Subject}, Users: o.IDs, Groups: math.MaxInt32})
	parked := int64(0)
	for _, g := range groups {
		parked += g.Users
	}
	progress(max(0, tried-parked), tried)
	return map[string]int64{"tried": tried, "still_parked": parked}, err
}

// replayTask replays a choice of events. Its number names the range, so that another replica goes on where this one was.
func (sv *service) replayTask(ctx context.Context, t tasks.Task, progress func(done, total int64)) (any, error) {
	var c admin.EventChoice
	if err := json.Unmarshal(t.Options, &c); err != nil {
		return nil, fmt.Errorf("read the options of a replay: %w", err)
	}
	return sv.replay().Range(ctx, replay.Range{Filter: c.Filter(), Asked: fmt.Sprint("task ", t.ID), Progress: progress})
}

func (sv *service) reconcileTask(ctx context.Context, t tasks.Task, progress func(done, total int64)) (any, error) {
	cfg, err := sv.reconciliation(t.Subject)
	if err != nil {
		return nil, err
	}
	cfg.Progress = func(_ *event.Roll, done, total int64) { progress(done, total) }
	return reconcile.Run(ctx, cfg)
}
