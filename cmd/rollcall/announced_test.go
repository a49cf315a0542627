package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// announce sends an announcement of which the table says that it came three seconds ago.
func (in *instance) announce(conn *pgx.Conn, name, user string) {
	in.t.Helper()
	body := fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"before-user-created"},"user":{"id":%q}}`, name, user)
	if status, outcome, _ := in.send(signed(in.t, source.Supabase, source.Hook, body)); status != 204 || outcome != "announced" {
		in.t.Fatalf("announced: %d %s", status, outcome)
	}
	must.Get(conn.Exec(in.t.Context(), "update rollcall.events set received_at = now() - interval '3 s' where id = $1", name))(in.t)
}

// A user who was announced and that no other endpoint brings is found in auth.users.
func TestServeConfirmsAnnouncedUsers(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth, shopTables)
	in := startServe(t, twoSources+shopTargets, env(url))
	in.log.await(t, "ready", 1)
	conn := connect(t, url)
	user := "5a3f1e00-0000-4000-8000-000000000b01"
	must.Get(conn.Exec(t.Context(), "insert into auth.users (id, email, created_at, updated_at) values ($1, 'ben@example.com', now(), now())", user))(t)
	in.announce(conn, "m1", user)
	if line := in.log.await(t, "looked for announced users", 1); line["applied"] != 1.0 || line["source"] != "supabase" {
		t.Errorf("the log says %v", line)
	}
	var outcome, email string
	err := conn.QueryRow(t.Context(), "select outcome, (select email from profiles where id = user_id) from rollcall.events").Scan(&outcome, &email)
	if err != nil || outcome != "applied" || email != "ben@example.com" {
		t.Errorf("%s, %s, %v", outcome, email, err)
	}
}

// Without auth.users an announcement stays recorded, and the log says once which endpoint must
// bring the user.
func TestServeWithoutUsersToSee(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	in.announce(conn, "m1", "s_1")
	const message = "announced users can't be looked up; another endpoint must bring them"
	line := in.log.await(t, message, 1)
	endpoint, _ := line["door"].(string)
	reason, _ := line["error"].(string)
	if line["source"] != "supabase" || !strings.Contains(endpoint, "/webhooks/supabase/database") || !strings.Contains(reason, "no table auth.users") {
		t.Errorf("the log says %v", line)
	}
	in.announce(conn, "m2", "s_2")
	time.Sleep(2 * time.Second) // targets and announced users are looked after every second
	var jobs, waiting int
	err := conn.QueryRow(t.Context(), `select (select count(*) from rollcall.river_job where args->>'name' = 'confirm supabase'),
  (select count(*) from rollcall.events where outcome = 'announced')`).Scan(&jobs, &waiting)
	if said := len(in.log.Lines(message)); err != nil || jobs != 1 || waiting != 2 || said != 1 {
		t.Errorf("%d jobs, %d announced, said %d times, %v", jobs, waiting, said, err)
	}
}

// Old events go by the clock, as the configuration says.
func TestServeForgets(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, shopTables)
	in := startServe(t, twoSources+shopTargets+"retention: {bodies: 1h, undecodable: 2h, events: 3h}\n", env(url))
	in.log.await(t, "ready", 1)
	// The schedule is too slow for a test, so it is made due by hand.
	if _, err := connect(t, url).Exec(t.Context(), `insert into rollcall.events (source, id, type, outcome, received_at, body)
select 'clerk', 'e' || g, 'x', case when g % 2 = 0 then 'undecodable' else 'applied' end, now() - interval '1 minute' * g, 'b' from generate_series(1, 200) g;
insert into rollcall.river_job (kind, args, max_attempts) values ('rollcall_job', '{"name":"retention"}', 1)`); err != nil {
		t.Fatal(err)
	}
	// 1, 2 and 3 hours: of 61 to 179 the odd ones, of 120 to 180 the even ones, and 180 to 200.
	if line := in.log.await(t, "forgot what is kept no longer", 1); line["bodies"] != 90.0 || line["events"] != 21.0 {
		t.Errorf("the log says %v", line)
	}
}
