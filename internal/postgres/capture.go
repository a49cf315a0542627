package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
)

// Capture is a trigger on a table of users that notes every change in an outbox, in the change's own
// transaction: whose row it is in rollcall_provider.outbox. Triggers of older versions note the
// row's data in rollcall.outbox.
type Capture struct {
	Source string // whose users they are
	Table  string // schema.table, exact names
}

// CaptureState is how a capture is doing.
type CaptureState struct {
	// Installed: the trigger is there and fires.
	Installed bool
	// For is the source that the trigger names, empty when there is none.
	For string
	// Old: the trigger is an older version's, which notes data.
	Old bool
	// Waiting counts the changes of the source that are not in the roll yet; Oldest is when the
	// first of them was made, the zero time when there is none.
	Waiting int64
	Oldest  time.Time
}

// CaptureState looks at the trigger and at the outbox.
func (db *DB) CaptureState(ctx context.Context, c Capture) (CaptureState, error) {
	var s CaptureState
	if err := db.Migrated(ctx); err != nil {
		return s, err
	}
	t, err := db.usersTable(ctx, c.Table)
	if err != nil {
		return s, err
	}
	var ids bool
	err = db.pool.QueryRow(ctx, sql.CaptureState, t.oid).Scan(&s.For, &s.Installed, &ids)
	s.Old = s.For != "" && !ids
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("look for the trigger on %s: %w", c.Table, err)
	}
	db.heed(c.Table)
	if ids, err = db.lookForIDs(ctx); err != nil {
		return s, err
	}
	var oldest *time.Time
	if err := db.pool.QueryRow(ctx, fmt.Sprintf(sql.OutboxState, bothOutboxes(ids)), c.Source).Scan(&s.Waiting, &oldest); err != nil {
		return s, fmt.Errorf("look at the outbox: %w", db.pool.Explain(err))
	}
	if oldest != nil {
		s.Oldest = *oldest
	}
	return s, nil
}

// InstallCapture runs the script of ByHand: it creates the trigger and the reader, or replaces those
// of an older version. It waits for those who write the table no longer than they would notice.
func (db *DB) InstallCapture(ctx context.Context, c Capture) error {
	s, err := db.CaptureState(ctx, c)
	if err != nil {
		return err
	}
	if s.For != "" && (s.For != c.Source || !s.Installed) {
		return fmt.Errorf("%s has a trigger for source %s, or one that is disabled; remove that first: rollcall capture remove %s", c.Table, s.For, c.Source)
	}
	t, err := db.usersTable(ctx, c.Table)
	if err != nil {
		return err
	}
	if t.Kind == "p" {
		return fmt.Errorf("%s is partitioned: a user who changes partition is deleted and inserted for a trigger; use database webhooks or reconciliation", c.Table)
	}
	err = db.alterUsers(ctx, c, db.script(c))
	if sqlstate.Of(err) != sqlstate.InsufficientPrivilege {
		return err
	}
	if u, _ := db.readerOfUsers(ctx, c.Source, c.Table, t); u != nil && s.Installed && !s.Old {
		return nil // another role has run the script
	}
	return fmt.Errorf("%w; %s", err, remedy(c.Source))
}

// RemoveCapture drops the trigger. What waits in the outboxes still gets into the roll.
func (db *DB) RemoveCapture(ctx context.Context, c Capture) error {
	s, err := db.CaptureState(ctx, c)
	if err != nil {
		return err
	}
	err = db.alterUsers(ctx, c, fmt.Sprintf(sql.CaptureRemove, target.QuoteTable(c.Table)))
	if sqlstate.Of(err) != sqlstate.InsufficientPrivilege {
		return err
	}
	if !s.Old {
		return fmt.Errorf("%w; the role that has run the script of capture install may (on Supabase in the SQL editor): drop function rollcall_provider.capture() cascade", err)
	}
	if old := db.alterUsers(ctx, c, sql.CaptureRemoveOld); old != nil {
		return fmt.Errorf("%w; the owner of %s may: %s", old, c.Table, fmt.Sprintf(sql.CaptureRemove, target.QuoteTable(c.Table)))
	}
	return nil
}

// alterWait is how long a change of the trigger may wait for the table, and so hold up who
// comes after it; alterPause is what they get between two tries.
const (
	alterWait  = 100 * time.Millisecond
	alterPause = 500 * time.Millisecond
)

// alterUsers tries a few times: a statement that waits for a table's lock holds up all who
// come after it.
func (db *DB) alterUsers(ctx context.Context, c Capture, statement string) error {
	const tries = 10
	for try := 1; ; try++ {
		err := db.alter(ctx, statement)
		switch {
		case sqlstate.Of(err) == sqlstate.LockNotAvailable && try < tries:
			if err := connection.Pause(ctx, alterPause); err != nil {
				return fmt.Errorf("change the trigger on %s: %w", c.Table, err)
			}
		case sqlstate.Of(err) == sqlstate.LockNotAvailable:
			return fmt.Errorf("%s is held by another transaction all the time; try again when it is over (select * from pg_stat_activity)", c.Table)
		case err != nil:
			return fmt.Errorf("change the trigger on %s: %w", c.Table, db.pool.Explain(err))
		default:
			return nil
		}
	}
}

