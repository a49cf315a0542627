package connection

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T, url string) *Pool {
	t.Helper()
	p := must.Get(Open(Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(p.Close)
	return p
}

// reach makes a connection.
func reach(ctx context.Context, p *Pool) error {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return p.Explain(err)
	}
	conn.Release()
	return nil
}

// Names that are not known, and hosts that this machine has no way to.
func TestNoWay(t *testing.T) {
	t.Parallel()
	unknown := &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
	away := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	const pooler = "IPv6 only.*session pooler.*port 5432.*app.<ref>"
	for _, c := range []struct {
		host         string
		lookUp, dial error
		want         string
		not          string
	}{
		{"db.test", unknown, nil, `the name db.test is not known \(no such host\); correct the host in database`, "IPv6"},
		{"one.test,two.test", nil, refused, `no PostgreSQL answers at one.test:5432 or two.test:5432 \(connect: connection refused\)`, "IPv6"},
		{"db.abcdefghijklmnop.supabase.co", unknown, nil, pooler, "%"},
		{"db.abcdefghijklmnop.supabase.co", nil, away, pooler, "%"},
		{"db.test", nil, away, `no PostgreSQL answers at db.test:5432 \(connect: network is unreachable\)`, "IPv6"},
	} {
		cfg, _, err := poolConfig("postgres://app:hunter2secret@" + c.host + "/shop")
		must.Do(t, err)
		cfg.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"2001:db8::1"}, c.lookUp }
		cfg.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, c.dial }
		pool := must.Get(pgxpool.NewWithConfig(t.Context(), cfg))(t)
		t.Cleanup(pool.Close)
		err = reach(t.Context(), &Pool{Pool: pool})
		must.Sentence(t, err, c.want)
		if err != nil && strings.Contains(err.Error(), c.not) {
			t.Errorf("%s: %v", c.host, err)
		}
	}
}

// The holder of a lock learns that its session has ended, and others may take the lock.
func TestLockLost(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	p := open(t, url)
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	t.Cleanup(lock.Release)
	must.Fail(t, must.Err(open(t, url).TryLock(t.Context(), "work")), ErrRunning)
	must.Get(p.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and classid = 1919904876
		and database = (select oid from pg_database where datname = current_database())`))(t)
	err := lock.During(t.Context(), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return errors.New("the context goes on")
		}
	})
	must.Fail(t, err, errLockLost)
	must.Fail(t, err, event.ErrUnavailable)
	must.Get(open(t, url).TryLock(t.Context(), "work"))(t).Release()
}

// A lock that was released, or whose work ended by itself, is not lost.
func TestLockReleased(t *testing.T) {
	t.Parallel()
	p := open(t, pgtest.New(t))
	lock := must.Get(p.TryLock(t.Context(), "work"))(t)
	failed := errors.New("the work failed")
	must.Fail(t, lock.During(t.Context(), func(context.Context) error { return failed }), failed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must.Fail(t, lock.During(ctx, func(ctx context.Context) error { return ctx.Err() }), context.Canceled)
	lock.Release()
	must.Get(p.TryLock(t.Context(), "work"))(t).Release()
}

// connected is what a connection string comes to.
type connected struct {
	host, port, user, password, database string
}

// parsed reads a connection string as Open does; several hosts are joined by commas.
func parsed(text string) (connected, error) {
	cfg, _, err := poolConfig(text)
	if err != nil {
		return connected{}, err
	}
	hosts, ports := addresses(cfg.ConnConfig)
	to := cfg.ConnConfig
	return connected{strings.Join(hosts, ","), strings.Join(ports, ","), to.User, to.Password, to.Database}, nil
}

func wantConnected(t *testing.T, text string, want connected) {
	t.Helper()
	if got, err := parsed(text); err != nil || got != want {
		t.Errorf("%q: got %+v, error %v\nwant %+v", text, got, err, want)
	}
}

func TestConnectionString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]connected{
		"postgres://app:pw@db.test:6000/shop":                                  {"db.test", "6000", "app", "pw", "shop"},
		"postgresql://app:pw@db.test/shop?sslmode=disable":                     {"db.test", "5432", "app", "pw", "shop"},
		"  postgres://app:pw@db.test/shop\n\n":                                 {"db.test", "5432", "app", "pw", "shop"},
		"postgres://app:p%40s%2Fs%3F%23%5B%25%20w@db.test/a%2Fb":               {"db.test", "5432", "app", "p@s/s?#[% w", "a/b"},
		"postgres://app:a:b+c'\\^d=e&f,g;h@db.test/shop":                       {"db.test", "5432", "app", `a:b+c'\^d=e&f,g;h`, "shop"},
		"postgres://app:pw@one.test:6000,two_b.test,[::1]:7/shop":              {"one.test,two_b.test,::1", "6000,5432,7", "app", "pw", "shop"},
		"postgres://app:pw@[fe80::1%25eth0]:6000/shop":                         {"fe80::1%eth0", "6000", "app", "pw", "shop"},
		"postgres:///shop?host=/run/postgresql&user=app":                       {"/run/postgresql", "5432", "app", "", "shop"},
		"postgres://app@%2Frun%2Fpostgresql/shop":                              {"/run/postgresql", "5432", "app", "", "shop"},
		"postgres://db.test/shop?user=app&password=a=b==":                      {"db.test", "5432", "app", "a=b==", "shop"},
		"host=db.test port=6000 user=app password='p\\'w \\\\@/#' dbname=shop": {"db.test", "6000", "app", `p'w \@/#`, "shop"},
		"host=a.test,b.test user=app password=hunter@2/w dbname = shop\n":      {"a.test,b.test", "5432,5432", "app", "hunter@2/w", "shop"},
	} {
		wantConnected(t, text, want)
	}
}

