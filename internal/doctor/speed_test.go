//go:build unix && timing

package doctor_test

import (
	"testing"
	"time"

	"rollcall/internal/must"
)

// A million users take a few seconds at most.
func TestMillionUsers(t *testing.T) {
	p := admit(t)
	p.Exec(`
alter table auth.users disable trigger rollcall_capture;
insert into auth.users (id, email, created_at, updated_at)
select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', now(), now() from generate_series(1, 1000000) g;
alter table auth.users enable trigger rollcall_capture;
insert into rollcall.users (source, id, version, changed_at, email)
select 'app', id::text, 1, now() - interval '1 day', email from auth.users;
insert into public.profiles select id, email, 'customer' from auth.users;
insert into rollcall.backfills (target, config, seen, finished_at) values ('profiles', 1, pg_current_snapshot(), now());
insert into rollcall.events (source, id, type, received_at, user_id)
select 'app', g::text, 'user.created', now(), g::text from generate_series(1, 1000000) g;
insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error) select 'profiles', 'app', id, now(), '23505', 'no' from rollcall.users limit 100000`)
	p.Exec("analyze")
	p.well("filled")
	began := time.Now()
	p.well("again")
	must.Within(t, began, 3*time.Second, "an examination")
	t.Logf("an examination took %v", time.Since(began))
}
