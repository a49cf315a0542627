package replay_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/history"
	"rollcall/internal/replay"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// arrived is when the first event of a test arrives.
var arrived = time.Now().Add(-time.Hour).UTC().Truncate(time.Second)

// bench is a database with a target of Clerk's users, organisations and memberships each.
type bench struct {
	*fixture.Bench
	source *source.Source
	replay replay.Replay
	n      int // events that arrived
}

const tables = `create table p (id text primary key, email text unique, name text, role text);
create table orgs (id text primary key, name text);
create table members (org text references orgs, usr text, role text, primary key (org, usr));`

func targets() []target.Target {
	from := []target.Origin{{Source: source.Clerk, SampleID: source.SampleID(source.Clerk)}}
	users := fixture.Everyone()
	users.From = from
	orgs := target.Target{
		Name: "orgs", Roll: "organizations", At: "test.yaml:2:1", Table: "public.orgs", From: from, Key: []string{"id"},
		Set: fixture.Assign("id: new.id", "name: new.name"), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
	members := target.Target{
		Name: "members", Roll: "memberships", At: "test.yaml:3:1", Table: "public.members", From: from, Key: []string{"org", "usr"},
		Set: fixture.Assign("org: new.organization_id", "usr: new.user_id", "role: new.role"), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
	return []target.Target{users, orgs, members}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Bench: fixture.NewBench(t, tables, targets()...), source: fixture.Source(t, source.Clerk)}
	b.replay = replay.Replay{DB: b.DB, Sources: []*source.Source{b.source}, Submit: b.Apply}
	return b
}

// arrives applies a body of Clerk's as a webhook would, a second after the one before.
func (b *bench) arrives(id, body string) event.Outcome {
	b.T.Helper()
	b.n++
	e := b.source.Decode(source.Request{
		Header: http.Header{"Svix-Id": {id}}, Body: []byte(body), ReceivedAt: arrived.Add(time.Duration(b.n) * time.Second),
	})
	return must.Get(b.Apply(b.T.Context(), []event.Event{e}))(b.T)[0]
}

// user is an event of Clerk's about a user.
func user(kind, id string, updated int64, email string) string {
	return fmt.Sprintf(`{"type":"user.%s","data":{"id":%q,"updated_at":%d,"created_at":1,"primary_email_address_id":"idn_1",
		"email_addresses":[{"id":"idn_1","email_address":%q}]},"timestamp":%[3]d}`, kind, id, updated, email)
}

// member is one about the membership of u1 in o1, with the organisation.
func member(kind, role string) string {
	return fmt.Sprintf(`{"type":"organizationMembership.%s","data":{"id":"m_o1_u1","role":%q,"created_at":1,"updated_at":1000,
		"organization":{"id":"o1","name":"The o1","created_at":1,"updated_at":1000},"public_user_data":{"user_id":"u1"}},"timestamp":1000}`, kind, role)
}

// again replays events by their ids and returns what became of them.
func (b *bench) again(ids ...string) []event.Outcome {
	b.T.Helper()
	var became []event.Outcome
	for _, r := range b.results(ids...) {
		became = append(became, r.Became)
	}
	return became
}

func (b *bench) results(ids ...string) []replay.Result {
	b.T.Helper()
	events := must.Get(b.DB.History().Named(b.T.Context(), "", ids...))(b.T)
	must.Equal(b.T, len(events), len(ids), "events with these ids")
	return must.Get(b.replay.Events(b.T.Context(), events))(b.T)
}

// sums are the checksums of all tables of Rollcall and of the applications.
func sums(d *fixture.Database) string {
	d.T.Helper()
	var list []string
	for _, table := range d.Rows(`select format('%I.%I', schemaname, tablename) from pg_tables
		where schemaname in ('rollcall', 'public', 'auth') order by 1`) {
		list = append(list, table+" "+d.Rows("select count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) from " + table + " t")[0])
	}
	return strings.Join(list, "\n")
}

func (b *bench) wantOutcome(id, want string) {
	b.T.Helper()
	b.Want("select outcome from rollcall.events where id = '"+id+"'", want)
}

// What was applied is not applied again, in whatever order it is replayed: not a version that was overtaken, not
// another state of the same version, not a user who was deleted, not a member who has left.
func TestNothingIsPutBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.arrives("e1", user("created", "u1", 1000, "old@x"))
	b.arrives("e2", user("updated", "u1", 2000, "new@x"))
	b.arrives("e3", user("created", "u2", 1000, "first@x"))
	b.arrives("e4", user("updated", "u2", 1000, "second@x"))
	b.arrives("e5", user("created", "u3", 1000, "gone@x"))
	b.arrives("e6", `{"type":"user.deleted","data":{"id":"u3"},"timestamp":3000}`)
	b.arrives("e7", member("created", "admin"))
	b.arrives("e8", member("deleted", "admin"))
	b.arrives("e9", `{"type":"organization.updated","data":{"id":"o1","name":"Newer","created_at":1,"updated_at":5000},"timestamp":5000}`)
	before := sums(b.Database)
	for _, ids := range [][]string{{"e1"}, {"e3"}, {"e5"}, {"e7"}, {"e8"}, {"e9"}, {"e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9"}} {
		for i, o := range b.again(ids...) {
			must.Equal(t, o, event.Duplicate, "replay of "+ids[i])
		}
		must.Equal(t, sums(b.Database), before, fmt.Sprint("all tables after a replay of ", ids))
	}
	b.Want("select id, email from p order by id", "u1|new@x", "u2|second@x")
}

