package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/source"
)

// Provider is a source and how one of its users is looked up.
type Provider struct {
	Source *source.Source
	// Look returns a user as the provider has them, for DecodeUser, nil when it has no such
	// user. Its errors wrap event.ErrUnavailable where waiting helps.
	Look func(ctx context.Context, id string) ([]byte, error)
	// LookOrganization and LookMembership are Look for an organisation and for a user's membership of
	// one; nil where the provider has none.
	LookOrganization func(ctx context.Context, id string) ([]byte, error)
	LookMembership   func(ctx context.Context, organization, user string) ([]byte, error)
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

// APIProvider looks users, organisations and memberships up by Clerk's API. Any server may say 404 to what it
// doesn't know; only Clerk's counts its users.
func APIProvider(api *clerk.API, src *source.Source) Provider {
	return Provider{
		Source: src, Lag: apiLag,
		Look: func(ctx context.Context, id string) ([]byte, error) {
			return nilIfGone(api.Fetch(ctx, id))
		},
		LookOrganization: func(ctx context.Context, id string) ([]byte, error) {
			return nilIfGone(api.FetchOrganization(ctx, id))
		},
		LookMembership: func(ctx context.Context, organization, user string) ([]byte, error) {
			return nilIfGone(api.FetchMembership(ctx, clerk.Member{Organization: organization, User: user}))
		},
		Answers: func(ctx context.Context) error {
			_, err := api.Count(ctx)
			return err
		},
	}
}

func nilIfGone(row []byte, err error) ([]byte, error) {
	if errors.Is(err, clerk.ErrGone) {
		return nil, nil
	}
	return row, err
}

// find is what the provider says of a row, as of a moment; nil when it has no such row.
func (p Provider) find(ctx context.Context, of roll.Name, at time.Time) (*event.Event, error) {
	e := event.Event{Source: of.Source, Type: "synced", Op: event.Upsert, UserID: of.User, ReceivedAt: at.UTC(), SeenAt: at}
	switch of.Roll {
	case &event.Organizations:
		row, err := p.LookOrganization(ctx, of.ID)
		if err != nil || row == nil {
			return nil, err
		}
		e.Organization, err = p.Source.DecodeOrganization(row, at)
		return &e, err
	case &event.Memberships:
		row, err := p.LookMembership(ctx, of.ID, of.User)
		if err != nil || row == nil {
			return nil, err
		}
		e.Membership, e.Organization, err = p.Source.DecodeMembership(row, at)
		return &e, err
	default:
		row, err := p.Look(ctx, of.ID)
		if err != nil || row == nil {
			return nil, err
		}
		user, err := p.Source.DecodeUser(row, at)
		if err != nil {
			return nil, err
		}
		e = finding(user, at, e.Type)
		return &e, nil
	}
}

// look asks the provider; the answer's moment is that of m, before the question.
func (s *Syncer) look(ctx context.Context, f roll.Name, m roll.Member) (event.Event, error) {
	looking, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := s.config.Providers[f.Source].find(looking, f, m.At)
	switch {
	case err != nil:
	case found != nil && (found.Op != event.Delete || m.Living()):
		s.right.Store(f.Source, true)
		s.config.Observe(f.Source, "found")
		return *found, nil
	case !m.Living():
		s.config.Observe(f.Source, "gone")
		return event.Event{}, ErrGone // nothing is there to be deleted
	default:
		err = s.recognize(looking, f, m)
	}
	if err != nil {
		s.config.Observe(f.Source, "failed")
		return event.Event{}, fmt.Errorf("%w: look %s of %s up: %w", event.ErrUnavailable, called(f.Roll), f.Source, err)
	}
	s.config.Observe(f.Source, "gone")
	// What the roll has learned since then, the answer may not know. If it has learned it from
	// another answer, that may have been ahead of this one by as much again.
	return absence(f, m, m.At.Add(-2*s.config.Providers[f.Source].Lag))
}

// called is a row of a roll, for people.
func called(r *event.Roll) string {
	if r == &event.Organizations {
		return "an " + r.One
	}
	return "a " + r.One
}

// recognize makes sure, before a row is deleted, that the provider is the one that the roll follows: with the
// key of another instance, every user who signs in would seem to be gone. One that has shown a row that a token
// names is; else it must know one of some others of the roll's users or, without others, answer as a provider
// about the only user.
func (s *Syncer) recognize(ctx context.Context, f roll.Name, m roll.Member) error {
	if _, ok := s.right.Load(f.Source); ok {
		return nil
	}
	p := s.config.Providers[f.Source]
	ids, err := s.config.DB.Directory().Listing(f.Source).Sample(ctx, sampledAtOnce+1, m.At.Add(-p.Lag))
	if err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return f.Roll == &event.Users && id == f.ID })
	ids = ids[:min(len(ids), sampledAtOnce)]
	if len(ids) == 0 && f.Roll == &event.Users {
		return p.answers(ctx)
	}
	known, err := knowsOne(ctx, slices.Chunk(ids, 1), func(ctx context.Context, one []string) ([][]byte, error) {
		row, err := p.Look(ctx, one[0])
		return [][]byte{row}, err
	})
	if known {
		s.right.Store(f.Source, true)
	}
	if known || err != nil {
		return err
	}
	if f.Roll != &event.Users {
		return fmt.Errorf("the provider does not know it, nor one of %d users from the roll; nothing was deleted; is this the key of the right instance?", len(ids))
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
