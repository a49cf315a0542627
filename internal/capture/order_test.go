package capture_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres"
	"rollcall/internal/testtag"
)

// What another trigger does to the user within the sign-up comes after it, whatever the
// triggers are called; also to a user of the same statement whose turn is still to come.
func TestKeepsTheOrderOfATransaction(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a_trigger", "z_trigger"} {
		h := newHouse(t)
		if name == "z_trigger" {
			h.follow()
		}
		h.script(`create function welcome() returns trigger language plpgsql as $$ begin
update auth.users set raw_user_meta_data = jsonb_build_object('full_name', 'welcome ' || right(id::text, 1)) where updated_at is null; return null; end $$;
create trigger ` + name + ` after insert on auth.users for each row execute function welcome()`)
		h.exec("insert into auth.users (id) values ($1), ($2)", id(1), id(2))
		h.run()
		h.settled()
		h.stop()
		h.want("select name from profiles order by id", "welcome 1", "welcome 2")
	}
}

// Who is deleted and inserted again in one transaction was never gone.
func TestRewrittenInOneTransaction(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, h *house) {
		h.exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", id(1))
		h.script("begin; delete from auth.users; insert into auth.users (id, email, updated_at) values ('" + id(1) + "', 'new', '2026-01-01'); commit")
		h.run()
		h.settled()
		h.stop()
		h.want("select email from profiles", "new")
	})
}

// A deletion counts whatever the user has put into his metadata.
func TestDeletedWithMetadataThatCantBeRead(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, h *house) {
		h.run()
		h.exec("insert into auth.users (id, email) values ($1, 'a')", id(1))
		h.settled()
		h.exec("update auth.users set raw_user_meta_data = $1", strings.Repeat("[", 250)+strings.Repeat("]", 250))
		h.exec("delete from auth.users")
		h.settled()
		h.stop()
		h.want("select count(*)::text from profiles", "0")
	})
}

// Of two auth servers one has a clock that is behind: the last commit counts.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	ofBothKinds(t, func(_ *testing.T, h *house) {
		h.exec("insert into auth.users (id, email, updated_at) values ($1, 'first', '2026-01-04')", id(1))
		h.run()
		h.settled()
		h.stop()
		h.exec("update auth.users set email = 'second', updated_at = '2026-01-05'")
		h.exec(`update auth.users set raw_user_meta_data = '{"full_name": "Ada"}', updated_at = '2026-01-03'`)
		h.run()
		h.settled()
		h.stop()
		h.want("select email || ' ' || name from profiles", "second Ada")
	})
}

// A table whose users may move between partitions is not captured: a move looks like an end.
func TestPartitionedTable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.script("create table people (like auth.users) partition by list (is_anonymous)")
	err := h.db.InstallCapture(t.Context(), postgres.Capture{Source: "supabase", Table: "public.people"})
	if err == nil || !strings.Contains(err.Error(), "is partitioned") {
		t.Errorf("got %v", err)
	}
}

// Whoever writes the table while the trigger is being installed is not held up for long.
func TestInstallHoldsNobodyUp(t *testing.T) {
	testtag.Parallel(t)
	h := newHouse(t)
	if err := h.db.RemoveCapture(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	other, err := pgx.Connect(t.Context(), h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.Background()) }()
	if _, err := other.PgConn().Exec(t.Context(), "begin; insert into auth.users (id) values ('"+id(1)+"')").ReadAll(); err != nil {
		t.Fatal(err)
	}
	installed := make(chan error, 1)
	go func() { installed <- h.db.InstallCapture(context.Background(), users) }()
	for n := 2; n < 12; n++ {
		start := time.Now()
		h.exec("insert into auth.users (id) values ($1)", id(n))
		if took := time.Since(start); testtag.Timing && took > 300*time.Millisecond {
			t.Errorf("a sign-up took %s", took)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := other.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	if err := <-installed; err != nil {
		t.Error(err)
	}
}

// Migrations of the table go on as without a trigger: alone at any time, and behind a change of
// users in the same transaction once what is pending has been noted.
func TestTableIsAltered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.run()
	h.exec("insert into auth.users (id, email) values ($1, 'a')", id(1))
	h.exec("alter table auth.users drop column banned_until")
	h.script("begin; update auth.users set email = 'b'; set constraints all immediate; alter table auth.users add column note text, drop column phone; commit")
	h.exec("insert into auth.users (id, email, note) values ($1, 'c', 'n')", id(2))
	h.settled()
	h.stop()
	h.want("select email from profiles order by id", "b", "c")
}
