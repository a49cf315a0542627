// Package api is HTTP in and out: the endpoints of the sources, just-in-time sync, health, metrics and the
// admin listener. It hides how an outcome becomes a status and words for the sender, what a request may take
// before its signature is checked, and how metrics are gathered:
//
//	server := api.New(api.Config{Sources: sources, Submit: pipeline.Submit, Ready: ready, DB: db, Log: log})
//	public := &http.Server{Handler: server.Public()}
//	err := public.Serve(server.Bound(public, listener))
package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/receipts"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/source"
)

// Config is what the listeners serve.
type Config struct {
	// Sources are those whose webhooks are taken.
	Sources []*source.Source
	// Refuse names the sources whose announced users are refused while they can't be
	// recorded; those of other sources are admitted.
	Refuse map[string]bool
	// Admissions are the rules about who may sign up, by source; a source without has none.
	Admissions map[string]Admission
	// Submit brings an event to its outcome; its errors wrap event.ErrUnavailable.
	Submit func(context.Context, event.Event) (event.Outcome, error)
	// Queue says how many events wait for a batch, and for how long the oldest has.
	Queue func() (events int, oldest time.Duration)
	// Sync is just-in-time sync.
	Sync Sync
	// Ready says why nothing can be committed at the moment; nil when it can.
	Ready func(context.Context) error
	// DB is asked for status and metrics: of Targets, the names of all that are configured, and
	// of Captures, those that the sources may have.
	DB       *postgres.DB
	Targets  []string
	Captures []outbox.Capture
	// Findings are those of the last examination; never nil, but the function may be.
	Findings func() *doctor.Diagnosis
	// Notifications are the names of those that are configured.
	Notifications []string
	// Receipts counts what verifies and what does not; nil for nobody.
	Receipts *receipts.Tally
	// Limits bound what requests take.
	Limits Limits
	// Operate is the rest of the admin listener, the admin API and the console; nil for nothing.
	Operate http.Handler
	Version string
	Log     *slog.Logger
}

// Limits bound what requests take together and each; the zero values are replaced by defaults.
type Limits struct {
	// Body is the size of a body in bytes; BodyTimeout is how long it may take to arrive.
	Body        int64
	BodyTimeout time.Duration
	// Answer is how long a request may take until its answer is written; 0 leaves that to the server.
	Answer time.Duration
	// Bodies is how many bytes the bodies of all unanswered requests take together. Half of it
	// is divided among the connections.
	Bodies int64
	// Connections is how many connections Bound serves at once. One takes 30 kB at most, of
	// which two thirds are net/http's buffers and stack.
	Connections int64
}

const (
	defaultBodyLimit   = 1 << 20
	defaultBodyTimeout = 5 * time.Second // all the time that Supabase gives its hooks
	defaultBodies      = 64 << 20        // 16 kB for each of the connections
	defaultConnections = 4096            // 120 MiB
	readyTimeout       = time.Second
)

// Server holds the handlers of the two listeners.
type Server struct {
	current  atomic.Pointer[serving]
	metrics  *metrics
	registry *prometheus.Registry
	bodies   atomic.Int64 // bytes of the bodies of unanswered requests, beyond ownBody of each
	lines    *limitedLog
}

// serving is a configuration, with its sources by name.
type serving struct {
	Config

	named map[string]*source.Source
}

// New returns a server; nothing listens yet.
func New(cfg Config) *Server {
	s := &Server{registry: prometheus.NewRegistry(), lines: newLimitedLog(cfg.Log)}
	s.Reload(cfg)
	s.metrics = newMetrics(s.registry, s.config)
	return s
}

// Reload serves by another configuration from now on; requests that have begun may end by the former one. The names
// and providers of the sources, and whether Sync has any, stay what they are.
func (s *Server) Reload(cfg Config) {
	l := &cfg.Limits
	l.Body = cmp.Or(l.Body, defaultBodyLimit)
	l.BodyTimeout = cmp.Or(l.BodyTimeout, defaultBodyTimeout)
	l.Bodies = cmp.Or(l.Bodies, defaultBodies)
	l.Connections = cmp.Or(l.Connections, defaultConnections)
	now := &serving{cfg, map[string]*source.Source{}}
	for _, src := range cfg.Sources {
		now.named[src.Name()] = src
	}
	s.current.Store(now)
	if s.metrics != nil {
		s.metrics.reachAll(&cfg)
	}
}

// Metrics are those that /metrics shows.
func (s *Server) Metrics() prometheus.Gatherer { return s.registry }

// config is what is served by now.
func (s *Server) config() *Config { return &s.current.Load().Config }

// ObserveBatch takes the size and the duration of a committed batch.
func (s *Server) ObserveBatch(events int, took time.Duration) {
	s.metrics.batchEvents.Observe(float64(events))
	s.metrics.applySeconds.Observe(took.Seconds())
}

