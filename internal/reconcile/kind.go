package reconcile

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"rollcall/internal/clerk"
	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
)

// kind is what a provider has: users, organisations or memberships.
type kind struct {
	*event.Roll
	// none and which are words for people.
	none, which string
	decode      func(*source.Source, []byte, time.Time) (event.Record, error)
	count       func(*clerk.API, context.Context) (int64, error)
	list        func(*clerk.API, clerk.Position) *clerk.Listing
	// fetch asks the API about rows of the roll, and returns nil for each that is not there.
	fetch func(context.Context, *clerk.API, []directory.Pair) ([][]byte, error)
}

var users = &kind{
	Roll: &event.Users, none: "no user", which: "who",
	decode: func(s *source.Source, row []byte, at time.Time) (event.Record, error) { return s.DecodeUser(row, at) },
	count:  (*clerk.API).Count, list: (*clerk.API).List,
	fetch: func(ctx context.Context, api *clerk.API, rows []directory.Pair) ([][]byte, error) {
		return api.FetchAll(ctx, idsOf(rows))
	},
}

var organizations = &kind{
	Roll: &event.Organizations, none: "nothing", which: "which",
	decode: func(s *source.Source, row []byte, at time.Time) (event.Record, error) {
		return s.DecodeOrganization(row, at)
	},
	count: (*clerk.API).CountOrganizations, list: (*clerk.API).ListOrganizations,
	fetch: func(ctx context.Context, api *clerk.API, rows []directory.Pair) ([][]byte, error) {
		return api.FetchOrganizations(ctx, idsOf(rows))
	},
}

var memberships = &kind{
	Roll: &event.Memberships, none: "nothing", which: "which",
	decode: func(s *source.Source, row []byte, at time.Time) (event.Record, error) {
		m, _, err := s.DecodeMembership(row, at) // its organisation has been compared before
		return m, err
	},
	count: (*clerk.API).CountMemberships, list: (*clerk.API).ListMemberships, fetch: fetchMemberships,
}

// kinds are what is compared of a provider, in this order: a membership needs its user and its organisation.
func (cfg Config) kinds() []*kind {
	if cfg.API == nil {
		return []*kind{users}
	}
	return []*kind{users, organizations, memberships}
}

func idsOf(rows []directory.Pair) []string {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids
}

// fetchMemberships asks for each by its organisation and user. A membership with another id is another one: who
// has left and joined again. One that does not say whose it is shows that nothing can be told.
func fetchMemberships(ctx context.Context, api *clerk.API, rows []directory.Pair) ([][]byte, error) {
	of := make([]clerk.Member, len(rows))
	for i, r := range rows {
		if m, ok := r.Roll.(*event.Membership); ok && m.OrganizationID != nil && m.UserID != nil {
			of[i] = clerk.Member{Organization: *m.OrganizationID, User: *m.UserID}
		}
	}
	found, err := api.FetchMemberships(ctx, of)
	for i, row := range found {
		var m struct {
			ID   string `json:"id"`
			User struct {
				ID string `json:"user_id"`
			} `json:"public_user_data"`
		}
		if row != nil && json.Unmarshal(row, &m) == nil && m.User.ID == of[i].User && m.ID != rows[i].ID {
			found[i] = nil
		}
	}
	return found, err
}

// life tells the lives of a membership apart: who leaves and joins again may keep its id. All else has one.
func life(r event.Record) int64 {
	m, ok := r.(*event.Membership)
	switch {
	case !ok:
		return 0
	case m.CreatedAt == nil:
		return math.MinInt64
	}
	return m.CreatedAt.UnixMicro()
}

// finding is what a look at a user, an organisation or a membership had to say.
func finding(r event.Record, at time.Time, kind string) event.Event {
	head := r.Head()
	e := event.Event{Source: head.Source, Type: kind, Op: event.Upsert, ReceivedAt: at.UTC(), SeenAt: at}
	if head.Dead() {
		e.Op = event.Delete
	}
	switch r := r.(type) {
	case *event.User:
		e.UserID, e.User = r.ID, r
	case *event.Organization:
		e.Organization = r
	case *event.Membership:
		e.Membership = r
		if r.UserID != nil {
			e.UserID = *r.UserID
		}
	}
	return e
}

// tombstone is what is left of a row that was last known so and is gone.
func tombstone(r event.Record, at time.Time) event.Record {
	head := r.Head()
	row := event.Row{Source: head.Source, ID: head.ID, Version: head.Version, DeletedAt: &at}
	switch r := r.(type) {
	case *event.Organization:
		return &event.Organization{Row: row}
	case *event.Membership:
		return &event.Membership{Row: row, OrganizationID: r.OrganizationID, UserID: r.UserID, CreatedAt: r.CreatedAt}
	}
	return &event.User{Row: row}
}
