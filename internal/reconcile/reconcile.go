// Package reconcile finds changes that no webhook and no capture has reported. It compares the roll with the
// provider's users: with all of them (Run), with those that were announced (Confirm), or with one who signs in
// (Syncer). It hides how a provider's users are listed and how an absence is confirmed, and the guards that stop a
// run before it deletes too much. Differences go through the pipeline like webhooks:
//
//	done, err := reconcile.Run(ctx, reconcile.Config{Source: src, Table: "auth.users", MaxDelete: 0.05, DB: db,
//		Submit: pipeline.SubmitAll, Log: log})
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
)

// Config says what is compared.
type Config struct {
	Source *source.Source
	// Table is the table of the provider's users, schema.table. Only Supabase has one.
	Table string
	// API lists and confirms Clerk's users; URL is its address, for people. Nil for Supabase.
	API *clerk.API
	URL string
	// MaxDelete is the share of the roll's living users that one run may delete, from 0 to 1.
	MaxDelete float64
	DB        *postgres.DB
	// Submit brings events into the roll (pipeline.SubmitAll). Preview needs none.
	Submit func(context.Context, []event.Event) ([]event.Outcome, error)
	// Progress is called with the number of users that have been compared, and of all; may be nil.
	Progress func(done, total int64)
	Log      *slog.Logger
}

// ErrStopped marks a run that a guard has ended: before any user was deleted, unless they
// were being deleted at that very moment. A dry run has it when a run would.
var ErrStopped = errors.New("stopped")

// stopped is ErrStopped in other words.
type stopped struct{ error }

// Is lets errors.Is find ErrStopped.
func (stopped) Is(target error) bool { return target == ErrStopped }

// run is a reconciliation under way.
type run struct {
	Config
	*directory.Run
	from  userList
	total int64 // users of the provider
	known int64 // living users of the roll
	dry   bool  // nothing is written
}

// Run compares, corrects the roll, and returns what it did, in users. It fails with connection.ErrRunning beside
// another run of the source, with ErrStopped when a guard has stopped it, with
// directory.ErrHidden when the users can't all be seen, with clerk.ErrRefused when the key of
// the API is, and with event.ErrUnavailable when the API could not be asked for too long. When
// it was interrupted, by the context, by the database or by the API, the next Run continues where
// it was.
func Run(ctx context.Context, cfg Config) (directory.Reconciled, error) {
	from, err := cfg.userList(ctx, false)
	if err != nil {
		return directory.Reconciled{}, err
	}
	defer from.close()
	r := &run{Config: cfg, from: from}
	if r.total, r.known, err = from.count(ctx); err != nil {
		return directory.Reconciled{}, err
	}
	if r.Run, err = cfg.DB.Directory().BeginRun(ctx, cfg.Source.Name(), from.name()); err != nil {
		return directory.Reconciled{}, err
	}
	defer r.Release()
	from.begin(r.Position, r.Started)
	err = r.During(ctx, r.all)
	switch {
	case errors.Is(err, ErrStopped):
		return r.Reconciled, errors.Join(err, r.End(ctx, err))
	case err != nil:
		return r.Reconciled, fmt.Errorf("after %d of %d users: %w", r.compared(), r.total, err)
	}
	return r.Reconciled, r.End(ctx, nil)
}

func (r *run) all(ctx context.Context) error {
	if err := r.guards(0); err != nil {
		return err
	}
	if err := r.compare(ctx); err != nil {
		return err
	}
	return r.deleteGone(ctx)
}

// compare walks through the list: while a page is being read, the one before it is judged, and of the one before
// that the users who differ are submitted; of a table, two pages are read at a time. No page is passed over: the run
// goes on behind the last that was.
func (r *run) compare(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	pages, judged := make(chan part), make(chan findings)
	defer func() { // no page is read after the end of the run
		cancel()
		for f := range judged {
			f.span.await()
		}
	}()
	var failed error // reading the list
	go func() {
		defer close(pages)
		failed = event.Safely(func() error { return r.read(ctx, pages) })
	}()
	go func() {
		defer close(judged)
		for p := range pages {
			p.span.begin(ctx, r.Config) // two at a time: the one before is being waited for
			judged <- r.sift(p)
		}
	}()
	for f := range judged {
		if err := ctx.Err(); err != nil && !f.span.brought() {
			return err // half a page would be submitted, and not counted
		}
		if err := r.mend(ctx, f); err != nil {
			return err
		}
	}
	return failed
}

