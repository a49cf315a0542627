package reconcile

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/postgres/directory"
)

// tablePage is how many users of a table are compared at once: enough for full batches, little
// to hold, and sorted within the 4 MiB that PostgreSQL allows by default.
const tablePage = 4096

// table is a Supabase project's table of users, in the same database as the roll: both sides of
// a page are of one moment.
type table struct {
	users *directory.Users
	named string
	after string
}

func (t *table) name() string { return t.named }

func (t *table) doubt() string { return "is this the right database?" }

func (t *table) count(ctx context.Context) (total, known int64, err error) { return t.users.Count(ctx) }

func (t *table) begin(position string, _ time.Time) { t.after = position }

func (t *table) close() {}

func (t *table) next(ctx context.Context) (part, error) {
	page, err := t.users.Compare(ctx, t.after, tablePage)
	if err != nil {
		return part{}, err
	}
	t.after = page.Last
	return part{compared: page, position: page.Last, end: page.End}, nil
}

func (t *table) countAbsent(ctx context.Context) (int64, error) { return t.users.CountAbsent(ctx) }

func (t *table) absent(ctx context.Context, after string) ([]directory.Pair, error) {
	return t.users.Absent(ctx, after, tablePage)
}

// confirm leaves out users who are there again: the next run compares them.
func (t *table) confirm(ctx context.Context, absent []directory.Pair) (gone, there []directory.Pair, err error) {
	var ids []string
	for _, p := range absent {
		if uuid.Validate(p.ID) == nil { // otherwise the table can't have the user
			ids = append(ids, p.ID)
		}
	}
	living, err := t.users.Living(ctx, ids)
	if err == nil {
		err = t.users.Visible(ctx) // still
	}
	if err != nil {
		return nil, nil, err
	}
	for _, p := range absent {
		if !living[strings.ToLower(p.ID)] {
			gone = append(gone, p)
		}
	}
	return gone, nil, nil
}

// preview is one read-only transaction, which asks nobody twice.
func (t *table) preview(ctx context.Context, _ func(int64) error, each func(part) error) error {
	return t.users.CompareAll(ctx, tablePage, func(page directory.Compared) error { return each(part{compared: page}) })
}
