package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/cli"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pgtest/pgserver"
	"rollcall/internal/source"
)

// pair is a primary server and the standby that follows it.
type pair struct {
	primary, standby *pgserver.Server
	db               *fixture.Database // of the primary
}

// startPair starts both, with tables. The standby may lag behind until it is synchronous.
func startPair(t *testing.T, tables string) *pair {
	t.Helper()
	p := &pair{primary: pgtest.StartServer(t, pgserver.Options{Settings: map[string]string{"wal_level": "replica", "max_wal_senders": "4"}})}
	p.standby = must.Get(p.primary.Standby(t.Context()))(t)
	t.Cleanup(func() { must.Do(t, p.standby.Close()) })
	p.db = fixture.At(t, p.primary.URL("postgres"))
	p.db.Exec(tables)
	return p
}

// synchronous has the primary answer no commit that the standby does not have.
func (p *pair) synchronous() {
	p.db.Exec("alter system set synchronous_standby_names = '*'")
	p.db.Exec("select pg_reload_conf()")
	p.db.Await("select sync_state from pg_stat_replication", "sync")
}

// url leads to whichever server takes writes.
func (p *pair) url(t *testing.T) string {
	t.Helper()
	first := must.Get(url.Parse(p.primary.URL("postgres")))(t)
	second := must.Get(url.Parse(p.standby.URL("postgres")))(t)
	first.Host += "," + second.Host
	first.RawQuery += "&target_session_attrs=read-write"
	return first.String()
}

// fail kills the primary and promotes the standby, which is returned.
func (p *pair) fail(t *testing.T) *fixture.Database {
	t.Helper()
	must.Do(t, p.primary.Kill())
	db := fixture.At(t, p.standby.URL("postgres"))
	db.Want("select pg_promote()", "t")
	return db
}

// A primary dies under load and its synchronous standby takes over: no acknowledged event is missing, and
// webhooks and jobs go on by themselves.
func TestFailover(t *testing.T) {
	t.Parallel()
	p := startPair(t, shopTables)
	in := serveAt(t, twoSources+shopTargets, p.url(t))
	p.synchronous()
	var sending sync.WaitGroup
	var acknowledged sync.Map
	var sent, known atomic.Int64
	stop := make(chan struct{})
	for sender := range 8 {
		sending.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				user := fmt.Sprintf("user_%d_%d", sender, n)
				sent.Add(1)
				if a := ask(t, in.public, created(t, user)); a.status == http.StatusNoContent {
					acknowledged.Store(user, true)
					known.Add(1)
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	must.Await(t, "events before the failure", func() bool { return known.Load() > 200 })
	db := p.fail(t)
	promoted := time.Now()
	in.awaitReady(bound(5 * time.Second))
	before := known.Load()
	must.Await(t, "events after the failure", func() bool { return known.Load() > before+200 })
	close(stop)
	sending.Wait()
	db.Exec("insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'profiles', source, id, now(), '23503', 'made up' from rollcall.users limit 1")
	if !soon(bound(20*time.Second)-time.Since(promoted), func() bool { return db.Rows("select count(*) from rollcall.parked")[0] == "0" }) {
		t.Errorf("no job has run %s after the promotion", time.Since(promoted))
	}
	rows := map[string]bool{}
	for _, id := range db.Rows("select p.id from profiles p join rollcall.users u on u.id = p.id join rollcall.events e on e.user_id = p.id") {
		rows[id] = true
	}
	acknowledged.Range(func(user, _ any) bool {
		must.True(t, rows[fmt.Sprint(user)], "user %s was acknowledged and is missing", user)
		return true
	})
	t.Logf("%d events were sent, %d acknowledged", sent.Load(), known.Load())
}

// Where the standby lags behind, a failover loses what it lacks, though it was acknowledged. A reconciliation
// brings it back.
func TestFailoverWithoutSynchronousReplication(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	yaml := strings.Replace(twoSources, clerkInstance, fmt.Sprintf("    api: {key: %s, url: %s}\n", clerk.Key(), clerk.URL()), 1) + shopTargets
	p := startPair(t, shopTables)
	in := serveAt(t, yaml, p.url(t))
	standby := fixture.At(t, p.standby.URL("postgres"))
	for _, id := range []string{"user_before", "user_lost"} {
		clerk.Put(clerktest.User{ID: id, Email: id + "@example.com"})
		in.expect(signed(t, source.Clerk, source.Hook, string(clerk.Event("user.created", id))), accepted("applied"))
		if id == "user_before" { // from now on the standby hears nothing
			standby.Await("select id from profiles", id)
			standby.Exec("alter system set primary_conninfo = ''")
			standby.Exec("select pg_reload_conf()")
			standby.Await("select count(*) from pg_stat_wal_receiver", "0")
		}
	}
	db := p.fail(t)
	in.awaitReady(bound(5 * time.Second))
	db.Want("select id from profiles", "user_before")
	reconciled := in.run(t.Context(), "reconcile", "clerk")
	must.True(t, reconciled.code == cli.ExitFine, "reconcile: %s", reconciled)
	db.Want("select id from profiles order by id", "user_before", "user_lost")
}
