package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
	"rollcall/sql"
)

// Attendance is whom a provider's list has shown so far, beside the roll. It is kept in the
// database, so that it may be long, and so that an interrupted run can go on with it.
type Attendance struct {
	db       *DB
	source   string
	on       connection.Querier
	own      *pgx.Conn // of a dry run
	table    string
	attend   string
	unlisted string
}

// Entry is a user as a list shows him.
type Entry struct {
	ID   string
	User []byte // a JSON object
}

// Attendance is that of the source's reconciliation under way, which empties it when it begins
// anew and when it ends.
func (db *DB) Attendance(source string) *Attendance {
	return db.attendance(source, db.pool, "rollcall.listed")
}

// DryAttendance is empty, and ends with Close: a temporary table on a connection of its own.
func (db *DB) DryAttendance(ctx context.Context, source string) (*Attendance, error) {
	pooled, err := db.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the roll: %w", db.pool.Explain(err))
	}
	const table = "pg_temp.rollcall_listed"
	_, err = pooled.Exec(ctx, "create temporary table rollcall_listed (like rollcall.listed including all)")
	if err != nil {
		pooled.Release()
		return nil, db.explainTemporary(err)
	}
	own := pooled.Hijack()
	a := db.attendance(source, own, table)
	a.own = own
	return a, nil
}

// explainTemporary adds what to do about a missing right.
func (db *DB) explainTemporary(err error) error {
	if sqlstate.Of(err) == sqlstate.InsufficientPrivilege {
		to := db.pool.Config().ConnConfig
		return fmt.Errorf("make a temporary table for a dry run: %w; grant temporary on database %s to %s", err, target.Quote(to.Database), target.Quote(to.User))
	}
	return fmt.Errorf("make a temporary table for a dry run: %w", db.pool.Explain(err))
}

func (db *DB) attendance(source string, on connection.Querier, table string) *Attendance {
	return &Attendance{
		db: db, source: source, on: on, table: table,
		attend:   fmt.Sprintf(sql.Attend, table, strings.Join(columnsOfNew, ", ")),
		unlisted: fmt.Sprintf(sql.Unlisted, table, "u."+strings.Join(columnsOfNew, ", u.")),
	}
}

// Close ends a dry one.
func (a *Attendance) Close() {
	if a.own == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), connection.LeaveTimeout)
	defer cancel()
	_ = a.own.Close(ctx) // and with it goes the table
}

// Now is the moment by the database's clock.
func (a *Attendance) Now(ctx context.Context) (now time.Time, err error) {
	if err := a.on.QueryRow(ctx, "select pg_catalog.clock_timestamp()").Scan(&now); err != nil {
		return now, fmt.Errorf("ask the database for the time: %w", a.db.pool.Explain(err))
	}
	return now, nil
}

// Note notes the users of a page, and returns them beside the roll's, in their order. At is
// the moment of the page.
func (a *Attendance) Note(ctx context.Context, page []Entry, at time.Time) ([]Pair, error) {
	ids := make([]string, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	rows, _ := a.on.Query(ctx, a.attend, a.source, ids, at)
	pairs, err := pgx.CollectRows(rows, scanPair)
	if err != nil {
		return nil, fmt.Errorf("compare listed users of %s: %w", a.source, a.db.pool.Explain(err))
	}
	for i := range pairs {
		pairs[i].Row = page[i].User
	}
	return pairs, nil
}

// Count returns how many users have been noted, and how many living ones the roll has.
func (a *Attendance) Count(ctx context.Context) (noted, roll int64, err error) {
	err = a.db.pool.ScanOn(ctx, a.on, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select (select pg_catalog.count(*) from "+a.table+` where source = $1),
  (select pg_catalog.count(*) from rollcall.users where source = $1 and deleted_at is null)`, a.source).
			Scan(&noted, &roll)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count users of %s: %w", a.source, a.db.pool.Explain(err))
	}
	return noted, roll, nil
}

// CountUnlisted returns how many living users of the roll have not been noted, of those of whom
// nothing has been learned since a moment.
func (a *Attendance) CountUnlisted(ctx context.Context, since time.Time) (n int64, err error) {
	err = a.db.pool.ScanOn(ctx, a.on, func(tx pgx.Tx) error {
		count := "select pg_catalog.count(*) from (\n" + a.unlisted + "\n) unlisted"
		return tx.QueryRow(ctx, count, a.source, "", nil, since).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("count users of %s who are not listed: %w", a.source, err)
	}
	return n, nil
}

// Unlisted returns the next n of them after an id.
func (a *Attendance) Unlisted(ctx context.Context, after string, n int, since time.Time) (pairs []Pair, err error) {
	err = a.db.pool.ScanOn(ctx, a.on, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, a.unlisted, a.source, after, n, since)
		pairs, err = pgx.CollectRows(rows, scanPair)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for users of %s who are not listed, after %q: %w", a.source, after, err)
	}
	return pairs, nil
}

const (
	// sampleShare is how much of the roll a sample reads, in percent: some 1,000 blocks, of a small
	// roll all. Its partitions count, where it has some.
	sampleShare = `select least(100, 100000::float8 * pg_catalog.current_setting('block_size')::float8 / greatest(1,
  coalesce((select pg_catalog.sum(pg_catalog.pg_relation_size(relid))
      from pg_catalog.pg_partition_tree('rollcall.users')),
    pg_catalog.pg_relation_size('rollcall.users')))::float8)`
	// wellKnown are a source's living users of whom nothing has been learned since a moment.
	wellKnown = "select id from rollcall.users %s where source = $1 and deleted_at is null and changed_at < $2"
)

// Sample returns n living users of the roll, any ones, of whom nothing has been learned since a
// moment: fewer, or nobody, where there are few.
func (a *Attendance) Sample(ctx context.Context, n int, since time.Time) (ids []string, err error) {
	err = a.db.pool.ScanOn(ctx, a.on, func(tx pgx.Tx) error {
		var share float64
		if err := tx.QueryRow(ctx, sampleShare).Scan(&share); err != nil {
			return err
		}
		sample := fmt.Sprintf(wellKnown, "tablesample system ($4)") + " order by pg_catalog.random() limit $3"
		rows, _ := tx.Query(ctx, sample, a.source, since, n, share)
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(ids) == n {
			return err
		}
		// They are few among others, or among tombstones.
		rows, _ = tx.Query(ctx, fmt.Sprintf(wellKnown, "")+" limit $3", a.source, since, n)
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("choose users of %s: %w", a.source, a.db.pool.Explain(err))
	}
	return ids, nil
}
