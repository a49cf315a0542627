package roll_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/outbox"
)

// project is a hosted Supabase project, with Rollcall's role in it.
type project struct {
	*fixture.Bench // SQL is a superuser's, DB is Rollcall's role
	hosted         *pgtest.Hosted
	owner          *pgx.Conn
}

// hostedProject makes the role and its grants as docs/running.md says, as the project's owner, and
// migrates.
func hostedProject(t *testing.T) *project {
	t.Helper()
	h := pgtest.NewHosted(t)
	p := &project{hosted: h, owner: pgtest.Connect(t, h.As("owner")).Conn}
	p.Bench = &fixture.Bench{Database: fixture.At(t, h.URL)}
	p.asOwner(fmt.Sprintf(`create role %[1]s login; grant connect, create on database %[2]s to %[1]s;
create table public.p (id uuid primary key, email text, name text, role text);
grant usage on schema public to %[1]s; grant select, insert, update, delete on public.p to %[1]s`, h.Role("rollcall"), p.database()))
	p.Exec(fmt.Sprintf("grant %s to %s", h.Role("rollcall"), h.Role("owner"))) // before PostgreSQL 16 for the tests' roles only
	p.Bench = p.Database.Bench(h.As("rollcall"), fixture.Members())
	must.Get(p.DB.Migrate(t.Context()))(t)
	p.InService()
	return p
}

func (p *project) database() string { return p.SQL.Config().Database }

func (p *project) asOwner(sql string) {
	p.T.Helper()
	pgtest.Exec(p.T, p.owner, sql)
}

var ofUsers = outbox.Capture{Source: "app", Table: "auth.users"}

// paste runs the script in the SQL editor.
func (p *project) paste() {
	p.T.Helper()
	p.asOwner(p.DB.Outbox().ByHand(ofUsers))
}

func (p *project) follow() {
	p.T.Helper()
	must.Do(p.T, p.Follow(p.T.Context(), "app", "auth.users"))
}

// drain applies what has been captured, and returns how many changes there were.
func (p *project) drain(db *postgres.DB) int {
	p.T.Helper()
	o := must.Get(db.Outbox().Hold(p.T.Context()))(p.T)
	defer o.Release()
	n := 0
	for {
		changes := must.Get(o.Next(p.T.Context(), pageOf(db)))(p.T)
		if len(changes) == 0 {
			return n
		}
		var events []event.Event
		for _, c := range changes {
			e := event.Event{Source: "app", Op: event.Look, UserID: c.UserID, Captured: []int64{c.ID}}
			if c.Gone {
				e.Op = event.Delete
			}
			events = append(events, e)
		}
		must.Get(db.Roll().Apply(p.T.Context(), events))(p.T)
		if n += len(changes); n > 1000 {
			p.T.Fatal("the outbox is not emptied")
		}
	}
}

func (p *project) signUp(n int, name string) {
	p.T.Helper()
	p.Exec(fmt.Sprintf(`insert into auth.users (id, email, phone, raw_user_meta_data, created_at, updated_at)
values ('%s', '%d@X.test', '+%d', '{"first_name": "%s"}', now(), now())`, userID(n), n, n, name))
}

// The grant that one would think of does nothing in a hosted project, which is why there is a script.
func TestHostedProjectGrantsNoSchema(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	config := p.owner.Config().Copy()
	var said []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Severity+": "+n.Message) }
	owner := must.Get(pgx.ConnectConfig(t.Context(), config))(t)
	defer func() { _ = owner.Close(context.Background()) }()
	pgtest.Exec(t, owner, "grant usage on schema auth to "+p.hosted.Role("rollcall"))
	if want := `WARNING: no privileges were granted for "auth"`; !slices.Equal(said, []string{want}) {
		t.Errorf("the server says %q", said)
	}
	_, err := p.DB.Directory().Users(t.Context(), "app", "auth.users")
	if !errors.Is(err, directory.ErrUnseen) || !strings.Contains(err.Error(), "rollcall capture install --print app") || strings.Contains(err.Error(), "grant usage on schema") {
		t.Errorf("got %v", err)
	}
	if err := p.DB.Outbox().Install(t.Context(), ofUsers); err == nil || !strings.Contains(err.Error(), "rollcall capture install --print app") {
		t.Errorf("capture install says %v", err)
	}
	p.Want("select count(*) from pg_namespace where nspname = 'rollcall_provider'", "0") // all or nothing
}

