// Package history finds recorded events: newest first by pages for people, in order of arrival for a replay, and
// single ones with their bodies. It hides the indexes by which a million events are searched:
//
//	h := history.History{Pool: pool}
//	page, err := h.List(ctx, history.Filter{Outcomes: []string{"parked"}}, history.Paging{Limit: 50})
//	next, err := h.List(ctx, filter, history.Paging{Limit: 50, After: page.Next})
package history

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
)

// History is the recorded events of a database.
type History struct{ Pool *connection.Pool }

// Filter chooses events; what is empty chooses all.
type Filter struct {
	Sources, Types, Outcomes []string
	// Users are ids: events about a membership are its user's, too.
	Users []string
	// Since is the first moment of receipt, Until the first one after the last.
	Since, Until time.Time
}

// Order is that of a list.
type Order int

// The orders. Events that arrived at the same moment are in the order of source and id.
const (
	NewestFirst Order = iota
	OldestFirst
)

// Paging is which part of a list is wanted.
type Paging struct {
	Order Order
	// Limit is how many events, 0 for none; After where the page before ended: its Next, empty for the first page.
	Limit int
	After string
}

// Event is a recorded event without its body.
type Event struct {
	Source  string `json:"source"`
	ID      string `json:"id"`
	Type    string `json:"type"`
	User    string `json:"user,omitempty"`
	Outcome string `json:"outcome"`
	// Reason is what the rules about sign-ups have decided.
	Reason     string    `json:"reason,omitempty"`
	ReceivedAt time.Time `json:"received_at"`
	// Bytes is the size of the body; nil when there is none: it was private, or retention has removed it.
	Bytes *int `json:"bytes"`
}

// Page is a part of a list.
type Page struct {
	Events []Event `json:"events"`
	// Next continues the list behind this page; empty at its end.
	Next string `json:"next,omitempty"`
}

// ErrCursor means that Paging.After is no Page.Next.
var ErrCursor = errors.New("this is no cursor of a list of events; write the next of the page before")

// cursor is a place in a list: behind an event.
type cursor struct {
	At     time.Time `json:"t"`
	Source string    `json:"s"`
	ID     string    `json:"i"`
}

func cursorOf(e *Event) string {
	text, err := json.Marshal(cursor{e.ReceivedAt, e.Source, e.ID})
	if err != nil {
		panic(err) // a time and two texts
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func readCursor(text string) (cursor, error) {
	var c cursor
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil || c.At.IsZero() {
		return c, ErrCursor
	}
	return c, nil
}

// moment is a bound in time, or without one the infinity.
func moment(at time.Time, otherwise pgtype.InfinityModifier) pgtype.Timestamptz {
	if at.IsZero() {
		return pgtype.Timestamptz{InfinityModifier: otherwise, Valid: true}
	}
	return pgtype.Timestamptz{Time: at, Valid: true}
}

// args are the first parameters of the statements.
func (f *Filter) args() []any {
	return []any{orNull(f.Sources), orNull(f.Types), orNull(f.Outcomes), moment(f.Since, pgtype.NegativeInfinity), moment(f.Until, pgtype.Infinity)}
}

func orNull(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// List returns a page of the events that a filter chooses. Its error wraps ErrCursor if After is none.
func (h History) List(ctx context.Context, f Filter, p Paging) (Page, error) {
	if p.Limit == 0 {
		return Page{Events: []Event{}}, nil
	}
	// The list begins behind a place; a bound of the filter is one, too, which an index goes to at once.
	from, statements := []any{moment(f.Until, pgtype.Infinity), "", ""}, newestSQL
	if p.Order == OldestFirst {
		from, statements = []any{moment(f.Since, pgtype.NegativeInfinity), "", ""}, oldestSQL
	}
	if p.After != "" {
		c, err := readCursor(p.After)
		if err != nil {
			return Page{}, err
		}
		from = []any{c.At, c.Source, c.ID}
	}
	args := append(append(f.args(), from...), p.Limit+1)
	statement := statements.all
	if len(f.Users) > 0 {
		statement, args = statements.ofUsers, append(args, f.Users)
	}
	events, err := h.read(ctx, statement, args...)
	if err != nil {
		return Page{}, err
	}
	page := Page{Events: events}
	if len(events) > p.Limit {
		page.Events = events[:p.Limit]
		page.Next = cursorOf(&events[p.Limit-1])
	}
	return page, nil
}

func (h History) read(ctx context.Context, statement string, args ...any) ([]Event, error) {
	list := []Event{}
	err := connection.ReadOnly(ctx, h.Pool, func(tx pgx.Tx) error {
		// An index has events in the order of their arrival; sorting all of a kind would read them all, where only those
		// that arrived at one moment are to be sorted.
		if _, err := tx.Exec(ctx, "set local enable_sort = off"); err != nil {
			return err
		}
		var e Event
		rows, _ := tx.Query(ctx, statement, args...)
		_, err := pgx.ForEachRow(rows, []any{&e.Source, &e.ID, &e.Type, &e.User, &e.Outcome, &e.ReceivedAt, &e.Bytes, &e.Reason}, func() error {
			e.ReceivedAt = e.ReceivedAt.UTC()
			list = append(list, e)
			return nil
		})
		return err
	})
	if sqlstate.Of(err) == sqlstate.QueryCanceled {
		return nil, fmt.Errorf("look for events: %w; if the indexes events_kinds and events_of_user are missing, run rollcall migrate", err)
	}
	if err != nil {
		return nil, fmt.Errorf("look for events: %w", h.Pool.Explain(err))
	}
	return list, nil
}

// Count returns how many events a filter chooses.
func (h History) Count(ctx context.Context, f Filter) (n int64, err error) {
	statement, args := countSQL, f.args()
	if len(f.Users) > 0 {
		statement, args = countOfUsersSQL, append(args, f.Users)
	}
	err = h.Pool.Scan(ctx, func(tx pgx.Tx) error {
		const byIndex = "set local enable_seqscan = off; set local enable_nestloop = on"
		if _, err := tx.Exec(ctx, byIndex); err != nil {
			return err
		}
		return tx.QueryRow(ctx, statement, args...).Scan(&n)
	})
	return n, connection.Wrap(h.Pool.Explain(err), "count events")
}

// Named returns the events with some ids, in order of arrival; of one source, or for "" of all.
func (h History) Named(ctx context.Context, source string, ids ...string) ([]Event, error) {
	var of *string
	if source != "" {
		of = &source
	}
	return h.read(ctx, namedSQL, of, ids)
}

// Beginning returns the last events by id, of those whose plain ids begin so; at most limit of each source.
func (h History) Beginning(ctx context.Context, sources []string, id string, limit int) ([]Event, error) {
	return h.read(ctx, beginningSQL, sources, id, limit)
}

// Key names an event.
type Key struct{ Source, ID string }

// Bodies returns the bodies of those events that have one.
func (h History) Bodies(ctx context.Context, events []Event) (map[Key][]byte, error) {
	sources, ids := make([]string, len(events)), make([]string, len(events))
	for i := range events {
		sources[i], ids[i] = events[i].Source, events[i].ID
	}
	bodies := map[Key][]byte{}
	rows, _ := h.Pool.Query(ctx, bodiesSQL, sources, ids)
	var k Key
	var body []byte
	_, err := pgx.ForEachRow(rows, []any{&k.Source, &k.ID, &body}, func() error {
		bodies[k], body = body, nil
		return nil
	})
	return bodies, connection.Wrap(h.Pool.Explain(err), "read the bodies of events")
}