// An event settles its rows again: what an application has changed in columns of set is corrected, and what was parked
// is not any more.
func TestReplaySettles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Exec("alter table p add constraint short check (length(email) < 6); alter table members add constraint known check (role <> 'chief')")
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	must.Equal(t, b.arrives("e2", user("created", "u2", 1000, "too-long@x")), event.Parked, "outcome at first")
	must.Equal(t, b.arrives("e3", member("created", "chief")), event.Parked, "outcome at first")
	must.Equal(t, b.again("e2", "e3"), fixture.All(event.Parked, 2), "while the tables refuse them")
	b.Exec("update p set email = 'x@x'; update orgs set name = 'else'; alter table p drop constraint short; alter table members drop constraint known")
	must.Equal(t, b.again("e1", "e2", "e3"), fixture.All(event.Duplicate, 3), "afterwards")
	b.Want("select id, email from p order by id", "u1|a@x", "u2|too-long@x")
	b.Want("select o.id, name, usr, role from orgs o join members on org = o.id", "o1|The o1|u1|chief")
	b.Want("select from rollcall.parked")
	b.Want("select id, outcome from rollcall.events order by id", "e1|applied", "e2|applied", "e3|applied")
}

// A roll that has lost a row has it back.
func TestReplayRestores(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	b.arrives("e2", member("created", "admin"))
	b.Exec("delete from rollcall.users; delete from rollcall.memberships; delete from rollcall.organizations; delete from p; delete from members; delete from orgs")
	must.Equal(t, b.again("e1", "e2"), fixture.All(event.Applied, 2), "became")
	b.Want("select id, email from p", "u1|a@x")
	b.Want("select org, usr from members", "o1|u1")
}

// What an older version could not read is read now, applied in the order of versions, and recorded as what it is. A
// replay that was interrupted before it was recorded comes to the same.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	unread := func(id, body string) {
		b.n++
		b.Exec("insert into rollcall.events (source, id, type, outcome, received_at, body) values ('clerk', $1, 'other', 'undecodable', $2, $3)",
			id, arrived.Add(time.Duration(b.n)*time.Second), []byte(body))
	}
	unread("e1", user("created", "u1", 1000, "a@x"))
	unread("e2", user("created", "u2", 1000, "old@x"))
	b.arrives("e3", user("updated", "u2", 2000, "new@x"))
	unread("e4", `{"type":"session.created","data":{"user":{"id":"u3","created_at":1,"updated_at":1000}},"timestamp":1000}`)
	unread("e5", `{"type":"user.deleted","data":{"id":"u4"},"timestamp":1000}`)
	unread("e6", member("created", "admin"))
	unread("e7", `{"type":"email.created","data":{}}`)
	unread("e8", `no JSON`)
	want := []event.Outcome{event.Applied, event.Stale, event.Duplicate, event.Applied, event.Applied, event.Applied, event.Ignored, event.UndecodableBody}
	must.Equal(t, b.again("e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8"), want, "became")
	recorded := []string{
		"e1|user.created|u1|applied|t", "e2|user.created|u2|stale|t", "e3|user.updated|u2|applied|t", "e4|session.created|u3|applied|f",
		"e5|user.deleted|u4|applied|t", "e6|organizationMembership.created|u1|applied|t", "e7|email.created|∅|ignored|f", "e8|other|∅|undecodable|t",
	}
	const events = "select id, type, user_id, outcome, body is not null from rollcall.events order by id"
	b.Want(events, recorded...)
	b.Want("select id, email from p order by id", "u1|a@x", "u2|new@x", "u3|∅")
	b.Want("select org, usr from members", "o1|u1")

	b.Exec("update rollcall.events set outcome = 'undecodable', type = 'other', user_id = null where id in ('e1', 'e5', 'e6')")
	must.Equal(t, b.again("e1", "e5", "e6"), fixture.All(event.Applied, 3), "after an interruption")
	b.Want(events, recorded...)
}

// Without a body the user is settled, which is reported; what names no user, or no source of the configuration, can't be
// replayed.
func TestWithoutBody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	b.arrives("e2", `{"type":"organization.created","data":{"id":"o1","name":"One","created_at":1,"updated_at":1},"timestamp":1}`)
	b.Exec("update rollcall.events set body = null; update rollcall.events set outcome = 'parked' where id = 'e1'; delete from p")
	b.Exec("insert into rollcall.events (source, id, type, received_at, body) values ('gone', 'e3', 'x', now(), 'x')")
	results := b.results("e1", "e2", "e3")
	must.Equal(t, []event.Outcome{results[0].Became, results[1].Became, results[2].Became}, []event.Outcome{event.Applied, replay.Skipped, replay.Skipped}, "became")
	must.Contain(t, results[0].Reason, "no body any more", "the user was settled")
	must.Contain(t, results[1].Reason, "no body any more")
	must.Contain(t, results[2].Reason, "the configuration has no source gone")
	b.Want("select id, email from p", "u1|a@x")
	b.wantOutcome("e1", "applied")
}