// The script gives Rollcall's role all that it needs, and may be run again.
func TestHostedProject(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.signUp(1, "before")
	p.paste()
	p.follow()
	p.signUp(2, "two")
	p.paste()
	p.Exec("update auth.users set raw_user_meta_data = '{\"first_name\": \"one\"}', updated_at = updated_at - interval '5 ms' where id = '" + userID(1) + "'")
	p.Want("select user_id, gone from rollcall_provider.outbox order by id", userID(2)+"|f", userID(1)+"|f")
	p.Want("select count(*) from rollcall.outbox", "0") // what an old replica reads
	state, err := p.DB.Outbox().State(t.Context(), ofUsers)
	if err != nil || !state.Installed || state.Old || state.For != "app" || state.Waiting != 2 || state.Oldest.IsZero() {
		t.Errorf("the capture is %+v, %v", state, err)
	}
	if list, err := p.DB.Outbox().Captures(t.Context(), []outbox.Capture{ofUsers}); err != nil || len(list) != 1 || !list[0].Installed || list[0].Oldest <= 0 {
		t.Errorf("the captures are %+v, %v", list, err)
	}
	if wanted, err := p.DB.Outbox().Wanted(t.Context()); err != nil || !wanted {
		t.Errorf("the outbox is wanted: %t, %v", wanted, err)
	}
	if age, err := p.DB.Outbox().Age(t.Context()); err != nil || age <= 0 {
		t.Errorf("the outbox is %s old, %v", age, err)
	}
	if n := p.drain(p.DB); n != 2 {
		t.Errorf("%d changes were drained", n)
	}
	p.Want("select id, email, name from p order by id", userID(1)+"|1@X.test|one", userID(2)+"|2@X.test|two")
	p.Exec("update auth.users set last_sign_in_at = now(), updated_at = now(), encrypted_password = 'x'")
	p.Want("select count(*) from rollcall_provider.outbox", "0")
	p.Exec("delete from auth.users where id = '" + userID(1) + "'; update auth.users set id = '" + userID(3) + "'")
	p.Want("select user_id, gone from rollcall_provider.outbox order by id", userID(1)+"|t", userID(2)+"|t", userID(3)+"|f")
	p.drain(p.DB)
	p.Want("select id from p", userID(3))
	if err := p.DB.Outbox().Install(t.Context(), ofUsers); err != nil { // another role has done it
		t.Error(err)
	}
}

