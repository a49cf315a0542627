package survey

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Trigger is a trigger of others on a table, with its function.
type Trigger struct {
	Name string
	// Function is how SQL names it with its arguments; Schema is where it is, and Body its text.
	Function, Schema, Body string
	Language               string
	// Definer: it runs as its owner; otherwise as whoever changes the table.
	Definer bool
	Owner   string
	Enabled bool
	Path    *string // the search_path that it sets; nil for none
}

const triggersSQL = `
select t.tgname::text, p.oid::pg_catalog.regprocedure::text, n.nspname::text, p.prosrc, l.lanname::text, p.prosecdef,
  pg_catalog.pg_get_userbyid(p.proowner)::text, t.tgenabled in ('O', 'A'),
  (select pg_catalog.substr(c, 13) from pg_catalog.unnest(p.proconfig) c where c like 'search\_path=%')
from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
where t.tgrelid = $1 and not t.tgisinternal and n.nspname not in ('rollcall', 'rollcall_provider', 'pg_catalog')
order by t.tgname`

// Triggers returns those on a table but Rollcall's own.
func (s Survey) Triggers(ctx context.Context, table uint32) ([]Trigger, error) {
	rows, _ := s.Pool.Query(ctx, triggersSQL, table)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Trigger])
	return list, s.wrap(err, "look at the triggers on the table of users")
}

// Writable reports whether a role, which may not exist, may insert into a table and update it; true where the table
// does not exist.
func (s Survey) Writable(ctx context.Context, role, schema, table string) (may bool, err error) {
	err = s.Pool.QueryRow(ctx, `
select coalesce((
  select pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage') and pg_catalog.has_table_privilege(r.oid, c.oid, 'insert')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  cross join pg_catalog.pg_roles r
  where n.nspname = $2 and c.relname = $3 and r.rolname = $1), true)`, role, schema, table).Scan(&may)
	return may, s.wrap(err, "look at the rights of a trigger")
}

// Owner is the owner of a table.
func (s Survey) Owner(ctx context.Context, table uint32) (owner string, err error) {
	err = s.Pool.QueryRow(ctx, "select pg_catalog.pg_get_userbyid(relowner)::text from pg_catalog.pg_class where oid = $1", table).
		Scan(&owner)
	return owner, s.wrap(err, "look for the owner of the table of users")
}

// Unindexed is a foreign key without an index: each row that is deleted from the table to which it refers has
// PostgreSQL read the whole table.
type Unindexed struct {
	Constraint string
	Table      string // as SQL writes it
	Columns    string // the same
	Bytes      int64
}

// unindexedSQL: $1 the table that is referred to, $2 the least size in bytes.
const unindexedSQL = `
select f.conname::text, pg_catalog.format('%I.%I', n.nspname, c.relname),
  (select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by k.n)
   from pg_catalog.unnest(f.conkey) with ordinality k (attnum, n)
   join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum),
  pg_catalog.pg_relation_size(c.oid)
from pg_catalog.pg_constraint f join pg_catalog.pg_class c on c.oid = f.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where f.contype = 'f' and f.confrelid = $1 and c.relkind = 'r' and pg_catalog.pg_relation_size(c.oid) >= $2::bigint
  and not exists (
    select from pg_catalog.pg_index i
    where i.indrelid = f.conrelid and i.indisvalid and i.indpred is null
      and not exists ( -- the index begins with the columns of the key, in any order
        select from pg_catalog.unnest(f.conkey) k (attnum)
        where not exists (
          select from pg_catalog.generate_series(0, pg_catalog.cardinality(f.conkey) - 1) s (place) where i.indkey[s.place] = k.attnum
        )
      )
  )
order by 2, 1`

// Unindexed returns the foreign keys to a table that no index serves, of tables of some size.
func (s Survey) Unindexed(ctx context.Context, table uint32, bytes int64) ([]Unindexed, error) {
	rows, _ := s.Pool.Query(ctx, unindexedSQL, table, bytes)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Unindexed])
	return list, s.wrap(err, "look at the foreign keys to a target's table")
}

// Events is how rollcall.events is doing, by PostgreSQL's statistics.
type Events struct {
	Bytes      int64
	Live, Dead int64
	Vacuumed   time.Time // last; the zero time for never
	Autovacuum bool      // is not turned off for the table
	// OldestBody and Oldest are the moments of the oldest event with a body, and of the oldest; the zero time for
	// none.
	OldestBody, Oldest time.Time
}

const eventsSQL = `
select pg_catalog.pg_total_relation_size(c.oid), coalesce(t.n_live_tup, 0), coalesce(t.n_dead_tup, 0),
  greatest(t.last_autovacuum, t.last_vacuum),
  not coalesce('autovacuum_enabled=false' = any(c.reloptions) or 'autovacuum_enabled=off' = any(c.reloptions), false),
  (select e.received_at from rollcall.events e
   where (case when e.body is null then 0 when e.outcome <> 'undecodable' then 1 else 2 end) = 1 order by e.received_at limit 1),
  (select e.received_at from rollcall.events e
   where (case when e.body is null then 0 when e.outcome <> 'undecodable' then 1 else 2 end) = 0 order by e.received_at limit 1)
from pg_catalog.pg_class c left join pg_catalog.pg_stat_all_tables t on t.relid = c.oid
where c.oid = 'rollcall.events'::pg_catalog.regclass::oid`

// Events looks at rollcall.events without reading it.
func (s Survey) Events(ctx context.Context) (Events, error) {
	var e Events
	var vacuumed, body, oldest *time.Time
	err := s.Pool.QueryRow(ctx, eventsSQL).Scan(&e.Bytes, &e.Live, &e.Dead, &vacuumed, &e.Autovacuum, &body, &oldest)
	if vacuumed != nil {
		e.Vacuumed = *vacuumed
	}
	if body != nil {
		e.OldestBody, e.Oldest = *body, *body
	}
	if oldest != nil && (e.Oldest.IsZero() || oldest.Before(e.Oldest)) {
		e.Oldest = *oldest
	}
	return e, s.wrap(err, "look at rollcall.events")
}

// HasRole reports whether there is a role of this name.
func (s Survey) HasRole(ctx context.Context, name string) (there bool, err error) {
	err = s.Pool.QueryRow(ctx, "select exists (select from pg_catalog.pg_roles where rolname = $1)", name).Scan(&there)
	return there, s.wrap(err, "look for a role")
}