// Of a table source the row in the table is the truth, whatever an old event says.
func TestTableSource(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.UsersTable, fixture.Members())
	src := must.Get(source.New(source.Config{Name: "app", Provider: source.Supabase}))(t)
	r := replay.Replay{DB: b.DB, Sources: []*source.Source{src}, Submit: b.Apply}
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	b.Exec(fmt.Sprintf("insert into auth.users (id, email) values ('%s', 'now@x')", fixture.ID(1)))
	insert := func(id, kind, record string) {
		b.Exec("insert into rollcall.events (source, id, type, outcome, received_at, body) values ('app', $1, $2, 'applied', now(), $3)", id, kind, []byte(record))
	}
	insert("e1", "database.update", fmt.Sprintf(`{"type":"UPDATE","schema":"auth","table":"users","record":{"id":%q,"email":"old@x"}}`, fixture.ID(1)))
	insert("e2", "database.delete", fmt.Sprintf(`{"type":"DELETE","schema":"auth","table":"users","old_record":{"id":%q}}`, fixture.ID(1)))
	insert("e3", "database.insert", fmt.Sprintf(`{"type":"INSERT","schema":"auth","table":"users","record":{"id":%q,"email":"gone@x"}}`, fixture.ID(2)))
	insert("e4", "before-user-created", fmt.Sprintf(`{"metadata":{"name":"before-user-created"},"user":{"id":%q}}`, fixture.ID(3)))
	events := must.Get(b.DB.History().List(t.Context(), history.Filter{}, history.Paging{Limit: 9, Order: history.OldestFirst}))(t)
	var became []event.Outcome
	var reasons []string
	for _, x := range must.Get(r.Events(t.Context(), events.Events))(t) {
		became, reasons = append(became, x.Became), append(reasons, x.Reason)
	}
	must.Equal(t, became, []event.Outcome{event.Applied, event.Applied, event.Stale, replay.Skipped}, "became")
	must.Contain(t, reasons[2], "not in auth.users")
	must.Contain(t, reasons[3], "an announcement says nothing")
	b.Want("select email from p", "now@x")
}

// Pages are replayed in order of arrival. A run that was interrupted goes on in the same range, and one that has ended
// does not.
func TestRange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Exec("insert into rollcall.events (source, id, type, user_id, outcome, received_at, body) select 'clerk', 'e' || lpad(g::text, 4, '0'), 'user.created', 'u' || g, 'undecodable', $1::timestamptz + g * interval '1 second', convert_to(replace($2, 'u1', 'u' || g), 'UTF8') from generate_series(1, 1300) g",
		arrived, user("created", "u1", 1000, "u1@x"))
	var order []string
	var shown [][2]int64
	interrupted := fmt.Errorf("interrupted")
	g := replay.Range{
		Filter: history.Filter{Outcomes: []string{"undecodable"}, Until: arrived.Add(1281 * time.Second)}, Asked: "--until x",
		Each: func(page []replay.Result) error {
			for _, r := range page {
				order = append(order, r.ID)
			}
			if len(order) > 600 {
				return interrupted
			}
			return nil
		},
		Progress: func(done, total int64) { shown = append(shown, [2]int64{done, total}) },
	}
	tally, err := b.replay.Range(t.Context(), g)
	must.Fail(t, err, interrupted)
	must.Equal(t, tally.Events, int64(1024), "events until it was interrupted")
	g.Each = func(page []replay.Result) error {
		for _, r := range page {
			order = append(order, r.ID)
		}
		return nil
	}
	g.Filter.Until = arrived.Add(time.Hour)
	tally = must.Get(b.replay.Range(t.Context(), g))(t)
	must.Equal(t, tally, replay.Tally{Events: 1280, Resumed: 1024, Became: map[string]int64{"applied": 1280}}, "in all")
	for n, id := range order {
		must.Equal(t, id, fmt.Sprintf("e%04d", n+1), "in order of arrival")
	}
	must.Equal(t, len(order), 1280, "each once")
	must.Equal(t, shown[0], [2]int64{512, 1280}, "progress")
	b.Want("select count(*) from p", "1280")
	b.Want("select from rollcall.replays")
	tally = must.Get(b.replay.Range(t.Context(), g))(t)
	must.Equal(t, tally, replay.Tally{Events: 20, Became: map[string]int64{"applied": 20}}, "once more")
}

// A range is replayed by one process at a time.
func TestRangeAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	g := replay.Range{Filter: history.Filter{Until: time.Now()}, Asked: "a"}
	g.Each = func([]replay.Result) error {
		must.Fail(t, must.Err(b.replay.Range(context.WithoutCancel(t.Context()), replay.Range{Filter: g.Filter, Asked: "a"})), replay.ErrRunning)
		return nil
	}
	must.Get(b.replay.Range(t.Context(), g))(t)
}
