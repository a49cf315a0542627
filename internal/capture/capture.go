// Package capture empties the outbox that the trigger on a table of users fills: in the
// order of each user's commits, in batches, through the pipeline. It hides which replica does it, how long it waits
// between two looks, and what becomes of changes that can't be applied yet:
//
//	capture.Run(ctx, capture.Config{Sources: sources, DB: db, Submit: pipeline.SubmitAll, Observe: observe, Log: log})
package capture

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/source"
)

// Config says whose changes are taken, and where they go.
type Config struct {
	// Sources are those that may have a capture.
	Sources []*source.Source
	DB      *postgres.DB
	// Submit brings events into the roll (pipeline.SubmitAll).
	Submit func(context.Context, []event.Event) ([]event.Outcome, error)
	// Observe is told the outcome of every change.
	Observe func(source string, outcome event.Outcome)
	Log     *slog.Logger
}

const (
	// lookPause is how long a trigger that was installed, and an outbox that another replica has
	// left, may go unnoticed.
	lookPause = 2 * time.Second
	// pollPause is how long a change may wait in an outbox that was empty. There is no
	// notification: see sql/migrations/0002_findings.sql.
	pollPause = 50 * time.Millisecond
	// oldChange is how long a change may wait for another replica before the log says so. A replica
	// that is stopped is replaced before that.
	oldChange = 30 * time.Second
	// errorPause is the pause after the database was away.
	errorPause = 500 * time.Millisecond
	// Two pages are in memory at most: one is applied, one is read ahead.
	pageChanges = 4096
	pageBytes   = 8 << 20
)

// drain is a running capture.
type drain struct {
	Config
	sources map[string]*source.Source
	names   []string
	said    string // the last error, so that the log has it once
	old     bool   // the log has said that another replica does not empty the outbox
}

// Run empties the outbox whenever a capture is installed, and no other replica does, until
// the context ends.
func Run(ctx context.Context, cfg Config) {
	d := &drain{Config: cfg, sources: map[string]*source.Source{}}
	for _, s := range cfg.Sources {
		d.sources[s.Name()] = s
		d.names = append(d.names, s.Name())
	}
	if len(d.names) == 0 {
		return
	}
	for ctx.Err() == nil {
		pause := lookPause
		if err := d.watch(ctx); err != nil {
			d.complain(ctx, err)
			pause = errorPause
		}
		sleep(ctx, pause)
	}
}

// watch empties the outbox until nothing wants it to, or another replica has the right to.
func (d *drain) watch(ctx context.Context) error {
	wanted, err := d.DB.Outbox().Wanted(ctx)
	if err != nil || !wanted {
		return err
	}
	holder, err := d.DB.Outbox().Hold(ctx)
	if errors.Is(err, connection.ErrRunning) {
		return d.lookAtHolder(ctx, err)
	}
	if err != nil {
		return err
	}
	defer holder.Release()
	d.Log.Info("a capture is watched", "sources", d.names)
	return holder.During(ctx, func(ctx context.Context) error { return d.empty(ctx, holder) })
}

// lookAtHolder logs once that another replica holds the outbox and does not empty it.
func (d *drain) lookAtHolder(ctx context.Context, holder error) error {
	age, err := d.DB.Outbox().Age(ctx)
	if err != nil {
		return err
	}
	if old := age > oldChange; old != d.old {
		if d.old = old; old {
			d.Log.Warn("another replica holds the outbox, and its changes wait; look at that replica's log",
				"oldest_seconds", age.Seconds(), "holder", holder.Error())
		}
	}
	return nil
}

// empty applies page after page and reads the next one meanwhile; no two pages are applied at
// once, so that of one user's changes the earlier is applied first.
func (d *drain) empty(ctx context.Context, holder *outbox.Holder) error {
	looked := time.Now()
	var page []event.Event
	for ctx.Err() == nil {
		ahead := make(chan []event.Event, 1)
		var unread error
		var took time.Duration // by the reading alone
		go func() {
			began := time.Now()
			var changes []outbox.Change
			changes, unread = holder.Next(ctx, outbox.Page{Sources: d.names, Tables: d.tables(), Except: captured(page), Changes: pageChanges, Bytes: pageBytes})
			took = time.Since(began)
			ahead <- d.events(changes) // a change whose decoding panics is one that can't be read
		}()
		err := d.apply(ctx, page)
		page = <-ahead
		if err = cmp.Or(err, unread); err != nil {
			return err
		}
		d.said = ""
		if len(page) > 0 {
			continue
		}
		pause := max(pollPause, 4*took) // beside a long transaction, deleted rows are read again and again
		if time.Since(looked) > lookPause {
			if wanted, err := d.DB.Outbox().Wanted(ctx); err != nil || !wanted {
				return err
			}
			looked = time.Now()
		}
		sleep(ctx, pause)
	}
	return ctx.Err()
}

