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
	source    string
	on        connection.Querier
	own       *pgx.Conn // of a dry run
	table     string
	attend    string
	unlisted  string
}

// Entry is a user as a list shows them.
type Entry struct {
	ID   string
	User []byte // a JSON object
}

// Listing is that of the source's reconciliation under way, which empties it when it begins
// anew and when it ends.
func (d *Directory) Listing(source string) *Listing {
	return d.listing(source, d.Pool, "rollcall.listed")
}

// DryListing is empty, and ends with Close: a temporary table on a connection of its own.
func (d *Directory) DryListing(ctx context.Context, source string) (*Listing, error) {
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
	l := d.listing(source, own, table)
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

func (d *Directory) listing(source string, on connection.Querier, table string) *Listing {
	return &Listing{
		directory: d, source: source, on: on, table: table,
		attend:   fmt.Sprintf(attendSQL, table, strings.Join(event.Users.Columns(), ", ")),
		unlisted: fmt.Sprintf(unlistedSQL, table, "u."+strings.Join(event.Users.Columns(), ", u.")),
	}
}

// Close ends a dry listing.
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

// Note notes the users of a page, and returns them beside the roll's, in their order. At is
// the moment of the page.
func (l *Listing) Note(ctx context.Context, page []Entry, at time.Time) ([]Pair, error) {
	ids := make([]string, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	rows, _ := l.on.Query(ctx, l.attend, l.source, ids, at)
	pairs, err := pgx.CollectRows(rows, scanPair)
	if err != nil {
		return nil, fmt.Errorf("compare listed users of %s: %w", l.source, l.directory.Pool.Explain(err))
	}
	for i := range pairs {
		pairs[i].Row = page[i].User
	}
	return pairs, nil
}

// Count returns how many users have been noted, and how many living ones the roll has.
func (l *Listing) Count(ctx context.Context) (noted, roll int64, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select (select pg_catalog.count(*) from "+l.table+` where source = $1),
  (select pg_catalog.count(*) from rollcall.users where source = $1 and deleted_at is null)`, l.source).
			Scan(&noted, &roll)
	})
	return noted, roll, connection.Wrap(l.directory.Pool.Explain(err), "count users of %s", l.source)
}

// CountUnlisted returns how many living users of the roll have not been noted. Those of which the
// roll has learned since a moment do not count.
func (l *Listing) CountUnlisted(ctx context.Context, since time.Time) (n int64, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		count := "select pg_catalog.count(*) from (\n" + l.unlisted + "\n) unlisted"
		return tx.QueryRow(ctx, count, l.source, "", nil, since).Scan(&n)
	})
	return n, connection.Wrap(err, "count users of %s who are not listed", l.source)
}

// Unlisted returns the next n of them after an id.
func (l *Listing) Unlisted(ctx context.Context, after string, n int, since time.Time) (pairs []Pair, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, l.unlisted, l.source, after, n, since)
		pairs, err = pgx.CollectRows(rows, scanPair)
		return err
	})
	return pairs, connection.Wrap(err, "look for users of %s who are not listed, after %q", l.source, after)
}

const (
	// sampleShare is how much of the roll a sample reads, in percent: some 1,000 blocks, of a small
	// roll all. Its partitions count, where it has some.
	sampleShare = `select least(100, 100000::float8 * pg_catalog.current_setting('block_size')::float8 / greatest(1,
  coalesce((select pg_catalog.sum(pg_catalog.pg_relation_size(relid))
      from pg_catalog.pg_partition_tree('rollcall.users')),
    pg_catalog.pg_relation_size('rollcall.users')))::float8)`
	// wellKnown are a source's living users whose state is known from before a moment.
	wellKnown = "select id from rollcall.users %s where source = $1 and deleted_at is null and changed_at < $2"
)

// Sample returns n living users of the roll, chosen at random, whose state is known from before a
// moment: fewer, or none, where there are few.
func (l *Listing) Sample(ctx context.Context, n int, since time.Time) (ids []string, err error) {
	err = l.directory.Pool.ScanOn(ctx, l.on, func(tx pgx.Tx) error {
		var share float64
		if err := tx.QueryRow(ctx, sampleShare).Scan(&share); err != nil {
			return err
		}
		sample := fmt.Sprintf(wellKnown, "tablesample system ($4)") + " order by pg_catalog.random() limit $3"
		rows, _ := tx.Query(ctx, sample, l.source, since, n, share)
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(ids) == n {
			return err
		}
		// They are few among others, or among tombstones.
		rows, _ = tx.Query(ctx, fmt.Sprintf(wellKnown, "")+" limit $3", l.source, since, n)
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return ids, connection.Wrap(l.directory.Pool.Explain(err), "choose users of %s", l.source)
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
