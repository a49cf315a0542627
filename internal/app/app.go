// Package app is the service that rollcall serve runs: the listeners, the pipeline behind them, and what
// runs beside them (the capture, the jobs, the watches of targets and replicas). It builds all of it from a
// configuration, as the other commands do in part:
//
//	setup, err := app.Read("rollcall.yaml", data, env)
//	err = app.Run(ctx, app.Options{Setup: setup, Log: setup.Logger(os.Stderr)})
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"rollcall/internal/config"
	"rollcall/internal/event"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
)

// Options are what Run takes.
type Options struct {
	Setup *Setup
	Log   *slog.Logger
	// Version is what status and the log say.
	Version string
	// Listening is told the addresses of both listeners, once they take connections; may be nil.
	Listening func(public, admin net.Addr)
	// Ready is called once webhooks can be committed; may be nil.
	Ready func()
	// Read reads the configuration anew, for a reload; nil where it can't be.
	Read func() (*Setup, error)
	// Hangup asks for a reload; may be nil.
	Hangup <-chan os.Signal
	// Banner is shown what runs and where, in words for a person; nil for none.
	Banner io.Writer
}

// Run runs the service until the context ends. It listens at once; until the database is there it is not
// ready, and webhooks wait in the queue.
func Run(ctx context.Context, o Options) error {
	db, err := o.Setup.Open(o.Log)
	if err != nil {
		return err
	}
	defer CloseSoon(db)
	sv, err := newService(o, db)
	if err != nil {
		return err
	}
	cfg := o.Setup.Config
	public, err := listen(ctx, cfg, "listen", cfg.Listen)
	if err != nil {
		return err
	}
	admin, err := listen(ctx, cfg, "admin_listen", cfg.AdminListen)
	if err != nil {
		return errors.Join(err, public.Close())
	}
	if o.Listening != nil {
		o.Listening(public.Addr(), admin.Addr())
	}
	o.sayPlaces(public.Addr(), admin.Addr())
	return sv.run(ctx, public, admin)
}

// CloseSoon closes the connections of a database, and waits a second at most: a server that has stopped
// answering must not delay the end, when nothing is under way any more.
func CloseSoon(db *postgres.DB) {
	closed := make(chan struct{})
	go func() {
		db.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// listen opens a listener and says what to do when it can't.
func listen(ctx context.Context, cfg *config.Config, field, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	where := ""
	if at := cfg.At(field); at.Line > 0 { // the file may leave it to the default
		where = at.String() + ": "
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s%s %s is taken by another process; stop it or choose another port", where, field, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s%s %s: %w", where, field, address, err)
	}
	return l, nil
}

// Worker is what a command needs that changes the roll: the same pipeline as the service's.
type Worker struct {
	DB       *postgres.DB
	pipeline *pipeline.Pipeline
	unwatch  func() // settles again the users who were written while a table changed
}

// StartWorker opens the database, checks the targets and starts to apply. Warn is told which targets are
// out of service, whose users are parked, and which tables of users can't be read.
func (s *Setup) StartWorker(ctx context.Context, log *slog.Logger, warn func(string, ...any)) (*Worker, error) {
	db, err := s.OpenChecked(ctx, log, warn)
	if err != nil {
		return nil, err
	}
	if _, err := db.Backfills().Unfilled(ctx); err != nil { // before the first user arrives, or serve takes the targets for new ones
		db.Close()
		return nil, err
	}
	p := pipeline.New(pipeline.Config{Apply: db.Roll().Apply, Separate: db.Roll().Signal})
	p.Start()
	return &Worker{db, p, db.Watch().Start(ctx)}, nil
}

// OpenChecked opens the database, checks the targets and finds out which tables of users can be read. Warn is as
// in StartWorker.
func (s *Setup) OpenChecked(ctx context.Context, log *slog.Logger, warn func(string, ...any)) (*postgres.DB, error) {
	db, err := s.Open(log)
	if err != nil {
		return nil, err
	}
	faults, err := Faults(ctx, db)
	if err != nil {
		db.Close()
		return nil, err
	}
	for _, f := range faults {
		warn("out of service, its users are parked: %s", f)
	}
	s.follow(ctx, db, func(source string, err error) {
		warn("the changes of source %s count by their version: %v", source, err)
	})
	return db, nil
}

// Submit brings events to their outcomes.
func (o *Worker) Submit(ctx context.Context, events []event.Event) ([]event.Outcome, error) {
	return o.pipeline.SubmitAll(ctx, events)
}

// Stop waits for what is under way, and closes the database.
func (o *Worker) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	o.pipeline.Shutdown(ctx)
	o.unwatch()
	CloseSoon(o.DB)
}