// read hands on page after page of the list.
func (r *run) read(ctx context.Context, pages chan<- part) error {
	for {
		p, err := r.from.next(ctx)
		if err != nil {
			return err
		}
		pages <- p
		if p.end {
			return nil
		}
	}
}

// compared is how many users of the provider have been.
func (r *run) compared() int64 { return r.Created + r.Updated + r.Touched + r.Unchanged + r.Failed }

// findings are what a page has shown.
type findings struct {
	events   []event.Event        // about the users who differ
	verdicts []Verdict            // of each
	others   directory.Reconciled // users with nothing to be done
	position string               // behind the page
	span     *span                // under way
}

// sift judges the users of a page. It leaves the run as it is, so that it may go on beside mend.
func (r *run) sift(page part) findings {
	f := findings{position: page.position, span: page.span}
	f.others.Unchanged = page.compared.Same
	for _, d := range page.compared.Differing {
		if d.Verdict != directory.Deleted { // deleteGone sees to those who are gone
			f.events = append(f.events, r.look(d.ID, page.compared.At, "reconciled"))
			f.verdicts = append(f.verdicts, Verdict(d.Verdict))
		}
	}
	for _, p := range page.pairs {
		var theirs *event.User
		var verdict Verdict
		err := event.Safely(func() (err error) { theirs, verdict, err = r.judge(p); return err })
		switch {
		case err != nil:
			f.others.Failed++
			r.Log.Error("a user can't be read", "source", r.Source.Name(), "user", p.ID, "error", err)
		case verdict == Create || verdict == Update || verdict == Touch:
			f.events = append(f.events, finding(theirs, p.At, "reconciled"))
			f.verdicts = append(f.verdicts, verdict)
		case verdict == Same:
			f.others.Unchanged++
		case verdict == Final || verdict == Newer:
			f.others.Failed++
			r.Log.Warn("the roll can't follow a user", "source", r.Source.Name(), "user", p.ID, "reason", r.advice(verdict, p))
		default: // deleteGone sees to those who are gone
		}
	}
	return f
}

// mend submits what a page has shown, and counts.
func (r *run) mend(ctx context.Context, f findings) error {
	if err := r.arrived(ctx, &f); err != nil {
		return err
	}
	outcomes, err := r.Submit(ctx, f.events)
	if err != nil {
		return fmt.Errorf("write users into the roll: %w", err)
	}
	r.Created += f.others.Created
	r.Unchanged += f.others.Unchanged
	r.Failed += f.others.Failed
	for i, o := range outcomes {
		count(&r.Reconciled, o, f.verdicts[i])
	}
	r.Position = f.position
	if err := r.Save(ctx); err != nil {
		return err
	}
	if r.Progress != nil {
		r.Progress(r.compared(), r.total)
	}
	return nil
}

// judge compares one user. What the roll has learned since the moment of the list is no reason
// to complain of it.
func (r *run) judge(p directory.Pair) (theirs *event.User, verdict Verdict, err error) {
	if p.Row != nil {
		if theirs, err = r.Source.DecodeUser(p.Row, p.At); err != nil {
			return nil, "", err
		}
	}
	verdict = judge(theirs, p.Roll)
	if (verdict == Final || verdict == Newer) && !p.Known.Before(p.At) {
		verdict = Same
	}
	return theirs, verdict, nil
}

// count adds what became of a user who differed.
func count(tally *directory.Reconciled, o event.Outcome, verdict Verdict) {
	switch {
	case o == event.UndecodableBody:
		tally.Failed++
	case o == event.Stale:
		tally.Unchanged++ // another event was faster, and newer
	case verdict == Create:
		tally.Created++
	case verdict == Touch:
		tally.Touched++
	default:
		tally.Updated++
	}
}

// look is a signal to read a user's row in the table.
func (cfg Config) look(id string, at time.Time, kind string) event.Event {
	return event.Event{Source: cfg.Source.Name(), Type: kind, Op: event.Look, UserID: id, ReceivedAt: at.UTC()}
}

