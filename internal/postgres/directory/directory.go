// Package directory reads a provider's users: in a table of this database, by the table's reader, or as
// pages of a list, each beside the roll. It also records the runs that compare them all. It hides the
// SQL of a users table: which columns there are, which of them the role may read, how metadata that is
// too large is left alone, and how a row becomes a user of the roll (StateOfRows).
//
//	d := &directory.Directory{Pool: pool}
//	d.Metadata.Store(1 << 20)
//	users, err := d.Users(ctx, "app", "auth.users")
//	page, err := users.Compare(ctx, "", "", 1000)
package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
)

// Directory reads providers' users beside the roll.
type Directory struct {
	Pool *connection.Pool
	// Metadata is up to how many bytes of a user's metadata are read from a table.
	Metadata atomic.Int64
}

// Table reads the description of a table of users.
func (d *Directory) Table(ctx context.Context, name string) (*catalog.Table, error) {
	conn, err := d.Pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, d.Pool.Explain(err))
	}
	defer conn.Release()
	t, err := catalog.Read(ctx, conn.Conn(), name)
	switch {
	case errors.Is(err, catalog.ErrNoTable):
		return nil, unseen{fmt.Errorf("this database has no table %s; Rollcall must be in the database of the "+
			"provider's own tables: correct database, or users_table of the source", name)}
	case err != nil:
		return nil, err
	case !t.IsTable():
		return nil, unseen{fmt.Errorf("%s is not a table but %s; name the table itself in users_table", name, t.KindOf())}
	}
	return t, nil
}

// Pair is a row as the provider has it beside the row of the roll.
type Pair struct {
	ID   string
	Row  []byte       // as a JSON object; nil when the table, or the list, does not have it
	Roll event.Record // nil when the roll does not know it
	// Known is the moment as of which the roll has it so.
	Known time.Time
	At    time.Time // the moment it was so at the provider, by the database's clock
}

// pairOf reads id, row, the version, the columns of new, changed_at and kept of a roll, and the moment.
func pairOf(roll *event.Roll) pgx.RowToFunc[Pair] {
	return func(row pgx.CollectableRow) (Pair, error) {
		var p Pair
		var source, id *string
		var version *int64
		var known *time.Time
		record := roll.Empty()
		head := record.Head()
		columns, done := roll.Scan(record)
		dest := slices.Concat([]any{&p.ID, &p.Row, &version, &source, &id}, columns, []any{&known, &head.Kept, &p.At})
		if err := row.Scan(dest...); err != nil || version == nil {
			return p, err
		}
		done()
		head.Source, head.ID, head.Version = *source, *id, *version
		if u, ok := record.(*event.User); ok && u.BanOver(p.At) { // as the provider's row is read
			u.Banned = false
		}
		p.Roll, p.Known = record, *known
		return p, nil
	}
}

// Reconciled counts the rows of a roll by what a reconciliation did about them: all that the provider
// has, and those of the roll that it no longer had. Not counted are rows that are deleted on
// both sides, those in the roll alone that the roll learned of too lately for a list to show
// them, and memberships that ended with their user or organisation.
type Reconciled struct {
	Created int64 `json:"created"`
	Updated int64 `json:"updated"`
	// Touched were brought up to date as Updated were, but only moments differed: version,
	// updated_at, last_sign_in_at.
	Touched int64 `json:"touched"`
	Deleted int64 `json:"deleted"`
	// Unchanged are those in step, and those that the roll learned more of by another way
	// meanwhile.
	Unchanged int64 `json:"unchanged"`
	Failed    int64 `json:"failed"` // the roll could not follow; the log says why
}

// Stage is how far a run has come with one roll.
type Stage struct {
	Reconciled
	// Position says how far the provider's rows have been compared; "" at the beginning.
	Position string `json:"position,omitempty"`
	// Skipped: the provider has no such rows.
	Skipped bool `json:"skipped,omitempty"`
}

// Run is a run that compares the rolls of a source, one after the other, with all that its provider has. There is
// one of a source at a time: its lock is lost when another may begin. One that is released without an End is taken
// up by the next.
type Run struct {
	*connection.Lock
	// Users is the stage of users, the first roll; Others with those rolls that it has begun since, by name.
	Users  Stage
	Others map[string]*Stage
	// Started is when it began, by the database's clock; before its interruption, if it was
	// taken up.
	Started time.Time

	directory *Directory
	source    string
	id        int64
}

// resumeWithin is how old an interrupted run may be to be resumed: what it compared before
// says nothing about today.
const resumeWithin = "6 hours"

// BeginRun takes up the source's last run if that was interrupted, began less than six hours ago and has the same
// listed, and begins a new one otherwise. listed names what users are compared with: a table, or the URL of an API.
// While another process has a run of the source, the error is connection.ErrRunning.
func (d *Directory) BeginRun(ctx context.Context, source, listed string) (*Run, error) {
	lock, err := d.Pool.TryLock(ctx, "reconcile "+source)
	if err != nil {
		return nil, fmt.Errorf("reconcile %s: %w", source, err)
	}
	r := &Run{Lock: lock, directory: d, source: source}
	if err := r.begin(ctx, listed); err != nil {
		lock.Release()
		return nil, fmt.Errorf("begin to reconcile %s: %w", source, d.Pool.Explain(err))
	}
	return r, nil
}

