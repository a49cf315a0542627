package directory

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

var (
	//go:embed attend.sql
	attendSQL string
	//go:embed unlisted.sql
	unlistedSQL string
)

// Listing is what a provider's list has shown so far, beside the roll. It is kept in the
// database, so that it may be long, and so that an interrupted run can go on with it.
type Listing struct {
	directory *Directory
	roll      *event.Roll
	source    string
	on        connection.Querier
	own       *pgx.Conn // of a dry run
	table     string
	attend    string
	unlisted  string
	parents   []any // of memberships: the deleted users and organisations whose memberships don't count
}

// Entry is a row as a provider's list shows it.
type Entry struct {
	ID  string
	Row []byte // a JSON object
}

// Listing returns the listing of users of the source's reconciliation under way. A run empties it when it begins
// anew, before each roll, and when it ends.
func (d *Directory) Listing(source string) *Listing { return d.ListingOf(&event.Users, source) }

// ListingOf is Listing for the rows of any roll.
func (d *Directory) ListingOf(roll *event.Roll, source string) *Listing {
	return d.listing(roll, source, d.Pool, "rollcall.listed")
}

// DryListing makes an empty listing for a dry run. It is a temporary table on a connection of its own, so the caller
// must Close it; the error of a role that may make none says what to grant.
func (d *Directory) DryListing(ctx context.Context, roll *event.Roll, source string) (*Listing, error) {
	pooled, err := d.Pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the roll: %w", d.Pool.Explain(err))
	}
	const table = "pg_temp.rollcall_listed"
	_, err = pooled.Exec(ctx, "create temporary table rollcall_listed (like rollcall.listed including all)")
	if err != nil {
		pooled.Release()
		return nil, d.explainTemporary(err)
	}
	own := pooled.Hijack()
	l := d.listing(roll, source, own, table)
	l.own = own
	return l, nil
}

// explainTemporary adds what to do about a missing right.
func (d *Directory) explainTemporary(err error) error {
	if sqlstate.Of(err) == sqlstate.InsufficientPrivilege {
		to := d.Pool.Config().ConnConfig
		return fmt.Errorf("make a temporary table for a dry run: %w; grant temporary on database %s to %s", err,
			target.Quote(to.Database), target.Quote(to.User))
	}
	return fmt.Errorf("make a temporary table for a dry run: %w", d.Pool.Explain(err))
}

func (d *Directory) listing(roll *event.Roll, source string, on connection.Querier, table string) *Listing {
	l := &Listing{
		directory: d, roll: roll, source: source, on: on, table: table,
		attend: fmt.Sprintf(attendSQL, table, strings.Join(roll.Columns(), ", "), roll.Table, knownSince(roll)),
	}
	also := ""
	if roll == &event.Memberships {
		l.Without(nil, nil)
		also = "\n  and (u.user_id = any($5::text[]) or u.organization_id = any($6::text[])) is not true"
	}
	l.unlisted = fmt.Sprintf(unlistedSQL, table, "u."+strings.Join(roll.Columns(), ", u."), roll.Table, also)
	return l
}

// knownSince is since when the row u of a roll is known as it is: what a list says of a user who was erased, or of
// their memberships, never counts.
func knownSince(roll *event.Roll) string {
	switch roll {
	case &event.Users:
		return "case when u.erased_at is not null then $3 else u.changed_at end"
	case &event.Memberships:
		const erased = "exists (select from rollcall.users o " +
			"where o.source = u.source and o.id = u.user_id and o.erased_at is not null)"
		return "case when " + erased + " then $3 else u.changed_at end"
	default:
		return "u.changed_at"
	}
}

// Without leaves the memberships of some users and organisations out of those that are not listed: they end when
// those are deleted.
func (l *Listing) Without(users, organizations []string) {
	if l.roll == &event.Memberships {
		l.parents = []any{users, organizations}
	}
}

// Close removes a dry listing, with its connection.
func (l *Listing) Close() {
	if l.own == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connection.LeaveTimeout)
	defer cancel()
	_ = l.own.Close(ctx) // and with it goes the table
}

// Now is the moment by the database's clock.
func (l *Listing) Now(ctx context.Context) (now time.Time, err error) {
	err = l.on.QueryRow(ctx, "select pg_catalog.clock_timestamp()").Scan(&now)
	return now, connection.Wrap(l.directory.Pool.Explain(err), "ask the database for the time")
}