// finding is what a look at a user had to say.
func finding(u *event.User, at time.Time, kind string) event.Event {
	e := event.Event{Source: u.Source, Type: kind, Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: at.UTC(), SeenAt: at}
	if u.Dead() {
		e.Op = event.Delete
	}
	return e
}

// deleteGone makes tombstones of users that the provider has no more, if they are not too many.
func (r *run) deleteGone(ctx context.Context) error {
	gone, err := r.from.countAbsent(ctx)
	if err != nil || gone == 0 {
		return err
	}
	if r.total, r.known, err = r.from.count(ctx); err != nil { // with those that this run has brought
		return err
	}
	if err := r.guards(gone); err != nil {
		return err
	}
	deleted := int64(0)
	return eachAbsent(ctx, r.from, func(absent int, sure, there []directory.Pair) error {
		if deleted += int64(len(sure)); deleted > gone {
			if err := r.guards(deleted); err != nil {
				return err // they are vanishing right now
			}
		}
		r.Unchanged += int64(absent - len(sure) - len(there)) // they are back
		if err := r.deleteSome(ctx, sure); err != nil || len(there) == 0 {
			return err
		}
		return r.mend(ctx, r.sift(part{pairs: there, position: r.Position}))
	})
}

// guards keeps a wrong database or key, or a table that was emptied by mistake, from ending all
// users: so many of the roll's are gone.
func (r *run) guards(gone int64) error {
	known := r.known
	if r.dry {
		known += r.Created // a run would have brought them before it counts
	}
	switch {
	case r.MaxDelete >= 1:
		return nil
	case r.total == 0 && known > 0:
		return stopped{fmt.Errorf("%s: %s reads empty, and the roll has %s of %s; %s If there really are no users, run again with --max-delete 100%%",
			r.halt(), r.from.name(), users(known), r.Source.Name(), r.from.doubt())}
	case float64(gone) <= r.MaxDelete*float64(known):
		return nil
	}
	share := float64(gone) / float64(known)
	enough := percent(math.Ceil(share*100) / 100)
	are := "are"
	if gone == 1 {
		are = "is"
	}
	return stopped{fmt.Errorf("%s: %d of the %s that the roll knows of %s %s gone from %s (%s), more than max_delete (%s); %s%s If they are really gone, run again with --max-delete %s, or raise reconcile.max_delete",
		r.halt(), gone, users(known), r.Source.Name(), are, r.from.name(), percent(share), percent(r.MaxDelete), r.from.doubt(), r.who(gone, enough), enough)}
}

// halt says what a guard has done, or would do.
func (r *run) halt() string {
	switch {
	case r.dry:
		return "a run would stop here and delete no user"
	case r.Deleted == 1:
		return "stopped, 1 was deleted before"
	case r.Deleted > 0:
		return fmt.Sprintf("stopped, %d were deleted before", r.Deleted)
	}
	return "stopped, no user was deleted"
}

// who names the command that lists those who are gone, unless this is it and has.
func (r *run) who(gone int64, maxDelete string) string {
	if r.dry && r.Deleted == gone {
		return ""
	}
	return fmt.Sprintf(" To see who: rollcall reconcile %s --dry-run --max-delete %s.", r.Source.Name(), maxDelete)
}

func users(n int64) string {
	if n == 1 {
		return "1 user"
	}
	return fmt.Sprintf("%d users", n)
}

func (r *run) deleteSome(ctx context.Context, pairs []directory.Pair) error {
	events := make([]event.Event, len(pairs))
	for i, p := range pairs {
		if p.Roll != nil {
			events[i] = finding(p.Roll.Tombstone(p.At.UTC()), p.At, "reconciled")
			continue
		}
		events[i] = r.look(p.ID, p.At, "reconciled")
		events[i].Op = event.Delete
	}
	outcomes, err := r.Submit(ctx, events)
	if err != nil {
		return fmt.Errorf("delete users: %w", err)
	}
	for _, o := range outcomes {
		if o == event.Stale {
			r.Unchanged++ // the roll has learned more about the user since
		} else {
			r.Deleted++
		}
	}
	return r.Save(ctx)
}

// percent writes a share as the configuration does.
func percent(share float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(share*100, 'f', 1, 64), ".0") + "%"
}
