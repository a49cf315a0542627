package reconcile_test

import (
	"sync"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// A user who is deleted during the first run is no reason to stop it.
func TestFirstRunWhileAUserIsDeleted(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 3000)
	once := sync.OnceFunc(func() { p.Exec("delete from auth.users where id = '" + fixture.ID(1) + "'") })
	p.Progress = func(int64, int64) { once() }
	p.wantRun(directory.Reconciled{Created: 3000, Deleted: 1})
}

// Row security that is switched on during a run hides users; it deletes none of them.
func TestRowSecurityDuringARun(t *testing.T) {
	p := newProject(t)
	role := p.Role("")
	p.Exec("alter table auth.users disable row level security; grant usage on schema auth to " + role + "; grant select on auth.users to " + role)
	reader := supabaseProject(p.Database, role)
	p.InsertUsers(1, 50)
	reader.run()
	reader.Progress = func(int64, int64) {
		p.Exec("alter table auth.users enable row level security; drop policy if exists most on auth.users; create policy most on auth.users for select using (id <> '" + fixture.ID(7) + "')")
	}
	must.Fail(t, must.Err(reconcile.Run(t.Context(), reader.Config)), directory.ErrHidden)
	p.Want("select count(*)::text from profiles", "50")
}

// The year 1 is how Supabase Auth spells never.
func TestDeletedInTheYearOne(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 20)
	p.Exec("update auth.users set deleted_at = '0001-01-01T00:00:00Z' where id = '" + fixture.ID(1) + "'")
	p.wantRun(directory.Reconciled{Created: 20})
	p.wantRun(directory.Reconciled{Unchanged: 20})
}

// A run that was interrupted says nothing about another table.
func TestResumeOfAnotherTable(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 20_000)
	p.interrupted(0)
	p.Exec("create table others (like auth.users including all); insert into others (id, email, updated_at) select id, 'other ' || email, now() from auth.users")
	p.Table = "public.others"
	if got := p.run(); got.Created+got.Updated != 20_000 {
		t.Errorf("got %+v", got)
	}
}
