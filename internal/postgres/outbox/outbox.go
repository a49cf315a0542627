// Package outbox is the capture of changes by a trigger, from the trigger's installation to the rows
// that it notes. It hides that there are two outboxes: rollcall_provider.outbox has ids of users, and
// rollcall.outbox, which triggers of older versions fill, has the rows' data.
//
//	o := outbox.New(pool, directory)
//	err := o.Install(ctx, outbox.Capture{Source: "app", Table: "auth.users"})
//	…
//	holder, err := o.Hold(ctx)
//	changes, err := holder.Next(ctx, outbox.Page{Sources: []string{"app"}, Changes: 100, Bytes: 1 << 20})
package outbox

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

var (
	//go:embed outbox_wanted.sql
	outboxWantedSQL string
	//go:embed outbox_next.sql
	outboxNextSQL string
	//go:embed outbox_of_ids.sql
	outboxOfIDsSQL string
	//go:embed outbox_age.sql
	outboxAgeSQL string
)

// Outbox is both outboxes, and the captures that fill them.
type Outbox struct {
	pool      *connection.Pool
	directory *directory.Directory

	mu     sync.Mutex
	heeded []string    // tables of users that may have a capture
	ids    atomic.Bool // there is an outbox of ids
}

// New makes the Outbox of a database; a process makes one.
func New(pool *connection.Pool, d *directory.Directory) *Outbox {
	return &Outbox{pool: pool, directory: d}
}

// Change is one row of an outbox.
type Change struct {
	ID     int64
	Source string
	UserID string
	Gone   bool // the user's row was deleted
	// Data are the row's columns as a JSON object; for one that is gone, those before. It is nil of a
	// table source, and in the outbox of ids.
	Data  []byte
	Large bool // the metadata is not read: it is too large, or no text can be made of it
	At    time.Time
}

// Wanted reports whether there is something to empty: a capture is installed on some table, or rows wait.
func (o *Outbox) Wanted(ctx context.Context) (bool, error) {
	ids, err := o.lookForIDs(ctx)
	if err != nil {
		return false, err
	}
	var wanted bool
	err = o.pool.QueryRow(ctx, fmt.Sprintf(outboxWantedSQL, bothOutboxes(ids))).Scan(&wanted)
	return wanted, connection.Wrap(err, "look for a capture")
}

// Hold takes the right to empty the outbox; connection.ErrRunning when another replica has it.
func (o *Outbox) Hold(ctx context.Context) (*Holder, error) {
	if _, err := o.lookForIDs(ctx); err != nil {
		return nil, err
	}
	lock, err := o.pool.TryLock(ctx, "outbox")
	if err != nil {
		return nil, err
	}
	return &Holder{Lock: lock, outbox: o}, nil
}

// Holder is the sole right to empty the outboxes, of all replicas. The right only saves
// work: what two read is applied once.
type Holder struct {
	*connection.Lock

	outbox *Outbox
	page   int // changes of the next page at most, once one could not be read
}

// Age returns how long the oldest change has waited; 0 when none waits.
func (o *Outbox) Age(ctx context.Context) (time.Duration, error) {
	var seconds float64
	statement := fmt.Sprintf(outboxAgeSQL, alsoOfIDs(o.ids.Load(), "union all (select "+
		"greatest(0, extract(epoch from pg_catalog.clock_timestamp() - at)) "+
		"from rollcall_provider.outbox order by id limit 1)"))
	err := o.pool.QueryRow(ctx, statement).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), connection.Wrap(err, "look at the oldest row of the outbox")
}

// Page says which changes Next is to return.
type Page struct {
	Sources []string
	Tables  []string // those of Sources whose table decides; nil for none
	Except  []int64  // those that are being applied
	Changes int      // no more than these
	Bytes   int      // nor than these, but for the first change
}

// outboxOfIDs are the rows of the outbox of ids, for outbox_next.sql.
const outboxOfIDs = `union all (
  select id, source, user_id, gone, null, at from rollcall_provider.outbox
  where source = any($1::text[]) and source = any($5::text[])
    and id not in (select e from pg_catalog.unnest($4::bigint[]) e)
  order by id limit $2)`