// ObserveCapture takes the outcome of a captured change.
func (s *Server) ObserveCapture(source string, outcome event.Outcome) {
	if s.config().Receipts != nil {
		s.config().Receipts.Add(receipts.Key{Source: source, Endpoint: receipts.Capture}, time.Now())
	}
	s.metrics.captured.WithLabelValues(source, string(outcome)).Inc()
}

// ObserveLook takes how a look at a provider's user went: found, gone or failed.
func (s *Server) ObserveLook(source, result string) {
	s.metrics.looks.WithLabelValues(source, result).Inc()
}

// ObserveUsers takes how many users the sources have; nil when that is not known.
func (s *Server) ObserveUsers(counts []roll.Count) {
	s.metrics.users.Reset()
	if counts == nil {
		return
	}
	for _, src := range s.config().Sources {
		of := roll.Count{}
		if i := slices.IndexFunc(counts, func(c roll.Count) bool { return c.Source == src.Name() }); i >= 0 {
			of = counts[i]
		}
		for state, n := range map[string]int64{"live": of.Live, "deleted": of.Deleted, "parked": of.Parked} {
			s.metrics.users.WithLabelValues(src.Name(), state).Set(float64(n))
		}
	}
}

// Public is the handler of the public listener: webhooks, just-in-time sync and health.
func (s *Server) Public() http.Handler {
	r := s.router()
	for endpoint, path := range endpoints {
		r.Post(path, s.webhook(endpoint))
	}
	if len(s.config().Sync.Sources) > 0 {
		r.Post(SyncPath, s.sync)
		r.Options(SyncPath, s.preflight)
	}
	s.health(r)
	return r
}

// Admin is the handler of the admin listener: metrics and health without a token,
// the rest with it.
func (s *Server) Admin() http.Handler {
	r := s.router()
	r.Get("/metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.config().Log.Handler(), slog.LevelError)}).ServeHTTP)
	s.health(r)
	for _, of := range []string{"/webhooks/*", "/v1/*"} { // who sends here has taken the wrong address
		r.HandleFunc(of, s.notFound)
	}
	if operate := s.config().Operate; operate != nil {
		r.Mount("/", operate)
	}
	return r
}

// router is what both listeners have in common: every request arrives in bounded time,
// also one that is refused (net/http reads its body to the end), and every answer has the
// same form.
func (s *Server) router() *chi.Mux {
	r := chi.NewRouter()
	r.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			limits, control := s.config().Limits, http.NewResponseController(w)
			err := control.SetReadDeadline(time.Now().Add(limits.BodyTimeout))
			if limits.Answer > 0 {
				err = errors.Join(err, control.SetWriteDeadline(time.Now().Add(limits.Answer)))
			}
			if err != nil {
				s.config().Log.Warn("a request has no time limit: its deadlines can't be set", "error", err)
			}
			next.ServeHTTP(w, r)
		})
	})
	r.Use(s.answerPanics)
	r.Use(middleware.StripSlashes) // dashboards are given both spellings of a path
	r.Use(middleware.GetHead)      // monitors ask with HEAD
	r.NotFound(s.notFound)
	r.MethodNotAllowed(s.methodNotAllowed)
	return r
}

// answerPanics answers 500 when a handler panics. net/http would close the connection and log the value
// of the panic, which may hold data of a user.
func (s *Server) answerPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := event.Safely(func() error { next.ServeHTTP(w, r); return nil })
		stopped, panicked := errors.AsType[*event.PanicError](err)
		if !panicked {
			return
		}
		s.config().Log.Error("a request panicked", "error", stopped, "stack", stopped.Stack)
		writeError(w, internalError.status, "internal", internalError.message)
	})
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	writeError(w, http.StatusNotFound, "not_found", "nothing here; webhooks go to /webhooks/{source} with a source of the configuration")
	s.logRefused(r, http.StatusNotFound, "reason", "no such path")
}

// logRefused writes the line of a request that no handler takes.
func (s *Server) logRefused(r *http.Request, status int, field, why string) {
	if s.lines.allow("request refused " + strconv.Itoa(status)) {
		s.config().Log.Warn("request refused", "method", shown(r.Method), "path", shown(r.URL.Path),
			"status", status, field, why)
	}
}

// shown is a text of an unverified request as the log has it.
func shown(text string) string {
	const limit = 100
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return event.Printable(text)
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	allowed := "GET, HEAD"
	if strings.HasPrefix(r.URL.Path, "/webhooks/") || strings.TrimSuffix(r.URL.Path, "/") == SyncPath {
		allowed = http.MethodPost
	}
	w.Header().Set("Allow", allowed)
	writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+strings.ReplaceAll(allowed, ",", " and")+" only")
	s.logRefused(r, http.StatusMethodNotAllowed, "allowed", allowed)
}

func (s *Server) health(r chi.Router) {
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	})
	r.Get("/readyz", func(w http.ResponseWriter, r *http.Request) {
		// A client that leaves must not cancel the query, and so close a connection to the database.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
		defer cancel()
		if err := s.config().Ready(ctx); err != nil {
			writeError(w, http.StatusServiceUnavailable, string(event.Unavailable), "not ready: nothing can be committed at the moment; the log says why")
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	})
}
