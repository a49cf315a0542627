package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/api"
	"rollcall/internal/admin"
	"rollcall/internal/clerk"
	"rollcall/internal/config"
	"rollcall/internal/console"
	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/notify"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/receipts"
	"rollcall/internal/postgres/tasks"
	"rollcall/internal/reconcile"
	"rollcall/internal/session"
	"rollcall/internal/target"
)

const (
	// drainTimeout leaves time for the answers within the ten seconds that containers get.
	drainTimeout = 6 * time.Second
	// jobsTimeout lets jobs that are about to end do so; it is part of drainTimeout, as is
	// the second that they get when they are told to.
	jobsTimeout = time.Second
	// shutdownTimeout lets those who have their outcome read it.
	shutdownTimeout = 3 * time.Second
	// answerTime is what reading a request and writing its answer may take besides the wait.
	answerTime = 15 * time.Second
	// headerTimeout and idleTimeout bound what a connection may take without a request.
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader bounds a request's headers, in bytes: twice the longest session token. By itself
	// net/http takes a megabyte from each connection.
	maxHeader = 32 << 10
	// databaseRetry is the pause between two looks for a database that is not up yet.
	databaseRetry = 250 * time.Millisecond
)

// service is a running serve.
type service struct {
	options   Options
	log       *slog.Logger
	db        *postgres.DB
	pipeline  *pipeline.Pipeline
	server    *api.Server
	now       atomic.Pointer[assembled]
	reloading sync.Mutex           // one reload at a time
	removed   map[string]time.Time // targets that a reload has removed, and when; of reloading
	tasks     *tasks.List
	guard     *admin.Guard // of the admin API and the console
	console   *console.Console
	operate   http.Handler // the admin API and the console
	base      string       // where this replica receives
	replica   *jobs.Replica
	// unregistered: the rules of this replica may be other ones than its notifications want.
	unregistered atomic.Bool
	running      atomic.Pointer[jobs.Running]
	backoff      backoff // sources whose announced users can't be looked up
	said         *said   // what the log has said
	findings     doctor.Findings
	receipts     *receipts.Tally
	followedAt   time.Time   // when the tables of users were last looked at
	prepared     atomic.Bool // the schema is migrated and the targets are checked
	stopping     atomic.Bool

	readyMu  sync.Mutex
	readyErr error
}

func newService(o Options, db *postgres.DB) (*service, error) {
	s, log := o.Setup, o.Log
	sv := &service{
		options: o, log: log, db: db, said: newSaid(), removed: map[string]time.Time{},
		receipts: receipts.NewTally(s.receiptKeys()...),
		replica:  jobs.NewReplica(db.Pool(), jobs.Configuration{Targets: db.Targets().Fingerprint(), Hash: s.Hash()}, log),
	}
	sv.tasks = tasks.New(db.Pool(), sv.wake, sv.taskKinds()...)
	sv.pipeline = pipeline.New(pipeline.Config{
		Apply: db.Roll().Apply, Separate: db.Roll().Signal, Queue: s.Config.Limits.Queue, Wait: s.Config.Limits.Wait,
		Observe: func(events int, took time.Duration) { sv.server.ObserveBatch(events, took) }, Log: log,
	})
	sv.newOperate(s)
	first, err := sv.assemble(s)
	if err != nil {
		return nil, err
	}
	sv.now.Store(first)
	sv.server = api.New(sv.serving(first))
	return sv, nil
}

// assembled is a configuration and what is built of it.
type assembled struct {
	setup *Setup
	apis  map[string]*clerk.API // by source
	sync  api.Sync
	jobs  []jobs.Job // what runs by the clock
	says  []*notify.Notifier
}

// setup is the configuration that the service works by now.
func (sv *service) setup() *Setup { return sv.now.Load().setup }

// assemble builds what a configuration describes. What stays as it was before is taken over: a client knows how long
// Clerk wants it to wait, a verifier the keys of the providers.
func (sv *service) assemble(s *Setup) (*assembled, error) {
	next := &assembled{setup: s, apis: s.APIs(sv.log)}
	before := sv.now.Load()
	if before != nil {
		for name, api := range before.apis {
			if sameAPI(before.setup.configured(name).API, s.configured(name).API) {
				next.apis[name] = api
			}
		}
	}
	if before != nil && maps.Equal(before.apis, next.apis) && sameSessions(before.setup, s) {
		next.sync = before.sync
	} else {
		var err error
		if next.sync, err = sv.justInTime(next); err != nil {
			return nil, err
		}
	}
	next.sync.Origins = s.Config.Sync.Origins
	var err error
	if next.says, err = sv.notifiers(s); err != nil {
		return nil, err
	}
	next.jobs = slices.Concat(sv.scheduled(s), sv.tasks.Jobs(), sv.notifyJobs(next.says))
	return next, nil
}

