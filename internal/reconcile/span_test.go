package reconcile_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
)

// brought counts the users of the roll whose row was inserted as it is, and never locked or updated.
const brought = "select count(*)::text from rollcall.users where xmax = '0' and version is not null"

// While a span is being written, one of its users is brought in by another transaction, and one is deleted, of
// which a signal tells that finds them nowhere.
func TestSpanBesideSignals(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 10)
	pool := p.DB.Pool() // the wait lasts as long as the test takes
	pool.SetTimeouts(time.Minute, time.Minute)
	faster := p.Hold("insert into rollcall.users (source, id, version, email) values ('supabase', '" + fixture.ID(2) + "', 7, 'faster@x.test')")
	var tally reconcile.Tally
	err := fixture.Beside(func() (err error) {
		tally, err = reconcile.Run(t.Context(), p.Config)
		return err
	}, func() {
		p.Await("select count(*)::text from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()", "1")
		p.Exec("delete from auth.users where id = '" + fixture.ID(5) + "'")
		deleted := event.Event{Source: "supabase", Type: "deleted", Op: event.Delete, UserID: fixture.ID(5)}
		must.Equal(t, must.Get(p.Submit(t.Context(), []event.Event{deleted}))(t), []event.Outcome{event.Stale}, "the deletion")
		faster.Run("commit")
	})
	must.Do(t, err)
	must.Equal(t, tally.Reconciled, directory.Reconciled{Created: 8, Unchanged: 1}, "the run")
	p.Want("select count(*)::text from rollcall.users where id = '"+fixture.ID(5)+"'", "0")
	p.Want("select count(*)::text from profiles where id = '"+fixture.ID(5)+"'", "0")
	p.Want("select email from rollcall.users where id = '"+fixture.ID(2)+"'", "faster@x.test")
	p.Want("select count(*)::text from profiles", "8")
	p.Want(brought, "9")
}

// A user that a target refuses is parked, and all others are where they should be.
func TestSpanRefused(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 1500)
	p.Exec("alter table profiles add check (email <> '7@x.test')")
	p.wantRun(directory.Reconciled{Created: 1500})
	p.Want("select user_id from rollcall.parked", fixture.ID(7))
	p.Want("select count(*)::text from profiles", "1499")
	p.Want(brought, "500") // behind the page with that user
	p.wantRun(directory.Reconciled{Unchanged: 1500})
}

// Rows of users that a target with a condition does not want go also when they are older than the roll.
func TestSpanUnwanted(t *testing.T) {
	t.Parallel()
	db := fixture.Supabase(t)
	wants := fixture.Target("supabase")
	wants.Where = &fixture.Assign("email: new.email <> '3@x.test'")[0].Expr
	p := startProject(db, "", wants)
	p.Source, p.Table = fixture.Source(t, "supabase"), "auth.users"
	p.InsertUsers(1, 5)
	p.Exec("insert into profiles (id, email, name, role) values ('" + fixture.ID(3) + "', 'old@x.test', '', 'customer')")
	p.wantRun(directory.Reconciled{Created: 5})
	p.Want("select count(*)::text from profiles", "4")
	p.Want(brought, "5")
}

// Metadata that is too large leaves its span to signals: nothing of it is written before.
func TestSpanWithLargeMetadata(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.InsertUsers(1, 3)
	p.Exec("update auth.users set raw_user_meta_data = jsonb_build_object('a', (select string_agg(md5(g::text), '') from generate_series(1, 40000) g)) where id = '" + fixture.ID(1) + "'")
	deaf := p.Config
	refused := errors.New("no signal is taken")
	deaf.Submit = func(context.Context, []event.Event) ([]event.Outcome, error) { return nil, refused }
	_, err := reconcile.Run(t.Context(), deaf)
	must.Fail(t, err, refused)
	p.Want("select count(*)::text from rollcall.users", "0")
	p.wantRun(directory.Reconciled{Created: 3})
	p.Want("select id || ' ' || cardinality(kept) from rollcall.users where kept is not null", fixture.ID(1)+" 6")
}

// A target whose triggers take their time gets fewer users at once, because live events wait for them.
func TestSpanWithSlowTrigger(t *testing.T) {
	t.Parallel()
	p := newProject(t, `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.003); return new; end $$;
create trigger slow before insert on profiles for each row execute function slow()`)
	p.InsertUsers(1, 400)
	p.wantRun(directory.Reconciled{Created: 400})
	p.Want(brought, "400")
	p.Want("select (max(n) <= 100)::text from (select count(*) as n from rollcall.users group by xmin) transactions", "true")
}
