package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// propertyTableConfig follows a table of users by every endpoint.
const propertyTableConfig = oneMachine + "sources:\n" + supabaseSource + supabaseSession + `
limits: {lock_timeout: 1s, statement_timeout: 30s}
targets:
  gone:
    table: public.gone
    key: id
    set: {id: new.id, email: new.email, name: new.first_name}
    on_delete: delete
  kept:
    table: public.kept
    key: id
    set: {id: new.id, email: new.email, deleted_at: null}
    on_delete: {email: null, deleted_at: now()}
`

const propertyTableSchema = pgUsers + `
create table gone (id uuid primary key, email text, name text);
create table kept (id uuid primary key, email text, deleted_at timestamptz);
create function slow() returns trigger language plpgsql as $$ begin
  if new.email like '%@slow.test' and random() < 0.5 then perform pg_sleep(0.05); end if; return new; end $$;`

// slowRoll makes transactions meet: it puts time between a statement's snapshot and its write.
const slowRoll = `create trigger slow before insert on rollcall.users for each row execute function public.slow()`

const pgUsers = `create schema auth;
create table auth.users (id uuid primary key, email text, raw_user_meta_data jsonb, raw_app_meta_data jsonb, created_at timestamptz default now(),
  updated_at timestamptz, deleted_at timestamptz, banned_until timestamptz);`

// authServer changes users as an auth server and its operators do, and says so by every endpoint:
// late, twice, before the commit, or about what was rolled back.
type authServer struct {
	t    *testing.T
	url  string
	post *postman
	said sync.WaitGroup // messages on their way
	gate chan struct{}  // bounds them
}

const usersOfRound = 800

func tableUser(round, n int) string { return fmt.Sprintf("00000000-0000-4000-%04d-%012d", round, n) }

// changes of a user: $1 the id, $2 an email, $3 by how many milliseconds updated_at is off.
var tableChanges = []string{
	`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, $2, jsonb_build_object('first_name', $2::text), now() + $3 * interval '1 ms')
		on conflict (id) do update set email = excluded.email, raw_user_meta_data = excluded.raw_user_meta_data, deleted_at = null, updated_at = excluded.updated_at`,
	`update auth.users set email = $2, raw_user_meta_data = jsonb_build_object('first_name', $2::text), updated_at = now() + $3 * interval '1 ms' where id = $1`,
	`update auth.users set email = 'hash', raw_user_meta_data = '{}', deleted_at = now(), updated_at = now() + $3 * interval '1 ms' where id = $1 and $2::text is not null`,
	`delete from auth.users where id = $1 and $2::text is not null and $3::int is not null`,
}

// transaction changes one to four users, in key order.
func (a *authServer) transaction(ctx context.Context, conn *pgx.Conn, random *rand.Rand, round int) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	first := random.IntN(usersOfRound)
	var ids []string
	for n := first; n < min(usersOfRound, first+1+random.IntN(4)); n++ {
		id := tableUser(round, n)
		change := tableChanges[[]int{0, 0, 1, 1, 1, 1, 2, 3}[random.IntN(8)]]
		host := "x"
		if random.IntN(8) == 0 {
			host = "slow"
		}
		if _, err := tx.Exec(ctx, change, id, fmt.Sprintf("%d@%s.test", random.Uint32(), host), random.IntN(200)-100); err != nil {
			return err
		}
		if ids = append(ids, id); random.IntN(3) == 0 {
			a.say(random, id)
		}
	}
	if random.IntN(10) == 0 {
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
	}
	if random.IntN(6) == 0 {
		err = tx.Rollback(ctx)
	} else {
		err = tx.Commit(ctx)
	}
	for _, id := range ids {
		for random.IntN(3) == 0 {
			a.say(random, id)
		}
	}
	return err
}

// say sends something about a user by one of the endpoints, at once or later, perhaps twice.
func (a *authServer) say(random *rand.Rand, id string) {
	version, kind, wait := random.Int64N(1<<30), random.IntN(5), time.Duration(0)
	if random.IntN(3) == 0 {
		wait = time.Duration(random.IntN(200)) * time.Millisecond
	}
	base := a.post.bases[random.IntN(len(a.post.bases))]
	for range 1 + random.IntN(5)/4 {
		a.said.Go(func() {
			time.Sleep(wait)
			a.gate <- struct{}{}
			defer func() { <-a.gate }()
			m := message{"supabase", id, state{version: version, email: "said@x.test", name: "said", dead: kind == 0}}
			switch kind {
			case 1:
				a.sync(base, id)
			default: // a hook or a database webhook, by the version
				if err := a.post.deliver(m, int(version)); err != nil {
					a.t.Error(err)
				}
			}
		})
	}
}