// serving is how the listeners serve.
func (sv *service) serving(a *assembled) api.Config {
	s := a.setup
	refuse := map[string]bool{}
	for _, src := range s.Config.Sources {
		refuse[src.Name] = src.WhenUnavailable == "refuse"
	}
	var names []string
	for _, t := range s.Targets {
		names = append(names, t.Name)
	}
	limits := s.Config.Limits
	return api.Config{
		Sources: s.Sources, Sync: a.sync, Refuse: refuse, Admissions: sv.admissions(s),
		Notifications: notificationNames(s),
		Submit:        sv.pipeline.Submit, Queue: sv.pipeline.Waiting, Ready: sv.ready,
		DB: sv.db, Targets: names, Captures: s.Captures(), Findings: sv.findings.Last, Receipts: sv.receipts,
		Limits:  api.Limits{Body: limits.Body, Answer: limits.Wait + answerTime},
		Operate: sv.operate, Version: sv.options.Version, Log: sv.log,
	}
}

// ready says why nothing can be committed, and logs what has changed.
func (sv *service) ready(ctx context.Context) error {
	switch {
	case sv.stopping.Load():
		return errors.New("shutting down")
	case !sv.prepared.Load():
		return errors.New("the database has not been reached yet")
	}
	sv.readyMu.Lock()
	defer sv.readyMu.Unlock()
	before := sv.readyErr
	sv.readyErr = sv.db.Roll().Ready(ctx)
	if sv.readyErr != nil && before == nil {
		sv.log.Error("not ready", "error", sv.readyErr)
	} else if sv.readyErr == nil && before != nil {
		sv.log.Info("ready again")
	}
	return sv.readyErr
}

// unready reports whether the database was away when it was last asked.
func (sv *service) unready() bool {
	sv.readyMu.Lock()
	defer sv.readyMu.Unlock()
	return sv.readyErr != nil
}

// run serves both listeners, prepares the database beside them, and shuts down in order:
// no new requests, an answer to every waiter, the last batch.
func (sv *service) run(ctx context.Context, public, admin net.Listener) error {
	sv.base = receiver(public.Addr())
	servers := []*http.Server{sv.httpServer(sv.server.Public()), sv.httpServer(sv.server.Admin())}
	public = sv.server.Bound(servers[0], public)
	failed := make(chan error, len(servers)+1)
	for i, l := range []net.Listener{public, admin} {
		go func() { failed <- servers[i].Serve(l) }()
	}
	sv.log.Info("listening", "listen", public.Addr().String(), "admin_listen", admin.Addr().String(),
		"version", sv.options.Version)

	background, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() {
		if err := event.Safely(func() error { return sv.prepare(background) }); err != nil {
			failed <- err
			return
		}
		working.Go(func() { sv.keepUp(background, "watch of the catalog", sv.db.Watch().Run) })
		working.Go(func() { sv.keepUp(background, "capture", sv.capture) })
		working.Go(func() { sv.keepUp(background, "jobs", sv.startJobs) })
		working.Go(func() { sv.keepUp(background, "watch of captures", sv.newCaptureWatch().watch) })
		working.Go(func() { sv.keepUp(background, "watch of replicas", sv.watchReplicas) })
		working.Go(func() { sv.keepUp(background, "console", sv.console.Run) })
		working.Go(func() { sv.keepUp(background, "indexes", sv.buildIndexes) })
		working.Go(func() { sv.keepUp(background, "reload", sv.reloadAtHangup) })
		working.Go(func() { sv.keepUp(background, "count of users", sv.countUsers) })
		working.Go(func() { sv.keepUp(background, "receipts", sv.noteReceipts) })
		working.Go(func() { sv.keepUp(background, "watch of findings", sv.watchFindings) })
		sv.keepUp(background, "watch of targets", sv.watchTargets)
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	working.Wait()
	sv.shutdown(servers)
	return err
}

// panicPause is the pause before what has panicked begins anew.
const panicPause = time.Second

// keepUp runs what serve does beside answering until it ends, and begins anew what panics: the
// requests don't suffer for it.
func (sv *service) keepUp(ctx context.Context, what string, run func(context.Context)) {
	for ctx.Err() == nil {
		var stopped *event.PanicError
		if !errors.As(event.Safely(func() error { run(ctx); return nil }), &stopped) {
			return
		}
		sv.log.Error("a background task panicked; it starts again", "task", what, "error", stopped, "stack", stopped.Stack)
		_ = connection.Pause(ctx, panicPause)
	}
}

func (sv *service) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: sv.setup().Config.Limits.Wait + answerTime,
		ErrorLog:     slog.NewLogLogger(sv.log.Handler(), slog.LevelWarn),
	}
}

