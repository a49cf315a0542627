package capture_test

import (
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/outbox"
)

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
	if outcome, err := p.Pipeline.Submit(t.Context(), late); err != nil || outcome != event.Applied {
		t.Errorf("the late reader: %s, %v", outcome, err)
	}
	p.Want("select email from profiles", "newest")
	p.Want("select count(*)::text from rollcall.outbox", "1") // it is not the late reader's
}

// A change that is committed while a look has read the table and not written the roll yet has a row
// of the outbox of its own, which stays.
func TestChangeDuringALook(t *testing.T) {
	t.Parallel()
	p := oldProject(t)
	p.follow()
	p.Exec(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$;
create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow();
insert into auth.users (id, email) values ('` + fixture.ID(1) + `', 'early')`)
	looked := make(chan error, 1)
	go func() {
		_, err := p.Pipeline.Submit(t.Context(), event.Event{Source: "supabase", Op: event.Look, UserID: fixture.ID(1), Captured: []int64{1}})
		looked <- err
	}()
	time.Sleep(500 * time.Millisecond)
	p.Exec("update auth.users set email = 'late'")
	if err := <-looked; err != nil {
		t.Fatal(err)
	}
	p.Want("select email from profiles", "early")
	p.Want("select count(*)::text from rollcall.outbox", "1")
	p.drain()
	p.Want("select email from profiles", "late")
}
