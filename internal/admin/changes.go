package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/auditlog"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/history"
	"rollcall/internal/replay"
	"rollcall/internal/source"
)

// ErrNoEvent means that the event is not recorded, or not any more.
var ErrNoEvent = errors.New("there is no such event")

// Event is a recorded event; ErrNoEvent.
func (o *Operator) Event(ctx context.Context, source, id string) (history.Event, error) {
	list, err := o.DB.History().Named(ctx, source, id)
	if err == nil && len(list) == 0 {
		err = ErrNoEvent
	}
	if err != nil {
		return history.Event{}, err
	}
	return list[0], nil
}

// EventKey names an event.
type EventKey struct{ Source, ID string }

// EventBody is an event with its body.
type EventBody struct {
	history.Event

	Body     json.RawMessage `json:"body,omitempty" doc:"masked, unless it is revealed; absent when none is kept"`
	Revealed bool            `json:"revealed"`
}

// Body is an event with its body, with its personal data masked unless they are to be revealed, which is noted;
// ErrNoEvent.
func (o *Operator) Body(ctx context.Context, by string, of EventKey, reveal bool) (EventBody, error) {
	e, err := o.Event(ctx, of.Source, of.ID)
	if err != nil {
		return EventBody{}, err
	}
	bodies, err := o.DB.History().Bodies(ctx, []history.Event{e})
	out := EventBody{Event: e, Revealed: reveal}
	body := bodies[history.Key(of)]
	switch {
	case err != nil || body == nil:
		return out, err
	case reveal:
		o.note(ctx, auditlog.Entry{Who: by, Action: "reveal", Object: "event " + of.Source + "/" + of.ID, Result: "shown"})
	default:
		body = source.MaskBody(body)
	}
	if out.Body = body; !json.Valid(body) {
		out.Body, err = json.Marshal(string(body))
	}
	return out, err
}

// Foresee says what replaying an event would change.
func (o *Operator) Foresee(ctx context.Context, source, id string) (*replay.Foreseen, error) {
	e, err := o.Event(ctx, source, id)
	if err != nil {
		return nil, err
	}
	return o.Replay().DryRun(ctx, []history.Event{e})
}

// ReplayEvent replays an event.
func (o *Operator) ReplayEvent(ctx context.Context, by, source, id string) (replay.Result, error) {
	e, err := o.Event(ctx, source, id)
	if err != nil {
		return replay.Result{}, err
	}
	results, err := o.Replay().Events(ctx, []history.Event{e})
	if err != nil {
		return replay.Result{}, err
	}
	o.note(ctx, auditlog.Entry{Who: by, Action: "replay", Object: source + "/" + id, Result: string(results[0].Became)})
	return results[0], nil
}

// Settle brings a user's rows in step with the roll.
func (o *Operator) Settle(ctx context.Context, by, source, id string) (event.Outcome, error) {
	e := event.Event{Source: source, Type: "settled by an operator", Op: event.Settle, UserID: id}
	outcomes, err := o.Replay().Submit(ctx, []event.Event{e})
	if err != nil {
		return "", err
	}
	o.note(ctx, auditlog.Entry{Who: by, Action: "settle", Object: "users/" + source + "/" + id, Result: string(outcomes[0])})
	return outcomes[0], nil
}

// groupsShown is how many groups of a target's parked rows are shown.
const groupsShown = 50

// Parked are the groups of what targets refuse; of all targets, or of all rows, for none.
func (o *Operator) Parked(ctx context.Context, targets, ids []string) ([]audit.ParkedGroup, error) {
	if len(targets) == 0 {
		for _, s := range o.DB.Targets().States() {
			targets = append(targets, s.Name)
		}
	}
	return o.DB.Audit().ParkedGroups(ctx, audit.ParkedFilter{Targets: targets, Users: ids, Groups: groupsShown})
}

// GiveUp has parked rows of a target tried no more: of some ids, or all of them for none.
func (o *Operator) GiveUp(ctx context.Context, by, target string, ids []string) (int64, error) {
	if o.DB.Targets().Named(target) == nil {
		return 0, &MisfitError{"target", target, "there is no such target"}
	}
	n, err := o.DB.Parked().GiveUp(ctx, target, ids)
	if err == nil {
		o.note(ctx, auditlog.Entry{Who: by, Action: "give up", Object: strings.Join(append([]string{target}, ids...), " "), Result: fmt.Sprint(n, " rows")})
	}
	return n, err
}

// Erase forgets what is kept of a user; erasure.ErrLiving and erasure.ErrUnknownUser. The erasure notes itself.
func (o *Operator) Erase(ctx context.Context, by string, e erasure.Request) (erasure.Result, error) {
	e.Who = by
	return o.DB.Eraser().Erase(ctx, e)
}
