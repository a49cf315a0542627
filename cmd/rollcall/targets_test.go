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
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// catalogChanges are tables as they are at the start, the assignment of their column, what becomes of
// them, and the value that every user has in the end.
var catalogChanges = []struct{ name, table, assign, change, want string }{
	{
		"date_to_timestamptz", "create table TABLE (id text primary key, v date)", "new.created_at",
		"alter table TABLE alter v type timestamptz", "2025-10-09 08:53:20.45+00",
	},
	{
		"real_to_double", "create table TABLE (id text primary key, v real)", "(new.raw_user_meta_data->>'ratio')::numeric",
		"alter table TABLE alter v type double precision", "0.1",
	},
	{
		"int_to_bigint", "create table TABLE (id text primary key, v int)", "(new.raw_user_meta_data->>'n')::numeric",
		"alter table TABLE alter v type bigint", "3000000000",
	},
	{
		"enum_value_added", "create type mood as enum ('sad'); create table TABLE (id text primary key, v mood)", "new.raw_user_meta_data->>'mood'",
		"alter type mood add value 'proud'", "proud",
	},
	{
		"domain_relaxed", "create domain short as text check (length(value) < 3); create table TABLE (id text primary key, v short)", "new.raw_user_meta_data->>'mood'",
		"alter domain short drop constraint short_check", "proud",
	},
	{
		"not_null_dropped", "create table TABLE (id text primary key, v text not null)", "new.phone",
		"alter table TABLE alter v drop not null", "null",
	},
	{
		"column_made_anew", "create table TABLE (id text primary key, v int)", "new.raw_user_meta_data->>'n'",
		"alter table TABLE drop v, add v text", "3000000000",
	},
	{
		"table_made_anew", "create table TABLE (id text primary key, v date)", "new.created_at",
		"begin; drop table TABLE; create table TABLE (id text primary key, v timestamptz); commit", "2025-10-09 08:53:20.45+00",
	},
	{
		"key_made_anew", "create table TABLE (id text primary key, v text)", "new.id",
		"alter table TABLE drop constraint TABLE_pkey; select pg_sleep(0.3); alter table TABLE add primary key (id)", "ID",
	},
}

// Tables change while serve runs with the default settings, and users arrive at once. Within five
// seconds (which the tag timing asserts) every one of them is as the changed table can hold it,
// and nobody is parked.
func TestServeNoticesCatalogChanges(t *testing.T) {
	t.Parallel()
	var tables, targets strings.Builder
	targets.WriteString("targets:\n")
	for _, c := range catalogChanges {
		tables.WriteString(strings.ReplaceAll(c.table, "TABLE", c.name) + ";\n")
		fmt.Fprintf(&targets, "  %[1]s:\n    table: public.%[1]s\n    key: id\n    set:\n      id: new.id\n      v: %[2]s\n    on_delete: delete\n", c.name, c.assign)
	}
	in := serveAt(t, twoSources+targets.String(), pgtest.NewWith(t, tables.String()))
	in.db.Exec("set timezone = 'UTC'")
	time.Sleep(500 * time.Millisecond) // some time between two looks
	for _, c := range catalogChanges {
		in.db.Exec(strings.ReplaceAll(c.change, "TABLE", c.name))
	}
	changed := time.Now()
	patience := time.Minute
	if testtag.Timing {
		patience = 5 * time.Second
	}
	holds := func(sql string) {
		t.Helper()
		if !soon(time.Until(changed.Add(patience)), func() bool { return slices.Equal(in.db.Rows(sql), []string{"t"}) }) {
			t.Errorf("not true in time: %s", sql)
		}
	}
	users := []string{"one", "two"}
	for _, id := range users {
		r := created(t, id, `"created_at":1760000000450`, `"unsafe_metadata":{"ratio":0.1,"n":3000000000,"mood":"proud"}`)
		if status, outcome, text := in.send(r); status != 204 {
			t.Fatalf("%s: %d %s %s", id, status, outcome, text)
		}
	}
	for _, c := range catalogChanges {
		for _, id := range users {
			want := strings.ReplaceAll(c.want, "ID", id)
			holds(fmt.Sprintf("select exists (select from %s where id = '%s' and coalesce(v::text, 'null') = '%s')", c.name, id, want))
		}
	}
	holds("select not exists (select from rollcall.parked)")
	t.Logf("all was right %s after the change", time.Since(changed))
	if n := len(in.log.Lines("the table of a target has changed; users written since are settled again")); n < len(catalogChanges) {
		t.Errorf("the log tells of %d changes, want %d at least:\n%s", n, len(catalogChanges), in.log)
	}
	in.log.await(t, "a target is new: its table lacks users from before it; fill it", 1)
}

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
			in.db.Await("select count(*) from rollcall.parked", "0")
			in.db.Want("select count(*) from members", "401")
			if n := len(in.log.Lines("a target is out of service; its users are parked")); n != 1 {
				t.Errorf("the log says %d times that it is out of service", n)
			}
		})
	}
}

