package replay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/replay"
	"rollcall/internal/source"
)

// foresee makes a dry run of events and wants no table to change.
func (b *bench) foresee(ids ...string) *replay.Foreseen {
	b.T.Helper()
	before := sums(b.Database)
	events := must.Get(b.DB.History().Named(b.T.Context(), "", ids...))(b.T)
	f := must.Get(b.replay.DryRun(b.T.Context(), events))(b.T)
	must.Equal(b.T, sums(b.Database), before, "all tables after a dry run")
	return f
}

// lines are changes as a person reads them.
func lines(f *replay.Foreseen) []string {
	var list []string
	for _, c := range f.Changes {
		for _, column := range c.Columns {
			list = append(list, fmt.Sprintf("%s %s %s: %s: %s → %s", c.Action, c.Target, c.ID, column.Column, column.Old, column.New))
		}
	}
	return list
}

// A dry run says what the same replay then does, column by column, and changes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.replay.Reveal = true
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	b.arrives("e2", user("created", "u2", 1000, "b@x"))
	b.arrives("e3", user("created", "u3", 1000, "c@x"))
	b.arrives("e4", `{"type":"user.deleted","data":{"id":"u3"},"timestamp":3000}`)
	b.arrives("e5", member("created", "admin"))
	b.Exec("update p set email = 'edited@x' where id = 'u1'; insert into p (id, email) values ('u3', 'back@x'); delete from members; delete from orgs")
	b.Exec(`create function stamp() returns trigger language plpgsql as $$ begin new.role := 'by trigger'; return new; end $$;
		create trigger stamp before update on p for each row execute function stamp()`)
	b.InService()
	all := []string{"e1", "e2", "e3", "e4", "e5"}
	want := []string{
		`update profiles u1: email: "edited@x" → "a@x"`, `update profiles u1: role: "customer" → "by trigger"`,
		`delete profiles u3: id: "u3" → null`, `delete profiles u3: email: "back@x" → null`,
		`insert orgs o1: id: null → "o1"`, `insert orgs o1: name: null → "The o1"`,
		`insert members m_o1_u1: org: null → "o1"`, `insert members m_o1_u1: usr: null → "u1"`, `insert members m_o1_u1: role: null → "admin"`,
	}
	f := b.foresee(all...)
	must.Equal(t, lines(f), want, "foreseen")
	for _, r := range f.Results {
		must.Equal(t, r.Became, event.Duplicate, r.ID)
	}
	b.again(all...)
	b.Want("select * from p order by id", "u1|a@x|∅|by trigger", "u2|b@x|∅|customer")
	b.Want("select o.name, usr, m.role from orgs o join members m on org = o.id", "The o1|u1|admin")
	must.Equal(t, lines(b.foresee(all...)), nil, "once it is done")
}

// Personal data are masked by default: what is made of columns of the roll that tell who a person is, and texts that
// others write.
func TestDryRunMasks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Exec("alter table p add note text default 'call 555', add data jsonb default '{\"a\": 1}', add seats int default 3")
	b.InService()
	b.arrives("e1", user("created", "u1", 1000, "ann@example.com"))
	b.Exec("delete from p")
	must.Equal(t, lines(b.foresee("e1")), []string{
		`insert profiles u1: id: null → "u1"`, `insert profiles u1: email: null → "a…@e….com"`, `insert profiles u1: role: null → "customer"`,
		`insert profiles u1: note: null → "c…"`, `insert profiles u1: data: null → "8 bytes"`, `insert profiles u1: seats: null → 3`,
	}, "masked")
}

// What a target would refuse, at once or at the end of the transaction, is said, and the rest is foreseen.
func TestDryRunOfRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Exec("create table seats (email text primary key); insert into seats values ('a@x')")
	for i, email := range []string{"a@x", "b@x", "c@x"} {
		b.arrives(fmt.Sprint("e", i+1), user("created", fmt.Sprint("u", i+1), 1000, email))
	}
	for name, constraint := range map[string]string{
		"at once":    "alter table p add constraint seat foreign key (email) references seats",
		"at the end": "alter table p add constraint seat foreign key (email) references seats deferrable initially deferred",
	} {
		b.Exec("alter table p drop constraint if exists seat; delete from p; " + constraint)
		b.InService()
		f := b.foresee("e1", "e2", "e3")
		must.Equal(t, lines(f), []string{`insert profiles u1: id: null → "u1"`, `insert profiles u1: email: null → "a…@x…"`, `insert profiles u1: role: null → "customer"`}, name)
		must.Equal(t, len(f.Remarks), 2, "refused "+name)
		must.Contain(t, strings.Join(f.Remarks, "\n"), "profiles: u2 of clerk would be parked: ", "(23503)", "u3 of clerk")
		must.Equal(t, f.Results[1].Became, event.Parked, "outcome "+name)
	}
}

