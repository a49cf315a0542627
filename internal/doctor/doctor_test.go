//go:build unix

package doctor_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"rollcall/internal/app"
	"rollcall/internal/clerk"
	"rollcall/internal/clerktest"
	"rollcall/internal/config"
	"rollcall/internal/doctor"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patient is a set-up: a database, a configuration, and a role of Rollcall's own.
type patient struct {
	*fixture.Database

	role, url string
	authRole  string // that of the auth server, where claims are tested
	yaml      string
	change    func(*doctor.Config)
	variables map[string]string
	held      *pgtest.Conn
}

// tables are those of a healthy project.
const tables = `
create table public.people (id text primary key, email text, plan text not null default 'free', born date);
create table public.profiles (id uuid primary key references auth.users on delete cascade, email text, role text not null);
revoke create on schema public from public;`

// healthy follows both providers.
const healthy = `database: ${DATABASE_URL}
sources:
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
  app:
    provider: supabase
    signing_secrets: ["${SUPABASE_SECRET}"]
targets:
  people:
    table: public.people
    from: [clerk]
    key: id
    set:
      id: new.id
      email: new.email
    on_insert:
      plan: "'free'"
    on_delete: delete
  profiles:
    table: public.profiles
    from: [app]
    key: id
    set:
      id: new.id
      email: new.email
    on_insert:
      role: "'customer'"
    on_delete: delete
`

// admit makes a patient of the healthy configuration with a role that has what docs/operating.md grants it, and the
// capture installed.
func admit(t *testing.T) *patient {
	t.Helper()
	p := &patient{Database: fixture.New(t, pgtest.Auth, tables), yaml: healthy, variables: map[string]string{
		"CLERK_SECRET":    "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==",
		"SUPABASE_SECRET": "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==",
	}}
	p.role = p.NewRole("", `do $$ begin execute format('grant create on database %I to %[1]s', current_database()); end $$;
grant usage on schema public to %[1]s; grant select, insert, update, delete on public.people, public.profiles to %[1]s`)
	p.url = pgtest.As(t, p.Address, p.role)
	p.migrate()
	p.capture()
	return p
}

// open reads the configuration and opens the database as Rollcall's role.
func (p *patient) open() (*app.Setup, *postgres.DB) {
	p.T.Helper()
	s := must.Get(app.Read("rollcall.yaml", []byte(p.yaml), p.getenv))(p.T)
	db := must.Get(s.Open(slog.New(slog.DiscardHandler)))(p.T)
	p.T.Cleanup(db.Close)
	return s, db
}

func (p *patient) getenv(name string) string {
	if name == "DATABASE_URL" && p.variables[name] == "" {
		return p.url
	}
	return p.variables[name]
}

func (p *patient) migrate() {
	p.T.Helper()
	_, db := p.open()
	must.Get(db.Migrate(p.T.Context()))(p.T)
	db.Close()
}

// capture runs the script of capture install as the owner of the tables.
func (p *patient) capture() {
	p.T.Helper()
	s, db := p.open()
	for _, c := range s.Captures() {
		p.SQL.Run(db.Outbox().ByHand(c))
	}
	db.Close()
}

// examine is what the command does.
func (p *patient) examine() *doctor.Diagnosis {
	p.T.Helper()
	s, err := app.Read("rollcall.yaml", []byte(p.yaml), p.getenv)
	if err != nil {
		var problems config.Problems
		must.True(p.T, errors.As(err, &problems), "no problems of the file: %v", err)
		return doctor.File(problems)
	}
	db := must.Get(s.Open(slog.New(slog.DiscardHandler)))(p.T)
	defer db.Close()
	cfg := s.Doctor(db, map[string]*clerk.API{})
	if p.change != nil {
		p.change(&cfg)
	}
	return doctor.Examine(p.T.Context(), cfg)
}

// well fails unless nothing is found and all could be seen.
func (p *patient) well(what string) {
	p.T.Helper()
	d := p.examine()
	if len(d.Findings) > 0 || len(d.Unseen) > 0 {
		p.T.Fatalf("%s: findings %+v, unseen %+v; want none", what, d.Findings, d.Unseen)
	}
}

