package reconcile_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// project is a database with users of a provider, and the configuration that reconciles them.
type project struct {
	reconcile.Config
	*fixture.Database
	pipeline *pipeline.Pipeline
}

func newProject(t testing.TB, sqls ...string) *project {
	t.Helper()
	return supabaseProject(fixture.Supabase(t, sqls...), "")
}

// reconciled is a project whose users, numbered from 1, are in the roll.
func reconciled(t testing.TB, n int) *project {
	t.Helper()
	p := newProject(t)
	p.InsertUsers(1, n)
	p.wantRun(directory.Reconciled{Created: int64(n)})
	return p
}

// supabaseProject works as a role, the superuser when empty.
func supabaseProject(db *fixture.Database, role string) *project {
	db.T.Helper()
	p := startProject(db, role, fixture.Target(source.Supabase))
	p.Source, p.Table = fixture.Source(db.T, source.Supabase), "auth.users"
	return p
}

// startProject is a project without a provider.
func startProject(db *fixture.Database, role string, targets ...target.Target) *project {
	db.T.Helper()
	cfg := postgres.Config{Targets: targets}
	if role != "" {
		cfg.URL = pgtest.As(db.T, db.Address, role)
	}
	r := db.Start(cfg)
	return &project{
		reconcile.Config{MaxDelete: 0.05, DB: r.DB, Submit: r.Pipeline.SubmitAll, Log: slog.New(slog.DiscardHandler)}, db, r.Pipeline,
	}
}

func (p *project) run() directory.Reconciled {
	p.T.Helper()
	return must.Get(reconcile.Run(p.T.Context(), p.Config))(p.T).Reconciled
}

func (p *project) wantRun(want directory.Reconciled) {
	p.T.Helper()
	must.Equal(p.T, p.run(), want, "a run")
}

// preview is a dry run, with what it has found.
func (p *project) preview() (found []reconcile.Plan, tally directory.Reconciled, err error) {
	all, err := reconcile.Preview(p.T.Context(), p.Config, func(f reconcile.Plan) error {
		f.Roll = nil
		found = append(found, f)
		return nil
	})
	return found, all.Reconciled, err
}

// interrupted begins a run that is cancelled when more than so many users are done, and says some words
// then.
func (p *project) interrupted(after int64, words ...string) directory.Reconciled {
	p.T.Helper()
	ctx, cancel := context.WithCancel(p.T.Context())
	defer cancel()
	cfg := p.Config
	cfg.Progress = func(_ *event.Roll, done, _ int64) {
		if done > after {
			cancel()
		}
	}
	tally, err := reconcile.Run(ctx, cfg)
	must.Fail(p.T, err, context.Canceled, words...)
	return tally.Reconciled
}

const inStep = "select count(*)::text from auth.users a full join profiles p on p.id = a.id where a.deleted_at is null and p.email is distinct from a.email"

func TestRun(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 50)
	p.wantRun(directory.Reconciled{Created: 50})
	p.wantRun(directory.Reconciled{Unchanged: 50})
	p.Exec("update auth.users set email = 'new@x.test', updated_at = now() where id = '" + fixture.ID(1) + "'")
	p.Exec("update auth.users set email = 'edited@x.test' where id = '" + fixture.ID(2) + "'") // by SQL, the version stays
	p.Exec("delete from auth.users where id = '" + fixture.ID(3) + "'")
	p.Exec("update auth.users set email = 'hash', raw_user_meta_data = '{}', deleted_at = now(), updated_at = now() where id = '" + fixture.ID(4) + "'")
	p.Exec("update auth.users set last_sign_in_at = now(), updated_at = now() where id = '" + fixture.ID(5) + "'")
	p.InsertUsers(51, 1)
	p.wantRun(directory.Reconciled{Created: 1, Updated: 2, Touched: 1, Deleted: 2, Unchanged: 45})
	p.Want(inStep, "0")
	p.Want("select count(*)::text from profiles where role = 'customer'", "49")
	p.wantRun(directory.Reconciled{Unchanged: 49})
	p.Want("select distinct coalesce(error, 'success') from rollcall.reconciliations where finished_at is not null", "success")
	p.Want("select count(*)::text from rollcall.events", "0")
}

