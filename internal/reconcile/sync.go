package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"rollcall/internal/clerk"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/source"
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

// Provider is a source and how one of its users is looked up.
type Provider struct {
	Source *source.Source
	// Look returns a user as the provider has them, for DecodeUser, nil when it has no such
	// user. Its errors wrap event.ErrUnavailable where waiting helps.
	Look func(ctx context.Context, id string) ([]byte, error)
	// Answers fails unless it is a provider of the source's kind who answers; nil where nothing
	// else can.
	Answers func(ctx context.Context) error
	// Lag is by how much the provider's answer may be older than what its events have told.
	Lag time.Duration
}

// TableProvider looks users up in a table of this database.
func TableProvider(db *postgres.DB, src *source.Source, table string) Provider {
	return Provider{Source: src, Look: func(ctx context.Context, id string) ([]byte, error) {
		users, err := db.Directory().Users(ctx, src.Name(), table)
		if err != nil {
			return nil, err
		}
		return users.One(ctx, id)
	}}
}

const (
	// apiLag is by how much the answers of Clerk's API may be behind its own webhooks.
	apiLag = time.Minute
	// absentLag is by how much an absence there may be behind what another answer has shown:
	// that one counts as of apiLag before it was asked for, but may have been up to date.
	absentLag = 2 * apiLag
)

// APIProvider looks users up by Clerk's API. Any server may say 404 to what it doesn't know;
// only Clerk's counts its users.
func APIProvider(api *clerk.API, src *source.Source) Provider {
	look := func(ctx context.Context, id string) ([]byte, error) {
		user, err := api.Fetch(ctx, id)
		if errors.Is(err, clerk.ErrGone) {
			return nil, nil
		}
		return user, err
	}
	answers := func(ctx context.Context) error {
		_, err := api.Count(ctx)
		return err
	}
	return Provider{Source: src, Lag: apiLag, Look: look, Answers: answers}
}

// Why a user is not in step; whatever else a Sync returns wraps event.ErrUnavailable.
var (
	// ErrDeleted: the roll knows that the user was deleted, which is final.
	ErrDeleted = errors.New("the user was deleted")
	// ErrGone: the provider does not have the user.
	ErrGone = errors.New("the provider has no such user")
)

// LimitError means that a user was looked up too often to be looked up again now.
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
	// maxLooks is how often one user is looked up within looksWindow, by one replica.
	maxLooks    = 10
	looksWindow = time.Minute
	// lookTimeout bounds one look: a request waits for it.
	lookTimeout = 3 * time.Second
	// syncTimeout bounds all of it, the wait in the pipeline included.
	syncTimeout = 10 * time.Second
)

// Syncer looks up and settles a single user while a request waits (just-in-time sync). It is
// safe for concurrent use.
type Syncer struct {
	config  SyncConfig
	flights singleflight.Group
	limit   lookLimit
	right   sync.Map // names of the sources whose provider has shown a user, and so is the right one
}

// NewSyncer returns a Syncer.
func NewSyncer(cfg SyncConfig) *Syncer {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string) {}
	}
	return &Syncer{config: cfg, limit: lookLimit{now: cfg.Now, of: map[flight][]time.Time{}}}
}

// flight is one user on the way. All requests for the same user share it meanwhile.
type flight struct{ source, id string }

// Sync returns a living user when every target that follows the source has them, or will get
// them later. The roll answers while it is young; an older one is held against the provider
// first. The errors are ErrDeleted, ErrGone, a LimitError, and what wraps event.ErrUnavailable.
func (s *Syncer) Sync(ctx context.Context, from, id string) (roll.Member, error) {
	f, first := flight{from, id}, false
	if s.config.DB.Roll().Follows(from) {
		return s.signal(ctx, f)
	}
	done := s.flights.DoChan(from+" "+id, func() (_ any, err error) { // a name holds no space
		first = true
		// Others wait for it, too: it outlives the one who came first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), syncTimeout)
		defer cancel()
		defer func() {
			if cause := recover(); cause != nil {
				stopped := event.Panicked(cause)
				err = fmt.Errorf("%w: settling a user: %w\n%s", event.ErrUnavailable, stopped, stopped.Stack)
			}
		}()
		return s.sync(ctx, f)
	})
	select {
	case r := <-done:
		m, _ := r.Val.(roll.Member)
		if first {
			return m, r.Err
		}
		return s.join(ctx, f, m, r.Err)
	case <-ctx.Done():
		return roll.Member{}, fmt.Errorf("%w: stopped waiting: %w", event.ErrUnavailable, ctx.Err())
	}
}