// sync has a user brought into step just in time. Its answer is that of its moment.
func (a *authServer) sync(base, id string) {
	token := (&instance{t: a.t}).supabaseToken(id)
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, base+"/v1/sync", http.NoBody)
	if err != nil {
		a.t.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := a.post.client.Do(r)
	if err != nil {
		a.t.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

// round runs a history of some users, over several connections, while one replica is stopped for a
// while and another process reconciles.
func (a *authServer) round(round int, seed uint64, replicas []*process, reconcile func()) {
	const writers, transactions = 10, 40
	var writing sync.WaitGroup
	open := func() *pgx.Conn { return must.Get(pgx.Connect(a.t.Context(), a.url))(a.t) }
	shut := func(conn *pgx.Conn) { _ = conn.Close(context.Background()) } // a hundred rounds would be too many for the server
	first := open()
	defer shut(first)
	must.Get(first.Exec(a.t.Context(), `insert into auth.users (id, email, updated_at)
		select ('00000000-0000-4000-' || lpad($1::text, 4, '0') || '-' || lpad(n::text, 12, '0'))::uuid, n || '@x.test', now() from generate_series(0, $2::int - 1, 2) n`, fmt.Sprint(round), usersOfRound))(a.t)
	for w := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(round*writers+w)))
		conn := open()
		writing.Go(func() {
			defer shut(conn)
			for range transactions {
				if err := a.transaction(a.t.Context(), conn, random, round); err != nil && !strings.Contains(err.Error(), "40P01") {
					a.t.Error(err)
					return
				}
			}
		})
	}
	writing.Go(reconcile)
	writing.Go(func() {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		stopped := replicas[random.IntN(len(replicas))].cmd.Process
		time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
		_ = stopped.Signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		_ = stopped.Signal(syscall.SIGCONT)
	})
	writing.Wait()
}

// Whatever is said about the users of a table, by whichever endpoint, how late and how often, ends
// in exactly what the table says: 100 histories of 800 users, over two service processes.
func TestAnySignalsEndInTheTable(t *testing.T) {
	t.Parallel()
	seed := testtag.Seed(t)
	db := fixture.New(t, propertyTableSchema)
	c := newCLI(t, propertyTableConfig, db.Address)
	replicas := []*process{startProcess(t, c)}
	succeeds := func(args ...string) {
		var got ran
		for range 5 { // what is unavailable is tried again, as the schedule does
			if got = c.run(t.Context(), args...); got.code == cli.ExitFine {
				return
			}
		}
		t.Errorf("%v: %s", args, got)
	}
	succeeds("capture", "install")
	db.Exec(slowRoll)
	replicas = append(replicas, startProcess(t, c))
	post := newPostman(t, replicas[0].public, replicas[1].public)
	a := &authServer{t: t, url: db.Address, post: post, gate: make(chan struct{}, 48)}
	rounds := testtag.Part(100)
	for round := range rounds {
		a.round(round, seed, replicas, func() {
			if round%2 == 0 {
				succeeds("reconcile", "supabase", "--max-delete", "100%")
			}
		})
	}
	a.said.Wait()
	t.Logf("%d histories, %d requests", rounds, a.post.sent.Load())
	quiet := func() bool {
		return len(db.Rows("select from rollcall.outbox union all select from rollcall.parked")) == 0
	}
	if !soon(time.Minute, quiet) {
		t.Fatal("rows of the outbox, or parked ones, are left")
	}
	holdsAgainstTheTable(db)
}

// holdsAgainstTheTable compares the roll and the targets with the table of users, by SQL of its own.
func holdsAgainstTheTable(db *fixture.Database) {
	t := db.T
	t.Helper()
	for what, sql := range map[string]string{
		"the roll": `select coalesce(a.id::text, u.id), concat_ws(' ', 'table', a.email, a.raw_user_meta_data->>'first_name', 'roll', u.email, u.first_name)
			from (select * from auth.users where deleted_at is null) a full join (select * from rollcall.users where deleted_at is null) u on u.id = a.id::text
			where (a.email, a.raw_user_meta_data->>'first_name', a.updated_at) is distinct from (u.email, u.first_name, u.updated_at)`,
		"gone": `select coalesce(a.id, g.id)::text, concat_ws(' ', 'table', a.email, 'target', g.email, g.name)
			from (select * from auth.users where deleted_at is null) a full join gone g on g.id = a.id
			where (a.email, a.raw_user_meta_data->>'first_name') is distinct from (g.email, g.name)`,
		"kept": `select coalesce(a.id, k.id)::text, concat_ws(' ', 'table', a.email, 'target', k.email)
			from (select * from auth.users where deleted_at is null) a full join (select * from kept where deleted_at is null) k on k.id = a.id
			where a.email is distinct from k.email`,
		"placeholders": `select id, 'left' from rollcall.users where version is null`,
	} {
		if wrong := pairs(db, sql); len(wrong) > 0 {
			t.Errorf("%s: %d users are wrong: %.1500s", what, len(wrong), fmt.Sprint(wrong))
		}
	}
	var users, living int
	must.Do(t, db.SQL.QueryRow(t.Context(), "select count(*), count(*) filter (where deleted_at is null) from rollcall.users").Scan(&users, &living))
	t.Logf("%d users in the roll, %d of them living", users, living)
	if living == 0 || living == users {
		t.Error("the histories have no deletions, or nothing else")
	}
}
