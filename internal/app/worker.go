package app

import (
	"context"
	"log/slog"

	"rollcall/internal/event"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
)

// Worker is what a command needs that changes the roll: the same pipeline as the service's.
type Worker struct {
	DB       *postgres.DB
	pipeline *pipeline.Pipeline
	unwatch  func() // settles again the users who were written while a table changed
}

// StartWorker opens the database, checks the targets and starts to apply. Warn is told which targets are
// out of service, whose users are parked, and which tables of users can't be read.
func (s *Setup) StartWorker(ctx context.Context, log *slog.Logger, warn func(string, ...any)) (*Worker, error) {
	db, err := s.Open(log)
	if err != nil {
		return nil, err
	}
	faults, err := Faults(ctx, db)
	if err == nil {
		_, err = db.Backfills().Unfilled(ctx) // before the first user arrives, or serve takes the targets for new ones
	}
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
	p := pipeline.New(pipeline.Config{Apply: db.Roll().Apply, Apart: db.Roll().Signal})
	p.Start()
	return &Worker{db, p, db.Targets().StartWatch(ctx)}, nil
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
