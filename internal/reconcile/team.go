package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/roll"
)

// SignedIn is who is signed in, and for which organisation they act; "" for none.
type SignedIn struct{ Source, User, Organization string }

// Standing says whether a user is a member of the organisation that they act for.
type Standing int

// The standings. A session token outlives a membership by a minute.
const (
	Alone          Standing = iota // they act for no organisation
	IsMember                       // they are a member
	NotMember                      // the organisation is there, and they are no member
	NoOrganization                 // there is no such organisation
)

// Synced is who is in step.
type Synced struct {
	User                     roll.Member
	Organization, Membership roll.Member // with a Record only of a member
	Standing                 Standing
	// Targets are those of all rows.
	Targets map[string]event.Outcome
}

// SyncAll is Sync for a user and the organisation that they act for, with their membership of it. That they are
// no member is no error.
func (s *Syncer) SyncAll(ctx context.Context, who SignedIn) (Synced, error) {
	if who.Organization == "" {
		m, err := s.Sync(ctx, who.Source, who.User)
		return Synced{User: m, Targets: m.Targets}, err
	}
	of := roll.Name{Roll: &event.Memberships, Source: who.Source, ID: who.Organization, User: who.User}
	membership := s.begin(ctx, of)
	organization := s.begin(ctx, roll.Name{Roll: &event.Organizations, Source: who.Source, ID: who.Organization})
	var all Synced
	var err error
	if all.User, err = s.Sync(ctx, who.Source, who.User); err != nil {
		return all, err
	}
	all.Targets, all.Standing = maps.Clone(all.User.Targets), NoOrganization
	o, err := organization.wait(ctx)
	if err != nil {
		return all, unlessAbsent(err)
	}
	m, err := membership.wait(ctx)
	if err == nil && slices.Contains(slices.Collect(maps.Values(m.Targets)), event.Parked) { // a row that it refers to came later
		m, err = s.settle(ctx, of, m.ID)
	}
	if err != nil {
		all.Standing = NotMember
		return all, unlessAbsent(err)
	}
	all.Organization, all.Membership, all.Standing = o, m, IsMember
	maps.Copy(all.Targets, o.Targets)
	maps.Copy(all.Targets, m.Targets)
	return all, nil
}

func unlessAbsent(err error) error {
	if errors.Is(err, ErrGone) || errors.Is(err, ErrDeleted) {
		return nil
	}
	return err
}

// parents are the rows without which a membership can't be.
func parents(of roll.Name) []roll.Name {
	if of.Roll != &event.Memberships {
		return nil
	}
	return []roll.Name{{Roll: &event.Organizations, Source: of.Source, ID: of.ID}, {Roll: &event.Users, Source: of.Source, ID: of.User}}
}

// parentDeleted fails if the roll knows that a parent of a row was deleted: then there is nothing to ask about.
func (s *Syncer) parentDeleted(ctx context.Context, f roll.Name) error {
	for _, parent := range parents(f) {
		if _, err := s.known(ctx, parent); err != nil {
			return err
		}
	}
	return nil
}

// bringParents brings the parents of a row that the roll does not know: a foreign key would refuse the row.
func (s *Syncer) bringParents(ctx context.Context, f roll.Name) error {
	for _, parent := range parents(f) {
		m, err := s.known(ctx, parent)
		if err == nil && !m.Known {
			_, err = s.begin(ctx, parent).wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// absence is that a row of the roll is gone, as seen at a moment.
func absence(f roll.Name, m roll.Member, seen time.Time) (event.Event, error) {
	at := m.At.UTC()
	e := carrying(f, event.Delete, event.Row{Source: f.Source, ID: m.ID, Version: m.Version, DeletedAt: &at})
	e.ReceivedAt, e.SeenAt = seen.UTC(), seen
	if e.Membership == nil {
		return e, nil
	}
	var life struct {
		CreatedAt *time.Time `json:"created_at"`
	}
	if err := json.Unmarshal(m.Record, &life); err != nil {
		return e, fmt.Errorf("%w: read a membership of the roll: %w", event.ErrUnavailable, err)
	}
	e.Membership.CreatedAt = life.CreatedAt
	return e, nil
}
