// Package reconcile compares the roll with what a provider has, for all users or for one who
// was announced: what no webhook and no capture has told is found, and goes through the
// pipeline like everything else.
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

	"github.com/google/uuid"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
)

// Config says what is compared.
type Config struct {
	Source *source.Source
	// Table is the table of the provider's users, schema.table.
	Table string
	// MaxDelete is the share of the roll's living users that one run may bury, from 0 to 1.
	MaxDelete float64
	DB        *postgres.DB
	// Submit brings events into the roll (pipeline.SubmitAll). Preview needs none.
	Submit func(context.Context, []event.Event) ([]event.Outcome, error)
	// Progress is told how many users have been compared, of how many; nil for nobody.
	Progress func(done, total int64)
	Log      *slog.Logger
}

// ErrStopped marks a run that a guard has ended: before anybody was buried, unless the table
// was being emptied at that very moment.
var ErrStopped = errors.New("stopped")

// page is how many users are compared at once: enough for full batches, little to hold.
const page = 8192

// run is a reconciliation under way.
type run struct {
	Config
	*postgres.Reconciliation
	users *postgres.Users
	total int64 // users of the table
	known int64 // living users of the roll
}

// Run compares and mends, and says what it did. It fails with postgres.ErrRunning beside
// another run of the source, with ErrStopped when a guard has stopped it, and with
// postgres.ErrHidden when the users can't all be seen. When it was interrupted, by the context
// or by the database, the next Run goes on where it was.
func Run(ctx context.Context, cfg Config) (postgres.Reconciled, error) {
	users, err := cfg.DB.Users(ctx, cfg.Source.Name(), cfg.Table)
	if err != nil {
		return postgres.Reconciled{}, err
	}
	record, err := cfg.DB.BeginReconciliation(ctx, cfg.Source.Name(), cfg.Table)
	if err != nil {
		return postgres.Reconciled{}, err
	}
	defer record.Release()
	r := &run{Config: cfg, Reconciliation: record, users: users}
	err = r.all(ctx)
	switch {
	case errors.Is(err, ErrStopped):
		return r.Reconciled, errors.Join(err, r.End(ctx, err))
	case err != nil:
		return r.Reconciled, err
	}
	return r.Reconciled, r.End(ctx, nil)
}

func (r *run) all(ctx context.Context) (err error) {
	if r.total, r.known, err = r.users.Count(ctx); err != nil {
		return err
	}
	if err := r.guards(0); err != nil {
		return err
	}
	if err := r.compare(ctx); err != nil {
		return err
	}
	return r.bury(ctx)
}

