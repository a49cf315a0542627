package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rollcall/internal/config"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/sqlstate"
	"rollcall/internal/postgres/survey"
	"rollcall/internal/target"
	migrations "rollcall/sql"
)

const minServerVersion = 140000

// server connects, and judges the server, the database and the role.
func (e *examination) server(ctx context.Context) error {
	v, err := e.survey.Server(ctx, e.Now)
	if err != nil {
		e.stopped = "the database can't be reached"
		e.unreachable(err)
		return nil
	}
	e.role = v.Role
	at := e.at("database")
	if v.Version < minServerVersion {
		e.add(serverTooOld, at, fmt.Sprintf("the server is PostgreSQL %d, and Rollcall needs 14 or newer", v.Version/10000),
			command("pg_upgrade --help"))
		e.stopped = "the server is too old"
	}
	if v.Standby {
		e.add(databaseStandby, at, "the server is a standby, which takes no writes", databaseYAML("primary.example.com"))
		e.stopped = "the server is a standby"
	}
	if v.Encoding != "UTF8" {
		e.add(databaseEncoding, "database "+v.Database, fmt.Sprintf("the database's encoding is %s: texts that it lacks are refused, "+
			"and their users parked", v.Encoding), command("createdb -T template0 -E UTF8 NAME"))
	}
	e.connections(v)
	e.clock(v)
	if !v.Autovacuum {
		e.add(autovacuumOff, "the server's settings", "autovacuum is off: tables grow, and plans follow old statistics",
			sql("alter system set autovacuum = on; select pg_reload_conf()"))
	}
	return nil
}

func databaseYAML(host string) config.Remedy {
	return yaml("database: postgres://USER:PASSWORD@" + host + ":5432/NAME")
}

// unreachable says why the database can't be reached.
func (e *examination) unreachable(err error) {
	to := e.DB.Pool().Config().ConnConfig
	user, database := target.Quote(to.User), target.Quote(to.Database)
	code, remedy := databaseUnreachable, databaseYAML("HOST")
	switch state := sqlstate.Of(err); {
	case errors.Is(err, connection.ErrPooler):
		code = databasePooler
	case state == "3D000":
		code, remedy = databaseMissing, sql("create database %s", database)
	case state == "28P01":
		code, remedy = databaseLogin, sql("alter role %s login password 'PASSWORD'", user)
	case state == "28000":
		code, remedy = databaseLogin, sql("create role %s login password 'PASSWORD'", user)
	case state == "53300":
		code, remedy = connectionsLow, sql("alter role %s connection limit -1", user)
	case state == sqlstate.InsufficientPrivilege:
		code, remedy = databaseLogin, sql("grant connect on database %s to %s", database, user)
	case strings.Contains(err.Error(), "is a standby"):
		code = databaseStandby
	}
	e.add(code, e.at("database"), err.Error(), remedy)
}

// connections holds what Rollcall needs against what it can have.
func (e *examination) connections(v survey.Server) {
	needed := int(e.DB.Pool().Config().MaxConns + e.DB.Pool().Jobs.Config().MaxConns)
	if len(e.Conditions) > 0 {
		needed += connection.ConditionConnections
	}
	if v.RoleConnections >= 0 && v.RoleConnections < needed {
		e.add(roleConnections, "role "+target.Quote(v.Role),
			fmt.Sprintf("the role may have %d connections, and a replica takes up to %d", v.RoleConnections, needed),
			sql("alter role %s connection limit -1", target.Quote(v.Role)))
	}
	if v.Most-v.Connections < e.Bounds.Free {
		e.add(connectionsLow, "the server's settings",
			fmt.Sprintf("%d of the server's %d connections are taken: soon nothing can connect", v.Connections, v.Most),
			sql("alter system set max_connections = %d", 2*v.Most))
	}
}

// clock compares the clocks of the server and of this machine.
func (e *examination) clock(v survey.Server) {
	early, late := v.Clock.Sub(v.Answered), v.Clock.Sub(v.Asked)
	var apart time.Duration
	var which string
	switch {
	case early > e.Bounds.Clock:
		apart, which = early, "behind"
	case late < -e.Bounds.Clock:
		apart, which = -late, "ahead of"
	default:
		return
	}
	e.add(clockDifference, "the clock of this machine",
		fmt.Sprintf("the clock is %s %s the database's: session tokens and signatures are judged by it", apart.Round(100*time.Millisecond), which),
		command("sudo timedatectl set-ntp true"))
}

// schema looks for migrations that have not run.
func (e *examination) schema(ctx context.Context) error {
	pending, err := e.DB.Pending(ctx)
	switch {
	case sqlstate.Of(err) == sqlstate.InsufficientPrivilege:
		e.stopped = "the role may not read the schema rollcall"
		return e.lacking(ctx)
	case err != nil:
		return err
	case len(pending) == len(migrations.Migrations()):
		e.stopped = "there is no schema rollcall yet"
		e.add(schemaMissing, "schema rollcall", "the database has no schema rollcall yet: nothing is kept or written", command("rollcall migrate"))
	case len(pending) > 0:
		e.stopped = "the schema rollcall is older than this binary"
		var names []string
		for _, m := range pending {
			names = append(names, m.Name)
		}
		e.add(schemaOld, "schema rollcall", "the schema is older than this binary, which lacks "+strings.Join(names, ", "), command("rollcall migrate"))
	default:
		e.since, err = e.survey.Since(ctx)
		return err
	}
	return nil
}

// lacking finds the rights that the role lacks to Rollcall's own tables.
func (e *examination) lacking(ctx context.Context) error {
	rights, err := e.survey.Lacking(ctx)
	if err != nil || len(rights) == 0 {
		return err
	}
	var grants []string
	for _, r := range rights {
		grants = append(grants, "grant "+r+" to "+target.Quote(e.role))
	}
	e.add(schemaRights, "schema rollcall", fmt.Sprintf("role %s lacks %s", target.Quote(e.role), strings.Join(rights, "; ")),
		sql("%s", strings.Join(grants, "; ")))
	return nil
}

// clientRoles are the roles as which the clients of a Supabase project come.
var clientRoles = []string{"anon", "authenticated"}

// rights looks at the rights of Rollcall's role, and of those who should have none.
func (e *examination) rights(ctx context.Context) error {
	around, err := catalog.Surroundings(ctx, e.DB.Pool())
	if err != nil {
		return err
	}
	if around.Superuser {
		e.add(roleSuperuser, "role "+target.Quote(e.role), "the role is a superuser: the owner of a target's table can act as it "+
			"through a trigger; connect as a role of its own", sql("create role rollcall login password 'PASSWORD'"))
	}
	if len(around.Creators) > 0 {
		who, from := "other roles ("+strings.Join(around.Creators, ", ")+")", target.QuoteAll(around.Creators)
		if slices.Contains(around.Creators, "public") {
			who, from = "all roles", "public"
		}
		e.add(publicCreate, "schema public", who+" may create functions in schema public, and the expressions of a target may "+
			"call them as Rollcall's role", sql("revoke create on schema public from %s", from))
	}
	open, err := e.survey.Open(ctx, []string{"rollcall", "rollcall_provider"}, clientRoles)
	if err != nil {
		return err
	}
	for _, o := range open {
		schema := "schema " + o.What[strings.LastIndexByte(o.What, ' ')+1:]
		e.add(schemaOpen, schema, fmt.Sprintf("role %s has rights (%s) in %s, where all users' data is", o.Grantee, o.What, schema),
			sql("revoke %s from %s", o.What, o.Grantee))
	}
	return e.lacking(ctx)
}