// join is the answer for one who came while the flight was under way. It may have read the roll
// before it asked: it must not miss what was acknowledged in between.
func (s *Syncer) join(ctx context.Context, f flight, m roll.Member, err error) (roll.Member, error) {
	if err != nil && !errors.Is(err, ErrGone) {
		return m, err
	}
	now, failed := s.known(ctx, f)
	if failed == nil && !now.Known {
		return m, err
	}
	return now, failed
}

// known is what the roll knows of a user; it fails with ErrDeleted if it knows of a deletion.
func (s *Syncer) known(ctx context.Context, f flight) (roll.Member, error) {
	m, err := s.config.DB.Roll().Member(ctx, roll.Name{Roll: &event.Users, Source: f.source, ID: f.id})
	switch {
	case err != nil:
		return m, fmt.Errorf("%w: %w", event.ErrUnavailable, err)
	case m.Deleted:
		return m, ErrDeleted
	}
	return m, nil
}

func (s *Syncer) sync(ctx context.Context, f flight) (roll.Member, error) {
	m, err := s.known(ctx, f)
	if err != nil {
		return m, err
	}
	if m.Known && m.Age < s.config.MaxAge {
		return s.settle(ctx, f)
	}
	wait := s.limit.take(f)
	switch {
	case wait > 0 && m.Known && m.Age < looksWindow: // one of those looks has confirmed the user
		return s.settle(ctx, f)
	case wait > 0:
		return m, &LimitError{wait}
	}
	found, err := s.look(ctx, f, m)
	if err != nil {
		return m, err
	}
	return s.bring(ctx, f, found)
}

// signal has the user's row read in the table that decides, and every target settled. Only
// looks for an unknown user are counted: this one costs no more than settling.
func (s *Syncer) signal(ctx context.Context, f flight) (roll.Member, error) {
	if id, err := uuid.Parse(f.id); err == nil {
		f.id = id.String() // as the table has it
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
	defer func() { s.config.Observe(f.source, result) }()
	outcome, err := s.config.Submit(ctx, event.Event{Source: f.source, Type: "synced", Op: event.Look, UserID: f.id})
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
		err = fmt.Errorf("%w: the user is not in the table of users of %s, which has none of some others of the roll either; is it the right table?", event.ErrUnavailable, f.source)
	case err == nil:
		result = "found"
	}
	return m, err
}

// look asks the provider; the answer's moment is that of m, before the question.
func (s *Syncer) look(ctx context.Context, f flight, m roll.Member) (event.Event, error) {
	p := s.config.Providers[f.source]
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	row, err := p.Look(looking, f.id)
	if err != nil {
		s.config.Observe(f.source, "failed")
		return event.Event{}, fmt.Errorf("%w: look a user of %s up: %w", event.ErrUnavailable, f.source, err)
	}
	if row != nil {
		user, err := p.Source.DecodeUser(row, m.At)
		if err != nil {
			s.config.Observe(f.source, "failed")
			return event.Event{}, fmt.Errorf("%w: %w", event.ErrUnavailable, err)
		}
		if !user.Dead() || m.Known {
			s.right.Store(f.source, true)
			s.config.Observe(f.source, "found")
			return finding(user, m.At, "synced"), nil
		}
	}
	if !m.Known {
		s.config.Observe(f.source, "gone")
		return event.Event{}, ErrGone // nothing is there to be deleted
	}
	if err := s.recognize(looking, f, m); err != nil {
		s.config.Observe(f.source, "failed")
		return event.Event{}, fmt.Errorf("%w: look a user of %s up: %w", event.ErrUnavailable, f.source, err)
	}
	s.config.Observe(f.source, "gone")
	// What the roll has learned since then, the answer may not know. If it has learned it from
	// another answer, that may have been ahead of this one by as much again.
	seen := m.At.Add(-2 * p.Lag)
	gone := event.User{Row: event.Row{Source: f.source, ID: f.id, Version: m.Version}}
	return finding(gone.Tombstone(m.At.UTC()), seen, "synced"), nil
}

