package replay

import (
	"context"
	"fmt"
	"slices"

	"rollcall/internal/event"
	"rollcall/internal/postgres/history"
	"rollcall/internal/postgres/roll"
)

// item is an event on its way through a replay.
type item struct {
	Result

	decoded *event.Event // nil without a body
	// events are what is submitted for it: parts of what it says, then a request to settle its rows.
	events   []event.Event
	outcomes []event.Outcome // of events
	main     int             // which of events has the outcome
	settles  bool            // the last of events settles the rows
	current  bool            // the roll has exactly what the event says
}

func (i *item) skip(reason string) { i.Became, i.Reason = Skipped, reason }

// withoutBody settles the user, which is all that can be done.
func (i *item) withoutBody() {
	i.Reason = "it has no body any more, or its type never has one"
	if i.User == "" {
		i.skip(i.Reason)
		return
	}
	i.Reason += ": the user was settled as the roll has them"
	i.events = []event.Event{{Source: i.Source, Type: i.Type, Op: event.Settle, UserID: i.User, ReceivedAt: i.ReceivedAt}}
}

// read makes of a decoded event what is submitted. It has no id, or it would be a duplicate of itself. It is no news
// either: what the roll has learned at an equal version after the event came stays, so an upsert counts as an
// observation of that moment. A deletion is final, whenever it came. A signal for a table source says nothing itself.
func (i *item) read(e event.Event, signal bool) {
	i.decoded = new(e)
	if i.unread() {
		i.Type, i.User = e.Type, e.UserID
	}
	i.Reason = e.Reason
	switch e.Op {
	case event.Undecodable:
		i.Became = event.UndecodableBody
		return
	case event.Ignore:
		i.Became = event.Ignored
		return
	case event.Announce:
		i.Became = event.Announced
		if !i.unread() {
			i.skip("an announcement says nothing that could be applied")
		}
		return
	default:
	}
	e.ID, e.Body, e.Explain = "", nil, func(reason string) { i.Reason = reason }
	if signal && e.User != nil {
		i.events = []event.Event{e}
		return
	}
	if e.Op == event.Delete && e.Membership != nil && e.Organization != nil {
		alone := e
		alone.Op, alone.Membership, alone.SeenAt = event.Upsert, nil, e.ReceivedAt
		e.Organization = nil
		i.events, i.main = append(i.events, alone), 1
	}
	if e.Op != event.Delete {
		e.SeenAt = e.ReceivedAt
	}
	again := *i.decoded
	again.ID, again.Body, again.Op, again.User = "", nil, event.Settle, nil
	if i.decoded.User != nil {
		again.UserID = i.decoded.User.ID
	}
	i.events, i.settles = append(i.events, e, again), true
}

// unread reports whether the event could not be read when it was recorded.
func (i *item) unread() bool { return i.Outcome == string(event.UndecodableBody) }

// conclude says what became of the event.
func (i *item) conclude() {
	if len(i.outcomes) == 0 {
		return
	}
	i.Became = i.outcomes[i.main]
	if i.Became != event.Stale || !i.settles {
		return
	}
	settled := i.outcomes[len(i.outcomes)-1]
	known := slices.Contains([]string{string(event.Applied), string(event.Parked)}, i.Outcome)
	switch {
	case settled == event.Parked:
		i.Became = event.Parked
	case i.current && !known:
		i.Became = event.Applied
	case known:
		i.Became = event.Duplicate
	}
}

// findCurrent finds out which of the events that could not be read before, and now seem to be overtaken, the roll has
// exactly: an earlier replay, which was interrupted, has applied them.
func (r Replay) findCurrent(ctx context.Context, items []item) error {
	for n := range items {
		i := &items[n]
		if !i.unread() || !i.settles || i.outcomes[i.main] != event.Stale {
			continue
		}
		name, record := nameOf(i.decoded)
		m, err := r.DB.Roll().Member(ctx, name)
		if err != nil {
			return fmt.Errorf("replay event %s of %s: %w", i.ID, i.Source, err)
		}
		head := record.Head()
		i.current = m.Known && m.ID == head.ID && m.Version == head.Version && m.Deleted == head.Dead()
	}
	return nil
}

// nameOf names the row that an event is about, and the state that it carries.
func nameOf(e *event.Event) (roll.Name, event.Record) {
	switch m := e.Membership; {
	case m != nil && m.OrganizationID != nil && m.UserID != nil:
		return roll.Name{Roll: &event.Memberships, Source: e.Source, ID: *m.OrganizationID, User: *m.UserID}, m
	case e.Organization != nil:
		return roll.Name{Roll: &event.Organizations, Source: e.Source, ID: e.Organization.ID}, e.Organization
	default:
		return roll.Name{Roll: &event.Users, Source: e.Source, ID: e.User.ID}, e.User
	}
}

// correction is what is to be corrected of the recorded event, if anything.
func (i *item) correction() (c history.Correction, wrong bool) {
	c = history.Correction{Key: history.Key{Source: i.Source, ID: i.ID}, Outcome: string(i.Became)}
	switch {
	case i.Became == Skipped, i.Became == event.UndecodableBody:
		return c, false
	case i.unread():
		c.Reread, c.Type, c.User, c.Body = true, i.decoded.Type, i.decoded.UserID, i.decoded.Body
	case i.Became == event.Ignored:
		return c, false
	case i.Became == event.Duplicate, i.decoded == nil:
		// What the roll has was settled, so a target that refused it does so no more.
		if i.Outcome != string(event.Parked) || i.Became == event.Parked {
			return c, false
		}
		c.Outcome = string(event.Applied)
	case i.Became == event.Stale:
		return c, false
	}
	return c, c.Reread || c.Outcome != i.Outcome
}