// Next returns the oldest changes, in the order of their ids. They stay in the outbox until
// the roll is written (event.Event.Captured). Of one user they are in the order of the
// commits; of several, a lower id may become visible after a higher one, so nothing is
// remembered between two calls. The outbox of ids is read for table sources only.
//
// Numbers of a few bytes may take a gigabyte as digits: a page whose text can't be made, or not in
// time, is read again with fewer changes, and the one that fails by itself without metadata.
func (h *Holder) Next(ctx context.Context, page Page) ([]Change, error) {
	if h.page == 0 || h.page > page.Changes {
		h.page = page.Changes
	}
	tables := append([]string{}, page.Tables...) // of a null array, no source would have data
	statement := fmt.Sprintf(outboxNextSQL, alsoOfIDs(h.outbox.ids.Load(), outboxOfIDs))
	for data := 2 * h.outbox.directory.Metadata.Load(); ; h.page = max(1, h.page/8) {
		rows, _ := h.outbox.pool.Query(ctx, statement, page.Sources, h.page, page.Bytes, page.Except, tables, data)
		changes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Change])
		switch state := sqlstate.Of(err); {
		case err == nil:
			h.page = min(2*h.page, page.Changes)
			return changes, nil
		case state != sqlstate.TooLarge && state != sqlstate.QueryCanceled || ctx.Err() != nil || data == 0:
			return nil, fmt.Errorf("read the outbox: %w", err)
		case h.page == 1:
			data = 0
		}
	}
}

// idsFrom is where the ids of the outbox of rollcall_provider begin; those of rollcall.outbox never
// come so far, so that an id says by itself whose it is.
const idsFrom = int64(1) << 62

// HasIDs reports whether some of these rows are in the outbox of ids, which their ids tell.
func HasIDs(captured []int64) bool {
	return slices.ContainsFunc(captured, func(id int64) bool { return id >= idsFrom })
}

// Heed remembers a table of users whose provider may have an outbox of ids.
func (o *Outbox) Heed(table string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Contains(o.heeded, table) {
		o.heeded = append(slices.Clone(o.heeded), table)
	}
}

// lookForIDs reports whether there is an outbox of ids that we may empty, and remembers it.
func (o *Outbox) lookForIDs(ctx context.Context) (bool, error) {
	o.mu.Lock()
	tables := o.heeded
	o.mu.Unlock()
	schemas, names := []string{}, []string{}
	for _, t := range tables {
		schema, name := target.SplitTable(t)
		schemas, names = append(schemas, schema), append(names, name)
	}
	var there bool
	if err := o.pool.QueryRow(ctx, outboxOfIDsSQL, schemas, names).Scan(&there); err != nil {
		return false, fmt.Errorf("look for the outbox of ids: %w", o.pool.Explain(err))
	}
	o.ids.Store(there)
	return there, nil
}

// bothOutboxes reads the moments and the sources of both outboxes, or of the only one.
func bothOutboxes(ids bool) string {
	if !ids {
		return "rollcall.outbox"
	}
	return "(select source, at from rollcall.outbox union all select source, at from rollcall_provider.outbox)"
}

// alsoOfIDs is a part of a statement that is there when there is an outbox of ids.
func alsoOfIDs(ids bool, part string) string {
	if !ids {
		return ""
	}
	return " " + part
}

// Forget deletes rows of the outboxes by their ids, without applying them.
func (o *Outbox) Forget(ctx context.Context, captured []int64) error {
	tables := []string{"rollcall.outbox"}
	if HasIDs(captured) {
		tables = append(tables, "rollcall_provider.outbox")
	}
	return pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		for _, t := range tables {
			if _, err := tx.Exec(ctx, "delete from "+t+" where id = any($1)", captured); err != nil {
				return err
			}
		}
		return nil
	})
}

// OfUser are statements that delete what waits about a user ($1 source, $2 id) in the outboxes that there are, for a
// transaction that has locked the user's row of the roll. Who applies rows of rollcall.outbox takes them before that
// row, so those that another session holds are left to it. Of ids, rows come after it, as here; and Rollcall's role may
// lock none.
func (o *Outbox) OfUser(ctx context.Context) ([]string, error) {
	list := []string{`delete from rollcall.outbox
where id = any (array(select id from rollcall.outbox where source = $1 and user_id = $2 for update skip locked))`}
	ids, err := o.lookForIDs(ctx)
	if ids {
		list = append(list, "delete from rollcall_provider.outbox where source = $1 and user_id = $2")
	}
	return list, err
}
