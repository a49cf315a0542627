package reconcile_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
)

// Somebody who leaves during the first run is no reason to stop it.
func TestFirstRunWhileSomebodyLeaves(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 3000)
	once := sync.OnceFunc(func() { h.exec("delete from auth.users where id = '" + id(1) + "'") })
	h.Progress = func(int64, int64) { once() }
	h.wantRun(postgres.Reconciled{Created: 3000, Deleted: 1})
}

// Row security that is switched on during a run hides users; it buries none of them.
func TestRowSecurityDuringARun(t *testing.T) {
	role := "reader_" + strings.ToLower(rand.Text())
	h := newHouse(t, fmt.Sprintf(`alter table auth.users disable row level security; create role %[1]s login; grant usage on schema auth, public to %[1]s; grant select on auth.users to %[1]s;
grant select, insert, update, delete on profiles to %[1]s`, role))
	h.exec(fmt.Sprintf("grant usage on schema rollcall to %[1]s; grant select, insert, update, delete on all tables in schema rollcall to %[1]s", role))
	t.Cleanup(func() {
		_, _ = h.sql.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s; drop role %[1]s", role))
	})
	reader := openHouse(t, h.sql.Config().ConnString(), role)
	h.users(1, 50)
	reader.run()
	reader.Progress = func(int64, int64) {
		h.exec("alter table auth.users enable row level security; drop policy if exists most on auth.users; create policy most on auth.users for select using (id <> '" + id(7) + "')")
	}
	if _, err := reconcile.Run(t.Context(), reader.Config); !errors.Is(err, postgres.ErrHidden) {
		t.Errorf("got %v", err)
	}
	h.want("select count(*)::text from profiles", "50")
}

// The year 1 is how Supabase Auth spells never.
func TestDeletedInTheYearOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 20)
	h.exec("update auth.users set deleted_at = '0001-01-01T00:00:00Z' where id = '" + id(1) + "'")
	h.wantRun(postgres.Reconciled{Created: 20})
	h.wantRun(postgres.Reconciled{Unchanged: 20})
}

// A run that was interrupted says nothing about another table.
func TestResumeOfAnotherTable(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 20_000)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := h.Config
	cfg.Progress = func(int64, int64) { cancel() }
	if _, err := reconcile.Run(ctx, cfg); err == nil {
		t.Fatal("it was not interrupted")
	}
	h.exec("create table others (like auth.users including all); insert into others (id, email, updated_at) select id, 'other ' || email, now() from auth.users")
	h.Table = "public.others"
	if got := h.run(); got.Created+got.Updated != 20_000 {
		t.Errorf("got %+v", got)
	}
}