// recognize makes sure, before a user is deleted, that the provider is the one that the roll follows:
// with the key of another instance, every user who signs in would seem to be gone. One that has shown a
// user is; else it must know one of some others of the roll, or, without others, answer as a provider.
func (s *Syncer) recognize(ctx context.Context, f flight, m roll.Member) error {
	if _, ok := s.right.Load(f.source); ok {
		return nil
	}
	p := s.config.Providers[f.source]
	ids, err := s.config.DB.Directory().Listing(f.source).Sample(ctx, sampledAtOnce+1, m.At.Add(-p.Lag))
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == f.id })
	ids = ids[:min(len(ids), sampledAtOnce)]
	if len(ids) == 0 {
		return p.answers(ctx)
	}
	known, err := knowsOne(ctx, slices.Chunk(ids, 1), func(ctx context.Context, one []string) ([][]byte, error) {
		row, err := p.Look(ctx, one[0])
		return [][]byte{row}, err
	})
	if known {
		s.right.Store(f.source, true)
	}
	if known || err != nil {
		return err
	}
	return fmt.Errorf("the provider does not know this user, nor %d others from the roll; nothing was deleted; is this the key of the right instance, or the right users_table? If they are all gone, run rollcall reconcile", len(ids))
}

// answers makes sure that it is such a provider at all who says that the only user is gone.
func (p Provider) answers(ctx context.Context) error {
	if p.Answers == nil {
		return nil
	}
	if err := p.Answers(ctx); err != nil {
		return fmt.Errorf("the provider does not know this user, and the roll has no other to ask about; nothing was deleted; is this the right address? %w", err)
	}
	return nil
}

// bring submits what was found.
func (s *Syncer) bring(ctx context.Context, f flight, found event.Event) (roll.Member, error) {
	outcome, err := s.config.Submit(ctx, found)
	switch {
	case err != nil:
		return roll.Member{}, err
	case outcome == event.Stale: // the roll knows better, or exactly this
		return s.settle(ctx, f)
	case outcome == event.UndecodableBody:
		return roll.Member{}, fmt.Errorf("%w: the roll refuses the user; the log says why", event.ErrUnavailable)
	case found.Op == event.Delete:
		return roll.Member{}, ErrGone
	}
	return s.member(ctx, f)
}

// settle makes sure that the targets follow the roll, whatever has become of their rows.
func (s *Syncer) settle(ctx context.Context, f flight) (roll.Member, error) {
	if _, err := s.config.Submit(ctx, event.Event{Source: f.source, Type: "synced", Op: event.Settle, UserID: f.id}); err != nil {
		return roll.Member{}, err
	}
	return s.member(ctx, f)
}

// member is how the user stands now.
func (s *Syncer) member(ctx context.Context, f flight) (roll.Member, error) {
	m, err := s.known(ctx, f)
	if err == nil && !m.Known {
		err = fmt.Errorf("%w: the user is no longer in the roll", event.ErrUnavailable)
	}
	return m, err
}

// lookLimit counts how often users were looked up.
type lookLimit struct {
	now func() time.Time

	mu    sync.Mutex
	of    map[flight][]time.Time // within the window, the oldest first
	swept time.Time
}

// take counts a look, or says how long there may be none.
func (l *lookLimit) take(f flight) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	begin := now.Add(-looksWindow)
	if l.swept.Before(begin) {
		l.swept = now
		for other, times := range l.of {
			if times[len(times)-1].Before(begin) {
				delete(l.of, other)
			}
		}
	}
	times := l.of[f]
	for len(times) > 0 && !times[0].After(begin) {
		times = times[1:]
	}
	if len(times) >= maxLooks {
		return times[0].Sub(begin)
	}
	l.of[f] = append(times, now)
	return 0
}