// Users that a reconciliation brings take over rows, those who come in bulk, too.
func TestRunAdopts(t *testing.T) {
	t.Parallel()
	people := fixture.Target(source.Supabase)
	people.Name, people.Table, people.Key, people.Match = "people", "public.people", []string{"auth_id"}, &target.Match{Column: "email"}
	people.Set, people.OnInsert = fixture.Assign("auth_id: new.id", "email: new.email"), fixture.Assign("role: 'new'")
	db := fixture.Supabase(t, fixture.PeopleTable)
	p := startProject(db, "", people)
	p.Source, p.Table = fixture.Source(t, source.Supabase), "auth.users"
	p.InsertUsers(1, 1000)
	p.Exec(`update auth.users set email_confirmed_at = now() where right(id::text, 1) <> '5';
		insert into people (email) select upper(email) from auth.users where right(id::text, 2) in ('10', '15')`)
	p.wantRun(directory.Reconciled{Created: 1000})
	p.Want("select role || ' ' || (auth_id is null) || ' ' || count(*) from people group by role, auth_id is null order by 1", "new false 980", "old false 10", "old true 10")
	p.Want("select count(*)::text from rollcall.parked where error like 'match: %not verified'", "10")
}

// A dry run says column by column what differs, and writes nothing.
func TestPreview(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 30)
	p.Exec("update auth.users set email = 'new@x.test', is_anonymous = true where id = '" + fixture.ID(1) + "'")
	p.Exec("delete from auth.users where id = '" + fixture.ID(2) + "'")
	p.Exec("update auth.users set last_sign_in_at = now(), updated_at = now() where id = '" + fixture.ID(3) + "'")
	p.InsertUsers(31, 1)
	p.Exec("create table before as select xmin::text as written, source, id, version from rollcall.users; create table runs as table rollcall.reconciliations")
	found, tally, err := p.preview()
	must.Do(t, err)
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprint(f.Action, " ", f.User[34:], " ", len(f.Differences)))
		if f.Action == "updated" {
			got = append(got, fmt.Sprint(f.Differences))
		}
	}
	want := []string{"updated 01 2", "[{email 1…@x….test n…@x….test} {is_anonymous false true}]", "deleted 02 0", "touched 03 3", "created 31 6"}
	must.Equal(t, got, want, "findings")
	would := directory.Reconciled{Created: 1, Updated: 1, Touched: 1, Deleted: 1, Unchanged: 27}
	must.Equal(t, tally, would, "a dry run")
	p.Want("select count(*)::text from rollcall.users u left join before b using (source, id) where b.written is distinct from u.xmin::text", "0")
	p.Want("select count(*)::text from rollcall.reconciliations r left join runs b using (id) where b is distinct from r", "0")
	p.wantRun(tally) // and a run does what it said
	p.Want("select concat_ws(' ', created, updated, touched, deleted, unchanged, failed) from rollcall.reconciliations order by id desc limit 1", "1 1 1 1 27 0")
	p.Want("select count(*)::text from rollcall.users where last_sign_in_at is not null", "1")
}

// When too many vanish, when the table reads empty, or when rows are hidden, no user is
// deleted, and the run is no success.
func TestGuards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do   string
		want []string
	}{
		"too many":  {"delete from auth.users where id <= '" + fixture.ID(6) + "'", []string{"6 of the 100 users", "6%", "max_delete (5%)", "--max-delete 6%"}},
		"softly":    {"update auth.users set deleted_at = now() where id <= '" + fixture.ID(6) + "'", []string{"6 of the 100 users"}},
		"empty":     {"delete from auth.users", []string{"reads empty", "the right database?"}},
		"truncated": {"truncate auth.users", []string{"reads empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := reconciled(t, 100)
			p.Exec(test.do)
			for range 2 {
				must.Fail(t, must.Err(reconcile.Run(t.Context(), p.Config)), reconcile.ErrStopped, test.want...)
				_, _, err := p.preview()
				must.Fail(t, err, reconcile.ErrStopped, test.want...)
			}
			p.Want("select count(*)::text from rollcall.users where deleted_at is null", "100")
			p.Want("select count(*)::text from profiles", "100")
			p.Want("select count(*)::text from rollcall.reconciliations where error is null", "1")
			p.MaxDelete = 1
			p.run()
			p.Want(inStep, "0")
		})
	}
}

// Exactly the share that is allowed may vanish.
func TestGuardsAtTheLimit(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 100)
	p.Exec("delete from auth.users where id <= '" + fixture.ID(5) + "'")
	p.wantRun(directory.Reconciled{Deleted: 5, Unchanged: 95})
}