// What reads the table elsewhere works by the reader.
func TestHostedProjectReads(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.paste()
	for n := 1; n <= 5; n++ {
		p.signUp(n, "a")
	}
	p.Exec("update auth.users set deleted_at = now() where id = '" + userID(5) + "'")
	p.Exec(`insert into rollcall.users (source, id, version, deleted_at) select 'app', '00000000-0000-0000-0000-00000000000' || n, 1, null::timestamptz from generate_series(3, 8) n;
insert into rollcall.users (source, id, version) values ('app', 'user_1', 1)`)
	u := must.Get(p.DB.Directory().Users(t.Context(), "app", "auth.users"))(t)
	if err := u.Visible(t.Context()); err != nil {
		t.Error(err)
	}
	table, roll, err := u.Count(t.Context())
	if err != nil || table != 5 || roll != 7 {
		t.Errorf("%d in the table, %d in the roll, %v", table, roll, err)
	}
	if n, err := u.CountAbsent(t.Context()); err != nil || n != 5 { // 5 to 8, user_1
		t.Errorf("%d are absent, %v", n, err)
	}
	absent, err := u.Absent(t.Context(), "", 2)
	if err != nil || len(absent) != 2 || absent[0].ID != userID(5) || absent[1].ID != userID(6) {
		t.Errorf("absent are %+v, %v", absent, err)
	}
	living, err := u.Living(t.Context(), []string{userID(1), userID(5), userID(6)})
	if err != nil || len(living) != 1 || !living[userID(1)] {
		t.Errorf("living are %v, %v", living, err)
	}
	first, err := u.Compare(t.Context(), "", 3)
	second, err2 := u.Compare(t.Context(), userID(3), 3)
	if err = errors.Join(err, err2); err != nil || ids(first) != "1 2 3" || ids(second) != "4 5 6 7 8 1" || first.End || !second.End {
		t.Errorf("the pages are %s and %s, %v", ids(first), ids(second), err)
	}
	var all directory.Compared
	err = u.CompareAll(t.Context(), 100, func(page directory.Compared) error { all = page; return nil })
	if err != nil || len(all.Differing) != 9 || !strings.Contains(fmt.Sprint(all.Differing[0]), "1@X.test") {
		t.Errorf("all are %+v, %v", all, err)
	}
	since := time.Now().Add(-time.Hour)
	seen, err := u.Seek(t.Context(), []directory.Sought{{ID: userID(1)}, {Email: "2@x.TEST", Since: since}, {Phone: "+3", Since: since}, {ID: userID(9), Email: "no@x.test", Since: since}, {Email: "2@x.test", Since: time.Now().Add(time.Hour)}})
	if err != nil || len(seen) != 5 {
		t.Fatalf("sought: %v, %v", seen, err)
	}
	for i, want := range []string{userID(1), userID(2), userID(3), "", ""} {
		if got := seen[i].ID; got == nil && want != "" || got != nil && *got != want {
			t.Errorf("sought %d: %v, want %q", i, got, want)
		}
	}
	one, err := u.One(t.Context(), userID(1))
	if err != nil || !strings.Contains(string(one), "1@X.test") {
		t.Errorf("one is %s, %v", one, err)
	}
	if one, err = u.One(t.Context(), userID(9)); err != nil || one != nil {
		t.Errorf("none is %s, %v", one, err)
	}
}

// Two tables have a reader each; the script of one leaves the other's rights as they are.
func TestHostedProjectWithTwoTables(t *testing.T) {
	t.Parallel()
	p := hostedProject(t)
	p.asOwner(`create table public."People" (id uuid primary key, email text); insert into public."People" values ('` + userID(7) + `', '7@x.test')`)
	p.paste()
	p.asOwner(p.DB.Outbox().ByHand(outbox.Capture{Source: "other", Table: "public.People"}))
	p.signUp(1, "one")
	for table, want := range map[string]string{"auth.users": userID(1), "public.People": userID(7)} {
		u := must.Get(p.DB.Directory().Users(t.Context(), "app", table))(t)
		if page, err := u.Compare(t.Context(), "", 10); err != nil || !u.Reader || len(page.Differing) != 1 || page.Differing[0].ID != want {
			t.Errorf("%s: %+v, %v", table, page, err)
		}
	}
	p.asOwner(`update public."People" set email = 'new@x.test'`)
	p.Want("select source, user_id from rollcall_provider.outbox order by id", "app|"+userID(1), "other|"+userID(7))
}

func ids(page directory.Compared) string {
	var list []string
	for _, d := range page.Differing {
		list = append(list, d.ID[len(d.ID)-1:])
	}
	return strings.Join(list, " ")
}

// pageOf is a page of the source's changes.
func pageOf(db *postgres.DB) outbox.Page {
	page := outbox.Page{Sources: []string{"app"}, Changes: 100, Bytes: 1 << 20}
	if db.Roll().Follows("app") {
		page.Tables = page.Sources
	}
	return page
}