// What has two readings is refused before anything connects; the error says what to do.
func TestConnectionStringRefused(t *testing.T) {
	t.Parallel()
	const encode = "percent-encode"
	for text, want := range map[string]string{
		"postgres://postgres:hunter@2secret/word@host/app":       encode,
		"postgres://app:hunter/2@db.test/shop":                   encode,
		"postgres://app:hunter?2@db.test/shop":                   encode,
		"postgres://app:hunter#2@db.test/shop":                   encode,
		"postgres://app:hunter[2@db.test/shop":                   encode,
		"postgres://app:hunter 2@db.test/shop":                   encode,
		"postgres://app:hunter%2@db.test/shop":                   encode,
		"postgres://app:hunter%@db.test/shop":                    encode,
		"postgres://app:hunter%00@db.test/shop":                  encode,
		"postgres://app:pw@db.test/shop/hunter2":                 encode,
		"postgres://app:hunter2/shop":                            "port",
		"postgres://app:pw@db.test:70000/shop":                   "port",
		"postgres://app:pw@hun^ter2/shop":                        "host",
		"postgres://app:pw@::1/shop":                             "[::1]",
		"postgres://app:pw@[::hunter2]/shop":                     "host",
		"postgres://app:pw@a.test,b.test:1,c.test:2,/x?port=1,2": "port",
		"postgres://app:pw@db.test/shop?hunter2":                 "name=value",
		"postgres://db.test/?password=ab&hunter2=cd":             "quote",
		"host=db.test password=hunter 2secret dbname=shop":       "quote",
		"host=db.test password=ab hunter2=cd":                    "quote",
		"host=db.test password='hunter2":                         "quote",
		"host=db.test password=hunter 2secret":                   "quote",
		`"postgres://app:hunter2@db.test/shop?a=b"`:              "quotation marks",
		"jdbc:postgresql://db.test/shop?password=hunter2":        "postgres://user:password@host:5432/name",
		"postgres://app:pw@db.test/shop?sslmode=hunter2":         "sslmode is disable, allow, prefer, require, verify-ca or verify-full",
		"postgres://app:pw@db.test/shop?sslrootcert=/none":       "sslrootcert",
		"postgres://app:pw@db.test/shop?pool_max_conns=x":        "pool_max_conns",
		"postgres://app:pw@db.test/shop?connect_timeout=x":       "connect_timeout",
		"postgres://app:pw@db.test/shop?ssl=maybe":               "sslmode",
		"host=db.test service=none password=hunter2":             "service",
		"postgres://app:pw@db.test/shop?sslcrl=x":                `"sslcrl"`,
		"postgres://app:pw@db.test/shop?my.setting=x":            "options=-c%20my.setting=value",
	} {
		_, err := parsed(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want one with %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "hunt") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error holds a piece: %v", text, err)
		}
	}
}

