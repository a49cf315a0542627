package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/roll"
)

// SyncConfig says how single users are looked up and settled.
type SyncConfig struct {
	// Providers are the sources whose users can be looked up, by name.
	Providers map[string]Provider
	DB        *postgres.DB
	// Submit brings an event to its outcome (pipeline.Submit).
	Submit func(context.Context, event.Event) (event.Outcome, error)
	// MaxAge is up to which age the roll is believed without a look at the provider.
	MaxAge time.Duration
	// Observe is called with the result of each look: found, gone or failed; may be nil.
	Observe func(source, result string)
	// Now is the clock that limits the looks; time.Now when nil.
	Now func() time.Time
}

// Why a user, an organisation or a membership is not in step; whatever else a Sync returns wraps
// event.ErrUnavailable.
var (
	// ErrDeleted: the roll knows that it was deleted, which is final but for a membership.
	ErrDeleted = errors.New("it was deleted")
	// ErrGone: the provider does not have it.
	ErrGone = errors.New("the provider does not have it")
)

// LimitError means that a row was looked up too often to be looked up again now.
type LimitError struct {
	// Wait is how long no look is allowed.
	Wait time.Duration
}

// RetryAfter is the wait.
func (e *LimitError) RetryAfter() time.Duration { return e.Wait }

// Error says for how long.
func (e *LimitError) Error() string {
	return fmt.Sprintf("looked up %d times within %s; wait %s", maxLooks, looksWindow, e.Wait.Round(time.Second))
}

const (
	// maxLooks is how often one row is looked up within looksWindow, by one replica.
	maxLooks    = 10
	looksWindow = time.Minute
	// lookTimeout bounds one look: a request waits for it.
	lookTimeout = 3 * time.Second
	// syncTimeout bounds all of it, the wait in the pipeline included.
	syncTimeout = 10 * time.Second
)

// Syncer brings single users, and the organisation that each acts for, into step while a request waits for
// them: just in time. It is safe for concurrent use.
type Syncer struct {
	config  SyncConfig
	flights singleflight.Group
	limit   lookLimit
	right   sync.Map // names of the sources whose provider has shown a row, and so is the right one
}

// NewSyncer returns a Syncer.
func NewSyncer(cfg SyncConfig) *Syncer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string) {}
	}
	return &Syncer{config: cfg, limit: lookLimit{now: cfg.Now, of: map[roll.Name][]time.Time{}}}
}

// Sync returns a living user when every target that follows the source has them, or will get
// them later. The roll answers while it is young; an older one is held against the provider
// first. The errors are ErrDeleted, ErrGone, a LimitError, and what wraps event.ErrUnavailable.
func (s *Syncer) Sync(ctx context.Context, from, id string) (roll.Member, error) {
	f := roll.Name{Roll: &event.Users, Source: from, ID: id}
	if s.config.DB.Roll().Follows(from) {
		return s.signal(ctx, f)
	}
	return s.begin(ctx, f).wait(ctx)
}

// flight is a row on the way. All requests for the same row share it meanwhile.
type flight struct {
	syncer *Syncer
	row    roll.Name
	done   <-chan singleflight.Result
	first  bool // it was not under way before
}

// begin begins to bring a row into step, or joins those who wait for it.
func (s *Syncer) begin(ctx context.Context, row roll.Name) *flight {
	f := &flight{syncer: s, row: row}
	name := fmt.Sprintf("%s %s %q %q", row.Roll.Name, row.Source, row.ID, row.User)
	f.done = s.flights.DoChan(name, func() (_ any, err error) {
		f.first = true
		// Others wait for it, too: it outlives the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
		defer cancel()
		defer func() {
			if cause := recover(); cause != nil {
				stopped := event.Panicked(cause)
				err = fmt.Errorf("%w: bringing %s into step: %w\n%s", event.ErrUnavailable, called(row.Roll), stopped, stopped.Stack)
			}
		}()
		return s.sync(ctx, row)
	})
	return f
}

func (f *flight) wait(ctx context.Context) (roll.Member, error) {
	select {
	case r := <-f.done:
		m, _ := r.Val.(roll.Member)
		if f.first {
			return m, r.Err
		}
		return f.syncer.join(ctx, f.row, m, r.Err)
	case <-ctx.Done():
		return roll.Member{}, fmt.Errorf("%w: stopped waiting: %w", event.ErrUnavailable, ctx.Err())
	}
}

// join is the answer for one who came while the flight was under way. It may have read the roll
// before it asked: it must not miss what was acknowledged in between.
func (s *Syncer) join(ctx context.Context, f roll.Name, m roll.Member, err error) (roll.Member, error) {
	if unlessAbsent(err) != nil {
		return m, err
	}
	now, failed := s.known(ctx, f)
	if failed == nil && !now.Known {
		return m, err
	}
	return now, failed
}

