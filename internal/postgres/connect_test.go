package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/postgres"
	"rollcall/internal/target"
)

// refusedConnection is one case: what is asked of a server, and the sentence that comes of it.
type refusedConnection struct{ user, password, database, query, want string }

const hba = `host all postgres,ghost,nologin,full 127.0.0.1/32 trust
host all pw 127.0.0.1/32 scram-sha-256
host all gone 127.0.0.1/32 reject
local all all peer
hostssl all secure 127.0.0.1/32 trust
host closed open 127.0.0.1/32 trust
`

// Whatever keeps a connection from being made at a real server comes out as one sentence with
// the remedy, and without the password.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	sockets := must.Get(os.MkdirTemp("/tmp", "rollcall-sockets-"))(t)
	must.Do(t, os.Chmod(sockets, 0o777)) // the server may run as another user
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	server := pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{"unix_socket_directories": sockets}})
	admin := pgtest.Connect(t, server.URL("postgres")).Conn
	pgtest.Exec(t, admin, `create role nologin nologin; create role pw login password 'right'; create role secure login;
		create role full login connection limit 0; create role open login`)
	pgtest.Exec(t, admin, "create database closed")
	pgtest.Exec(t, admin, "revoke connect on database closed from public")
	pgtest.Exec(t, admin, "copy (select regexp_split_to_table('"+hba+"', E'\\n')) to '"+filepath.Join(server.Dir(), "pg_hba.conf")+"'; select pg_reload_conf()")
	for name, c := range map[string]refusedConnection{
		"unknown role":      {"ghost", "", "postgres", "", `has no role ghost that may log in \(role "ghost" does not exist\); run create role "ghost" login, or alter role "ghost" login, or correct`},
		"no login":          {"nologin", "", "postgres", "", `has no role nologin that may log in \(.*\); run create role`},
		"no password":       {"pw", "", "postgres", "", `asks user pw for a password, and there is none; write it into database, or set PGPASSWORD`},
		"wrong password":    {"pw", "hunter2secret", "postgres", "", `refuses user pw: the password is wrong, or there is no such role; correct the one or the other in database`},
		"wrong database":    {"postgres", "hunter2secret", "nowhere", "", `has no database nowhere; create it, or correct its name in database`},
		"no entry":          {"stranger", "", "postgres", "", `does not admit user stranger to database postgres from here \(.*no pg_hba.conf entry.*\); add a line to its pg_hba.conf, or write sslmode=require into database if it wants encryption`},
		"rejected":          {"gone", "", "postgres", "", `does not admit user gone to database postgres from here`},
		"encryption wanted": {"secure", "", "postgres", "", `write sslmode=require into database if it wants encryption`},
		"full":              {"full", "", "postgres", "", `has no connection left for user full \(.*\); end others, raise max_connections or the limit of the role, or lower pool_max_conns`},
		"may not connect":   {"open", "", "closed", "", `user open may not connect to database closed at .*; run grant connect on database "closed" to "open"`},
		"setting":           {"postgres", "", "postgres", "options=-c%20nosuch=1", `refuses a setting of database \(unrecognized configuration parameter "nosuch"\); correct it, or remove it`},
		"bad setting":       {"postgres", "", "postgres", "timezone=Nowhere", `refuses a setting of database \(.*\); correct it, or remove it`},
		"no such role set":  {"postgres", "", "postgres", "role=nobody", `refuses a setting of database`},
		"no TLS":            {"postgres", "hunter2secret", "postgres", "sslmode=require", `has no TLS, which sslmode asks for; turn ssl on there, or write sslmode=disable`},
		"peer":              {"pw", "hunter2secret", "postgres", "host=" + sockets, `refuses user pw \(.*\); correct the name in database, or the method in its pg_hba.conf`},
		"no socket":         {"pw", "", "postgres", "host=/nowhere", `no PostgreSQL answers at /nowhere/.s.PGSQL.\d+ \(.*no such file or directory\); start it`},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, server.URL(""), c) })
	}
	certificate := serveTLS(t, server)
	for name, c := range map[string]refusedConnection{
		"verify-ca": {"postgres", "", "postgres", "sslmode=verify-ca",
			`the certificate of .* can't be trusted \(.*unknown authority\); write sslmode=verify-full and sslrootcert=FILE`},
		"other name": {"postgres", "", "postgres", "sslmode=verify-full&sslrootcert=" + certificate,
			`the certificate of .* is for another name \(.*\); write the host as the certificate has it, or sslmode=verify-ca`},
		"TLS for nobody": {"stranger", "", "postgres", "sslmode=require", `add a line to its pg_hba.conf$`},
	} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, server.URL(""), c) })
	}
	db := openTo(t, refusedConnection{"secure", "", "postgres", "sslmode=require", ""}, server.URL(""))
	must.Do(t, db.Pool().Ping(t.Context())) // with TLS
}

