// Package replay applies recorded events once more. It hides what that means for an event that could not be read, that
// has no body any more, or that the roll has overtaken. Everything takes the path of a webhook from its decoding on, so
// that nothing is doubled, revived or put back:
//
//	r := replay.Replay{DB: db, Sources: sources, Submit: worker.Submit}
//	foreseen, err := r.DryRun(ctx, events) // what Events would do
//	results, err := r.Events(ctx, events)
package replay

import (
	"context"
	"fmt"
	"slices"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/history"
	"rollcall/internal/source"
)

// Replay replays recorded events of the sources of a configuration.
type Replay struct {
	DB      *postgres.DB
	Sources []*source.Source
	// Submit brings events to their outcomes: that of a pipeline. A dry run does without.
	Submit func(context.Context, []event.Event) ([]event.Outcome, error)
	// Reveal has changes name personal data, which are masked otherwise.
	Reveal bool
}

// Skipped is the outcome of an event of which nothing could be replayed.
const Skipped event.Outcome = "skipped"

// Result is what became of a recorded event.
type Result struct {
	history.Event
	// Became is the outcome of the replay: applied, parked, undecodable and ignored as of a webhook; duplicate if the
	// roll has what the event says, or something newer, and the rows were settled again; stale if it has something
	// newer and the event was never applied; skipped if there is nothing to replay.
	Became event.Outcome `json:"became"`
	// Reason says why, where that is not plain.
	Reason string `json:"reason,omitempty"`
}

// pageBytes bounds the bodies that are read together.
const pageBytes = 8 << 20

// Events replays events in the order in which they were received, corrects their recorded outcomes, and returns what
// became of each, in the order of events. An error means that some may have been replayed; replaying them again does
// no harm.
func (r Replay) Events(ctx context.Context, events []history.Event) ([]Result, error) {
	var results []Result
	for page := range pages(events, len(events)) {
		items, err := r.decode(ctx, page)
		if err != nil {
			return results, err
		}
		if err := submit(ctx, items, r.Submit); err != nil {
			return results, err
		}
		if err := r.findCurrent(ctx, items); err != nil {
			return results, err
		}
		var corrections []history.Correction
		for i := range items {
			items[i].conclude()
			if c, ok := items[i].correction(); ok {
				corrections = append(corrections, c)
			}
			results = append(results, items[i].Result)
		}
		if err := r.DB.History().Correct(ctx, corrections); err != nil {
			return results, err
		}
	}
	return results, nil
}

// pages divides events so that the bodies of a page take no more than pageBytes, if it has several.
func pages(events []history.Event, most int) func(yield func([]history.Event) bool) {
	return func(yield func([]history.Event) bool) {
		for len(events) > 0 {
			n, bytes := 0, 0
			for n < len(events) && n < most {
				if size := events[n].Bytes; size != nil {
					bytes += *size
				}
				if n > 0 && bytes > pageBytes {
					break
				}
				n++
			}
			if !yield(events[:n]) {
				return
			}
			events = events[n:]
		}
	}
}

// decode reads the bodies of events and makes of each what is to be submitted.
func (r Replay) decode(ctx context.Context, events []history.Event) ([]item, error) {
	bodies, err := r.DB.History().Bodies(ctx, events)
	if err != nil {
		return nil, err
	}
	items := make([]item, len(events))
	for i := range events {
		e := events[i]
		items[i].Event = e
		at := slices.IndexFunc(r.Sources, func(s *source.Source) bool { return s.Name() == e.Source })
		body, has := bodies[history.Key{Source: e.Source, ID: e.ID}]
		switch {
		case at < 0:
			items[i].skip("the configuration has no source " + e.Source)
		case has:
			recorded := event.Event{Source: e.Source, ID: e.ID, Type: e.Type, UserID: e.User, ReceivedAt: e.ReceivedAt, Body: body}
			items[i].read(r.Sources[at].DecodeRecorded(recorded), r.DB.Roll().Follows(e.Source))
		default:
			items[i].withoutBody()
		}
	}
	return items, nil
}

// submit brings what items consist of to its outcomes.
func submit(ctx context.Context, items []item, apply func(context.Context, []event.Event) ([]event.Outcome, error)) error {
	var events []event.Event
	for i := range items {
		events = append(events, items[i].events...)
	}
	if len(events) == 0 {
		return nil
	}
	outcomes, err := apply(ctx, events)
	if err != nil {
		return fmt.Errorf("replay events: %w", err)
	}
	for i := range items {
		n := len(items[i].events)
		items[i].outcomes, outcomes = outcomes[:n], outcomes[n:]
		if slices.Contains(items[i].outcomes, event.Unavailable) {
			return fmt.Errorf("replay event %s of %s: %w", items[i].ID, items[i].Source, event.ErrUnavailable)
		}
	}
	return nil
}