// tables are the sources whose table decides.
func (d *drain) tables() []string {
	return slices.DeleteFunc(slices.Clone(d.names), func(name string) bool { return !d.DB.Roll().Follows(name) })
}

// captured are the rows of the outbox that events were made of.
func captured(events []event.Event) []int64 {
	var ids []int64
	for _, e := range events {
		ids = append(ids, e.Captured...)
	}
	return ids
}

// apply brings a page into the roll and waits for it.
func (d *drain) apply(ctx context.Context, events []event.Event) error {
	outcomes, err := d.Submit(ctx, events)
	for i, o := range outcomes {
		if o != event.Unavailable {
			d.Observe(events[i].Source, o)
			d.logOutcome(ctx, &events[i], o)
		}
	}
	return err
}

// logOutcome writes the line of a change, with the names that the line of a webhook has; seconds count from
// its commit.
func (d *drain) logOutcome(ctx context.Context, e *event.Event, o event.Outcome) {
	level := slog.LevelInfo
	if o == event.Parked || o == event.UndecodableBody {
		level = slog.LevelWarn
	}
	d.Log.LogAttrs(ctx, level, "captured", slog.String("source", e.Source), slog.String("type", e.Type),
		slog.String("outcome", string(o)), slog.Float64("seconds", time.Since(e.ReceivedAt).Seconds()),
		slog.String("user", e.UserID))
}

// events makes one event of each user's changes: the last commit is what counts, unless the
// user was deleted.
func (d *drain) events(changes []outbox.Change) []event.Event {
	type key struct{ source, user string }
	at := map[key]int{}
	var events []event.Event
	for _, c := range changes {
		if c.Data == nil && !d.DB.Roll().Follows(c.Source) {
			continue // it waits until its table can be read again
		}
		e := d.event(c)
		i, known := at[key{c.Source, c.UserID}]
		if known && e.User.Keeps() && !events[i].User.Keeps() {
			return events // it waits for the next page: by then the roll has what it keeps
		}
		if known {
			events[i] = followed(events[i], e)
			continue
		}
		at[key{c.Source, c.UserID}] = len(events)
		events = append(events, e)
	}
	return events
}

// followed is what counts of an event of a user and of the one behind it. The table of users may have become
// readable between the two: then the later is a look, and carries no user.
func followed(before, e event.Event) event.Event {
	captured := slices.Concat(before.Captured, e.Captured)
	switch {
	case before.Op == event.Delete || e.Op == event.Undecodable:
		e = before
	case before.User != nil && e.User != nil: // another server's clock may be behind
		e.User.Version = max(e.User.Version, before.User.Version)
	}
	e.Captured = captured
	return e
}

// event is a change as the pipeline takes it. One that can't be read is dropped there,
// with its row of the outbox; reconciliation counts its user as failed.
func (d *drain) event(c outbox.Change) event.Event {
	e := event.Event{
		Source: c.Source, Type: "captured", Op: event.Upsert, UserID: c.UserID, ReceivedAt: c.At.UTC(), Captured: []int64{c.ID},
	}
	if d.DB.Roll().Follows(c.Source) { // the table says what has become of the user
		if e.Op = event.Look; c.Gone {
			e.Op = event.Delete
		}
		return e
	}
	var user *event.User // of one who is gone, it has the key and the version
	err := event.Safely(func() (err error) { user, err = d.sources[c.Source].DecodeUser(c.Data, c.At); return err })
	switch {
	case err != nil:
		d.Log.Error("a captured change can't be read and is dropped; reconcile its source", "source", c.Source, "user", c.UserID, "error", err)
		e.Op = event.Undecodable
		return e
	case c.Gone:
		user = user.Tombstone(e.ReceivedAt)
	}
	if user.Dead() {
		e.Op = event.Delete
	}
	e.User = user
	if c.Large && e.Op == event.Upsert {
		return roll.WithoutMetadata(e, "the metadata takes more than limits.metadata, or its text can't be made")
	}
	return e
}

func (d *drain) complain(ctx context.Context, err error) {
	if ctx.Err() != nil || err.Error() == d.said {
		return
	}
	d.said = err.Error()
	level := slog.LevelError
	if errors.Is(err, event.ErrUnavailable) {
		level = slog.LevelWarn
	}
	d.Log.Log(ctx, level, "the outbox can't be emptied; it keeps what is captured", "error", err)
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}
