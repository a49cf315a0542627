// Package trial sends built-in events about made-up users to a running service, and says what they change. It hides
// which event is about which user, how rows are compared, and why an outcome is what it is:
//
//	t := trial.Trial{Replay: r, Base: "http://127.0.0.1:8080", Table: table}
//	foreseen, err := t.Foresee(ctx, trial.Sample{Source: "clerk", Event: "user.created", User: 7})
//	sent, err := t.Send(ctx, sample)
package trial

import (
	"cmp"
	"context"
	"encoding/json"

	"rollcall/internal/event"
	"rollcall/internal/replay"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// Trial sends samples to a service.
type Trial struct {
	Replay replay.Replay
	// Table is the table that decides about the users of a source, "" where their versions do.
	Table func(source string) string
	// Decide says what the rules of a source decide about a sign-up; the outcome is "" where it has none. Nil for no rules.
	Decide func(ctx context.Context, source string, user *event.User) (event.Outcome, string)
	// Base is where the service receives, scheme://host:port.
	Base string
}

// Tried is what a sample would change, or has changed.
type Tried struct {
	Sample

	// Type is the provider's name of the event, Roll and ID name what it is about; ID is "" where it is about nobody.
	Type string `json:"type"`
	Roll string `json:"roll"`
	ID   string `json:"id,omitempty"`
	// MadeUp: it is about a built-in user or the like, not about one that a change names.
	MadeUp bool `json:"made_up" doc:"false: a change names another user than the made-up ones"`
	Sent   bool `json:"sent" doc:"false: nothing has changed"`
	// Status is that of the answer, 0 before it is sent.
	Status  int    `json:"status,omitempty" doc:"of the answer; absent when it was not sent"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty" doc:"why it is this outcome"`
	// Changes are the rows of targets, with their columns that differ. Of a made-up user they are shown as they are,
	// of any other one personal data are masked.
	Changes []replay.Change `json:"changes"`
	// Parked says why, by target, of those that refuse the row.
	Parked map[string]string `json:"parked" doc:"why, by target that refuses the row"`
	// Unread says why, by target, of those whose rows can't be read.
	Unread map[string]string `json:"unread" doc:"why, by target whose rows can't be read"`
	Body   json.RawMessage   `json:"body" doc:"of the event"`
	// Undo are samples that delete what this one has made, in their order.
	Undo []Sample `json:"undo" doc:"samples that delete what this one has made"`
}

// Foresee says what a sample would change, and changes nothing. Its error is a *MistakeError where the sample can't be made.
func (t Trial) Foresee(ctx context.Context, s Sample) (*Tried, error) {
	d, err := t.draft(s)
	if err != nil {
		return nil, err
	}
	tried, _, err := t.foresee(ctx, d)
	return tried, err
}

// ForeseeRequest is Foresee for a request that is no sample.
func (t Trial) ForeseeRequest(ctx context.Context, r testevent.Request) (*Tried, error) {
	tried, _, err := t.foresee(ctx, &drafted{sample: Sample{Source: r.Source.Name()}, source: r.Source, request: r, event: r.Event()})
	return tried, err
}

// Send sends a sample, and says what has changed. With an error the result is nil, unless the sample was sent.
func (t Trial) Send(ctx context.Context, s Sample) (*Tried, error) {
	d, err := t.draft(s)
	if err != nil {
		return nil, err
	}
	tried, rows, err := t.foresee(ctx, d) // the rows as they are
	if err != nil {
		return nil, err
	}
	answer, err := testevent.NewSender(t.Base).Post(ctx, d.request)
	if err != nil {
		return nil, err
	}
	foreseen := tried.Outcome
	tried.Sent, tried.Status, tried.Outcome = true, answer.Status, cmp.Or(answer.Outcome, "unavailable")
	if tried.Outcome != foreseen {
		tried.Reason = ""
	}
	tried.Reason = cmp.Or(tried.Reason, answer.Complaint())
	if tried.Changes, err = t.replay(d).Since(ctx, rows); err != nil {
		return tried, err
	}
	tried.Parked, err = t.parked(ctx, d)
	return tried, err
}

// foresee runs the event in a transaction that is rolled back.
func (t Trial) foresee(ctx context.Context, d *drafted) (*Tried, *replay.Trial, error) {
	e := d.event
	why := Why{DB: t.Replay.DB, Source: d.source, Table: t.Table(d.source.Name())}
	rows, err := t.replay(d).Try(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	tried := &Tried{
		Sample: d.sample, Type: e.Type, Roll: rollOf(&e), ID: idOf(&e), MadeUp: d.madeUp, Outcome: string(rows.Became), Reason: rows.Reason,
		Changes: rows.Changes, Parked: rows.Refused, Unread: rows.Unread, Body: d.request.Body, Undo: d.undo(),
	}
	if e := d.event; t.Decide != nil && source.Announces(&e) {
		if outcome, reason := t.Decide(ctx, d.source.Name(), d.request.Announced()); outcome != "" {
			tried.Outcome, tried.Reason = string(outcome), reason
		}
	}
	if rows.Became == event.Stale {
		tried.Reason = cmp.Or(why.Stale(ctx, d.request), tried.Reason)
	}
	return tried, rows, nil
}

// replay shows the rows of a made-up user as they are.
func (t Trial) replay(d *drafted) replay.Replay {
	r := t.Replay
	r.Reveal = d.madeUp
	return r
}

// parked says by which targets, and why, what an event is about is parked.
func (t Trial) parked(ctx context.Context, d *drafted) (map[string]string, error) {
	return Why{DB: t.Replay.DB, Source: d.source}.Parked(ctx, d.event)
}

// rollOf is the roll of what an event is about.
func rollOf(e *event.Event) string {
	switch {
	case e.Membership != nil:
		return event.Memberships.Name
	case e.Organization != nil:
		return event.Organizations.Name
	}
	return event.Users.Name
}

// idOf is the id of what an event is about.
func idOf(e *event.Event) string {
	switch {
	case e.Membership != nil:
		return e.Membership.ID
	case e.Organization != nil:
		return e.Organization.ID
	}
	return e.UserID
}