// Note notes the rows of a page, and returns them beside the roll's, in their order. At is
// the moment of the page.
func (l *Listing) Note(ctx context.Context, page []Entry, at time.Time) ([]Pair, error) {
	ids := make([]string, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	rows, _ := l.on.Query(ctx, l.attend, l.source, ids, at)
	pairs, err := pgx.CollectRows(rows, pairOf(l.roll))
	if err != nil {
		return nil, fmt.Errorf("compare listed %s of %s: %w", l.roll.Name, l.source, l.directory.Pool.Explain(err))
	}
	for i := range pairs {
		pairs[i].Row = page[i].Row
	}
	return pairs, nil
}

// Count returns how many rows have been noted, and how many living ones the roll has.
func (l *Listing) Count(ctx context.Context) (noted, roll int64, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select (select pg_catalog.count(*) from "+l.table+` where source = $1),
  (select pg_catalog.count(*) from `+l.roll.Table+` where source = $1 and deleted_at is null)`, l.source).
			Scan(&noted, &roll)
	})
	return noted, roll, connection.Wrap(l.directory.Pool.Explain(err), "count %s of %s", l.roll.Name, l.source)
}

// CountUnlisted returns how many living rows of the roll have not been noted. Rows of which the roll has learned
// later than since do not count: no list may show them yet.
func (l *Listing) CountUnlisted(ctx context.Context, since time.Time) (n int64, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		count := "select pg_catalog.count(*) from (\n" + l.unlisted + "\n) unlisted"
		return tx.QueryRow(ctx, count, append([]any{l.source, "", nil, since}, l.parents...)...).Scan(&n)
	})
	return n, connection.Wrap(err, "count %s of %s that are not listed", l.roll.Name, l.source)
}

// Unlisted returns the next n rows that CountUnlisted counts, in the order of their ids, after an id; "" is the
// beginning.
func (l *Listing) Unlisted(ctx context.Context, after string, n int, since time.Time) (pairs []Pair, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, l.unlisted, append([]any{l.source, after, n, since}, l.parents...)...)
		pairs, err = pgx.CollectRows(rows, pairOf(l.roll))
		return err
	})
	return pairs, connection.Wrap(err, "look for %s of %s that are not listed, after %q", l.roll.Name, l.source, after)
}

const (
	// sampleShare is how much of a roll (%[1]s) a sample reads, in percent: some 1,000 blocks, of a small
	// roll all. Its partitions count, where it has some.
	sampleShare = `select least(100, 100000::float8 * pg_catalog.current_setting('block_size')::float8 / greatest(1,
  coalesce((select pg_catalog.sum(pg_catalog.pg_relation_size(relid))
      from pg_catalog.pg_partition_tree('%[1]s')),
    pg_catalog.pg_relation_size('%[1]s')))::float8)`
	// wellKnown are a source's living rows of a roll (%[1]s) whose state is known from before a moment.
	wellKnown = "select %[2]s from %[1]s u %[3]s where source = $1 and deleted_at is null and changed_at < $2"
)

// Sample returns the ids of n living rows of the roll, chosen at random, whose state is known from before since;
// fewer, or none, where there are not so many.
func (l *Listing) Sample(ctx context.Context, n int, since time.Time) (ids []string, err error) {
	err = l.sample(ctx, sample{columns: "id", n: n, since: since, read: func(rows pgx.Rows) (got int, err error) {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return len(ids), err
	}})
	return ids, err
}

// SampleRows is Sample with all that the roll has of the rows.
func (l *Listing) SampleRows(ctx context.Context, n int, since time.Time) (pairs []Pair, err error) {
	columns := "id, null::text, version, " + strings.Join(l.roll.Columns(), ", ") +
		", changed_at, kept, pg_catalog.statement_timestamp()"
	err = l.sample(ctx, sample{columns: columns, n: n, since: since, read: func(rows pgx.Rows) (got int, err error) {
		pairs, err = pgx.CollectRows(rows, pairOf(l.roll))
		return len(pairs), err
	}})
	return pairs, err
}

// sample is n rows that are chosen; read says how many there were.
type sample struct {
	columns string
	n       int
	since   time.Time
	read    func(pgx.Rows) (int, error)
}

func (l *Listing) sample(ctx context.Context, s sample) error {
	err := l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		var share float64
		if err := tx.QueryRow(ctx, fmt.Sprintf(sampleShare, l.roll.Table)).Scan(&share); err != nil {
			return err
		}
		some := fmt.Sprintf(wellKnown, l.roll.Table, s.columns, "tablesample system ($4)") +
			" order by pg_catalog.random() limit $3"
		rows, _ := tx.Query(ctx, some, l.source, s.since, s.n, share)
		if got, err := s.read(rows); err != nil || got == s.n {
			return err
		}
		// They are few among others, or among tombstones.
		rows, _ = tx.Query(ctx, fmt.Sprintf(wellKnown, l.roll.Table, s.columns, "")+" limit $3", l.source, s.since, s.n)
		_, err := s.read(rows)
		return err
	})
	return connection.Wrap(l.directory.Pool.Explain(err), "choose %s of %s", l.roll.Name, l.source)
}

// ForgetListings empties the listings of runs that can't be continued any more. A source's
// next run would; one that was removed has none.
func (d *Directory) ForgetListings(ctx context.Context) error {
	rows, _ := d.Pool.Query(ctx, "select distinct source from rollcall.listed "+abandoned, resumeWithin)
	sources, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, source := range sources {
		if err == nil {
			err = d.forgetListing(ctx, source)
		}
	}
	return connection.Wrap(err, "forget what lists have shown")
}

// forgetListing looks again under the run's own lock: one may be at it, or have begun meanwhile.
func (d *Directory) forgetListing(ctx context.Context, source string) error {
	lock, err := d.Pool.TryLock(ctx, "reconcile "+source)
	if errors.Is(err, connection.ErrRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	return d.Pool.Unbounded(ctx, "delete from rollcall.listed "+abandoned+" and source = $2", resumeWithin, source)
}

// abandoned are those of rollcall.listed whose run can't be continued; $1 is resumeWithin.
const abandoned = `where not exists (
  select from rollcall.reconciliations r
  where r.source = listed.source and r.finished_at is null and r.started_at > pg_catalog.now() - $1::interval)`
