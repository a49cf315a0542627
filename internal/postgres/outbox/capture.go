package outbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
)

var (
	//go:embed capture_state.sql
	captureStateSQL string
	//go:embed outbox_state.sql
	outboxStateSQL string
	//go:embed captures.sql
	capturesSQL string
)

// Capture is a trigger on a table of users that notes every change in an outbox, in the change's own
// transaction: whose row it is in rollcall_provider.outbox. Triggers of older versions note the
// row's data in rollcall.outbox.
type Capture struct {
	Source string // whose users they are
	Table  string // schema.table, exact names
}

// State is the state of a capture.
type State struct {
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

// State looks at the trigger and at the outboxes. It needs the schema rollcall.
func (o *Outbox) State(ctx context.Context, c Capture) (State, error) {
	var s State
	t, err := o.directory.Table(ctx, c.Table)
	if err != nil {
		return s, err
	}
	var ids bool
	err = o.pool.QueryRow(ctx, captureStateSQL, t.OID).Scan(&s.For, &s.Installed, &ids)
	s.Old = s.For != "" && !ids
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("look for the trigger on %s: %w", c.Table, err)
	}
	o.Heed(c.Table)
	if ids, err = o.lookForIDs(ctx); err != nil {
		return s, err
	}
	var oldest *time.Time
	statement := fmt.Sprintf(outboxStateSQL, bothOutboxes(ids))
	if err := o.pool.QueryRow(ctx, statement, c.Source).Scan(&s.Waiting, &oldest); err != nil {
		return s, fmt.Errorf("look at the outbox: %w", o.pool.Explain(err))
	}
	if oldest != nil {
		s.Oldest = *oldest
	}
	return s, nil
}

// Install runs the script of ByHand: it creates the trigger and the reader, or replaces those
// of an older version. It waits for the table's lock only briefly: other writers wait behind it.
func (o *Outbox) Install(ctx context.Context, c Capture) error {
	s, err := o.State(ctx, c)
	if err != nil {
		return err
	}
	if s.For != "" && (s.For != c.Source || !s.Installed) {
		return fmt.Errorf("%s has a trigger for source %s, or one that is disabled; remove that first: rollcall "+
			"capture remove %s", c.Table, s.For, c.Source)
	}
	t, err := o.directory.Table(ctx, c.Table)
	if err != nil {
		return err
	}
	if t.Kind == "p" {
		return fmt.Errorf("%s is partitioned: a user who changes partition is deleted and inserted for a trigger; use "+
			"database webhooks or reconciliation", c.Table)
	}
	err = o.alterTable(ctx, c, o.script(c))
	if sqlstate.Of(err) != sqlstate.InsufficientPrivilege {
		return err
	}
	if u, _ := o.directory.Users(ctx, c.Source, c.Table); u != nil && u.Reader && len(u.Empty) == 0 && s.Installed && !s.Old {
		return nil // another role has run the script
	}
	return fmt.Errorf("%w; %s", err, directory.Remedy(c.Source))
}

// Remove drops the trigger. What waits in the outboxes still gets into the roll.
func (o *Outbox) Remove(ctx context.Context, c Capture) error {
	s, err := o.State(ctx, c)
	if err != nil {
		return err
	}
	remove := fmt.Sprintf(sql.CaptureRemove, target.QuoteTable(c.Table))
	err = o.alterTable(ctx, c, remove)
	if sqlstate.Of(err) != sqlstate.InsufficientPrivilege {
		return err
	}
	if !s.Old {
		return fmt.Errorf("%w; the role that has run the script of capture install may (on Supabase in the SQL "+
			"editor): drop function rollcall_provider.capture() cascade", err)
	}
	if old := o.alterTable(ctx, c, sql.CaptureRemoveOld); old != nil {
		return fmt.Errorf("%w; the owner of %s may: %s", old, c.Table, remove)
	}
	return nil
}

