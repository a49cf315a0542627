package capture_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/testtag"
)

// What another trigger does to the user within the sign-up comes after it, whatever the
// triggers are called; also to a user of the same statement whose turn is still to come.
func TestKeepsTheOrderOfATransaction(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a_trigger", "z_trigger"} {
		p := newProject(t)
		if name == "z_trigger" {
			p.follow()
		}
		p.Exec(`create function welcome() returns trigger language plpgsql as $$ begin
update auth.users set raw_user_meta_data = jsonb_build_object('full_name', 'welcome ' || right(id::text, 1)) where updated_at is null; return null; end $$;
create trigger ` + name + ` after insert on auth.users for each row execute function welcome()`)
		p.Exec("insert into auth.users (id) values ($1), ($2)", fixture.ID(1), fixture.ID(2))
		p.drain()
		p.Want("select name from profiles order by id", "welcome 1", "welcome 2")
	}
}

// A user who is deleted and inserted again in one transaction was never gone.
func TestRewrittenInOneTransaction(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, p *project) {
		p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", fixture.ID(1))
		p.Exec("begin; delete from auth.users; insert into auth.users (id, email, updated_at) values ('" + fixture.ID(1) + "', 'new', '2026-01-01'); commit")
		p.drain()
		p.Want("select email from profiles", "new")
	})
}

// A deletion counts whatever the user has put into the metadata.
func TestDeletedWithMetadataThatCantBeRead(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, p *project) {
		p.run()
		p.Exec("insert into auth.users (id, email) values ($1, 'a')", fixture.ID(1))
		p.settled()
		p.Exec("update auth.users set raw_user_meta_data = $1", strings.Repeat("[", 250)+strings.Repeat("]", 250))
		p.Exec("delete from auth.users")
		p.settled()
		p.stop()
		p.Want("select count(*)::text from profiles", "0")
	})
}

// Of two auth servers one has a clock that is behind: the last commit counts.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, p *project) {
		p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'first', '2026-01-04')", fixture.ID(1))
		p.drain()
		p.Exec("update auth.users set email = 'second', updated_at = '2026-01-05'")
		p.Exec(`update auth.users set raw_user_meta_data = '{"full_name": "Ada"}', updated_at = '2026-01-03'`)
		p.drain()
		p.Want("select email || ' ' || name from profiles", "second Ada")
	})
}

// A table whose users may move between partitions is not captured: a move looks like an end.
func TestPartitionedTable(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.Exec("create table people (like auth.users) partition by list (is_anonymous)")
	must.Fail(t, p.DB.Outbox().Install(t.Context(), outbox.Capture{Source: "supabase", Table: "public.people"}), nil, "is partitioned")
}

// Writers of the table wait only briefly while the trigger is being installed.
func TestInstallBlocksWritersBriefly(t *testing.T) {
	testtag.Parallel(t)
	p := newProject(t)
	must.Do(t, p.DB.Outbox().Remove(t.Context(), users))
	other := p.Connect()
	must.Get(other.PgConn().Exec(t.Context(), "begin; insert into auth.users (id) values ('"+fixture.ID(1)+"')").ReadAll())(t)
	installed := make(chan error, 1)
	go func() { installed <- p.DB.Outbox().Install(context.Background(), users) }()
	for n := 2; n < 12; n++ {
		start := time.Now()
		p.Exec("insert into auth.users (id) values ($1)", fixture.ID(n))
		if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
			t.Errorf("a sign-up took %s", took)
		}
		time.Sleep(50 * time.Millisecond)
	}
	must.Get(other.Exec(t.Context(), "commit"))(t)
	must.Do(t, <-installed)
}

// Migrations of the table go on as without a trigger: alone at any time, and behind a change of
// users in the same transaction once what is pending has been noted.
func TestTableIsAltered(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.run()
	p.Exec("insert into auth.users (id, email) values ($1, 'a')", fixture.ID(1))
	p.Exec("alter table auth.users drop column banned_until")
	p.Exec("begin; update auth.users set email = 'b'; set constraints all immediate; alter table auth.users add column note text, drop column phone; commit")
	p.Exec("insert into auth.users (id, email, note) values ($1, 'c', 'n')", fixture.ID(2))
	p.settled()
	p.stop()
	p.Want("select email from profiles order by id", "b", "c")
}

