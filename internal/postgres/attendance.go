package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/sql"
)

// Attendance is whom a provider's list has shown so far, beside the roll. It is kept in the
// database, so that it may be long, and so that an interrupted run can go on with it.
type Attendance struct {
	db       *DB
	source   string
	on       querier
	own      *pgx.Conn // of a dry run
	table    string
	attend   string
	unlisted string
}

// querier is the pool, or a connection by itself.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
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
		return nil, fmt.Errorf("look at the roll: %w", db.explainConnect(err))
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
	if stateOf(err) == insufficientPrivilege {
		to := db.pool.Config().ConnConfig
		return fmt.Errorf("make a temporary table for a dry run: %w; grant temporary on database %s to %s", err, quote(to.Database), quote(to.User))
	}
	return fmt.Errorf("make a temporary table for a dry run: %w", db.explainConnect(err))
}

func (db *DB) attendance(source string, on querier, table string) *Attendance {
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
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	_ = a.own.Close(ctx) // and with it goes the table
}

// Now is the moment by the database's clock.
func (a *Attendance) Now(ctx context.Context) (now time.Time, err error) {
	if err := a.on.QueryRow(ctx, "select clock_timestamp()").Scan(&now); err != nil {
		return now, fmt.Errorf("ask the database for the time: %w", a.db.explainConnect(err))
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
		return nil, fmt.Errorf("compare listed users of %s: %w", a.source, a.db.explainConnect(err))
	}
	for i := range pairs {
		pairs[i].Row = page[i].User
	}
	return pairs, nil
}

// Count returns how many users have been noted, and how many living ones the roll has.
func (a *Attendance) Count(ctx context.Context) (noted, roll int64, err error) {
	err = a.db.scanOn(ctx, a.on, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select (select count(*) from "+a.table+" where source = $1), (select count(*) from rollcall.users where source = $1 and deleted_at is null)", a.source).
			Scan(&noted, &roll)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count users of %s: %w", a.source, a.db.explainConnect(err))
	}
	return noted, roll, nil
}

// CountUnlisted returns how many living users of the roll have not been noted, of those of whom
// nothing has been learned since a moment.
func (a *Attendance) CountUnlisted(ctx context.Context, since time.Time) (n int64, err error) {
	err = a.db.scanOn(ctx, a.on, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select count(*) from (\n"+a.unlisted+"\n) unlisted", a.source, "", nil, since).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("count users of %s who are not listed: %w", a.source, err)
	}
	return n, nil
}

// Unlisted returns the next n of them after an id.
func (a *Attendance) Unlisted(ctx context.Context, after string, n int, since time.Time) (pairs []Pair, err error) {
	err = a.db.scanOn(ctx, a.on, func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, a.unlisted, a.source, after, n, since)
		pairs, err = pgx.CollectRows(rows, scanPair)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for users of %s who are not listed, after %q: %w", a.source, after, err)
	}
	return pairs, nil
}

// withoutBitmaps keeps a transaction from reading all that follows a key where a few rows are
// asked for: while the planner doesn't know how many these are, it makes a bitmap of them.
const withoutBitmaps = "set local enable_bitmapscan = off"

// endsOfRoll are the first and the last id of a source. Min and max would read all ids, with the
// plan of an empty table.
const endsOfRoll = `select coalesce((select id from rollcall.users where source = $1 order by id limit 1), ''),
  coalesce((select id from rollcall.users where source = $1 order by id desc limit 1), '')`

// Sample returns n living users of the roll, any ones, of whom nothing has been learned since a
// moment: fewer, or nobody, where there are few.
func (a *Attendance) Sample(ctx context.Context, n int, since time.Time) (ids []string, err error) {
	err = readOnly(ctx, a.on, func(tx pgx.Tx) error {
		ids, err = a.sample(ctx, tx, n, since)
		return err
	})
	if err == nil && len(ids) < n { // or the living are few among many tombstones
		err = a.db.scanOn(ctx, a.on, func(tx pgx.Tx) error {
			rows, _ := tx.Query(ctx, "select id from rollcall.users where source = $1 and deleted_at is null and changed_at < $2 limit $3", a.source, since, n)
			ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("choose users of %s: %w", a.source, a.db.explainConnect(err))
	}
	return ids, nil
}

// sample looks behind some random places.
func (a *Attendance) sample(ctx context.Context, tx pgx.Tx, n int, since time.Time) ([]string, error) {
	if _, err := tx.Exec(ctx, withoutBitmaps); err != nil {
		return nil, err
	}
	var low, high string
	if err := tx.QueryRow(ctx, endsOfRoll, a.source).Scan(&low, &high); err != nil {
		return nil, err
	}
	starts := []string{low} // of a small roll that shows everybody
	for range n {
		starts = append(starts, between(low, high))
	}
	rows, _ := tx.Query(ctx, sql.Sample, a.source, starts, since, n)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// between makes up an id among those from low to high, of the letters that these hold where they
// differ: most ids are of one alphabet, and a place anywhere else would mean the same few users
// every time.
func between(low, high string) string {
	same := 0
	for same < min(len(low), len(high)) && low[same] == high[same] {
		same++
	}
	letters := low[same:] + high[same:]
	id := []byte(low[:same])
	for range min(len(letters), 8) {
		c := oneOf(letters)
		for len(id) == same && same < len(low) && (c < low[same] || c > high[same]) {
			c = oneOf(letters)
		}
		id = append(id, c)
	}
	return strings.ToValidUTF8(string(id), "")
}

func oneOf(letters string) byte {
	return letters[rand.IntN(len(letters))] //nolint:gosec // nobody gains by guessing who is asked for
}
