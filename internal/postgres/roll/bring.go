package roll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/settle"
)

// Users of a table source that the roll knows nothing of are brought in a span at a time: neither locked
// before, nor compared, nor named one by one. That takes a fraction of the time of as many signals.

// Brought is what has become of a span.
type Brought struct {
	Created int64  // users who are new in the roll
	Known   int64  // living ones that another transaction wrote first
	Last    string // the last user of the span that was read; "" when there was none
}

// errLeft means that a span needs what only signals do.
var errLeft = errors.New("the span is left to signals")

// Bring brings the users of a stretch of a source's table who are not in the roll into it, as many of them as the
// pace allows, and settles them in every target, in one transaction. Each row of the roll is of the moment when the
// statement began, and stays only if the table still has the user once the row is there: a signal that they were
// deleted finds them in the roll, and waits, or was there before. An error leaves nothing behind; signals then sort
// out why. A crash may undo what it has committed a moment ago.
func (r *Roll) Bring(ctx context.Context, source string, from directory.Stretch) (Brought, error) {
	var b Brought
	s := settle.Span{Source: source, After: from.After, To: from.Last}
	t := r.followed(source)
	if t == nil {
		return b, errLeft
	}
	kept := false
	read := func(rows pgx.Rows) error {
		_, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
			return struct{}{}, row.Scan(&b.Last, &b.Known, &b.Created, &kept)
		})
		if err == nil && kept {
			err = errLeft
		}
		return err
	}
	var after *string // null for the beginning of the table
	if s.After != "" {
		after = &s.After
	}
	var gone int64
	count := func(rows pgx.Rows) (err error) {
		gone, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		return err
	}
	open := t.reading(
		settle.Step{Kind: settle.Writing, SQL: t.bring, Read: read, Args: []any{
			s.Source, after, min(from.Users, r.pace.Users()), int64(signalBytes), r.directory.Metadata.Load(), s.To, r.targets.Fingerprint(),
		}},
		settle.Step{Kind: settle.Writing, SQL: t.forgetGone, Args: []any{s.Source, s.After, s.To}, Read: count},
	)
	start := time.Now()
	err := r.targets.CommitSpan(ctx, s, open)
	r.pace.Took(time.Since(start))
	if err != nil {
		return Brought{}, err
	}
	b.Known -= b.Created
	b.Created -= gone
	return b, nil
}

// bringUsers writes the living of a page (%[1]s, directory.StateOfRows; $1 the source, $2 after which id, $3 how many at
// most, $4 bytes, $5 limits.metadata, up to $6; $7 is the set of targets) into the roll, but for those who are
// in it. It returns the last of the page, how many live, how many were written, and whether one has
// metadata that is too large: whose last value counts is not for this statement to say. Then it writes nothing,
// because what follows it, to the commit, is sent with it.
const bringUsers = `with %[1]s, large as materialized (
  select coalesce(pg_catalog.bool_or(user_kept or app_kept), false) as kept from have
), fresh as (
  insert into rollcall.users (source, id, version, changed_at, config, %[2]s, kept)
  select $1, id, version, pg_catalog.statement_timestamp(), $7::integer, %[2]s, null
  from state
  where living and not (select kept from large)
  order by id collate "C"
  on conflict do nothing
  returning id
)
select coalesce(pg_catalog.max(id collate "C"), ''), pg_catalog.count(*) filter (where deleted_at is null),
  (select pg_catalog.count(*) from fresh), (select kept from large)
from have`

// forgetGone takes back the users of a span ($1 the source, after $2, up to $3) that this transaction has written
// and that the table (%[1]s, living where %[2]s) has no more: a signal may have found neither row, and
// been answered. Neither they nor what was noted of them for notifications is left. They are deleted by ctid: by id, a
// plan that was made while the roll was empty reads all users of the source. A ctid is a place in one partition.
const forgetGone = `with mine as materialized (
  select id, tableoid as part, ctid as place from rollcall.users
  where source = $1 and id > $2 and id <= $3 and xmin = pg_catalog.pg_current_xact_id()::xid
), there as materialized (
  select r.id::text collate "C" as id from %[1]s r where r.id = any (array(select id::uuid from mine)) and %[2]s
), away as materialized (
  select part, place from mine where (id in (select id from there)) is not true
), gone as (
  delete from rollcall.users
  where ctid = any (array(select place from away)) and ((tableoid, ctid) in (select part, place from away)) is true
  returning id
), unnoted as (
  delete from rollcall.transitions t
  where (select exists (select from gone)) and t.source = $1 and t.row_id in (select id from gone) and t.xmin = pg_catalog.pg_current_xact_id()::xid
  returning t.id
), untold as (
  delete from rollcall.notifications where transition in (select id from unnoted)
)
select pg_catalog.count(*) from gone`

// bringFrom are bringUsers and forgetGone for a table.
func bringFrom(u *directory.Users) (bring, forget string) {
	var names []string
	for i := range event.Users.Fields {
		names = append(names, event.Users.Fields[i].Name)
	}
	rows, living, condition := u.RowsOfSpan()
	return fmt.Sprintf(bringUsers, directory.StateOfRows(rows, "$4::bigint", "$5::integer"), strings.Join(names, ", ")),
		fmt.Sprintf(forgetGone, living, condition)
}
