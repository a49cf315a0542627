package trial

import (
	"context"
	"fmt"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// Why looks for the reasons of outcomes in the database.
type Why struct {
	DB     *postgres.DB
	Source *source.Source
	// Table is the table that decides about the users of the source, "" where their versions do.
	Table string
}

// Parked says by which targets, and why, what an event is about is parked.
func (w Why) Parked(ctx context.Context, e event.Event) (map[string]string, error) {
	reasons := map[string]string{}
	id := idOf(&e)
	if id == "" {
		return reasons, nil
	}
	parked, err := w.DB.Audit().ParkedFor(ctx, w.Source.Name(), id)
	for target, p := range parked {
		reasons[target] = p.Error
	}
	return reasons, err
}

// Stale says what counts more than an event: what the roll has of the user or the like, or the table; "" where that
// can't be said.
func (w Why) Stale(ctx context.Context, r testevent.Request) string {
	e := r.Event()
	rows, err := w.DB.Audit().InRoll(ctx, idOf(&e))
	if err != nil {
		return ""
	}
	for i := range rows {
		if rows[i].Source != w.Source.Name() {
			continue
		}
		one := rows[i].Roll.One
		switch {
		case !rows[i].Deleted:
			return fmt.Sprintf("the roll has a newer state of this %s, of %s", one, rows[i].Version.Format(time.RFC3339))
		case w.Table != "":
			return w.absent()
		case rows[i].Roll == &event.Memberships:
			return "the membership has ended; one that begins later counts: --set data.created_at=…"
		}
		return fmt.Sprintf("the %s is deleted, for good; send events about another one: --set %s=…", one, idPath(r))
	}
	if w.Table != "" {
		return w.absent()
	}
	return ""
}

func (w Why) absent() string {
	return fmt.Sprintf("the user is not in %s, which decides; insert a row there, or write users_table: none into the source", w.Table)
}

// idPath is where the id of the user, or of the organisation, stands in a body.
func idPath(r testevent.Request) string {
	switch {
	case r.Source.Provider() == source.Clerk:
		return "data.id"
	case r.Endpoint == source.Database:
		return "record.id"
	}
	return "user.id"
}