// known is what the roll knows of a row; it fails with ErrDeleted if it knows of a deletion.
func (s *Syncer) known(ctx context.Context, f roll.Name) (roll.Member, error) {
	m, err := s.config.DB.Roll().Member(ctx, f)
	switch {
	case err != nil:
		return m, fmt.Errorf("%w: %w", event.ErrUnavailable, err)
	case m.Deleted:
		return m, ErrDeleted
	}
	return m, nil
}

func (s *Syncer) sync(ctx context.Context, f roll.Name) (roll.Member, error) {
	m, err := s.known(ctx, f)
	if err != nil && !(f.Roll == &event.Memberships && errors.Is(err, ErrDeleted)) { // who has left may join again
		return m, err
	}
	if m.Living() && m.Age < s.config.MaxAge {
		return s.settle(ctx, f, m.ID)
	}
	if ended := s.parentDeleted(ctx, f); ended != nil {
		return m, ended
	}
	wait := s.limit.take(f)
	switch {
	case wait > 0 && m.Known && m.Age < looksWindow: // one of those looks has confirmed it
		return s.settle(ctx, f, m.ID)
	case wait > 0:
		return m, &LimitError{wait}
	}
	found, err := s.look(ctx, f, m)
	if err == nil && found.Op == event.Upsert {
		err = s.bringParents(ctx, f)
	}
	if err != nil {
		return m, err
	}
	return s.bring(ctx, f, found)
}

// signal has the user's row read in the table that decides, and every target settled. Only looks
// at users that no event names are counted: this one costs no more than settling.
func (s *Syncer) signal(ctx context.Context, f roll.Name) (roll.Member, error) {
	if id, err := uuid.Parse(f.ID); err == nil {
		f.ID = id.String() // as the table has it
	}
	m, err := s.known(ctx, f)
	if err != nil && !errors.Is(err, ErrDeleted) {
		return m, err
	}
	if !m.Known {
		if wait := s.limit.take(f); wait > 0 {
			return m, &LimitError{wait}
		}
	}
	result := "failed"
	defer func() { s.config.Observe(f.Source, result) }()
	outcome, err := s.config.Submit(ctx, event.Event{Source: f.Source, Type: "synced", Op: event.Look, UserID: f.ID})
	if err != nil {
		return m, err
	}
	m, err = s.known(ctx, f)
	switch {
	case errors.Is(err, ErrDeleted):
		result = "gone"
	case err == nil && !m.Known:
		result, err = "gone", ErrGone
	case err == nil && outcome == event.Stale:
		err = fmt.Errorf("%w: the user is not in the table of users of %s, which has none of some others of the roll either; is it the right table?", event.ErrUnavailable, f.Source)
	case err == nil:
		result = "found"
	}
	return m, err
}

// bring submits what was found.
func (s *Syncer) bring(ctx context.Context, f roll.Name, found event.Event) (roll.Member, error) {
	outcome, err := s.config.Submit(ctx, found)
	switch {
	case err != nil:
		return roll.Member{}, err
	case outcome == event.Stale: // the roll knows better, or exactly this
		return s.settle(ctx, f, f.Roll.Of(&found).Head().ID)
	case outcome == event.UndecodableBody:
		return roll.Member{}, fmt.Errorf("%w: the roll refuses %s; the log says why", event.ErrUnavailable, called(f.Roll))
	case found.Op == event.Delete:
		return roll.Member{}, ErrGone
	}
	return s.member(ctx, f)
}

// settle makes sure that the targets follow the roll, whatever has become of their rows. The id is the row's own.
func (s *Syncer) settle(ctx context.Context, f roll.Name, id string) (roll.Member, error) {
	if _, err := s.config.Submit(ctx, carrying(f, event.Settle, event.Row{Source: f.Source, ID: id})); err != nil {
		return roll.Member{}, err
	}
	return s.member(ctx, f)
}

// member is how the row stands now.
func (s *Syncer) member(ctx context.Context, f roll.Name) (roll.Member, error) {
	m, err := s.known(ctx, f)
	if err == nil && !m.Known {
		err = fmt.Errorf("%w: the roll has lost %s meanwhile", event.ErrUnavailable, called(f.Roll))
	}
	return m, err
}

// carrying is an event about a row of which no more is said than this; Settle names a user by UserID alone.
func carrying(f roll.Name, op event.Op, row event.Row) event.Event {
	e := event.Event{Source: f.Source, Type: "synced", Op: op, UserID: f.User}
	switch {
	case f.Roll == &event.Organizations:
		e.Organization = &event.Organization{Row: row}
	case f.Roll == &event.Memberships:
		e.Membership = &event.Membership{Row: row, OrganizationID: &f.ID, UserID: &f.User}
	case op == event.Settle:
		e.UserID = f.ID
	default:
		e.UserID, e.User = f.ID, &event.User{Row: row}
	}
	return e
}