// A password file and a service are read as ever; a service may hold the host.
func TestConnectionFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passwords, services := filepath.Join(dir, "pass"), filepath.Join(dir, "services")
	for file, text := range map[string]string{
		passwords: "db.test:5432:shop:app:hunter 2@/\n", services: "[shop]\nhost=db.test\ndbname=shop\nuser=app\npassword=pw\n",
	} {
		must.Do(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for text, want := range map[string]connected{
		"postgres://app@db.test/shop?passfile=" + passwords: {"db.test", "5432", "app", "hunter 2@/", "shop"},
		"service=shop servicefile=" + services:              {"db.test", "5432", "app", "pw", "shop"},
	} {
		wantConnected(t, text, want)
	}
}

// wantNoPiece fails when a text holds four characters in a row of a secret.
func wantNoPiece(t *testing.T, input, secret, text string) {
	t.Helper()
	for i := 0; i+4 <= len(secret); i++ {
		if strings.Contains(text, secret[i:i+4]) {
			t.Fatalf("%q: %q of the password in\n%s", input, secret[i:i+4], text)
		}
	}
}

// Wherever a password stands, and whatever is in it: no error, no log line, no name that is
// looked up and nothing but the password that is sent holds a piece of it.
func TestPasswordLeaksNowhere(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 3000 {
		password := oddPassword(random)
		form := []string{
			"postgres://app:PW@db.test/shop", "postgres://app:PW@one.test:1,two.test:2/shop?sslmode=disable",
			"postgres://db.test/shop?user=app&password=PW&sslmode=disable", "postgres://app:PW@db.test", "postgres://app:PW/shop",
			"host=db.test user=app password=PW dbname=shop", "user=app password='PW' dbname=shop host=db.test", "host=db.test password=PW",
		}[random.IntN(8)]
		input := strings.Replace(form, "PW", password, 1)
		var log bytes.Buffer
		looked, err := lookUps(t.Context(), input, slog.New(slog.NewTextHandler(&log, nil)))
		if err == nil {
			t.Fatalf("%q: connected", input)
		}
		if looked == nil {
			refused++
		}
		wantNoPiece(t, input, password, err.Error()+log.String()+strings.Join(looked, " "))
	}
	if refused < 500 || refused > 2900 {
		t.Errorf("%d of 3000 refused", refused)
	}
}

// oddPassword is made of letters that no word of ours has beside each other, and of specials.
func oddPassword(random *rand.Rand) string {
	const letters, specials = "XZQJKxzqjk0123456789", "@/:?#[]% &='\\+;,^\"\t"
	password := make([]byte, 6+random.IntN(14))
	odd := random.IntN(4)
	for i := range password {
		password[i] = letters[random.IntN(len(letters))]
		if random.IntN(8) < odd {
			password[i] = specials[random.IntN(len(specials))]
		}
	}
	return string(password)
}

// lookUps opens a database and asks it something where no name is known; it returns the names
// that were looked up, nil when nothing was.
func lookUps(ctx context.Context, text string, log *slog.Logger) ([]string, error) {
	cfg, found, err := poolConfig(text)
	if err != nil {
		return nil, err
	}
	found.warnOfIgnored(log)
	looked := []string{}
	cfg.ConnConfig.LookupFunc = func(_ context.Context, host string) ([]string, error) {
		looked = append(looked, host)
		return nil, errors.New("no such host")
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return looked, err
	}
	defer pool.Close()
	err = reach(ctx, &Pool{Pool: pool})
	to := cfg.ConnConfig
	looked = append(looked, to.Host, to.User, to.Database)
	for name, value := range to.RuntimeParams {
		looked = append(looked, name, value)
	}
	return looked, err
}

// Parameters of others are left out, and named once.
func TestIgnoredParameters(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"sslmode=disable&application_name=x":                                               "",
		"schema=public&pgbouncer=true&connection_limit=1&pool_timeout=0&connect_timeout=3": "connection_limit, pgbouncer, pool_timeout, schema",
		"gssencmode=disable&statement_cache_size=0&socket_timeout=3":                       "gssencmode, socket_timeout, statement_cache_size",
		"schema=shop":      "each target names its schema in table",
		"sslaccept=strict": "sslmode=verify-full",
	} {
		for _, text := range []string{"postgres://app:pw@db.test/shop?" + query, "host=db.test " + strings.ReplaceAll(query, "&", " ")} {
			cfg, found, err := poolConfig(text)
			must.Do(t, err)
			var log bytes.Buffer
			found.warnOfIgnored(slog.New(slog.NewTextHandler(&log, nil)))
			if lines := strings.Count(log.String(), "\n"); !strings.Contains(log.String(), want) || lines != min(1, len(want)) {
				t.Errorf("%s: want one line with %q, got\n%s", text, want, log.String())
			}
			for name := range cfg.ConnConfig.RuntimeParams {
				if name != "application_name" {
					t.Errorf("%s: %s is sent", text, name)
				}
			}
		}
	}
}

// The longest way to the server: what the string says is what the server sees.
func TestConnectionSettingsArrive(t *testing.T) {
	t.Parallel()
	p := must.Get(Open(Config{URL: pgtest.New(t) + "&application_name=it's&options=-c%20work_mem=5MB&pool_max_conns=3&schema=x&pgbouncer=true", Log: slog.New(slog.DiscardHandler)}))(t)
	defer p.Close()
	var name, memory string
	must.Do(t, p.QueryRow(t.Context(), "select current_setting('application_name'), current_setting('work_mem')").Scan(&name, &memory))
	if diff := cmp.Diff([]any{"it's", "5MB", int32(3)}, []any{name, memory, p.Config().MaxConns}); diff != "" {
		t.Error(diff)
	}
}

// Other timeouts reach the sessions, also those that are open already.
func TestSetTimeouts(t *testing.T) {
	t.Parallel()
	p := open(t, pgtest.New(t))
	must.Do(t, reach(t.Context(), p))
	p.SetTimeouts(70*time.Millisecond, 3*time.Second)
	var lock, statement string
	const shown = "select current_setting('lock_timeout'), current_setting('statement_timeout')"
	must.Do(t, p.QueryRow(t.Context(), shown).Scan(&lock, &statement))
	must.Equal(t, lock+" "+statement, "70ms 3s", "the timeouts of a session")
	must.Equal(t, p.Timeouts(), []any{"70ms", "3000ms"}, "those of a transaction")
}