// alterWait is how long a change of the trigger may wait for the table's lock, and so hold up the
// transactions behind it; alterPause is what they get between two tries.
const (
	alterWait  = 100 * time.Millisecond
	alterPause = 500 * time.Millisecond
)

// alterTable tries a few times: a statement that waits for a table's lock holds up all
// transactions behind it.
func (o *Outbox) alterTable(ctx context.Context, c Capture, statement string) error {
	const tries = 10
	for try := 1; ; try++ {
		err := o.alter(ctx, statement)
		switch {
		case sqlstate.Of(err) == sqlstate.LockNotAvailable && try < tries:
			if err := connection.Pause(ctx, alterPause); err != nil {
				return fmt.Errorf("change the trigger on %s: %w", c.Table, err)
			}
		case sqlstate.Of(err) == sqlstate.LockNotAvailable:
			return fmt.Errorf("%s is held by another transaction all the time; try again when it is over (select * from "+
				"pg_stat_activity)", c.Table)
		case err != nil:
			return fmt.Errorf("change the trigger on %s: %w", c.Table, o.pool.Explain(err))
		default:
			return nil
		}
	}
}

func (o *Outbox) alter(ctx context.Context, statement string) error {
	return pgx.BeginFunc(ctx, o.pool, func(tx pgx.Tx) error {
		const setWait = "select pg_catalog.set_config('lock_timeout', $1, true)"
		if _, err := tx.Exec(ctx, setWait, connection.Milliseconds(alterWait)); err != nil {
			return err
		}
		_, err := tx.Conn().PgConn().Exec(ctx, statement).ReadAll()
		return err
	})
}

// script is the SQL that installs a capture and a reader for the role that Rollcall works as.
func (o *Outbox) script(c Capture) string {
	reader := directory.PartsOfReader(c.Table)
	var noted []string
	for _, column := range directory.Columns {
		if column != "updated_at" && column != "last_sign_in_at" {
			noted = append(noted, target.Literal(column))
		}
	}
	role := o.pool.Config().ConnConfig.User
	return fmt.Sprintf(sql.CaptureInstall, target.QuoteTable(c.Table), target.Literal(c.Source), target.Quote(role),
		target.Literal(role), reader.Name,
		reader.Missing, reader.Read, strings.Join(noted, ", "), c.Table, c.Source, reader.Declared,
		target.Literal(target.QuoteTable(c.Table)))
}

// ByHand returns the script of Install, for a role to run that may put triggers on the table.
func (o *Outbox) ByHand(c Capture) string {
	return "begin;\nset local lock_timeout = '1s'; -- where another transaction holds the table: run it again\n" + o.script(c) + "commit;\n"
}

// Captured is the short state of a source's capture; State has all of it.
type Captured struct {
	Source string
	// Installed: the trigger is there, fires, and is for this source.
	Installed bool
	// Oldest is for how many seconds the oldest of the source's changes has waited; 0 when none
	// does.
	Oldest float64
}

// Captures looks at several captures in one statement that is cheap however much waits, for
// frequent looks. One without its table is not installed.
func (o *Outbox) Captures(ctx context.Context, list []Capture) ([]Captured, error) {
	var sources, schemas, names []string
	for _, c := range list {
		schema, name := target.SplitTable(c.Table)
		sources, schemas, names = append(sources, c.Source), append(schemas, schema), append(names, name)
		o.Heed(c.Table)
	}
	ids, err := o.lookForIDs(ctx)
	if err != nil {
		return nil, err
	}
	statement := fmt.Sprintf(capturesSQL, alsoOfIDs(ids, "union all (select "+
		"greatest(0, extract(epoch from pg_catalog.clock_timestamp() - o.at)) "+
		"from rollcall_provider.outbox o where o.source = w.source order by o.id limit 1)"))
	rows, _ := o.pool.Query(ctx, statement, sources, schemas, names)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Captured])
	return found, connection.Wrap(o.pool.Explain(err), "look at the captures")
}
