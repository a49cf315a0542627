package capture_test

import (
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
)

// Of a table source, what two replicas read is looked at twice, and the table decides both times.
func TestTwoReadersOfATable(t *testing.T) {
	t.Parallel()
	h := oldHouse(t)
	h.follow()
	h.exec("insert into auth.users (id, email, updated_at) values ($1, 'old', '2026-01-01')", id(1))
	o, err := h.db.HoldOutbox(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stale, err := o.Next(t.Context(), postgres.OutboxPage{Sources: []string{"supabase"}, Changes: 10, Bytes: 1 << 20})
	if err != nil || len(stale) != 1 || stale[0].Data != nil {
		t.Fatal(stale, err)
	}
	o.Release()
	h.exec("update auth.users set email = 'new', updated_at = '2025-01-01'")
	h.run()
	h.settled()
	h.stop()
	h.exec("update auth.users set email = 'newest'")
	late := event.Event{Source: "supabase", Op: event.Look, UserID: stale[0].UserID, Captured: []int64{stale[0].ID}}
	if outcome, err := h.pipeline.Submit(t.Context(), late); err != nil || outcome != event.Applied {
		t.Errorf("the late reader: %s, %v", outcome, err)
	}
	h.want("select email from profiles", "newest")
	h.want("select count(*)::text from rollcall.outbox", "1") // it is not the late reader's
}

// A change that is committed while a look has read the table and not written the roll yet has a row
// of the outbox of its own, which stays.
func TestChangeDuringALook(t *testing.T) {
	t.Parallel()
	h := oldHouse(t)
	h.follow()
	h.script(`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$;
create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow();
insert into auth.users (id, email) values ('` + id(1) + `', 'early')`)
	looked := make(chan error, 1)
	go func() {
		_, err := h.pipeline.Submit(t.Context(), event.Event{Source: "supabase", Op: event.Look, UserID: id(1), Captured: []int64{1}})
		looked <- err
	}()
	time.Sleep(500 * time.Millisecond)
	h.exec("update auth.users set email = 'late'")
	if err := <-looked; err != nil {
		t.Fatal(err)
	}
	h.want("select email from profiles", "early")
	h.want("select count(*)::text from rollcall.outbox", "1")
	h.run()
	h.settled()
	h.stop()
	h.want("select email from profiles", "late")
}
