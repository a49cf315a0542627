package capture_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
	other := must.Get(pgx.Connect(t.Context(), p.Address))(t)
	defer func() { _ = other.Close(context.Background()) }()
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
	if err := <-installed; err != nil {
		t.Error(err)
	}
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