// has returns the finding of a code and a place that begins so.
func has(d *doctor.Diagnosis, code, place string) (f doctor.Finding, found bool) {
	i := slices.IndexFunc(d.Findings, func(f doctor.Finding) bool {
		return string(f.Code) == code && strings.HasPrefix(f.Place, place)
	})
	if i < 0 {
		return f, false
	}
	return d.Findings[i], true
}

// fault is one thing that is wrong.
type fault struct {
	code, place string
	words       string // of the meaning
	remedy      string // a part of it
	// seed makes it, in a healthy set-up.
	seed func(*patient)
	// fill replaces what the remedy leaves to the reader.
	fill map[string]string
	// stays: what else is wrong, so that the remedy is not tried.
	stays string
	// after does what the remedy says in words, if it is no SQL and no YAML.
	after func(*patient)
}

// faults are all that are seeded, by files.
var faults = slices.Concat(fileFaults, targetFaults, databaseFaults, usersFaults, receiptFaults, providerFaults, claimsFaults, admissionFaults, operationFaults, notificationFaults)

// Each fault is found with code, place, meaning and remedy, and is gone once the remedy is applied.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.code+" "+f.words, func(t *testing.T) {
			t.Parallel()
			p := admit(t)
			f.seed(p)
			d := p.examine()
			got, found := has(d, f.code, f.place)
			if !found {
				t.Fatalf("got %+v, unseen %+v; want %s at %s", d.Findings, d.Unseen, f.code, f.place)
			}
			must.Contain(t, got.Meaning, f.words)
			must.Contain(t, got.Remedy.Text, f.remedy)
			must.Lack(t, got.Meaning+got.Remedy.Text, "%!")
			must.True(t, got.Remedy.Text != "" && got.Remedy.Kind != "", "the finding has no remedy: %+v", got)
			if f.stays != "" {
				return
			}
			p.cure(got.Remedy, f)
			d = p.examine()
			if again, found := has(d, f.code, f.place); found {
				t.Errorf("still there: %+v, after %s", again, got.Remedy.Text)
			}
		})
	}
}

// cure applies a remedy.
func (p *patient) cure(r config.Remedy, f fault) {
	p.T.Helper()
	text := r.Text
	for from, to := range f.fill {
		text = strings.ReplaceAll(text, from, to)
	}
	switch {
	case f.after != nil:
		f.after(p)
	case r.Kind == config.SQL:
		for statement := range strings.SplitSeq(text, ";\n") {
			p.Exec(statement)
		}
	case r.Kind == config.YAML:
		p.yaml = merged(p.T, p.yaml, text)
	default:
		p.T.Fatalf("%s is no SQL and no YAML; say what to do", r.Text)
	}
}

// A healthy set-up has no finding.
func TestHealthy(t *testing.T) {
	t.Parallel()
	p := admit(t)
	p.well("healthy")
}

// merged puts the fields of sources and targets that a remedy names into a configuration.
func merged(t testing.TB, file, remedy string) string {
	t.Helper()
	whole, part := map[string]any{}, map[string]any{}
	must.Do(t, yaml.Unmarshal([]byte(file), &whole))
	must.Do(t, yaml.Unmarshal([]byte(remedy), &part))
	for field, value := range part {
		named, ok := value.(map[string]any)
		if !ok || field != "sources" && field != "targets" {
			whole[field] = value
			continue
		}
		of, _ := whole[field].(map[string]any)
		for name, fields := range named {
			entry, _ := of[name].(map[string]any)
			must.True(t, entry != nil, "the remedy is about %s.%s, which is not in the file", field, name)
			given, _ := fields.(map[string]any)
			maps.Copy(entry, given)
		}
	}
	return string(must.Get(yaml.Marshal(whole))(t))
}

// edit replaces a part of the configuration.
func edit(from, to string) func(*patient) {
	return func(p *patient) {
		p.T.Helper()
		must.Contain(p.T, p.yaml, from)
		p.yaml = strings.ReplaceAll(p.yaml, from, to)
	}
}

// run runs SQL as the owner of the tables; %[1]s is Rollcall's role.
func run(sql string) func(*patient) {
	return func(p *patient) {
		p.T.Helper()
		p.Exec(strings.ReplaceAll(sql, "%[1]s", p.role))
	}
}

// both does one thing after the other.
func both(steps ...func(*patient)) func(*patient) {
	return func(p *patient) {
		p.T.Helper()
		for _, step := range steps {
			step(p)
		}
	}
}

