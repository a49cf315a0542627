package roll

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"rollcall/internal/event"
	"rollcall/internal/postgres/settle"
)

// Events that keep columns (event.User.Kept) apply all that can be used of a user. The roll
// statement leaves the columns that are kept as they are.

// WithoutMetadata is the event of a living user that keeps whatever a client may have written,
// because of a reason.
func WithoutMetadata(e event.Event, because string) event.Event {
	u, empty := *e.User, event.Users.Empty()
	u.Kept = nil
	for i := range event.Users.Fields {
		f := &event.Users.Fields[i]
		switch at := f.At(&u).(type) {
		case **string:
			if !f.Keeps {
				continue
			}
			*at = nil
		case *string:
			if *at == "" {
				continue
			}
			*at = *pointer[*string](f, empty)
		default:
			continue
		}
		u.Kept = append(u.Kept, f.Name)
	}
	slices.Sort(u.Kept)
	u.KeptBecause = because
	e.User = &u
	return e
}

// keptAfterOthers returns the positions of the events that keep columns, which are to be applied later
// than all others, if another event of the batch is about one of their rows: nil nearly always. A
// batch applies one event of each row; what the others say would not be the last known value. The
// version decides as it does over two batches.
func keptAfterOthers(events []event.Event) (sooner, later []int) {
	keeping := map[settle.Key]bool{}
	for i := range events {
		if columns, _ := events[i].Kept(); len(columns) > 0 {
			later = append(later, i)
			for _, key := range rowsOf(&events[i]) {
				keeping[key] = true
			}
		}
	}
	if later == nil {
		return nil, nil
	}
	shared := false
	for i := range events {
		if !slices.Contains(later, i) {
			sooner = append(sooner, i)
			shared = shared || slices.ContainsFunc(rowsOf(&events[i]), func(key settle.Key) bool { return keeping[key] })
		}
	}
	if !shared {
		return nil, nil
	}
	return sooner, later
}

// rowsOf are the rows that an event is about, in the order of locks.
func rowsOf(e *event.Event) []settle.Key {
	var keys []settle.Key
	for _, roll := range event.Rolls {
		if record := roll.Of(e); record != nil {
			keys = append(keys, settle.Key{Roll: roll, Source: record.Head().Source, ID: record.Head().ID})
		}
	}
	return keys
}

const saysKept = "columns keep their last known value; the rest is applied"

// warnOfKept writes a line for each observation that was applied without some columns. The line of a
// webhook says so itself.
func (r *Roll) warnOfKept(ctx context.Context, events []event.Event, outcomes []event.Outcome) {
	for i, o := range outcomes {
		e := &events[i]
		columns, because := e.Kept()
		if columns == nil || e.ID != "" || o != event.Applied && o != event.Parked {
			continue
		}
		attrs := []slog.Attr{slog.String("source", e.Source), slog.String("type", e.Type), slog.String("user", e.UserID)}
		if id := e.OrganizationID(); id != "" {
			attrs = append(attrs, slog.String("organization", id))
		}
		attrs = append(attrs, slog.String("kept", strings.Join(columns, " ")), slog.String("reason", because))
		r.targets.Log.LogAttrs(ctx, slog.LevelWarn, saysKept, attrs...)
	}
}
