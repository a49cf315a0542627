// Package reconcile compares the rolls with what a provider has, for all users, organisations and memberships or
// for one user who was announced: what no webhook and no capture has told is found, and goes through the
// pipeline like everything else.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// MaxDelete is the share of each roll's living rows that one run may delete, from 0 to 1.
	MaxDelete float64
	DB        *postgres.DB
	// Submit brings events into the roll (pipeline.SubmitAll). Preview needs none.
	Submit func(context.Context, []event.Event) ([]event.Outcome, error)
	// Progress is told how many rows have been compared for a roll, of how many; nil for nobody.
	Progress func(roll *event.Roll, done, total int64)
	Log      *slog.Logger
}

// ErrStopped marks a run that a guard has ended: before anything of that roll was deleted, unless it was
// vanishing at that very moment. The rolls after it are left to the next run. A dry run has it when a run would.
var ErrStopped = errors.New("stopped")

// stopped is ErrStopped in other words.
type stopped struct{ error }

// Is lets errors.Is find ErrStopped.
func (stopped) Is(target error) bool { return target == ErrStopped }

// Tally is what a run did about users, and about the other rolls: nil for one that it did not compare.
type Tally struct {
	directory.Reconciled

	Organizations *directory.Reconciled `json:"organizations,omitempty"`
	Memberships   *directory.Reconciled `json:"memberships,omitempty"`
}

// Others are what a run did about the other rolls that it compared, by name.
func (t Tally) Others() map[string]directory.Reconciled {
	others := map[string]directory.Reconciled{}
	for name, done := range map[string]*directory.Reconciled{
		event.Organizations.Name: t.Organizations, event.Memberships.Name: t.Memberships,
	} {
		if done != nil {
			others[name] = *done
		}
	}
	return others
}

// Failures is how many rows no roll could follow.
func (t Tally) Failures() int64 {
	n := t.Failed
	for _, done := range t.Others() {
		n += done.Failed
	}
	return n
}

// tallyOf is what a run has done so far.
func tallyOf(r *directory.Run) Tally {
	t := Tally{Reconciled: r.Users.Reconciled}
	if s := r.Begun(&event.Organizations); s != nil && !s.Skipped {
		t.Organizations = &s.Reconciled
	}
	if s := r.Begun(&event.Memberships); s != nil && !s.Skipped {
		t.Memberships = &s.Reconciled
	}
	return t
}

// run is a reconciliation under way, at one of the rolls.
type run struct {
	Config
	*directory.Run
	*directory.Stage
	kind  *kind
	from  userList
	total int64 // rows of the provider
	known int64 // living rows of the roll
	dry   bool  // nothing is written
}

// open prepares the comparison of one roll.
func (cfg Config) open(ctx context.Context, k *kind, dry bool) (*run, error) {
	from, err := cfg.userList(ctx, k, dry)
	if err != nil {
		return nil, err
	}
	r := &run{Config: cfg, kind: k, from: from, dry: dry}
	if r.total, r.known, err = from.count(ctx); err != nil {
		from.close()
		return nil, err
	}
	return r, nil
}

// Run compares and mends, and says what it did. It fails with connection.ErrRunning beside
// another run of the source, with ErrStopped when a guard has stopped it, with
// directory.ErrHidden when the users can't all be seen, with clerk.ErrRefused when the key of
// the API is, and with event.ErrUnavailable when the API could not be asked for too long. When
// it was interrupted, by the context, by the database or by the API, the next Run continues where
// it was.
func Run(ctx context.Context, cfg Config) (Tally, error) {
	first, err := cfg.open(ctx, users, false)
	if err != nil {
		return Tally{}, err
	}
	defer first.from.close()
	under, err := cfg.DB.Directory().BeginRun(ctx, cfg.Source.Name(), first.from.name())
	if err != nil {
		return Tally{}, err
	}
	defer under.Release()
	err = under.During(ctx, func(ctx context.Context) error { return first.andOthers(ctx, under) })
	if err != nil && !errors.Is(err, ErrStopped) {
		return tallyOf(under), err
	}
	return tallyOf(under), errors.Join(err, under.End(ctx, err))
}