// sensitive makes anything too much.
func sensitive(p *patient) {
	p.change = func(c *doctor.Config) {
		c.Bounds = doctor.Defaults
		c.Bounds.Unindexed = 0
	}
}

// What looks like a fault and is none is not found.
func TestNothingInvented(t *testing.T) {
	t.Parallel()
	p := admit(t)
	for name, change := range map[string]func(*patient){
		"rows of the application's own":      run("insert into rollcall.checks values ('people', '', 'extra', 2, now()), ('people', '', 'unowned', 2, now())"),
		"a trigger that writes other tables": run("create table journal (id uuid); " + fmt.Sprintf(handleNewUser, "security definer set search_path = ''", "public.journal") + "; alter table journal add email text, add role text"),
		"a disabled trigger":                 both(oldTrigger("security definer", "public.profiles"), run("alter table auth.users disable trigger on_auth_user_created")),
		"a trigger that updates on conflict": run(`create function f() returns trigger language plpgsql security definer set search_path = '' as $$ begin
			insert into public.journal values (new.id) on conflict (id) do update set id = new.id; -- insert into public.profiles
			return new; end $$; create table journal (id uuid primary key); create trigger t after insert on auth.users for each row execute function f()`),
		"a user who has just been parked":   run("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) values ('people', 'clerk', 'x', now(), '23503', 'no')"),
		"a target that was removed":         run("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error, given_up) values ('former', 'clerk', 'x', now(), '23503', 'no', true)"),
		"a backfill under way":              run("insert into rollcall.backfills (target, config, seen) values ('people', 1, pg_current_snapshot())"),
		"a failed job that ran well since":  run(`insert into rollcall.river_job (kind, args, state, finalized_at) values ('rollcall_job', '{"name": "check"}', 'discarded', now()), ('rollcall_job', '{"name": "check"}', 'completed', now())`),
		"a replica that is gone":            run("insert into rollcall.replicas (id, config, seen_at) values ('a', 1, now() + interval '1 hour'), ('b', 2, now() - interval '1 minute')"),
		"a source that seldom sends":        both(marked(0, 40, 40, 1), marked(0, 12, 12, 1), marked(0, 9, 9, 1), marked(0, 5, 0, 0)),
		"a source that was quiet for a day": both(marked(0, 9, 2, 5), marked(0, 1, 0, 0)),
		"serve that did not run":            marked(0, 20, 9, 5),
		"a rotation that has begun":         both(twoSecrets, marked(0, 9, 0, 3), marked(1, 1, 0, 0)),
		"a few strangers":                   both(marked(0, 0, 0, 95), received("clerk", "none", [2]int{0, 0}, 9)),
		"a schedule that is not due yet":    edit(appSource, appSource+"    reconcile: {schedule: \"0 4 * * *\"}\n"),
		"a new instance with an API":        both(withAPI, asks((*clerktest.Clerk).Key)),
		"a new auth server":                 func(p *patient) { authServer(p, "v2.187.0") },
		"a small table with a foreign key":  run("create table orders (n int primary key, person text references people)"),
		"a foreign key with an index":       both(run("create table orders (n int, person text references people, primary key (person, n))"), sensitive),
		"a role that reads the roll": func(p *patient) {
			p.NewRole("", "grant usage on schema rollcall to %[1]s; grant select on rollcall.users to %[1]s")
		},
		"events of retention's length": run("insert into rollcall.events (source, id, type, received_at, body) values ('clerk', 'x', 'user.created', now() - interval '7 days', 'x')"),
	} {
		change(p)
		p.well(name)
		p.yaml, p.change = healthy, nil
		p.Exec(`delete from rollcall.receipts; delete from rollcall.events;
			drop function if exists handle_new_user() cascade; drop function if exists f() cascade; drop table if exists journal, orders`)
	}
}

// A source whose database is another one needs nothing here.
func TestOtherDatabase(t *testing.T) {
	t.Parallel()
	p := admit(t)
	run("drop schema auth cascade; alter table profiles drop constraint if exists profiles_id_fkey")(p)
	edit(appSource, appSource+"    database_webhook: {secrets: [\"a-secret-of-webhooks\"]}\n")(p)
	p.well("another database's source")
}
