package roll_test

import (
	"context"
	"fmt"
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

// hostedProject makes the role and its grants as docs/operating.md says, as the project's owner, and
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
func (p *project) drain() int {
	p.T.Helper()
	o := must.Get(p.DB.Outbox().Hold(p.T.Context()))(p.T)
	defer o.Release()
	n := 0
	for {
		changes := must.Get(o.Next(p.T.Context(), pageOf(p.DB)))(p.T)
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
		must.Get(p.Apply(p.T.Context(), events))(p.T)
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
	must.Equal(t, said, []string{`WARNING: no privileges were granted for "auth"`}, "the server says")
	err := must.Err(p.DB.Directory().Users(t.Context(), "app", "auth.users"))
	must.Fail(t, err, directory.ErrUnseen, "rollcall capture install --print app")
	must.Lack(t, fmt.Sprint(err), "grant usage on schema")
	must.Fail(t, p.DB.Outbox().Install(t.Context(), ofUsers), nil, "rollcall capture install --print app")
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
	box := p.DB.Outbox()
	state := must.Get(box.State(t.Context(), ofUsers))(t)
	must.True(t, state.Installed && !state.Old && state.For == "app" && state.Waiting == 2 && !state.Oldest.IsZero(),
		"the capture is %+v", state)
	list := must.Get(box.Captures(t.Context(), []outbox.Capture{ofUsers}))(t)
	must.True(t, len(list) == 1 && list[0].Installed && list[0].Oldest > 0, "the captures are %+v", list)
	must.Equal(t, must.Get(box.Wanted(t.Context()))(t), true, "the outbox is wanted")
	age := must.Get(box.Age(t.Context()))(t)
	must.True(t, age > 0, "the outbox is %s old", age)
	must.Equal(t, p.drain(), 2, "changes drained")
	p.Want("select id, email, name from p order by id", userID(1)+"|1@X.test|one", userID(2)+"|2@X.test|two")
	p.Exec("update auth.users set last_sign_in_at = now(), updated_at = now(), encrypted_password = 'x'")
	p.Want("select count(*) from rollcall_provider.outbox", "0")
	p.Exec("delete from auth.users where id = '" + userID(1) + "'; update auth.users set id = '" + userID(3) + "'")
	p.Want("select user_id, gone from rollcall_provider.outbox order by id", userID(1)+"|t", userID(2)+"|t", userID(3)+"|f")
	p.drain()
	p.Want("select id from p", userID(3))
	must.Do(t, p.DB.Outbox().Install(t.Context(), ofUsers)) // another role has done it
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
	must.Do(t, u.Visible(t.Context()))
	table, roll, err := u.Count(t.Context())
	must.True(t, err == nil && table == 5 && roll == 7, "%d in the table, %d in the roll, %v", table, roll, err)
	must.Equal(t, must.Get(u.CountAbsent(t.Context()))(t), 5, "absent are 5 to 8 and user_1")
	absent := must.Get(u.Absent(t.Context(), "", 2))(t)
	must.True(t, len(absent) == 2 && absent[0].ID == userID(5) && absent[1].ID == userID(6), "absent are %+v", absent)
	living := must.Get(u.Living(t.Context(), []string{userID(1), userID(5), userID(6)}))(t)
	must.True(t, len(living) == 1 && living[userID(1)], "living are %v", living)
	first := must.Get(u.Compare(t.Context(), "", "", 3))(t)
	second := must.Get(u.Compare(t.Context(), userID(3), "", 3))(t)
	must.Equal(t, ids(first)+", "+ids(second), "1 2 3, 4 5 6 7 8 1", "pages")
	must.True(t, !first.End && second.End, "the first page ends: %t, the second %t", first.End, second.End)
	var all directory.Compared
	must.Do(t, u.CompareAll(t.Context(), 100, func(page directory.Compared) error { all = page; return nil }))
	must.True(t, len(all.Differing) == 9 && strings.Contains(fmt.Sprint(all.Differing[0]), "1@X.test"),
		"all are %+v", all)
	since := time.Now().Add(-time.Hour)
	seen := must.Get(u.Seek(t.Context(), []directory.Sought{
		{ID: userID(1)}, {Email: "2@x.TEST", Since: since}, {Phone: "+3", Since: since},
		{ID: userID(9), Email: "no@x.test", Since: since}, {Email: "2@x.test", Since: time.Now().Add(time.Hour)},
	}))(t)
	var found []*string
	for _, s := range seen {
		found = append(found, s.ID)
	}
	must.Equal(t, found, []*string{new(userID(1)), new(userID(2)), new(userID(3)), nil, nil}, "sought")
	must.Contain(t, string(must.Get(u.One(t.Context(), userID(1)))(t)), "1@X.test")
	must.Equal(t, must.Get(u.One(t.Context(), userID(9)))(t), nil, "none")
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
		page := must.Get(u.Compare(t.Context(), "", "", 10))(t)
		must.True(t, u.Reader && len(page.Differing) == 1 && page.Differing[0].ID == want, "%s: %+v", table, page)
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