// announce sends an announcement of which the table says that it came three seconds ago.
func (in *instance) announce(name, user string) {
	in.t.Helper()
	in.records(signed(in.t, source.Supabase, source.Hook, announcement(name, user)))
	in.db.Exec("update rollcall.events set received_at = now() - interval '3 s' where id = $1", name)
}

// A user who was announced and that no other endpoint brings is found in auth.users.
func TestServeConfirmsAnnouncedUsers(t *testing.T) {
	t.Parallel()
	in := serveAt(t, twoSources+shopTargets, pgtest.NewWith(t, pgtest.Auth, shopTables))
	const user = "5a3f1e00-0000-4000-8000-000000000b01"
	in.db.Exec("insert into auth.users (id, email, created_at, updated_at) values ($1, 'ben@example.com', now(), now())", user)
	in.announce("m1", user)
	if line := in.log.await(t, "looked for announced users", 1); line["applied"] != 1.0 || line["source"] != "supabase" {
		t.Errorf("the log says %v", line)
	}
	in.db.Want("select outcome, (select email from profiles where id = user_id) from rollcall.events", "applied|ben@example.com")
}

// Without auth.users an announcement stays recorded, and the log says once which endpoint must
// bring the user.
func TestServeWithoutUsersToSee(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.announce("m1", "s_1")
	const message = "announced users can't be looked up; another endpoint must report them"
	line := in.log.await(t, message, 1)
	endpoint, _ := line["endpoint"].(string)
	reason, _ := line["error"].(string)
	if line["source"] != "supabase" || !strings.Contains(endpoint, "/webhooks/supabase/database") || !strings.Contains(reason, "no table auth.users") {
		t.Errorf("the log says %v", line)
	}
	in.announce("m2", "s_2")
	time.Sleep(2 * time.Second) // targets and announced users are looked after every second
	if said := len(in.log.Lines(message)); said != 1 {
		t.Errorf("said %d times", said)
	}
	in.db.Want(`select (select count(*) from rollcall.river_job where args->>'name' = 'confirm supabase'),
  (select count(*) from rollcall.events where outcome = 'announced')`, "1|2")
}

// Old events go by the clock, as the configuration says.
func TestServeForgets(t *testing.T) {
	t.Parallel()
	in := serveAt(t, twoSources+shopTargets+"retention: {bodies: 1h, undecodable: 2h, events: 3h}\n", pgtest.NewWith(t, shopTables))
	in.db.Exec(`insert into rollcall.events (source, id, type, outcome, received_at, body)
select 'clerk', 'e' || g, 'x', case when g % 2 = 0 then 'undecodable' else 'applied' end, now() - interval '1 minute' * g, 'b' from generate_series(1, 200) g`)
	in.due("retention")
	// 1, 2 and 3 hours: of 61 to 179 the odd ones, of 120 to 180 the even ones, and 180 to 200.
	if line := in.log.await(t, "deleted old events and bodies", 1); line["bodies"] != 90.0 || line["events"] != 21.0 {
		t.Errorf("the log says %v", line)
	}
}
