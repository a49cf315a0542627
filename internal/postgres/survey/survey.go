// Package survey reads what a diagnosis wants to know of a database: the server, the role and its rights, the
// triggers on a table of users, what Rollcall's own tables hold. It hides the queries to the catalog and to the
// statistics. It writes nothing and judges nothing, which package doctor does:
//
//	s := survey.Survey{Pool: db.Pool()}
//	server, err := s.Server(ctx, time.Now)
package survey

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// Survey reads a database.
type Survey struct{ Pool *connection.Pool }

// Server is the server, the database and the role.
type Server struct {
	Version  int // as server_version_num
	Database string
	Encoding string
	Role     string
	Standby  bool
	// Clock is the server's, as of between Asked and Answered by the clock of this machine.
	Clock, Asked, Answered time.Time
	// RoleConnections is how many connections the role may have, -1 for no limit of its own.
	RoleConnections int
	// Connections is how many sessions the server has, of Most that roles without privileges may have.
	Connections, Most int
	Autovacuum        bool
}

const serverSQL = `
select pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_database()::text,
  pg_catalog.pg_encoding_to_char(d.encoding)::text, r.rolname::text, pg_catalog.pg_is_in_recovery(), r.rolconnlimit,
  (select pg_catalog.count(*)::int from pg_catalog.pg_stat_activity where backend_type = 'client backend'),
  pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int
    - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0),
  pg_catalog.current_setting('autovacuum')::boolean, pg_catalog.clock_timestamp()
from pg_catalog.pg_database d, pg_catalog.pg_roles r
where d.datname = pg_catalog.current_database() and r.rolname = current_user`

// Server reads the server, the database and the role; now is the clock of this machine.
func (s Survey) Server(ctx context.Context, now func() time.Time) (Server, error) {
	var v Server
	scan := func() error {
		v.Asked = now()
		err := s.Pool.QueryRow(ctx, serverSQL).Scan(&v.Version, &v.Database, &v.Encoding, &v.Role, &v.Standby,
			&v.RoleConnections, &v.Connections, &v.Most, &v.Autovacuum, &v.Clock)
		v.Answered = now()
		return err
	}
	err := scan()
	if err == nil {
		err = scan() // without the time that connecting and planning take
	}
	return v, s.wrap(err, "look at the server")
}

// Since returns when the first migration ran; the zero time where none has.
func (s Survey) Since(ctx context.Context) (time.Time, error) {
	var at *time.Time
	err := s.Pool.QueryRow(ctx, "select pg_catalog.min(applied_at) from rollcall.migrations").Scan(&at)
	if at == nil {
		return time.Time{}, s.wrap(err, "look at the migrations")
	}
	return *at, nil
}

// OpenRight is a right of a role that has no business with Rollcall's own schemas.
type OpenRight struct{ What, Grantee string } // as revoke writes them

// openSQL: $1 schemas, $2 roles. Besides, the views of rollcall_api, which have all users' data; its functions are
// for clients.
const openSQL = `
with role as (
  select 0::oid as oid, 'public' as name
  union all
  select r.oid, pg_catalog.quote_ident(r.rolname) from pg_catalog.pg_roles r where r.rolname = any($2::text[])
), schema as (
  select n.oid, pg_catalog.quote_ident(n.nspname) as name, n.nspacl as acl from pg_catalog.pg_namespace n
  where n.nspname = any($1::text[])
)
select 'all on schema ' || s.name, role.name from schema s cross join role
where exists (select from pg_catalog.aclexplode(s.acl) a where a.grantee = role.oid)
union all
select 'all on all tables in schema ' || s.name, role.name
from (
  select * from schema
  union all
  select n.oid, n.nspname::text, null from pg_catalog.pg_namespace n where n.nspname = 'rollcall_api'
) s cross join role
where exists (
  select from pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(c.relacl) a
  where c.relnamespace = s.oid and c.relkind in ('r', 'p', 'v', 'm') and a.grantee = role.oid)
union all
select 'all on all functions in schema ' || s.name, role.name from schema s cross join role
where exists (
  select from pg_catalog.pg_proc p cross join lateral pg_catalog.aclexplode(p.proacl) a
  where p.pronamespace = s.oid and a.grantee = role.oid)
order by 1, 2`

// Open returns the rights of PUBLIC and of some roles in some schemas, and to the views of rollcall_api.
func (s Survey) Open(ctx context.Context, schemas, roles []string) ([]OpenRight, error) {
	rows, _ := s.Pool.Query(ctx, openSQL, schemas, roles)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[OpenRight])
	return list, s.wrap(err, "look at the rights of other roles")
}

const lackingSQL = `
select 'usage on schema rollcall' where not pg_catalog.has_schema_privilege('rollcall', 'usage')
union all
select * from (
  select 'select, insert, update, delete on all tables in schema rollcall' from pg_catalog.pg_class c
  where c.relnamespace = pg_catalog.to_regnamespace('rollcall')::oid and c.relkind in ('r', 'p') and c.relname <> 'migrations'
    and not (pg_catalog.has_table_privilege(c.oid, 'select') and pg_catalog.has_table_privilege(c.oid, 'insert')
      and pg_catalog.has_table_privilege(c.oid, 'update') and pg_catalog.has_table_privilege(c.oid, 'delete'))
  limit 1
) tables
union all
select * from (
  select 'usage on all sequences in schema rollcall' from pg_catalog.pg_class c
  where c.relnamespace = pg_catalog.to_regnamespace('rollcall')::oid 
    and case c.relkind when 'S' then not pg_catalog.has_sequence_privilege(c.oid, 'usage') end
    and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'i')
  limit 1
) sequences
union all
select * from (
  select 'execute on all functions in schema rollcall' from pg_catalog.pg_proc p
  where p.pronamespace = pg_catalog.to_regnamespace('rollcall')::oid and p.prorettype <> 'trigger'::pg_catalog.regtype::oid
    and not pg_catalog.has_function_privilege(p.oid, 'execute')
  limit 1
) functions`

// Lacking returns the rights that the role lacks in the schema rollcall, as grant writes them.
func (s Survey) Lacking(ctx context.Context) ([]string, error) {
	rows, _ := s.Pool.Query(ctx, lackingSQL)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, s.wrap(err, "look at the role's rights")
}

func (s Survey) wrap(err error, what string) error {
	return connection.Wrap(s.Pool.Explain(err), "%s", what)
}
