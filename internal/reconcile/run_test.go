package reconcile_test

import (
	"strings"
	"sync"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// The table decides: a user who is there again after a deletion lives, and one whose version was set
// back is followed. Metadata that nests too deep for the text of a JSON does no harm.
func TestRunFollowsTheTable(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 40)
	p.Exec("delete from auth.users where id = '" + fixture.ID(1) + "'")
	p.wantRun(directory.Reconciled{Deleted: 1, Unchanged: 39})
	p.InsertUsers(1, 1)
	p.Exec("update auth.users set updated_at = '2020-01-01' where id = '" + fixture.ID(2) + "'")
	p.Exec("update auth.users set updated_at = null, email = 'never@x.test' where id = '" + fixture.ID(4) + "'")
	p.Exec("update rollcall.users set version = 4102444800123456, email = 'future@x.test' where id = '" + fixture.ID(5) + "'")
	p.Exec(`update auth.users set raw_user_meta_data = '{"a": ` + strings.Repeat("[", 250) + strings.Repeat("]", 250) + `}' where id = '` + fixture.ID(3) + "'")
	want := directory.Reconciled{Updated: 4, Touched: 1, Unchanged: 35}
	_, got, err := p.preview()
	must.Do(t, err)
	must.Equal(t, got, want, "a dry run")
	p.wantRun(want)
	p.wantRun(directory.Reconciled{Unchanged: 40})
	p.Want("select count(*)::text from profiles", "40")
	p.Want(inStep, "0")
}

// Metadata that takes more than limits.metadata keeps its last known value: that is said once, and
// the user is followed in all else.
func TestRunKeepsWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 3)
	p.Exec(`update auth.users set email = 'new@x.test', raw_user_meta_data = jsonb_build_object('full_name', 'New', 'a', (select string_agg(md5(g::text), '') from generate_series(1, 40000) g)) where id = '` + fixture.ID(1) + `'`)
	found, _, err := p.preview()
	must.Do(t, err)
	differ := []reconcile.Difference{
		{Column: "email", Roll: "1…@x….test", Theirs: "n…@x….test"},
		{Column: "kept", Roll: "null", Theirs: "avatar_url first_name full_name last_name raw_user_meta_data username"},
	}
	must.Equal(t, found, []reconcile.Plan{{User: fixture.ID(1), Action: "updated", Differences: differ}}, "plans")
	p.wantRun(directory.Reconciled{Updated: 1, Unchanged: 2})
	p.Want("select email || ' ' || full_name || ' ' || cardinality(kept) from rollcall.users where kept is not null", "new@x.test user 1 6")
	p.wantRun(directory.Reconciled{Unchanged: 3})
	p.Exec("update auth.users set raw_user_meta_data = '{}' where id = '" + fixture.ID(1) + "'")
	p.wantRun(directory.Reconciled{Updated: 1, Unchanged: 2})
	p.Want("select count(*)::text from rollcall.users where kept is not null", "0")
}

// A ban that is over is no difference, also while the roll has not ended it yet.
func TestBanThatIsOver(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 3)
	p.Exec("update auth.users set banned_until = now() + interval '1 h' where id <> '" + fixture.ID(3) + "'")
	p.wantRun(directory.Reconciled{Created: 3})
	p.Want("select id from rollcall.users where banned order by id", fixture.ID(1), fixture.ID(2))
	for _, table := range []string{"auth.users", "rollcall.users"} { // as if an hour had passed for one
		p.Exec("update " + table + " set banned_until = banned_until - interval '1 h' where id = '" + fixture.ID(1) + "'")
	}
	p.wantRun(directory.Reconciled{Unchanged: 3})
	must.Equal(t, must.Get(p.DB.Roll().EndBans(t.Context()))(t), 1, "bans ended")
	p.Want("select id from rollcall.users where banned order by id", fixture.ID(2))
	p.wantRun(directory.Reconciled{Unchanged: 3})
}

// A user who is deleted during the first run is no reason to stop it.
func TestFirstRunWhileAUserIsDeleted(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 3000)
	once := sync.OnceFunc(func() { p.Exec("delete from auth.users where id = '" + fixture.ID(1) + "'") })
	p.Progress = func(*event.Roll, int64, int64) { once() }
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
	reader.Progress = func(*event.Roll, int64, int64) {
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

// A dry run stops where a run does, with the same advice: who would be brought counts as known.
func TestDryRunAdvisesAsARun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		gone, come int
		wrong      string // of max_delete
		want       string
	}{
		"one":                 {1, 0, "0%", "1 of the 20 users that the roll knows of supabase is gone from auth.users (5%), more than max_delete (0%)"},
		"many":                {10, 0, "5%", "10 of the 20 users that the roll knows of supabase are gone from auth.users (50%), more than max_delete (5%)"},
		"with those who come": {10, 20, "5%", "10 of the 40 users that the roll knows of supabase are gone from auth.users (25%), more than max_delete (5%)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := reconciled(t, 20)
			p.Exec("delete from auth.users where id <= '" + fixture.ID(test.gone) + "'")
			p.InsertUsers(101, test.come)
			p.MaxDelete = map[string]float64{"0%": 0, "5%": 0.05}[test.wrong]
			_, tally, err := p.preview()
			must.Fail(t, err, reconcile.ErrStopped, "a run would stop here and delete no user: "+test.want)
			if tally.Deleted != int64(test.gone) || strings.Contains(err.Error(), "stopped") {
				t.Errorf("got %+v, %v", tally, err)
			}
			_, err = reconcile.Run(t.Context(), p.Config)
			must.Fail(t, err, reconcile.ErrStopped, "stopped, no user was deleted: "+test.want, "To see who: rollcall reconcile supabase --dry-run --max-delete ")
			p.Want("select count(*)::text from rollcall.users where deleted_at is not null", "0")
		})
	}
}