// prepare waits for the database, migrates, checks the targets and starts to apply. Its
// error is one that does not pass by waiting.
func (sv *service) prepare(ctx context.Context) error {
	said := ""
	for ; ctx.Err() == nil; _ = connection.Pause(ctx, databaseRetry) {
		findings, err := sv.prepareOnce(ctx)
		if err == nil {
			sv.sayFindings(findings)
			sv.sayConditions(ctx)
			sv.sayUnreadable(ctx, sv.setup())
			sv.offerBackfills(ctx) // before the first user arrives
			sv.follow(ctx)
			sv.pipeline.Start()
			sv.prepared.Store(true)
			sv.sayStates(ctx)
			sv.log.Info("ready")
			if sv.options.Ready != nil {
				sv.options.Ready()
			}
			return nil
		}
		if errors.Is(err, postgres.ErrTooOld) || errors.Is(err, connection.ErrPooler) {
			return err
		}
		if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			sv.log.Error("waiting for the database", "error", err)
		}
	}
	return nil
}

func (sv *service) prepareOnce(ctx context.Context) ([]target.Finding, error) {
	ran, err := sv.db.Migrate(ctx)
	if err != nil {
		return nil, err
	}
	if len(ran) > 0 {
		sv.log.Info("migrated the schema rollcall", "migrations", ran)
	}
	if err := sv.register(ctx, sv.setup().rules()); err != nil {
		return nil, err
	}
	return sv.db.Targets().Check(ctx)
}

// shutdown ends the jobs first, while there still is a pipeline for them. Then it gives every
// waiter its outcome, for as long as it would have waited anyway, and lets the connections
// go; requests that come meanwhile are refused.
func (sv *service) shutdown(servers []*http.Server) {
	began := time.Now()
	sv.log.Info("shutting down")
	sv.stopping.Store(true)
	ending, cancel := context.WithTimeout(context.Background(), jobsTimeout)
	defer cancel()
	if jobs := sv.running.Load(); jobs != nil {
		if err := jobs.Stop(ending); err != nil {
			sv.log.Warn("some jobs did not end in time", "error", err)
		} else if err := sv.replica.Leave(ending); err != nil {
			sv.log.Warn("the next start may count this replica as another one", "error", err)
		}
	}
	wait := min(sv.setup().Config.Limits.Wait, drainTimeout-time.Since(began))
	waiting, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	sv.pipeline.Shutdown(waiting)
	leaving, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, server := range servers {
		if err := server.Shutdown(leaving); err != nil {
			sv.log.Warn("some connections did not end in time", "error", err)
		}
		_ = server.Close() // they have been told
	}
	sv.log.Info("stopped")
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

// justInTime brings the user of a session up to date, for the front end that asks: of every source with a session.
func (sv *service) justInTime(a *assembled) (api.Sync, error) {
	sessions := make([]session.Config, len(a.setup.Sessions))
	providers := map[string]reconcile.Provider{}
	var names []string
	for i, s := range a.setup.Sessions {
		s.Log = sv.log
		sessions[i] = s
		names = append(names, s.Source)
		providers[s.Source] = sv.provider(a, s.Source)
	}
	verifier, err := session.New(sessions...)
	if err != nil {
		return api.Sync{}, err
	}
	syncer := reconcile.NewSyncer(reconcile.SyncConfig{
		Providers: providers, DB: sv.db, Submit: sv.pipeline.Submit, MaxAge: a.setup.Config.Sync.MaxAge,
		Observe: func(source, result string) { sv.server.ObserveLook(source, result) },
	})
	verify := func(ctx context.Context, token string) (reconcile.SignedIn, error) {
		who, err := verifier.Verify(ctx, token)
		return reconcile.SignedIn(who), err
	}
	return api.Sync{Sources: names, Verify: verify, Bring: syncer.SyncAll}, nil
}

// provider is where single users of a source are looked up.
func (sv *service) provider(a *assembled, name string) reconcile.Provider {
	src, _ := a.setup.Source(name) // it is one of the configuration's
	if c := a.setup.configured(name); c.Provider == config.Supabase {
		return reconcile.TableProvider(sv.db, src, usersTable(c))
	}
	return reconcile.APIProvider(a.apis[name], src)
}
