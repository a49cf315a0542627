package operate

import (
	"fmt"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
)

// ParkedGroup is the users that a target refuses in the same words.
type ParkedGroup struct {
	Target  string     `json:"target"`
	Source  string     `json:"source"`
	Users   int64      `json:"users"`
	ID      string     `json:"id"`              // of the first of them
	Email   string     `json:"email,omitempty"` // masked
	Error   string     `json:"error"`
	Next    *time.Time `json:"next,omitempty"` // none: all are given up
	GivenUp int64      `json:"given_up"`
}

// NewParkedGroups takes over what the database says.
func NewParkedGroups(groups []audit.ParkedGroup) []ParkedGroup {
	var list []ParkedGroup
	for _, g := range groups {
		p := ParkedGroup{g.Target, g.Source, g.Users, g.ID, g.Email, g.Error, nil, g.GivenUp}
		if !g.RetryAt.IsZero() {
			p.Next = &g.RetryAt
		}
		list = append(list, p)
	}
	return list
}

// ParkedLines name who is parked and why, and say what helps. They stand wherever a number of parked users
// does.
func ParkedLines(groups []ParkedGroup) []string {
	var lines []string
	for _, g := range groups {
		who := g.ID
		if g.Email != "" {
			who += " (" + g.Email + ")"
		}
		when := "given up"
		if g.Next != nil {
			when = "next try " + g.Next.Format(time.RFC3339)
		}
		lines = append(lines, event.Printable(fmt.Sprintf("%s: parked: %d, such as %s of %s: %s; %s",
			g.Target, g.Users, who, g.Source, g.Error, when)))
	}
	if len(lines) > 0 {
		lines = append(lines, "correct the table, or what it refuses; rollcall check --repair then tries all of them at once")
	}
	return lines
}
