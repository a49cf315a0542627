package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
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
		r := created(t, fmt.Sprint(prefix, i))
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

// serveAsRole is a serve beside both tables, whose role has what it needs and nothing else. Its db is
// the owner's.
func serveAsRole(t *testing.T) (in *instance, role string) {
	t.Helper()
	owner := fixture.New(t, pairTables)
	role = "breaker_" + strings.ToLower(rand.Text())
	owner.Exec(fmt.Sprintf(`create role %[1]s login; grant usage on schema public to %[1]s; grant select, insert, update, delete on profiles, members to %[1]s;
do $$ begin execute format('grant create on database %%I to %[1]s', current_database()); end $$`, role))
	t.Cleanup(func() {
		_, _ = owner.SQL.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s cascade; drop role %[1]s", role))
	})
	in = serveAt(t, twoSources+pairTargets, pgtest.As(t, owner.Address, role))
	in.db = owner
	return in, role
}

// A sick table takes its target out of service within a second and a half; from then on
// webhooks are answered as before, and the other target is current. Cured, it catches up by
// itself within six seconds, and the log says so once each.
func TestServeBreaker(t *testing.T) {
	testtag.Parallel(t)
	for name, sql := range breakages {
		t.Run(name, func(t *testing.T) {
			testtag.Parallel(t)
			in, role := serveAsRole(t)
			before := in.median(t, 200, "before_")
			breaker := fixture.At(t, in.db.Address)
			breaker.Exec(strings.ReplaceAll(sql[0], "%s", role))
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
			in.counts(`rollcall_target_breaker_open{target="members"} 1`, `rollcall_parked_users{target="members"} 201`)
			breaker.Exec(strings.ReplaceAll(sql[1], "%s", role))
			cured := time.Now()
			in.log.await(t, "a target is in service again; it catches up", 1)
			if took := time.Since(cured); testtag.Timing && took > 6500*time.Millisecond {
				t.Errorf("it was in service again after %s", took)
			}
			awaitRows(in.db, "select count(*) from rollcall.parked", "0")
			in.db.Want("select count(*) from members", "401")
			if n := len(in.log.Lines("a target is out of service; its users are parked")); n != 1 {
				t.Errorf("the log says %d times that it is out of service", n)
			}
		})
	}
}
