package jobs

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// riverTables describes all that belongs to River in the schema rollcall.
const riverTables = `
select 'column', c.relname, c.relpersistence::text, a.attnum::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
       a.attnotnull::text, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
  from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
 where c.relnamespace = 'rollcall'::regnamespace and c.relname like 'river%' and c.relkind = 'r' and a.attnum > 0
union all
select 'index', tablename, indexname, indexdef, '', '', '', '' from pg_indexes where schemaname = 'rollcall' and tablename like 'river%'
union all
select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', ''
  from pg_constraint where connamespace = 'rollcall'::regnamespace and conrelid::regclass::text like '%river%' and contype <> 'n'
union all
select 'function', proname, pg_get_functiondef(oid), '', '', '', '', '' from pg_proc where pronamespace = 'rollcall'::regnamespace and proname like 'river%'
union all
select 'enum', enumtypid::regtype::text, string_agg(enumlabel, ' ' order by enumsortorder), '', '', '', '', '' from pg_enum group by enumtypid
union all
select 'trigger', tgrelid::regclass::text, tgname, '', '', '', '', '' from pg_trigger where not tgisinternal and tgrelid::regclass::text like '%river%'
union all
select 'sequence', sequencename, data_type::text, '', '', '', '', '' from pg_sequences where schemaname = 'rollcall' and sequencename like 'river%'
union all
select 'version', line, version::text, '', '', '', '', '' from rollcall.river_migration
order by 1, 2, 3, 4`

// The tables that our migrations make for River are those of River's own migrations: a
// newer River that needs more fails here.
func TestRiverTables(t *testing.T) {
	t.Parallel()
	b := newMigrated(t)
	theirs := pgtest.NewWith(t, "create schema rollcall")
	pool := must.Get(pgxpool.New(t.Context(), theirs))(t)
	defer pool.Close()
	migrator := must.Get(rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema}))(t)
	must.Get(migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil))(t)
	want, got := tablesOf(pgtest.Connect(t, theirs)), tablesOf(b.Conn)
	if len(want) < 50 {
		t.Errorf("River's own tables have only %d properties: %q", len(want), want)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-of River's migrations +of ours):\n%s", diff)
	}
}

func tablesOf(conn *pgtest.Conn) []string {
	list := conn.Rows(riverTables)
	slices.Sort(list)
	return list
}
