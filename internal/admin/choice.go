package admin

import (
	"context"
	"time"

	"rollcall/internal/postgres/history"
	"rollcall/internal/replay"
)

// EventChoice chooses recorded events. What is empty chooses all.
type EventChoice struct {
	Source  string    `json:"source,omitempty" query:"source"`
	User    string    `json:"user,omitempty" query:"user" doc:"id of a user, an organization or a membership"`
	Type    string    `json:"type,omitempty" query:"type"`
	Outcome string    `json:"outcome,omitempty" query:"outcome"`
	Since   time.Time `json:"since,omitzero" query:"since" doc:"first moment of receipt"`
	Until   time.Time `json:"until,omitzero" query:"until" doc:"moment after the last; in a replay the moment of the request without"`
}

// Filter is the choice as the history of events takes it.
func (c EventChoice) Filter() history.Filter {
	return history.Filter{
		Sources: one(c.Source), Users: one(c.User), Types: one(c.Type), Outcomes: one(c.Outcome), Since: c.Since, Until: c.Until,
	}
}

// one is a list of a text, or none.
func one(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// foreseenEvents is how many events of a choice are tried to foresee what their replay would do: no more than one
// transaction, which live events wait for.
const foreseenEvents = 100

// ForeseenChoice is what a replay of a choice of events would do.
type ForeseenChoice struct {
	Events int64 `json:"events" doc:"how many are chosen"`
	// Tried are the first of them.
	Tried    int              `json:"tried" doc:"how many of them, the oldest first, foreseen is about"`
	Foreseen *replay.Foreseen `json:"foreseen"`
}

// ForeseeChoice says what replaying a choice of events would change. It tries the first of them only.
func (o *Operator) ForeseeChoice(ctx context.Context, c EventChoice) (ForeseenChoice, error) {
	var out ForeseenChoice
	var err error
	if out.Events, err = o.DB.History().Count(ctx, c.Filter()); err != nil {
		return out, err
	}
	page, err := o.DB.History().List(ctx, c.Filter(), history.Paging{Order: history.OldestFirst, Limit: foreseenEvents})
	if err != nil {
		return out, err
	}
	out.Tried = len(page.Events)
	out.Foreseen, err = o.Replay().DryRun(ctx, page.Events)
	return out, err
}