// A row that a user takes over is told from one that is inserted.
func TestDryRunOfAdoption(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable, fixture.Adopting())
	r := replay.Replay{DB: b.DB, Submit: b.Apply, Reveal: true}
	b.Exec("insert into people (email, name) values ('Ann@x.test', 'Ann'), ('c@x.test', 'Cec')")
	tried := must.Get(r.Try(t.Context(), fixture.Verified("u1", 1, "ann@x.test")))(t)
	must.Equal(t, tried.Became, event.Applied, "outcome")
	must.Equal(t, lines(&replay.Foreseen{Changes: tried.Changes}), []string{
		`adopt people u1: auth_id: null → "u1"`, `adopt people u1: email: "Ann@x.test" → "ann@x.test"`, `adopt people u1: name: "Ann" → null`,
	}, "changes")
	b.Submit(fixture.Verified("u1", 1, "ann@x.test"))
	must.Equal(t, lines(&replay.Foreseen{Changes: must.Get(r.Since(t.Context(), tried))(t)}), lines(&replay.Foreseen{Changes: tried.Changes}), "since")
	tried = must.Get(r.Try(t.Context(), fixture.Updated("u2", 1, "c@x.test")))(t)
	must.Equal(t, tried.Became, event.Parked, "outcome of one whose address is not verified")
	must.Contain(t, tried.Refused["people"], "which the provider has not verified (23000)")
}

// A user who is parked has a row, too; what can't be read is said.
func TestDryRunOfParked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.replay.Reveal = true
	b.arrives("e1", user("created", "u1", 1000, "a@x"))
	b.Exec("alter table p alter email type varchar(6)")
	b.InService()
	b.arrives("e2", user("updated", "u1", 2000, "too-long@x"))
	must.Contain(t, strings.Join(b.foresee("e2").Remarks, "\n"), `would be parked: column "email": value too long for type character varying(6)`)
	b.Exec("alter table p alter email type text")
	b.InService()
	must.Equal(t, lines(b.foresee("e2")), []string{`update profiles u1: email: "a@x" → "too-long@x"`}, "parked")
}

// Of a table source it says what a look at the table brings.
func TestDryRunOfTableSource(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.UsersTable, fixture.Members())
	src := must.Get(source.New(source.Config{Name: "app", Provider: source.Supabase}))(t)
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	b.Exec(fmt.Sprintf("insert into auth.users (id, email) values ('%[1]s', 'now@x'); insert into rollcall.events (source, id, type, received_at, body) values ('app', 'e1', 'database.delete', now(), convert_to('{\"type\":\"DELETE\",\"schema\":\"auth\",\"table\":\"users\",\"old_record\":{\"id\":\"%[1]s\"}}', 'UTF8'))", fixture.ID(1)))
	x := &bench{Bench: b, replay: replay.Replay{DB: b.DB, Sources: []*source.Source{src}, Reveal: true}}
	must.Equal(t, lines(x.foresee("e1"))[1], `insert profiles 00000000-0000-4000-8000-000000000001: email: null → "now@x"`, "foreseen")
	b.Want("select from rollcall.users")
}

// Live events wait for a dry run no longer than for a batch.
func TestDryRunBesideLiveEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var ids []string
	for n := range 300 {
		ids = append(ids, fmt.Sprint("e", n))
		b.arrives(ids[n], user("created", fmt.Sprint("u", n), 1000, fmt.Sprint(n, "@x")))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		events := must.Get(b.DB.History().Named(b.T.Context(), "", ids...))(b.T)
		must.Get(b.replay.DryRun(b.T.Context(), events))(b.T)
	}()
	for n := 0; ; n++ {
		began := time.Now()
		must.Equal(t, b.arrives(fmt.Sprint("live", n), user("updated", fmt.Sprint("u", n%300), int64(2000+n), fmt.Sprint("live", n, "@x"))), event.Applied, "a live event")
		must.Within(t, began, time.Second, "a live event beside a dry run")
		select {
		case <-ended:
			return
		default:
		}
	}
}