// If a user's metadata can't be used, the last known value may stand in an earlier change of the same
// page. The changes of other users are applied meanwhile.
func TestKeptOfOnePage(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	deep := `{"full_name": "Eve", "a": ` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`
	change := func(n int, email, metadata string) {
		p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, $2, $3, now())
			on conflict (id) do update set email = excluded.email, raw_user_meta_data = excluded.raw_user_meta_data, updated_at = now(), banned_until = 'infinity'`,
			fixture.ID(n), email, metadata)
	}
	change(1, "a1@x.test", `{"full_name": "Ada"}`)
	change(1, "a2@x.test", `{"full_name": "Bea"}`)
	change(1, "a3@x.test", deep)
	change(2, "b@x.test", `{"full_name": "Ben"}`)
	change(1, "a4@x.test", deep)
	change(3, "c@x.test", deep)
	p.runUntilTheEnd()
	p.settled()
	p.Want(shown, "1 a4@x.test Bea", "2 b@x.test Ben", "3 c@x.test -")
	p.Want("select right(id, 1) || banned || coalesce(cardinality(kept), 0) from rollcall.users order by 1", "1true6", "2false0", "3false6")
	p.Exec("delete from auth.users where id = $1", fixture.ID(1))
	p.Exec("update auth.users set deleted_at = now() where id = $1", fixture.ID(3))
	p.settled()
	p.Want(shown, "2 b@x.test Ben")
}

// bomb is metadata of 90 kB whose text takes more than a gigabyte, which PostgreSQL refuses to make.
const bomb = `('{"full_name": "Bomb", "a": [' || repeat('1e131071,', 10000) || '1]}')::jsonb`

// Users of a source whose changes count by their version hold nobody up either, whatever they have
// written: their changes are read without the metadata. Those of one that follows its table are
// never read.
func TestLargeChanges(t *testing.T) {
	testtag.Parallel(t)
	many := testtag.Part(2001)
	for name, open := range map[string]func(testing.TB) *project{"by version": oldProject, "by table": newProject} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, 'bomb@x.test', `+bomb+`, now())`, fixture.ID(1))
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at)
				values ($1, 'large@x.test', jsonb_build_object('full_name', 'Large', 'a', repeat('x', 40000000)), now())`, fixture.ID(2))
			p.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at)
				select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test',
					jsonb_build_object('full_name', 'Ada', 'a', (select string_agg(md5(g::text || n::text), '') from generate_series(1, 8000) n)), now()
				from generate_series(3, $1::int) g`, many)
			p.runUntilTheEnd()
			p.settled()
			p.Want("select count(*)::text from profiles where name = 'Ada'", fmt.Sprint(many-2))
			p.Want("select email || ' ' || (name is null) from profiles where id = '"+fixture.ID(2)+"'", "large@x.test true")
			p.Want("select email from profiles where id = '"+fixture.ID(1)+"'", "bomb@x.test")
			p.Want("select coalesce(array_to_string(kept, ' '), '') from rollcall.users where id = '"+fixture.ID(2)+"'", map[string]string{
				"by version": "avatar_url first_name full_name last_name raw_app_meta_data raw_user_meta_data username",
				"by table":   "avatar_url first_name full_name last_name raw_user_meta_data username",
			}[name])
		})
	}
}

// Of a table source, what two replicas read is looked at twice, and the table decides both times.
func TestTwoReadersOfATable(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	p.follow()
	p.Exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", fixture.ID(1))
	o := must.Get(p.DB.Outbox().Hold(t.Context()))(t)
	stale, err := o.Next(t.Context(), outbox.Page{Sources: []string{"supabase"}, Tables: []string{"supabase"}, Changes: 10, Bytes: 1 << 20})
	if err != nil || len(stale) != 1 || stale[0].Data != nil {
		t.Fatal(stale, err)
	}
	o.Release()
	p.Exec("update auth.users set email = 'new', updated_at = '2025-01-01'")
	p.drain()
	p.Exec("update auth.users set email = 'newest'")
	late := event.Event{Source: "supabase", Op: event.Look, UserID: stale[0].UserID, Captured: []int64{stale[0].ID}}
	must.Equal(t, must.Get(p.Pipeline.Submit(t.Context(), late))(t), event.Applied, "the late reader")
	p.Want("select email from profiles", "newest")
	p.Want("select count(*)::text from rollcall.outbox", "1") // it is not the late reader's
}

// A change that is committed while a look has read the table and not written the roll yet has a row
// of the outbox of its own, which stays.
func TestChangeDuringALook(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	p.follow()
	p.Exec(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(2); return new; end $$;
create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow();
insert into auth.users (id, email) values ('` + fixture.ID(1) + `', 'early')`)
	looked := make(chan error, 1)
	look := event.Event{Source: "supabase", Op: event.Look, UserID: fixture.ID(1), Captured: []int64{1}}
	go func() { looked <- must.Err(p.Pipeline.Submit(t.Context(), look)) }()
	p.Await("select exists (select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep')", "t")
	p.Exec("update auth.users set email = 'late'")
	must.Do(t, <-looked)
	p.Want("select email from profiles", "early")
	p.Want("select count(*)::text from rollcall.outbox", "1")
	p.drain()
	p.Want("select email from profiles", "late")
}
