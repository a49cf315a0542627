package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

const pairTargets = shopTargets + `
  members:
    table: public.members
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

const pairTables = shopTables + `; create table members (id text primary key, email text)`

// median sends so many webhooks about new users and returns half of whose time is less.
func (in *instance) median(t *testing.T, n int, prefix string) time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		r := signed(t, source.Clerk, source.Hook, clerkUser("user.created", fmt.Sprint(prefix, i)))
		start := time.Now()
		if status, outcome, body := in.send(r); status != 204 {
			t.Fatalf("%s%d: %d %s %s", prefix, i, status, outcome, body)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[n/2]
}

// breakages are what may become of a table while a service is running, and its cure. %s is
// the service's role.
var breakages = map[string][2]string{
	"dropped":        {"alter table members rename to lost", "alter table lost rename to members"},
	"column renamed": {"alter table members rename email to mail", "alter table members rename mail to email"},
	"rights revoked": {"revoke insert on members from %s", "grant insert on members to %s"},
	"being altered":  {"begin; alter table members add note text", "commit"},
}

// asRole gives a role of its own what serve needs, and returns its URL and its name.
func asRole(t *testing.T, owner *pgx.Conn, database string) (string, string) {
	t.Helper()
	role := "breaker_" + strings.ToLower(rand.Text())
	script(t, owner, fmt.Sprintf(`create role %[1]s login; grant usage on schema public to %[1]s; grant select, insert, update, delete on profiles, members to %[1]s;
do $$ begin execute format('grant create on database %%I to %[1]s', current_database()); end $$`, role))
	t.Cleanup(func() {
		_, _ = owner.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s cascade; drop role %[1]s", role), pgx.QueryExecModeSimpleProtocol)
	})
	return pgtest.As(t, database, role), role
}

func script(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	must.Get(conn.PgConn().Exec(t.Context(), sql).ReadAll())(t)
}

// A sick table takes its target out of service within a second and a half; from then on
// webhooks are answered as before, and the other target is current. Cured, it catches up by
// itself within six seconds, and the log says so once each.
func TestServeBreaker(t *testing.T) {
	testtag.Parallel(t)
	for name, sql := range breakages {
		t.Run(name, func(t *testing.T) {
			testtag.Parallel(t)
			database := pgtest.NewWith(t, pairTables)
			owner := connect(t, database)
			asService, role := asRole(t, owner, database)
			in := startServe(t, twoSources+pairTargets, env(asService))
			in.log.await(t, "ready", 1)
			before := in.median(t, 200, "before_")
			breaker := connect(t, database)
			script(t, breaker, strings.ReplaceAll(sql[0], "%s", role))
			fell := time.Now()
			in.median(t, 1, "first_")
			if took := time.Since(fell); testtag.Timing && took > 1500*time.Millisecond {
				t.Errorf("the first webhook took %s", took)
			}
			after := in.median(t, 200, "after_")
			t.Logf("median of 200: %s before, %s beside the sick table: ratio %.2f; the first webhook, %s after it fell", before, after, float64(after)/float64(before), time.Since(fell))
			if testtag.Timing && after > 2*before+time.Millisecond {
				t.Errorf("the median is %s beside a sick table, %s before", after, before)
			}
			in.log.await(t, "a target is out of service; its users are parked", 1)
			if _, text := get(t, in.admin+"/metrics", ""); !strings.Contains(text, `rollcall_target_breaker_open{target="members"} 1`) || !strings.Contains(text, `rollcall_parked_users{target="members"} 201`) {
				t.Error("the metrics don't tell")
			}
			script(t, breaker, strings.ReplaceAll(sql[1], "%s", role))
			cured := time.Now()
			in.log.await(t, "a target is in service again; it catches up", 1)
			if took := time.Since(cured); testtag.Timing && took > 6500*time.Millisecond {
				t.Errorf("it was in service again after %s", took)
			}
			await(t, owner, "select count(*) = 0 from rollcall.parked")
			var rows int
			if err := owner.QueryRow(t.Context(), "select count(*) from members").Scan(&rows); err != nil || rows != 401 {
				t.Errorf("%d members, %v", rows, err)
			}
			if n := len(in.log.Lines("a target is out of service; its users are parked")); n != 1 {
				t.Errorf("the log says %d times that it is out of service", n)
			}
		})
	}
}
