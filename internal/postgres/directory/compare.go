package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/target"
)

// comparedUsers compares a page of a table of users (%[1]s; $2 the id after which it begins or null,
// $3 how many users at most, $4 how many bytes, $5 limits.metadata, $6 up to which id or null) with the roll's
// rows of the source $1 between the same ids. Both sides are of one moment. The page ends where the bytes do; one
// that has all users up to $6 goes on to there in the roll, without $6 to the last of all characters. Both ends must
// be conditions of the roll's key, or each page reads all that is left of the roll.
//
// Neither side's metadata ever becomes a text: its numbers may be small as they are stored and
// take a gigabyte as digits. A placeholder of the roll is no user.
//
// A user who was erased is as they are to be, whatever the table says.
//
// It returns whether the table has ended, the last id of the page, the moment, how many users are
// the same, and each of the others: id, verdict, and what differs (%[4]s).
const comparedUsers = `with %[1]s, span as (
  select coalesce(pg_catalog.max(id), $2::text, '') as last, pg_catalog.count(*) = (select pg_catalog.count(*) from page) and pg_catalog.count(*) < $3::bigint as ended
  from have
), ours as (
  select u.* from rollcall.users u
  where u.source = $1 and u.version is not null and u.id > coalesce($2::text, '')
    and u.id <= (select case when ended then coalesce($6::text, pg_catalog.chr(1114111)) collate "C" else last end from span)
), judged as materialized (
  select coalesce(s.id, u.id) as id, v.verdict, case when v.verdict in ('created'::text, 'updated'::text, 'touched'::text) then %[4]s end as differences
  from state s
  full join ours u on u.id = s.id
  cross join lateral (
    select case
      when u.erased_at is not null then 'same'::text
      when s.living is not true then case when u.deleted_at is null and u.id is not null then 'deleted'::text end
      when u.id is null then 'created'::text
      when u.deleted_at is not null or (%[2]s, pg_catalog.array_to_string(u.kept, ' ')) is distinct from (%[3]s, s.kept) then 'updated'::text
      when (u.version, u.updated_at, u.last_sign_in_at) is distinct from (s.version, s.updated_at, s.last_sign_in_at) then 'touched'::text
      else 'same'::text
    end as verdict
  ) v
)
select p.ended, case when p.ended then coalesce($6::text, p.last) else p.last end, pg_catalog.statement_timestamp(), (select pg_catalog.count(*) from judged where verdict = 'same'::text),
  coalesce(j.id, ''), coalesce(j.verdict, ''), j.differences
from span p
left join judged j on j.verdict <> 'same'::text
order by j.id`

// The verdicts of a comparison. Touched is a user where only the version, the moment of the last
// change or that of the last sign-in differs.
const (
	Created = "created"
	Updated = "updated"
	Touched = "touched"
	Deleted = "deleted"
)

// Compared is a page of a table of users beside the roll.
type Compared struct {
	Differing []Differing
	Same      int64
	Last      string    // the last user of the table on this page
	End       bool      // the table has no other
	At        time.Time // the moment of both sides, by the database's clock
}

// Differing is a user that the table and the roll do not have alike.
type Differing struct {
	ID      string
	Verdict string
	Columns []Difference // of CompareAll alone
}

// Difference is a column that differs, each value as a text of no more than 400 characters, of
// metadata its size. Personal data is not masked.
type Difference struct{ Column, Roll, Theirs string }

// compareUsers is comparedUsers for a provider's rows, with what differs or without.
func compareUsers(rows, differences string) string {
	var ours, theirs []string
	for i := range event.Users.Fields {
		if f := &event.Users.Fields[i]; !f.Touched {
			ours, theirs = append(ours, rollValue(f)), append(theirs, tableValue(f))
		}
	}
	return fmt.Sprintf(comparedUsers, StateOfRows(upToID(rows), "$4::bigint", "$5::integer"), strings.Join(ours, ", "),
		strings.Join(theirs, ", "), differences)
}

// rollValue is a field as the roll has it now: a ban may be over.
func rollValue(f *event.Field) string {
	switch {
	case f.Name == "banned":
		return "(coalesce(u.banned, false) and coalesce(u.banned_until > pg_catalog.statement_timestamp(), true))"
	case f.Type == event.Boolean:
		return "coalesce(u." + f.Name + ", false)"
	}
	return "u." + f.Name
}

// tableValue is a field as the table has it, or as the roll keeps it where the table's is too large.
func tableValue(f *event.Field) string {
	if !f.Keeps {
		return "s." + f.Name
	}
	return fmt.Sprintf("case when s.kept is not null and %[2]s = any(pg_catalog.string_to_array(s.kept, ' ')) then "+
		"u.%[1]s else s.%[1]s end",
		f.Name, target.Literal(f.Name))
}