// andOthers compares users and then the other rolls, but for those that an interrupted run is done with.
func (r *run) andOthers(ctx context.Context, under *directory.Run) error {
	kinds := r.kinds()
	for i, k := range kinds {
		var err error
		switch {
		case i+1 < len(kinds) && under.Begun(kinds[i+1].Roll) != nil: // done
		case k == users:
			err = r.all(ctx, under)
		default:
			err = r.other(ctx, k, under)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// other compares another roll than that of users. Memberships that end with their user or organisation do so before.
func (r *run) other(ctx context.Context, k *kind, under *directory.Run) error {
	stage, err := under.Compare(ctx, k.Roll)
	if err == nil && k == memberships {
		_, err = r.DB.Roll().EndMemberships(ctx)
	}
	if err != nil {
		return err
	}
	o, err := r.open(ctx, k, false)
	if errors.Is(err, clerk.ErrDisabled) {
		stage.Skipped = true
		r.sayDisabled(k)
		return nil
	}
	if err != nil {
		return err
	}
	defer o.from.close()
	return o.all(ctx, under)
}

// sayDisabled says that the provider has no organisations. Those that the roll may have stay.
func (cfg Config) sayDisabled(k *kind) {
	cfg.Log.Info("not compared: organizations are not enabled at Clerk", "source", cfg.Source.Name(), "roll", k.Name)
}

// all compares a roll in a run, or goes on with it, and deletes what is gone.
func (r *run) all(ctx context.Context, under *directory.Run) (err error) {
	r.Run = under
	if r.Stage, err = under.Compare(ctx, r.kind.Roll); err != nil {
		return err
	}
	r.from.begin(r.Position, r.Started)
	if err = r.guardBefore(); err == nil {
		err = r.compare(ctx)
	}
	if err == nil {
		err = r.deleteGone(ctx)
	}
	if err != nil && !errors.Is(err, ErrStopped) {
		return fmt.Errorf("after %d of %s: %w", r.compared(), r.rows(r.total), err)
	}
	return err
}

// guardBefore holds a list that is empty against the roll of users before it is read. Of another list the count may
// be wrong.
func (r *run) guardBefore() error {
	if r.kind != users {
		return nil
	}
	return r.guards(0)
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

// compared is how many rows of the provider have been.
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
		var theirs event.Record
		var verdict Verdict
		err := event.Safely(func() (err error) { theirs, verdict, err = r.judge(p); return err })
		switch {
		case err != nil:
			f.others.Failed++
			r.Log.Error("what the provider has can't be read", "source", r.Source.Name(), r.kind.One, p.ID, "error", err)
		case verdict == Create || verdict == Update || verdict == Touch:
			f.events = append(f.events, finding(theirs, p.At, "reconciled"))
			f.verdicts = append(f.verdicts, verdict)
		case verdict == Same:
			f.others.Unchanged++
		case verdict == Final || verdict == Newer:
			f.others.Failed++
			r.Log.Warn("the roll can't follow the provider", "source", r.Source.Name(), r.kind.One, p.ID,
				"reason", r.advice(verdict, p))
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
		return fmt.Errorf("bring %s into the roll: %w", r.kind.Name, err)
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
		r.Progress(r.kind.Roll, r.compared(), r.total)
	}
	return nil
}

// judge compares one row. What the roll has learned since the moment of the list is no reason
// to complain of it.
func (r *run) judge(p directory.Pair) (theirs event.Record, verdict Verdict, err error) {
	if p.Row != nil {
		if theirs, err = r.kind.decode(r.Source, p.Row, p.At); err != nil {
			return nil, "", err
		}
	}
	verdict = judge(r.kind.Roll, theirs, p.Roll)
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