func openTo(t *testing.T, c refusedConnection, base string) *postgres.DB {
	t.Helper()
	to := must.Get(url.Parse(base))(t)
	to.User, to.Path, to.RawQuery = url.UserPassword(c.user, c.password), "/"+c.database, "sslmode=disable&"+c.query
	db := must.Get(postgres.Open(postgres.Config{URL: to.String(), Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(db.Close)
	return db
}

// wantRefusal asks as a command does, and as serve does while it waits.
func wantRefusal(t *testing.T, base string, c refusedConnection) {
	t.Helper()
	db := openTo(t, c, base)
	checking, migrating := must.Err(db.Targets().Check(t.Context())), must.Err(db.Migrate(t.Context()))
	for _, err := range []error{checking, migrating, db.Migrated(t.Context()), db.Roll().Ready(t.Context())} {
		must.Sentence(t, err, c.want)
	}
}

// serveTLS gives the server a certificate for other.test, and returns its file.
func serveTLS(t *testing.T, server *pgserver.Server) string {
	t.Helper()
	key := must.Get(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other.test"}, DNSNames: []string{"other.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate := must.Get(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	private := must.Get(x509.MarshalECPrivateKey(key))(t)
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	admin := pgtest.Connect(t, server.URL("postgres")).Conn
	for name, text := range map[string][]byte{"server.crt": public, "server.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})} {
		file := filepath.Join(server.Dir(), "data", name)
		pgtest.Exec(t, admin, "copy (select regexp_split_to_table('"+string(text)+"', E'\\n')) to program 'umask 077; cat > "+file+"'")
	}
	pgtest.Exec(t, admin, "alter system set ssl = on")
	pgtest.Exec(t, admin, "select pg_reload_conf()")
	own := filepath.Join(t.TempDir(), "authority.crt")
	must.Do(t, os.WriteFile(own, public, 0o600))
	return own
}

// A server that is up and takes no connections is waited for.
func TestServerNotReady(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{"wal_level": "replica"}})
	admin := pgtest.Connect(t, server.URL("postgres")).Conn
	pgtest.Exec(t, admin, "alter system set hot_standby = off")
	pgtest.Exec(t, admin, "copy (select '') to '"+filepath.Join(server.Dir(), "data", "standby.signal")+"'")
	must.Do(t, server.Stop())
	must.Do(t, server.Restart(t.Context()))
	wantRefusal(t, server.URL(""), refusedConnection{"postgres", "", "postgres", "", `takes no connections yet \(.*\); wait until it is up, or look at its log`})
}

// What is no PostgreSQL, or isn't there.
func TestNoServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(net.Conn)
		query  string
		want   string
	}{
		"silent": {func(net.Conn) { time.Sleep(3 * time.Second) }, "connect_timeout=1", `no answer from 127.0.0.1:\d+ within 1s; correct the address in database, or look for a firewall`},
		"closes": {func(c net.Conn) { _, _ = c.Read(make([]byte, 100)) }, "", `what listens at 127.0.0.1:\d+ is no PostgreSQL, or is about to stop \(.*\); correct the address`},
		"HTTP": {func(c net.Conn) {
			_, _ = c.Read(make([]byte, 100))
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}, "", `what listens at 127.0.0.1:\d+ is no PostgreSQL`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() { defer conn.Close(); c.answer(conn) }()
				}
			}()
			db := openTo(t, refusedConnection{"app", "hunter2secret", "shop", c.query, ""}, "postgres://"+l.Addr().String())
			must.Sentence(t, must.Err(db.Targets().Check(t.Context())), c.want)
		})
	}
}

// Several sessions compile the targets; where the server has fewer left, those that there are do it all. What
// needs more says so.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	d := fixture.Supabase(t)
	d.Start(postgres.Config{}) // migrates
	role := d.Role("connection limit 1")
	var targets []target.Target
	for _, name := range []string{"a", "b", "c", "d"} {
		wants := fixture.Target("supabase")
		wants.Name = name
		targets = append(targets, wants)
	}
	r := d.Start(postgres.Config{URL: pgtest.As(t, d.Address, role), Targets: targets})
	d.Exec("insert into rollcall.users (source, id, version) values ('supabase', '" + fixture.ID(1) + "', 1)")
	const full = `^backfill a: .*has no connection left for user role_\w+ \(.*\); end others`
	for _, limit := range []string{"1", "2"} {
		d.Exec("alter role " + role + " connection limit " + limit)
		must.Sentence(t, must.Err(r.DB.Backfills().Run(t.Context(), "a", nil)), full)
	}
}