// differingColumns is an array of the columns that differ: name, the roll's value, the table's.
func differingColumns() string {
	const moment = "'epoch'::timestamptz + least(greatest(%s.version, -62135596800000000), " +
		"253402300799000000)::float8 * '1 microsecond'::interval"
	rows := []string{fmt.Sprintf("(0, 'version', u.version is distinct from s.version, %s, %s)",
		shownValue("timestamptz", fmt.Sprintf(moment, "u")), shownValue("timestamptz", fmt.Sprintf(moment, "s")))}
	add := func(name, kind, ours, theirs string) {
		rows = append(rows, fmt.Sprintf("(%d, %s, %s is distinct from %s, %s, %s)", len(rows), target.Literal(name), ours,
			theirs, shownValue(kind, ours), shownValue(kind, theirs)))
	}
	for i := range event.Users.Fields {
		f := &event.Users.Fields[i]
		ours, theirs := rollValue(f), tableValue(f)
		if empty, ok := f.Value(event.Users.Empty()).(event.Document); ok {
			ours = "case when u.id is null then " + target.Literal(string(empty)) + "::jsonb else u." + f.Name + " end"
			theirs = strings.Replace(theirs, "then u."+f.Name, "then "+ours, 1)
		}
		add(f.Name, string(f.Type), ours, theirs)
	}
	add("kept", "text", "pg_catalog.array_to_string(u.kept, ' ')", "s.kept")
	return `(select pg_catalog.array_agg(d.value order by c.n, d.n)
    from (values ` + strings.Join(rows, ",\n      ") + `) c (n, name, differs, ours, theirs)
    cross join lateral (values (1, c.name), (2, c.ours), (3, c.theirs)) d (n, value)
    where c.differs)`
}

// shownValue is a value for people.
func shownValue(kind, value string) string {
	switch kind {
	case "timestamptz":
		return fmt.Sprintf("coalesce(pg_catalog.rtrim(pg_catalog.rtrim(pg_catalog.to_char((%s) at time zone 'UTC', "+
			`'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z'::text, 'null'::text)`, value)
	case "jsonb":
		return fmt.Sprintf("(coalesce(pg_catalog.pg_column_size((%s) #> '{}'::text[]), 0)::text || ' bytes'::text)", value)
	case "boolean":
		return fmt.Sprintf("(%s)::text", value)
	}
	return fmt.Sprintf("coalesce(pg_catalog.left(%s, 400), 'null'::text)", value)
}

// comparedBytes bounds what one page reads of the table, as shapedUsers counts.
const comparedBytes = 16 << 20

// Compare returns a page of the table after an id, "" at the beginning, up to another one, "" for the end, of n users
// at most, beside the roll's, with those of the roll in between; in the order of ids. A page that takes too
// long is read again with fewer users. It may be used by several at once.
func (u *Users) Compare(ctx context.Context, after, upTo string, n int) (Compared, error) {
	for {
		users := n
		if fewer := u.fewer.Load(); fewer > 0 {
			users = min(n, int(fewer))
		}
		rows, _ := u.directory.Pool.Query(ctx, u.compare, u.page(after, upTo, users)...)
		page, err := readCompared(rows)
		switch {
		case err == nil:
			u.fewer.CompareAndSwap(int64(users), int64(2*users))
			return page, nil
		case sqlstate.Of(err) != sqlstate.QueryCanceled || ctx.Err() != nil:
			return page, fmt.Errorf("compare users after %q: %w", after, u.directory.Pool.Explain(err))
		case users == 1:
			return page, fmt.Errorf("compare the user after %q: it takes more than %s, which is limits.statement_timeout "+
				"or half of limits.wait; raise both, or lower limits.metadata: %w",
				after, u.directory.Pool.StatementTimeout(), err)
		}
		u.fewer.Store(int64(max(1, users/8)))
	}
}

// CompareAll hands on page after page of the whole table, of n users at most, all of one moment, with
// what differs. It writes nothing.
func (u *Users) CompareAll(ctx context.Context, n int, each func(Compared) error) error {
	err := u.atLength(ctx, func(tx pgx.Tx) error {
		for page := (Compared{}); !page.End; {
			rows, _ := tx.Query(ctx, u.detailed, u.page(page.Last, "", n)...)
			var err error
			if page, err = readCompared(rows); err != nil {
				return err
			}
			if err = each(page); err != nil {
				return err
			}
		}
		return nil
	})
	return connection.Wrap(u.directory.Pool.Explain(err), "compare users")
}

// atLength gives a transaction that reads as of one moment, as long as it takes: what it has read
// may be shown to a person meanwhile.
func (u *Users) atLength(ctx context.Context, do func(pgx.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, u.directory.Pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, connection.SettingsSQL, connection.Milliseconds(u.directory.Pool.LockTimeout()), "0"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "select pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true)"); err != nil {
			return err
		}
		return do(tx)
	})
}

// page are the arguments of comparedUsers.
func (u *Users) page(after, upTo string, n int) []any {
	return []any{u.source, known(after), n, int64(comparedBytes), u.directory.Metadata.Load(), known(upTo)}
}

func readCompared(rows pgx.Rows) (Compared, error) {
	var page Compared
	var d Differing
	var flat []string
	into := []any{&page.End, &page.Last, &page.At, &page.Same, &d.ID, &d.Verdict, &flat}
	_, err := pgx.ForEachRow(rows, into, func() error {
		if d.Verdict == "" {
			return nil // a page without differences has one row all the same
		}
		d.Columns = nil
		for c := range slices.Chunk(flat, 3) {
			d.Columns = append(d.Columns, Difference{c[0], c[1], c[2]})
		}
		page.Differing = append(page.Differing, d)
		return nil
	})
	return page, err
}