func (r *Run) begin(ctx context.Context, listed string) error {
	p := &r.Users
	err := r.directory.Pool.QueryRow(ctx, `select id, started_at, coalesce(position, ''),
  created, updated, touched, deleted, unchanged, failed, others
from rollcall.reconciliations
where id = (select pg_catalog.max(id) from rollcall.reconciliations where source = $1)
  and finished_at is null and listed = $3 and started_at > pg_catalog.now() - $2::interval`,
		r.source, resumeWithin, listed).
		Scan(&r.id, &r.Started, &p.Position, &p.Created, &p.Updated, &p.Touched, &p.Deleted, &p.Unchanged, &p.Failed, &r.Others)
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return r.directory.Pool.QueryRow(ctx, "insert into rollcall.reconciliations (source, listed) values ($1, $2) "+
		"returning id, started_at", r.source, listed).
		Scan(&r.id, &r.Started)
}

// Begun returns the stage of a roll; nil if the run has not come to that roll.
func (r *Run) Begun(roll *event.Roll) *Stage {
	if roll == &event.Users {
		return &r.Users
	}
	return r.Others[roll.Name]
}

// Compare begins with a roll, or goes on with it: then its Listing is as it was.
func (r *Run) Compare(ctx context.Context, roll *event.Roll) (*Stage, error) {
	p := r.Begun(roll)
	if p == nil {
		if r.Others == nil {
			r.Others = map[string]*Stage{}
		}
		p = &Stage{}
		r.Others[roll.Name] = p
		if err := r.Save(ctx); err != nil {
			return nil, err
		}
	}
	if p.Position != "" {
		return p, nil
	}
	return p, r.forgetListed(ctx)
}

// forgetListed empties the source's Listing, which may be long.
func (r *Run) forgetListed(ctx context.Context) error {
	return r.directory.Pool.Unbounded(ctx, "delete from rollcall.listed where source = $1", r.source)
}

// Save records how far the run has come, for the next one to take up.
func (r *Run) Save(ctx context.Context) error { return r.save(ctx, false, nil) }

// End records how the run ended, for good: the next begins anew. With a cause it is no success.
func (r *Run) End(ctx context.Context, cause error) error {
	if err := r.save(ctx, true, cause); err != nil {
		return err
	}
	_ = r.forgetListed(ctx) // or the next one does when it begins
	return nil
}

func (r *Run) save(ctx context.Context, ended bool, cause error) error {
	var why *string
	if cause != nil {
		why = new(sqlstate.Text(cause))
	}
	// What was done is recorded also by a run that is being stopped. One that another replica has
	// ended stays as it ended, whatever a replica that was stopped for a while still records.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connection.LeaveTimeout)
	defer cancel()
	p := &r.Users
	_, err := r.directory.Pool.Exec(ctx, `update rollcall.reconciliations
set position = nullif($2, ''), created = $3, updated = $4, touched = $5, deleted = $6, unchanged = $7, failed = $8,
    finished_at = case when $9 then pg_catalog.now() end, error = $10, others = $11
where id = $1 and finished_at is null`, r.id, p.Position, p.Created, p.Updated, p.Touched, p.Deleted, p.Unchanged, p.Failed, ended, why, r.Others)
	return connection.Wrap(err, "record the reconciliation")
}

// LastRun says how a source's last finished run went, and when one last succeeded.
type LastRun struct {
	Source  string
	Users   Reconciled
	Others  map[string]Reconciled // of the other rolls, by name
	Stopped bool                  // a guard has ended it before any deletion
	Error   string                // why it was; "" for a success
	Ended   time.Time             // when it ended
	Success time.Time             // when the last success ended; 1970 for never
}

// LastRuns returns the last run of each source that was ever reconciled.
func (d *Directory) LastRuns(ctx context.Context) ([]LastRun, error) {
	rows, _ := d.Pool.Query(ctx, `select distinct on (source) source,
  created, updated, touched, deleted, unchanged, failed, others, error is not null, coalesce(error, ''), finished_at,
  coalesce((select pg_catalog.max(s.finished_at) from rollcall.reconciliations s
    where s.source = r.source and s.error is null), 'epoch')
from rollcall.reconciliations r where finished_at is not null order by source, id desc`)
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l LastRun, err error) {
		users := &l.Users
		err = row.Scan(&l.Source, &users.Created, &users.Updated, &users.Touched, &users.Deleted, &users.Unchanged,
			&users.Failed, &l.Others, &l.Stopped, &l.Error, &l.Ended, &l.Success)
		return l, err
	})
	return list, connection.Wrap(err, "look for the last reconciliations")
}