func (db *DB) alter(ctx context.Context, statement string) error {
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		const setWait = "select pg_catalog.set_config('lock_timeout', $1, true)"
		if _, err := tx.Exec(ctx, setWait, connection.Milliseconds(alterWait)); err != nil {
			return err
		}
		_, err := tx.Conn().PgConn().Exec(ctx, statement).ReadAll()
		return err
	})
}

// Change is one row of the outbox.
type Change struct {
	ID     int64
	Source string
	UserID string
	Gone   bool   // the user's row was deleted
	Data   []byte // its columns as a JSON object; for one that is gone, those before; nil of a table source, and in the outbox of ids
	Large  bool   // the metadata is not read: it is too large, or no text can be made of it
	At     time.Time
}

// Outbox is the sole right to empty the outboxes, of all replicas. The right only saves
// work: what two read is applied once.
type Outbox struct {
	db   *DB
	lock *connection.Lock
	page int // changes of the next page at most, once one could not be read
}

// OutboxWanted reports whether somewhere a capture is installed, or rows wait.
func (db *DB) OutboxWanted(ctx context.Context) (bool, error) {
	ids, err := db.lookForIDs(ctx)
	if err != nil {
		return false, err
	}
	var wanted bool
	if err := db.pool.QueryRow(ctx, fmt.Sprintf(sql.OutboxWanted, bothOutboxes(ids))).Scan(&wanted); err != nil {
		return false, fmt.Errorf("look for a capture: %w", err)
	}
	return wanted, nil
}

// HoldOutbox takes the right to empty the outbox; ErrRunning when another replica has it.
func (db *DB) HoldOutbox(ctx context.Context) (*Outbox, error) {
	if _, err := db.lookForIDs(ctx); err != nil {
		return nil, err
	}
	lock, err := db.pool.TryLock(ctx, "outbox")
	if err != nil {
		return nil, err
	}
	return &Outbox{db: db, lock: lock}, nil
}

// During runs do with a context that ends with ctx, or when another replica may have the right
// because this one's session was lost; the error then says so.
func (o *Outbox) During(ctx context.Context, do func(context.Context) error) error {
	return o.lock.During(ctx, do)
}

// Release gives the right back.
func (o *Outbox) Release() { o.lock.Release() }

// OutboxAge is how long the oldest change has waited; zero when none does.
func (db *DB) OutboxAge(ctx context.Context) (time.Duration, error) {
	var seconds float64
	statement := fmt.Sprintf(sql.OutboxAge, alsoOfIDs(db.ids.Load(), "union all (select greatest(0, extract(epoch from pg_catalog.clock_timestamp() - at)) "+
		"from rollcall_provider.outbox order by id limit 1)"))
	err := db.pool.QueryRow(ctx, statement).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("look at the oldest row of the outbox: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// OutboxPage says which changes are wanted.
type OutboxPage struct {
	Sources []string
	Except  []int64 // those that are being applied
	Changes int     // no more than these
	Bytes   int     // nor than these, but for the first change
}

// outboxOfIDs are the rows of the outbox of ids, for OutboxNext.
const outboxOfIDs = `union all (
  select id, source, user_id, gone, null, at from rollcall_provider.outbox
  where source = any($1::text[]) and source = any($5::text[])
    and id not in (select e from pg_catalog.unnest($4::bigint[]) e)
  order by id limit $2)`

// Next returns the oldest changes, in the order of their ids. They stay in the outbox until
// the roll is written (event.Event.Captured). Of one user they are in the order of his
// commits; of several, a lower id may become visible after a higher one, so nothing is
// remembered between two calls. The outbox of ids is read for table sources only.
//
// Numbers of a few bytes may take a gigabyte as digits: a page whose text can't be made, or not in
// time, is read again with fewer changes, and the one that is to blame without metadata.
func (o *Outbox) Next(ctx context.Context, page OutboxPage) ([]Change, error) {
	if o.page == 0 || o.page > page.Changes {
		o.page = page.Changes
	}
	statement := fmt.Sprintf(sql.OutboxNext, alsoOfIDs(o.db.ids.Load(), outboxOfIDs))
	for data := 2 * o.db.config.Metadata; ; o.page = max(1, o.page/8) {
		rows, _ := o.db.pool.Query(ctx, statement, page.Sources, o.page, page.Bytes, page.Except, o.db.following(), data)
		changes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Change])
		switch state := sqlstate.Of(err); {
		case err == nil:
			o.page = min(2*o.page, page.Changes)
			return changes, nil
		case state != sqlstate.TooLarge && state != sqlstate.QueryCanceled || ctx.Err() != nil || data == 0:
			return nil, fmt.Errorf("read the outbox: %w", err)
		case o.page == 1:
			data = 0
		}
	}
}
