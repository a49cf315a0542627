//go:build unix

package doctor_test

import (
	"strings"
	"time"

	"rollcall/internal/doctor"
	"rollcall/internal/pgtest"
	"rollcall/sql"
)

// databaseFaults are those of the server, the role and Rollcall's own schema.
var databaseFaults = []fault{
	{
		code: "database_unreachable", place: "rollcall.yaml:1:1", words: "no PostgreSQL answers at 127.0.0.1:1", remedy: "database: postgres://",
		seed:  func(p *patient) { p.variables["DATABASE_URL"] = "postgres://rollcall:x@127.0.0.1:1/app" },
		after: func(p *patient) { p.variables["DATABASE_URL"] = "" },
	},
	{
		code: "database_missing", place: "rollcall.yaml:1:1", words: "has no database", remedy: `create database "nowhere"`,
		seed:  func(p *patient) { p.variables["DATABASE_URL"] = strings.Replace(p.url, p.name(), "nowhere", 1) },
		after: func(p *patient) { p.variables["DATABASE_URL"] = "" },
	},
	{
		code: "database_login", place: "rollcall.yaml:1:1", words: "refuses user", remedy: "login password 'PASSWORD'",
		seed:  func(p *patient) { p.Exec("alter role " + p.role + " password 'another'") },
		after: func(p *patient) { p.url = pgtest.As(p.T, p.Address, p.role) },
	},
	{
		code: "database_login", place: "rollcall.yaml:1:1", words: "may not connect", remedy: "grant connect on database",
		seed: func(p *patient) { p.Exec("revoke connect on database " + p.name() + " from public") },
	},
	{
		code: "role_connections", place: "role ", words: "may have 5 connections", remedy: "connection limit -1",
		seed: run("alter role %[1]s connection limit 5"),
	},
	{
		code: "clock_difference", place: "the clock of this machine", words: "behind the database's", remedy: "set-ntp",
		seed: clock(-time.Minute), after: func(p *patient) { p.change = nil },
	},
	{
		code: "clock_difference", place: "the clock of this machine", words: "ahead of the database's", remedy: "set-ntp",
		seed: clock(5 * time.Second), after: func(p *patient) { p.change = nil },
	},
	{
		code: "schema_missing", place: "schema rollcall", words: "no schema rollcall yet", remedy: "rollcall migrate",
		seed: run("drop schema rollcall cascade"), after: (*patient).migrate,
	},
	{
		code: "schema_old", place: "schema rollcall", words: "lacks " + newest().Name, remedy: "rollcall migrate",
		seed:  run("delete from rollcall.migrations where version = (select max(version) from rollcall.migrations)"),
		after: run("insert into rollcall.migrations (version, name) select max(version) + 1, 'again' from rollcall.migrations"),
	},
	{
		code: "schema_rights", place: "schema rollcall", words: "lacks select, insert, update, delete on all tables", remedy: "grant select, insert",
		seed: run("alter table rollcall.parked owner to postgres"),
	},
	{
		code: "schema_rights", place: "schema rollcall", words: "lacks usage on schema rollcall", remedy: "grant usage on schema rollcall",
		seed: run("alter schema rollcall owner to postgres"),
	},
	{
		code: "schema_open", place: "schema rollcall", words: "role public has rights (all on all tables", remedy: "revoke all on all tables in schema rollcall from public",
		seed: run("grant select on rollcall.users to public"),
	},
	{
		code: "schema_open", place: "schema rollcall_provider", words: "role public has rights (all on schema", remedy: "revoke all on schema rollcall_provider from public",
		seed: run("grant usage on schema rollcall_provider to public"),
	},
	{
		code: "schema_open", place: "schema rollcall_api", words: "role public has rights (all on all tables", remedy: "revoke all on all tables in schema rollcall_api from public",
		seed: run("grant select on rollcall_api.live_users to public"),
	},
	{
		code: "public_create", place: "schema public", words: "all roles may create functions", remedy: "revoke create on schema public from public",
		seed: run("grant create on schema public to public"),
	},
	{
		code: "role_superuser", place: "role ", words: "is a superuser", remedy: "create role rollcall login",
		seed: run("alter role %[1]s superuser"), after: run("alter role %[1]s nosuperuser"),
	},
	{
		code: "events_autovacuum", place: "table rollcall.events", words: "autovacuum is off for the table", remedy: "reset (autovacuum_enabled)",
		seed: run("alter table rollcall.events set (autovacuum_enabled = false)"),
	},
	{
		code: "events_large", place: "table rollcall.events", words: "the table takes", remedy: "bodies: 3d",
		seed: func(p *patient) { p.bounds(func(b *doctor.Bounds) { b.EventsBytes = 1 }) }, stays: "the table has a size",
	},
	{
		code: "events_vacuum", place: "table rollcall.events", words: "rows are dead", remedy: "vacuum (analyze) rollcall.events",
		seed: both(run(`alter table rollcall.events set (autovacuum_enabled = false);
			insert into rollcall.events (source, id, type, received_at) select 'clerk', n::text, 'user.created', now() from generate_series(1, 2000) n`),
			run("delete from rollcall.events"), func(p *patient) {
				p.bounds(func(b *doctor.Bounds) { b.EventsRows = 100 })
				p.Await("select (n_dead_tup > 1000)::text from pg_stat_all_tables where relid = 'rollcall.events'::regclass", "true")
			}),
	},
	{
		code: "retention_behind", place: "table rollcall.events", words: "the oldest body of an event is of", remedy: "rollcall serve",
		seed:  run("insert into rollcall.events (source, id, type, received_at, body) values ('clerk', 'x', 'user.created', now() - interval '9 days', 'x')"),
		after: run("update rollcall.events set body = null"),
	},
	{
		code: "retention_behind", place: "table rollcall.events", words: "the oldest event is of", remedy: "rollcall serve",
		seed:  run("insert into rollcall.events (source, id, type, received_at) values ('clerk', 'x', 'user.created', now() - interval '99 days')"),
		after: run("delete from rollcall.events"),
	},
	{
		code: "retention_none", place: "rollcall.yaml:1:", words: "as good as for ever", remedy: "events: 90d",
		seed: edit("database: $", "retention: {events: 9999d}\ndatabase: $"),
	},
}

// clock makes this machine's clock differ.
func clock(by time.Duration) func(*patient) {
	return func(p *patient) {
		p.change = func(c *doctor.Config) { c.Now = func() time.Time { return time.Now().Add(by) } }
	}
}

// bounds changes what is too much.
func (p *patient) bounds(change func(*doctor.Bounds)) {
	p.change = func(c *doctor.Config) {
		c.Bounds = doctor.Defaults
		change(&c.Bounds)
	}
}

// name is that of the database.
func (p *patient) name() string {
	p.T.Helper()
	return p.Rows("select current_database()")[0]
}

func newest() sql.Migration {
	all := sql.Migrations()
	return all[len(all)-1]
}
