//go:build unix

package doctor_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/internal/doctor"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
)

// found returns the finding of a code, or fails.
func found(t *testing.T, d *doctor.Diagnosis, code, words string) doctor.Finding {
	t.Helper()
	f, ok := has(d, code, "")
	must.True(t, ok, "got %+v, unseen %+v; want %s", d.Findings, d.Unseen, code)
	must.Contain(t, f.Meaning, words)
	return f
}

// What a server as a whole shows.
func TestServer(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{
		"wal_level": "replica", "max_connections": "14", "autovacuum": "off",
	}})
	p := &patient{Database: fixture.At(t, server.URL("postgres")), yaml: healthy, url: server.URL("postgres"), variables: map[string]string{
		"CLERK_SECRET":    "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==",
		"SUPABASE_SECRET": "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==",
	}}
	p.Exec(pgtest.Auth)
	p.Exec(tables)
	p.migrate()
	off := found(t, p.examine(), "autovacuum_off", "autovacuum is off") // by the command line of the server, which wins
	must.Equal(t, off.Remedy.Text, "alter system set autovacuum = on; select pg_reload_conf();", "remedy")
	p.Exec("create role anon; create role authenticated; grant usage on schema rollcall to anon; grant select on all tables in schema rollcall to anon, authenticated")
	for range 3 { // the tables for both, and the schema
		p.Exec(found(t, p.examine(), "schema_open", "has rights (all on").Remedy.Text)
	}
	_, still := has(p.examine(), "schema_open", "")
	must.True(t, !still, "the rights are revoked")

	for range 8 {
		p.Connect()
	}
	found(t, p.examine(), "connections_low", "of the server's 11 connections are taken")

	must.Do(t, os.WriteFile(filepath.Join(server.Dir(), "data", "standby.signal"), nil, 0o666))
	must.Do(t, server.Restart(t.Context()))
	found(t, p.examine(), "database_standby", "is a standby")
}

// A database that is not UTF8 refuses some texts.
func TestEncoding(t *testing.T) {
	t.Parallel()
	p := admit(t)
	name := p.name() + "_l"
	p.Exec("create database " + name + " encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0")
	t.Cleanup(func() { _ = must.Err(p.SQL.Exec(context.Background(), "drop database "+name+" with (force)")) })
	p.variables["DATABASE_URL"] = strings.Replace(p.url, p.name(), name, 1)
	found(t, p.examine(), "database_encoding", "the database's encoding is LATIN1")
}

// A table that refuses all users takes its target out of service while serve runs.
func TestOutOfService(t *testing.T) {
	t.Parallel()
	p := admit(t)
	s, db := p.open()
	must.Get(db.Targets().Check(t.Context()))(t)
	p.Exec("revoke insert on people from " + p.role)
	u := fixture.Updated("x", 1, "x@x.test")
	u.Source, u.User.Source = "clerk", "clerk"
	outcomes, err := db.Roll().Apply(t.Context(), []event.Event{u})
	must.True(t, err == nil && outcomes[0] == event.Parked, "%v %v", outcomes, err)
	cfg := s.Doctor(db, nil)
	cfg.Targets = doctor.InService
	f := found(t, doctor.Examine(t.Context(), cfg), "target_out_of_service", "permission denied")
	must.Equal(t, f.Place, "rollcall.yaml:10:3", "place")
}

// A check that fails or may not see something is named, and the others go on.
func TestUnseen(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.Exec("drop table rollcall.reconciliations; alter table rollcall.river_job owner to postgres; alter table people drop constraint people_pkey")
	d := p.examine()
	found(t, d, "target_key_index", "needs a unique index")
	found(t, d, "schema_rights", "lacks select")
	var names []string
	for _, u := range d.Unseen {
		names = append(names, u.Check)
	}
	must.Equal(t, names, []string{"the reconciliations", "the jobs"}, "unseen")
	must.Contain(t, d.Unseen[1].Why, "may not see it")
}
