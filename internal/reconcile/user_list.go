package reconcile

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"rollcall/internal/postgres/directory"
)

// userList is where a provider's users, or its organisations or memberships, are looked up: the table in this
// database, or the provider's API. It is used by one at a time, but for next, which may run beside the others.
type userList interface {
	// name says what is listed, for people and for the record of the run.
	name() string
	// doubt asks whether it is the right one.
	doubt() string
	// count returns how many rows it has, and how many living ones the roll.
	count(ctx context.Context) (total, known int64, err error)
	// begin says where the list goes on, "" for the beginning, and when that was.
	begin(position string, started time.Time)
	// next returns the next page of the list.
	next(ctx context.Context) (part, error)
	// countAbsent returns how many living rows of the roll were not in the list, which has
	// ended.
	countAbsent(ctx context.Context) (int64, error)
	// absent returns the next of them after an id, none at the end.
	absent(ctx context.Context, after string) ([]directory.Pair, error)
	// confirm asks about each of them once more: who is gone, as of when, and who is there
	// after all and may be compared.
	confirm(ctx context.Context, absent []directory.Pair) (gone, there []directory.Pair, err error)
	// preview hands on pages with all users, in the list or in the roll, and writes nothing. Guard
	// says whether so many may be gone.
	preview(ctx context.Context, guard func(gone int64) error, each func(part) error) error
	close()
}

// eachAbsent asks about each of the users who were not in the list once more, and hands on how many it asked
// about at a time, who of them is gone, and who is there and may be compared.
func eachAbsent(ctx context.Context, from userList, do func(asked int, gone, there []directory.Pair) error) error {
	for after := ""; ; {
		absent, err := from.absent(ctx, after)
		if err != nil || len(absent) == 0 {
			return err
		}
		after = absent[len(absent)-1].ID
		gone, there, err := from.confirm(ctx, absent)
		if err != nil {
			return err
		}
		if err := do(len(absent), gone, there); err != nil {
			return err
		}
	}
}

// part is a page of a list, beside the roll.
type part struct {
	pairs    []directory.Pair   // to be judged
	compared directory.Compared // judged by the database
	span     *span              // of a table, under way
	position string             // behind it
	end      bool               // no other follows
}

// userList opens the one of a configuration. A dry one writes nothing.
func (cfg Config) userList(ctx context.Context, k *kind, dry bool) (userList, error) {
	if cfg.API != nil {
		return cfg.listing(ctx, k, dry)
	}
	users, err := cfg.users(ctx)
	if err != nil {
		return nil, err
	}
	t := &table{users: users, named: cfg.Table}
	t.unknown.Store(true) // the first page tells
	return t, nil
}

// users is the source's table of users. It decides what is so from now on, if it did not before.
func (cfg Config) users(ctx context.Context) (*directory.Users, error) {
	if err := cfg.DB.Roll().Follow(ctx, cfg.Source.Name(), cfg.Table); err != nil {
		return nil, err
	}
	return cfg.DB.Directory().Users(ctx, cfg.Source.Name(), cfg.Table)
}

// tablePage is how many users of a table are compared at once: enough for full batches, little
// to hold, and sorted within the 4 MiB that PostgreSQL allows by default.
const tablePage = 4096

// table is a Supabase project's table of users, in the same database as the roll: both sides of
// a page are of one moment.
type table struct {
	users *directory.Users
	named string
	after string
	// unknown: the roll knew no user of a page, so that the next ones may be written as a whole.
	unknown atomic.Bool
}

func (t *table) name() string { return t.named }

func (t *table) doubt() string { return "is this the right database?" }

func (t *table) count(ctx context.Context) (total, known int64, err error) { return t.users.Count(ctx) }

func (t *table) begin(position string, _ time.Time) { t.after = position }

func (t *table) close() {}

func (t *table) next(ctx context.Context) (part, error) {
	n := tablePage
	if t.unknown.Load() {
		n = broughtUsers
	}
	stretch, err := t.users.Stretch(ctx, t.after, n)
	if err != nil {
		return part{}, err
	}
	t.after = stretch.Last
	stretch.Unknown = stretch.Unknown && n == broughtUsers
	return part{span: &span{Stretch: stretch, table: t}, position: t.after, end: stretch.Users < n}, nil
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

// preview is one read-only transaction, which asks about no user twice.
func (t *table) preview(ctx context.Context, _ func(int64) error, each func(part) error) error {
	return t.users.CompareAll(ctx, tablePage, func(page directory.Compared) error { return each(part{compared: page}) })
}
