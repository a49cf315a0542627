package admin

import (
	"context"
	"errors"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
)

// User is a row of a roll and how every target has it.
type User struct {
	Roll     string         `json:"roll" enum:"users,organizations,memberships"`
	Source   string         `json:"source"`
	ID       string         `json:"id"`
	Email    string         `json:"email,omitempty" doc:"masked"`
	Version  time.Time      `json:"version" doc:"the provider's own updated_at"`
	Deleted  bool           `json:"deleted"`
	ErasedAt *time.Time     `json:"erased_at,omitempty" doc:"of a user whose personal data was erased"`
	Kept     []string       `json:"kept,omitempty" doc:"columns that keep their last known value"`
	Rows     []audit.Status `json:"rows" doc:"by target"`
	// Memberships are those of a user, the living ones first.
	Memberships []Membership `json:"memberships,omitempty" doc:"of a user, the living ones first; at most 100"`
}

// Membership is a membership of a user and how every target that follows memberships has it.
type Membership struct {
	ID             string         `json:"id"`
	OrganizationID string         `json:"organization_id"`
	Organization   string         `json:"organization,omitempty" doc:"its name"`
	Role           string         `json:"role,omitempty"`
	Version        time.Time      `json:"version" doc:"the provider's own updated_at"`
	Deleted        bool           `json:"deleted"`
	Rows           []audit.Status `json:"rows" doc:"by target"`
}

// Users are the rows of the roll with an id, or users with an e-mail, beside their rows in every target.
func (o *Operator) Users(ctx context.Context, who string) ([]User, error) {
	found, err := o.DB.Audit().Users(ctx, who, audit.Options{Rows: true})
	if errors.Is(err, audit.ErrNotInRoll) {
		err = nil
	}
	list := []User{}
	for _, u := range found {
		shown := User{
			Roll: u.Roll.Name, Source: u.Source, ID: u.ID, Email: u.Email, Version: u.Version, Deleted: u.Deleted, ErasedAt: u.ErasedAt, Kept: u.Kept,
			Rows: append([]audit.Status{}, u.Statuses...),
		}
		if u.Roll == &event.Users {
			if shown.Memberships, err = o.memberships(ctx, u.Source, u.ID); err != nil {
				return nil, err
			}
		}
		list = append(list, shown)
	}
	return list, err
}

func (o *Operator) memberships(ctx context.Context, source, user string) ([]Membership, error) {
	members, err := o.DB.Audit().Members(ctx, source, user, audit.Options{Rows: true})
	var list []Membership
	for _, m := range members {
		list = append(list, Membership{m.ID, m.Organization, m.Name, m.Role, m.Version, m.Deleted, append([]audit.Status{}, m.Statuses...)})
	}
	return list, err
}
