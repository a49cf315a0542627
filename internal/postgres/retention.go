package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"rollcall/internal/postgres/connection"
)

// Retention says how long what events leave is kept.
type Retention struct {
	Bodies      time.Duration // bodies of events
	Undecodable time.Duration // bodies of events that could not be read
	Events      time.Duration // events, and so the knowledge of duplicates
}

// Forgotten counts what was forgotten.
type Forgotten struct {
	Bodies, Events int64
	Unanswered     int64 // announcements that were ended
}

const (
	// forgetBatch is how many rows one transaction holds: a few milliseconds, and no session but
	// a duplicate of one of them waits for it.
	forgetBatch = 1000
	// forgetPause leaves the disk to the webhooks.
	forgetPause = 50 * time.Millisecond
	// unansweredAge is how long an announcement may wait for a look-up.
	unansweredAge = 24 * time.Hour
)

// The kinds of events that the index events_kept tells apart.
const (
	bareEvent = iota
	eventWithBody
	unreadEvent
)

// Forget ends unanswered announcements and deletes events and bodies that are older than the retention, in small
// transactions, until nothing is left or the context ends; so it does with users that an
// abandoned reconciliation was shown. Rows that another session holds are left
// for the next time. The roll is not touched.
func (db *DB) Forget(ctx context.Context, keep Retention) (Forgotten, error) {
	var f Forgotten
	var err error
	if f.Unanswered, err = db.endUnanswered(ctx); err != nil {
		return f, err
	}
	for _, step := range []struct {
		statement string
		kind      int
		age       time.Duration
		count     *int64
	}{
		// Events first: what goes as a whole needs no rewriting before.
		{forgetEventsSQL, bareEvent, keep.Events, &f.Events},
		{forgetEventsSQL, eventWithBody, keep.Events, &f.Events},
		{forgetEventsSQL, unreadEvent, keep.Events, &f.Events},
		{forgetBodiesSQL, eventWithBody, keep.Bodies, &f.Bodies},
		{forgetBodiesSQL, unreadEvent, keep.Undecodable, &f.Bodies},
	} {
		n, err := db.forget(ctx, step.statement, step.kind, step.age)
		if *step.count += n; err != nil {
			return f, fmt.Errorf("delete old events and bodies: %w", err)
		}
	}
	return f, db.directory.ForgetListings(ctx)
}

// forget runs a statement until it finds fewer rows than it might. Each continues where the last
// one ended, and does not walk over what that has left in the index.
func (db *DB) forget(ctx context.Context, statement string, kind int, age time.Duration) (int64, error) {
	from := time.Unix(0, 0)
	return inBatches(ctx, func() (n int64, err error) {
		err = db.pool.QueryRow(ctx, statement, kind, from, age, forgetBatch).Scan(&n, &from)
		return n, err
	})
}

func (db *DB) endUnanswered(ctx context.Context) (int64, error) {
	return inBatches(ctx, func() (int64, error) {
		done, err := db.pool.Exec(ctx, unansweredSQL, unansweredAge, forgetBatch)
		if err != nil {
			return 0, fmt.Errorf("end unanswered announcements: %w", err)
		}
		return done.RowsAffected(), nil
	})
}

// inBatches repeats a step until it is about fewer rows than it might be, and counts them all.
func inBatches(ctx context.Context, step func() (int64, error)) (all int64, err error) {
	for {
		n, err := step()
		if err != nil {
			return all, err
		}
		if all += n; n < forgetBatch {
			return all, nil
		}
		if err := connection.Pause(ctx, forgetPause); err != nil {
			return all, err
		}
	}
}

// The statements; the files describe their parameters.
var (
	//go:embed forget_bodies.sql
	forgetBodiesSQL string
	//go:embed forget_events.sql
	forgetEventsSQL string
	//go:embed unanswered.sql
	unansweredSQL string
)