// compare walks through the table's users, and submits those that differ while the next
// are being read.
func (r *run) compare(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type read struct {
		pairs []postgres.Pair
		err   error
	}
	pages := make(chan read)
	go func() {
		defer close(pages)
		for after, end := r.Position, false; !end; {
			pairs, err := r.users.Compare(ctx, after, page)
			rows := 0
			for _, p := range pairs {
				if p.Row != nil {
					rows++
				}
			}
			if end = err != nil || rows < page; !end {
				after = pairs[len(pairs)-1].ID
			}
			select {
			case pages <- read{pairs, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	for p := range pages {
		if p.err != nil {
			return p.err
		}
		if err := r.mend(ctx, p.pairs); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// mend submits the users of a page that differ, and counts.
func (r *run) mend(ctx context.Context, pairs []postgres.Pair) error {
	tally := r.Reconciled
	var events []event.Event
	var created []bool
	position := r.Position
	for _, p := range pairs {
		if p.Row != nil { // the roll's ids need not be uuids, and the next page is sought by one
			position = p.ID
		}
		theirs, err := r.decode(p)
		if err != nil {
			tally.Failed++
			r.Log.Error("a user can't be read", "source", r.Source.Name(), "user", p.ID, "error", err)
			continue
		}
		switch verdict := judge(theirs, p.Roll); verdict {
		case Create, Update:
			events = append(events, finding(theirs, p.At, "reconciled"))
			created = append(created, verdict == Create)
		case Same:
			tally.Unchanged++
		case Vanished, Forgotten: // bury sees to them
		case Buried, Newer:
			tally.Failed++
			r.Log.Warn("the roll can't follow a user", "source", r.Source.Name(), "user", p.ID, "reason", reasons[verdict])
		}
	}
	outcomes, err := r.Submit(ctx, events)
	if err != nil {
		return fmt.Errorf("bring users into the roll: %w", err)
	}
	for i, o := range outcomes {
		count(&tally, o, created[i])
	}
	r.Reconciled, r.Position = tally, position
	if err := r.Save(ctx); err != nil {
		return err
	}
	if r.Progress != nil {
		r.Progress(r.Created+r.Updated+r.Unchanged+r.Failed, r.total)
	}
	return nil
}

// count adds what became of a user who differed.
func count(tally *postgres.Reconciled, o event.Outcome, created bool) {
	switch {
	case o == event.UndecodableBody:
		tally.Failed++
	case o == event.Stale:
		tally.Unchanged++ // somebody else was faster, and knew more
	case created:
		tally.Created++
	default:
		tally.Updated++
	}
}

// decode reads the table's side of a pair; nil when it has none.
func (r *run) decode(p postgres.Pair) (*event.User, error) {
	if p.Row == nil {
		return nil, nil //nolint:nilnil // absent is no error
	}
	return r.Source.DecodeUser(p.Row, p.At)
}

// finding is what a look at a user had to say.
func finding(u *event.User, at time.Time, kind string) event.Event {
	e := event.Event{Source: u.Source, Type: kind, Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: at.UTC(), SeenAt: at}
	if u.Dead() {
		e.Op = event.Delete
	}
	return e
}

// bury makes tombstones of those whom the table has no more, if they are not too many.
func (r *run) bury(ctx context.Context) error {
	gone, err := r.users.CountAbsent(ctx)
	if err != nil || gone == 0 {
		return err
	}
	if r.total, r.known, err = r.users.Count(ctx); err != nil { // with those whom this run has brought
		return err
	}
	if err := r.guards(gone); err != nil {
		return err
	}
	for after, buried := "", int64(0); ; {
		pairs, err := r.users.Absent(ctx, after, page)
		if err != nil || len(pairs) == 0 {
			return err
		}
		after = pairs[len(pairs)-1].ID
		if pairs, err = r.confirmed(ctx, pairs); err != nil {
			return err
		}
		if buried += int64(len(pairs)); buried > gone {
			if err := r.guards(buried); err != nil {
				return err // the table is being emptied right now
			}
		}
		if err := r.burySome(ctx, pairs); err != nil {
			return err
		}
	}
}

// guards keeps a wrong database, or a table that was emptied by mistake, from ending all
// users: so many of the roll's are gone.
func (r *run) guards(gone int64) error {
	switch {
	case r.MaxDelete >= 1:
		return nil
	case r.total == 0 && r.known > 0:
		return fmt.Errorf("%w, %s: %s reads empty, and the roll has %d users of %s; is this the right database? If they are all gone, run again with --max-delete 100%%",
			ErrStopped, r.buried(), r.Table, r.known, r.Source.Name())
	case float64(gone) <= r.MaxDelete*float64(r.known):
		return nil
	}
	share := float64(gone) / float64(r.known)
	return fmt.Errorf("%w, %s: %d of the %d users that the roll knows of %s are gone from %s (%s), more than max_delete (%s); is this the right database? If they are really gone, run again with --max-delete %s, or raise reconcile.max_delete",
		ErrStopped, r.buried(), gone, r.known, r.Source.Name(), r.Table, percent(share), percent(r.MaxDelete), percent(math.Ceil(share*100)/100))
}

func (r *run) buried() string {
	if r.Deleted > 0 {
		return fmt.Sprintf("%d were buried before", r.Deleted)
	}
	return "nobody was buried"
}

// confirmed asks about each user once more.
func (r *run) confirmed(ctx context.Context, pairs []postgres.Pair) ([]postgres.Pair, error) {
	var ids []string
	for _, p := range pairs {
		if uuid.Validate(p.ID) == nil { // otherwise the table can't have him
			ids = append(ids, p.ID)
		}
	}
	living, err := r.users.Living(ctx, ids)
	if err == nil {
		err = r.users.Visible(ctx) // still
	}
	if err != nil {
		return nil, err
	}
	var sure []postgres.Pair
	for _, p := range pairs {
		if !living[strings.ToLower(p.ID)] {
			sure = append(sure, p)
		}
	}
	return sure, nil
}

func (r *run) burySome(ctx context.Context, pairs []postgres.Pair) error {
	events := make([]event.Event, len(pairs))
	for i, p := range pairs {
		events[i] = finding(p.Roll.Tombstone(p.At.UTC()), p.At, "reconciled")
	}
	outcomes, err := r.Submit(ctx, events)
	if err != nil {
		return fmt.Errorf("bury users: %w", err)
	}
	for _, o := range outcomes {
		if o != event.Stale { // otherwise the roll has learned more about him since
			r.Deleted++
		}
	}
	return r.Save(ctx)
}

// percent writes a share as the configuration does.
func percent(share float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(share*100, 'f', 1, 64), ".0") + "%"
}