// A role that may only read auth.users sees no user there, without an error, unless row
// security lets it.
func TestRowSecurity(t *testing.T) {
	p := newProject(t)
	role := p.Role("")
	p.Exec("grant usage on schema auth to " + role + "; grant select on auth.users to " + role)
	reader := supabaseProject(p.Database, role)
	p.InsertUsers(1, 20)
	must.Fail(t, must.Err(reconcile.Run(t.Context(), reader.Config)), directory.ErrHidden, `alter role "`+role+`" bypassrls`)
	p.Exec("create policy restricts on auth.users for select to " + role + " using (email like '1%')")
	must.Fail(t, must.Err(reconcile.Run(t.Context(), reader.Config)), directory.ErrHidden)
	p.Exec("drop policy restricts on auth.users; create policy shows on auth.users for select to " + role + " using (true)")
	reader.wantRun(directory.Reconciled{Created: 20})
	p.Exec("drop policy shows on auth.users; alter role " + role + " bypassrls")
	reader.wantRun(directory.Reconciled{Unchanged: 20})
	p.Exec("revoke select on auth.users from " + role)
	must.Fail(t, must.Err(reconcile.Run(t.Context(), reader.Config)), nil, "rollcall capture install --print")
}

// An interrupted run goes on where it was, and is no success before its end.
func TestResume(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 20_000)
	before := p.interrupted(3000)
	p.Want("select count(*)::text from rollcall.reconciliations where finished_at is null and created between 4000 and 5000", "1")
	if last, err := p.DB.Directory().LastRuns(t.Context()); err != nil || len(last) > 0 {
		t.Errorf("got %v, %v: an interrupted run is no result", last, err)
	}
	p.Exec("delete from auth.users where id = '" + fixture.ID(1) + "'") // compared before, deleted after
	var first int64
	p.Progress = func(_ *event.Roll, done, _ int64) { first = cmp.Or(first, done) }
	p.wantRun(directory.Reconciled{Created: 20_000, Deleted: 1})
	if first <= before.Created {
		t.Errorf("the second run began with %d users compared, the first had %d", first, before.Created)
	}
	p.Want("select count(*)::text from rollcall.reconciliations", "1")
	p.Want(inStep, "0")
}

// A run that was interrupted behind a user of the roll whose id is no uuid goes on, too.
func TestResumeBehindAnIdThatIsNoUUID(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 5)
	p.Exec("insert into rollcall.users (source, id, version) values ('supabase', 'user_z', 1)")
	p.MaxDelete = 1
	p.interrupted(0)
	p.wantRun(directory.Reconciled{Created: 5, Deleted: 1})
}

// Two runs of a source at once would only do the same work twice.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	r := must.Get(p.DB.Directory().BeginRun(t.Context(), "supabase", "auth.users"))(t)
	must.Fail(t, must.Err(reconcile.Run(t.Context(), p.Config)), connection.ErrRunning)
	r.Release()
	p.run()
}

// A page may be old when it is submitted: what counts is the table at that moment.
func TestWhatCameMeanwhileCounts(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 20)
	p.Exec("update auth.users set email = 'listed@x.test' where id = '" + fixture.ID(1) + "'")
	p.Exec("delete from auth.users where id = '" + fixture.ID(2) + "'")
	submit := p.Submit
	p.Submit = func(ctx context.Context, findings []event.Event) ([]event.Outcome, error) {
		if findings[0].Op == event.Delete {
			p.Exec("insert into auth.users (id, email) values ('" + fixture.ID(2) + "', 'there again')")
		} else {
			p.Exec("update auth.users set email = 'edited later' where id = '" + fixture.ID(1) + "'")
		}
		return submit(ctx, findings)
	}
	p.run()
	p.Want("select email from profiles where id <= '"+fixture.ID(2)+"' order by id", "edited later", "there again")
}

// A user who is there again at the second look is not deleted.
func TestAsksOnceMore(t *testing.T) {
	t.Parallel()
	p := reconciled(t, 20)
	p.Exec("delete from auth.users where id <= '" + fixture.ID(2) + "'")
	users := must.Get(p.DB.Directory().Users(t.Context(), "supabase", "auth.users"))(t)
	var absent []string
	for _, pair := range must.Get(users.Absent(t.Context(), "", 10))(t) {
		absent = append(absent, pair.ID)
	}
	must.Equal(t, absent, []string{fixture.ID(1), fixture.ID(2)}, "absent users")
	p.InsertUsers(1, 1)
	living := must.Get(users.Living(t.Context(), absent))(t)
	if !living[fixture.ID(1)] || living[fixture.ID(2)] {
		t.Errorf("living users: %v", living)
	}
}
