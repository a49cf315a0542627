package main

import (
	"testing"

	"rollcall/internal/clerktest"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// The schedule of a Clerk source runs.
func TestServeReconcilesClerk(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	clerk := clerktest.New(t)
	clerk.PutMany(20)
	in := startServe(t, `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  clerk:
    provider: clerk
    api: {key: `+clerk.Key()+`, url: "`+clerk.URL()+`"}
    reconcile: {schedule: 0 0 1 1 *}
`+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	conn := connect(t, url)
	// The schedule is too slow for a test, so it is made due by hand.
	must.Get(conn.Exec(t.Context(), `insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"reconcile clerk"}', 1)`))(t)
	if line := in.log.await(t, "reconciled", 1); line["created"] != 20.0 {
		t.Errorf("the log says %v", line)
	}
	var n int
	if err := conn.QueryRow(t.Context(), "select count(*) from profiles").Scan(&n); err != nil || n != 20 {
		t.Errorf("got %d profiles, %v", n, err)
	}
}
