package audit_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// report audits the targets and returns its tallies as lines: target, source, then what isn't 0.
func report(b *fixture.Bench, repair bool) []string {
	b.T.Helper()
	c := must.Get(b.DB.Audit().Report(b.T.Context(), audit.Options{Repair: repair}))(b.T)
	lines := []string{}
	for _, t := range c.Tallies {
		line := t.Target + " " + cmp.Or(t.Source, "-")
		for _, s := range audit.States {
			if n := t.Users[s]; n > 0 {
				line += fmt.Sprintf(" %s=%d", s, n)
			}
		}
		if t.Unowned > 0 {
			line += fmt.Sprint(" unowned=", t.Unowned)
		}
		if t.Repaired > 0 {
			line += fmt.Sprint(" repaired=", t.Repaired)
		}
		if t.Outage != "" {
			line += " " + t.Outage
		}
		lines = append(lines, line)
	}
	for _, r := range c.Refused {
		lines = append(lines, fmt.Sprintf("refused %s %s %s %s", r.Target, r.Source, r.ID, r.Error))
	}
	return lines
}

func wantReport(b *fixture.Bench, repair bool, want ...string) {
	b.T.Helper()
	must.Equal(b.T, report(b, repair), want, "report with repair ", repair)
}

// fromWeb is the same event of another source.
func fromWeb(e event.Event) event.Event {
	u := *e.User
	u.Source, e.Source, e.User = "web", "web", &u
	return e
}

// Every state, each made by hand behind Rollcall's back, and what a repair leaves.
func TestAuditStates(t *testing.T) {
	t.Parallel()
	changed := func(change func(*target.Target)) []target.Target {
		p := fixture.Everyone()
		change(&p)
		return []target.Target{p}
	}
	first := func(name string) func(*event.User) { return func(u *event.User) { u.FirstName = new(name) } }
	people := []event.Event{fixture.Updated("a", 1, "a@x.com"), fixture.Updated("b", 1, "b@x.com"), fixture.Updated("c", 1, "c@x.com"), fixture.Updated("d", 1, "d@x.com"), fixture.Gone("d", 2), fixture.Updated("e", 1, "e@x.com"), fixture.Gone("e", 2)}
	// numbered takes a number from the metadata, and the user of many has none there.
	numbered := changed(func(p *target.Target) {
		p.Set, p.OnInsert = append(p.Set, fixture.Assign("role: (new.raw_user_meta_data->>'n')::int")...), nil
	})
	many := []event.Event{fixture.With(fixture.Updated("p", 1, "p"), func(u *event.User) { u.RawUserMetaData = `{"n":"many"}` })}
	tests := []struct {
		name, schema   string
		targets        []target.Target
		events         []event.Event
		spoil          string
		want, repaired []string
	}{
		{"in step", fixture.PTable, changed(func(*target.Target) {}), people, "",
			[]string{"profiles app present=3"}, []string{"profiles app present=3"}},
		{"nobody", fixture.PTable, changed(func(*target.Target) {}), nil, "",
			[]string{"profiles app"}, []string{"profiles app"}},
		{"on_delete delete", fixture.PTable, changed(func(*target.Target) {}), people,
			"delete from p where id = 'a'; update p set email = 'other', role = 'mine' where id = 'b'; insert into p values ('d', 'd'), ('stranger', 's')",
			[]string{"profiles app present=1 missing=1 extra=2 different=1 unowned=1"},
			[]string{"profiles app present=3 extra=1 unowned=1 repaired=3"}},
		{"on_insert is the application's", fixture.PTable, changed(func(*target.Target) {}), people,
			"update p set role = 'admin'",
			[]string{"profiles app present=3"}, []string{"profiles app present=3"}},
		{"a null instead of a value", fixture.PTable, changed(func(*target.Target) {}), people, "update p set email = null where id = 'a'",
			[]string{"profiles app present=2 different=1"}, []string{"profiles app present=3 repaired=1"}},
		{"on_delete keep", fixture.PTable, changed(func(p *target.Target) { p.OnDelete.Action = target.DeleteKeep }), people, "",
			[]string{"profiles app present=3"}, []string{"profiles app present=3"}},
		{"on_delete map", fixture.PTable + "alter table p add gone timestamptz", changed(func(p *target.Target) {
			p.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "gone: now()")}
		}), people, "update p set gone = null where id = 'd'; update p set email = 'back' where id = 'e'; update p set gone = 'yesterday' where gone is not null",
			[]string{"profiles app present=3 extra=2"}, []string{"profiles app present=3 repaired=2"}},
		{"on_delete map that rounds", fixture.PTable + "alter table p add score numeric(4,1)", changed(func(p *target.Target) {
			p.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("score: 1.25")}
		}), people, "update p set score = 7 where id = 'e'",
			[]string{"profiles app present=3 extra=1"}, []string{"profiles app present=3 repaired=1"}},
		{"where", fixture.PTable, changed(func(p *target.Target) { p.Where = &target.Expr{SQL: "new.email <> 'b@x.com'"} }), append(people, fixture.Updated("n", 1, "")),
			"insert into p (id) values ('b'), ('n'); delete from p where id = 'c'",
			[]string{"profiles app present=1 missing=1 extra=2"}, []string{"profiles app present=2 repaired=3"}},
		{"a volatile value", fixture.PTable + "alter table p add seen timestamptz", changed(func(p *target.Target) { p.Set = append(p.Set, fixture.Assign("seen: now()")...) }), people,
			"update p set seen = 'yesterday'",
			[]string{"profiles app present=3"}, []string{"profiles app present=3"}},
		{"only the key", "create table p (id text primary key)", changed(func(p *target.Target) { p.Set, p.OnInsert = fixture.Assign("id: new.id"), nil }), people,
			"delete from p where id = 'a'",
			[]string{"profiles app present=2 missing=1"}, []string{"profiles app present=3 repaired=1"}},
		{"bare names", fixture.PTable, changed(func(p *target.Target) {
			p.Set, p.Where = fixture.Assign("id: id", "email: email"), &target.Expr{SQL: "email is not null"}
		}), people,
			"delete from p where id = 'a'; update p set email = 'x' where id = 'b'; insert into p (id) values ('s')",
			[]string{"profiles app present=1 missing=1 extra=1 different=1 unowned=1"}, []string{"profiles app present=3 extra=1 unowned=1 repaired=2"}},
		{"what a column stores", `create extension citext; create domain score as numeric(4,1);
			create table p (id varchar(20) primary key, email citext, name char(9), nick varchar(3), n numeric(4,1), d score, at timestamp(0), doc json, list numeric(3,1)[])`,
			changed(func(p *target.Target) {
				p.Set = fixture.Assign("id: new.id", "email: new.email", "name: new.first_name", "nick: 'abc  '", "n: 1.25", "d: 2.25", "at: new.created_at", "doc: new.raw_user_meta_data::json", "list: array[1.26]")
				p.OnInsert = nil
			}),
			[]event.Event{fixture.With(fixture.Updated("a", 1, "A@x"), first("Ann")), fixture.With(fixture.Updated("b", 1, "B@x"), func(u *event.User) {
				u.CreatedAt = new(time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC))
			}), fixture.Updated("c", 1, "C@x")},
			"update p set email = 'b@X' where id = 'b'; update p set doc = '{ }' where id = 'c'",
			[]string{"profiles app present=1 different=2"}, []string{"profiles app present=3 repaired=2"}},
		{"what a column can't store", "create table p (id text primary key, email varchar(3))", changed(func(p *target.Target) { p.Set, p.OnInsert = fixture.Assign("id: new.id", "email: new.email"), nil }),
			[]event.Event{fixture.Updated("a", 1, "abc"), fixture.Updated("b", 1, "abcd")}, "insert into p values ('b', 'abc'); delete from rollcall.parked",
			[]string{"profiles app present=1 different=1"}, []string{"profiles app present=1 parked=1"}},
		{"a key of columns", "create table p (app text, source text, id text, email text, primary key (app, source, id))", changed(func(p *target.Target) {
			p.Key, p.Set, p.OnInsert = []string{"app", "source", "id"}, fixture.Assign("app: 'shop'", "source: new.source", "id: new.id", "email: new.email"), nil
		}), people,
			"insert into p values ('shop', 'app', 'd'), ('shop', 'app', 's'), ('other', 'app', 's'), ('shop', 'elsewhere', 's'); delete from p where id = 'a'",
			[]string{"profiles app present=2 missing=1 extra=2 unowned=1"}, []string{"profiles app present=3 extra=1 unowned=1 repaired=2"}},
		{"rows without a key are the application's", "create table p (n int generated always as identity, id text unique, email text, name text, role text)", changed(func(*target.Target) {}), people,
			"insert into p (email) values ('own'), ('too')",
			[]string{"profiles app present=3"}, []string{"profiles app present=3"}},
		{"poison that is parked", fixture.PTable, numbered, append(many, people...), "",
			[]string{"profiles app present=3 parked=1"}, []string{"profiles app present=3 parked=1"}},
		{"poison that is not parked", fixture.PTable, numbered, append(many, people...),
			"delete from rollcall.parked; delete from p where id = 'a'; insert into p (id, email) values ('p', 'p')",
			[]string{"profiles app present=2 missing=1 different=1", `refused profiles app p column "role": invalid input syntax for type integer: "…" (22P02)`},
			[]string{"profiles app present=3 parked=1 repaired=1"}},
		{"poison in where", fixture.PTable, changed(func(p *target.Target) { p.Where = &target.Expr{SQL: "(new.raw_user_meta_data->>'n')::int is null"} }),
			append(many, people...), "",
			[]string{"profiles app present=3 parked=1"}, []string{"profiles app present=3 parked=1"}},
		{"an id that is no uuid", "create table p (id uuid primary key, email text)", changed(func(p *target.Target) {
			p.From = []target.Origin{{Source: "app", SampleID: "5a3f1e00-0000-4000-8000-000000000b01"}}
			p.Set, p.OnInsert = fixture.Assign("id: new.id", "email: new.email"), nil
		}), []event.Event{fixture.Updated("5a3f1e00-0000-4000-8000-000000000b01", 1, "a"), fixture.Updated("nobody", 1, "b"), fixture.Updated("5a3f1e00-0000-4000-8000-000000000b02", 1, "c")},
			"insert into p values (gen_random_uuid()); delete from p where email = 'a'",
			[]string{"profiles app present=1 missing=1 extra=1 parked=1 unowned=1"}, []string{"profiles app present=2 extra=1 parked=1 unowned=1 repaired=1"}},
		{"a refused user", fixture.PTable + fixture.Raising("p", "P0001"), changed(func(*target.Target) {}), append(people, fixture.Updated("x", 1, "bad")), "",
			[]string{"profiles app present=3 parked=1"}, []string{"profiles app present=3 parked=1"}},
		{"parked for a reason that is gone", fixture.PTable + fixture.Raising("p", "P0001"), changed(func(*target.Target) {}), append(people, fixture.Updated("x", 1, "bad")), "drop trigger raise on p",
			[]string{"profiles app present=3 parked=1"}, []string{"profiles app present=4 repaired=1"}},
		{"a shared table", fixture.PTable, []target.Target{
			{Name: "late", At: "t:1:1", Table: "public.p", From: []target.Origin{{Source: "web", SampleID: "x"}}, Key: []string{"id"}, Set: fixture.Assign("id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: target.DeleteRow}},
			fixture.Everyone(),
		}, append(people, fromWeb(fixture.Updated("w", 1, "w"))), "insert into p (id) values ('s'); delete from p where id = 'w'",
			[]string{"late web missing=1 extra=1 unowned=1", "profiles app present=3"},
			[]string{"late web present=1 extra=1 unowned=1 repaired=1", "profiles app present=3"}},
		{"several sources", fixture.PTable, changed(func(p *target.Target) {
			p.From = []target.Origin{{Source: "app", SampleID: "x"}, {Source: "web", SampleID: "x"}}
		}),
			append(people, fromWeb(fixture.Updated("w", 1, "w"))), "insert into p (id) values ('s'); delete from p where id = 'w'",
			[]string{"profiles app present=3", "profiles web missing=1", "profiles - extra=1 unowned=1"},
			[]string{"profiles app present=3", "profiles web present=1 repaired=1", "profiles - extra=1 unowned=1"}},
		{"parents and children", fixture.PTable + "create table k (id text primary key references p)", []target.Target{
			{Name: "kids", At: "t:1:1", Table: "public.k", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}, fixture.Everyone(),
		}, people, "delete from k where id = 'a'; delete from p where id = 'a'; insert into p (id) values ('d'); insert into k values ('d')",
			[]string{"kids app present=2 missing=1 extra=1", "profiles app present=2 missing=1 extra=1"},
			[]string{"kids app present=3 repaired=2", "profiles app present=3 repaired=2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, tt.schema, tt.targets...)
			b.Seed(tt.events...)
			b.Exec(tt.spoil)
			wantReport(b, false, tt.want...)
			wantReport(b, false, tt.want...) // counting changes nothing
			wantReport(b, true, tt.repaired...)
		})
	}
}

// A target out of service says why, and its parked users are all that is known. One whose
// table is held or gets lost during the audit is no obstacle for the others.
func TestAuditOutage(t *testing.T) {
	t.Parallel()
	missing, other := fixture.Everyone(), fixture.Second()
	missing.Name, missing.Table, other.Name = "missing", "public.nowhere", "other"
	b := fixture.EmptyBench(t, fixture.BothTables, missing, other, fixture.Everyone())
	must.Equal(t, len(must.Get(b.Check(t.Context()))(t)), 1, "findings")
	b.Seed(fixture.Updated("a", 1, "a"), fixture.Updated("b", 1, "b"))
	nowhere := "missing app parked=2 table public.nowhere does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name"
	wantReport(b, true, nowhere, "other app present=2", "profiles app present=2")
	app := pgtest.Connect(t, b.Address).Conn
	pgtest.Exec(t, app, "begin; lock table q")
	wantReport(b, true, nowhere, "other app it can't be counted: canceling statement due to lock timeout (55P03)", "profiles app present=2")
	pgtest.Exec(t, app, "rollback")
	b.Exec("drop table q")
	wantReport(b, false, nowhere, `other app it can't be counted: relation "…" does not exist (42P01)`, "profiles app present=2")
}

// A table that can be read but not written for the moment keeps nothing from being counted.
func TestAuditRepairsWhatItCan(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), fixture.Second())
	b.Seed(fixture.Updated("a", 1, "a"))
	b.Exec("delete from p; delete from q")
	app := pgtest.Connect(t, b.Address).Conn
	pgtest.Exec(t, app, "begin; lock table p in share mode") // as create index does
	wantReport(b, true, "profiles app missing=1", "second app present=1 repaired=1")
	pgtest.Exec(t, app, "commit")
	must.Do(t, b.Probe(t.Context())) // the repair has opened its breaker
	wantReport(b, true, "profiles app present=1 repaired=1", "second app present=1")
}

// What was counted last is what every replica shows.
func TestChecked(t *testing.T) {
	t.Parallel()
	two := fixture.Everyone()
	two.From = []target.Origin{{Source: "app", SampleID: "x"}, {Source: "web", SampleID: "x"}}
	b := fixture.NewBench(t, fixture.PTable, two)
	check := func(want map[audit.State]int64, ran bool) {
		t.Helper()
		got := must.Get(b.DB.Audit().Checked(t.Context()))(t)["profiles"]
		must.Equal(t, got.Users, want, "checked at ", got.At)
		must.Equal(t, !got.At.IsZero(), ran, "checked at ", got.At, ", which is a time")
	}
	check(map[audit.State]int64{audit.Present: 0, audit.Missing: 0, audit.Adoptable: 0, audit.Extra: 0, audit.Different: 0, audit.Parked: 0, audit.Suppressed: 0, audit.Rewritten: 0}, false)
	b.Exec("insert into rollcall.checks values ('profiles', 'old', 'missing', 7, now()), ('former', 'app', 'missing', 7, now())")
	b.Seed(fixture.Updated("a", 1, "a"), fromWeb(fixture.Updated("w", 1, "w")), fixture.Updated("m", 1, "m"))
	b.Exec("insert into p (id) values ('s'); delete from p where id = 'm'")
	report(b, false)
	check(map[audit.State]int64{audit.Present: 2, audit.Missing: 1, audit.Adoptable: 0, audit.Extra: 1, audit.Different: 0, audit.Parked: 0, audit.Suppressed: 0, audit.Rewritten: 0}, true)
	other := pgtest.Connect(t, b.Address).Conn // another audit, about to commit
	pgtest.Exec(t, other, `begin; create temp table kept on commit drop as table rollcall.checks;
		delete from rollcall.checks; insert into rollcall.checks table kept`)
	second := func() error { return must.Err(b.DB.Audit().Report(t.Context(), audit.Options{})) }
	must.Do(t, fixture.Beside(second, func() {
		b.Await("select count(*) > 0 from pg_locks where not granted", "t")
		pgtest.Exec(t, other, "commit")
	}))
	check(map[audit.State]int64{audit.Present: 2, audit.Missing: 1, audit.Adoptable: 0, audit.Extra: 1, audit.Different: 0, audit.Parked: 0, audit.Suppressed: 0, audit.Rewritten: 0}, true)
	b.Want("select source, count(*) from rollcall.checks group by 1 order by 1", "|9", "app|8", "web|8")
}

// Random damage to the rows of many users is counted as an independent count says, and the
// repair undoes it all except for the unowned rows.
func TestAuditOfRandomDamage(t *testing.T) {
	t.Parallel()
	const users = 500
	random := rand.New(rand.NewPCG(testtag.Seed(t), 1))
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec(fmt.Sprintf(`insert into rollcall.users (source, id, version, email, deleted_at)
		select 'app', 'u' || n, 1, n || '@x.com', case when n %% 5 = 0 then now() end from generate_series(1, %d) n;
		insert into p select id, email from rollcall.users where deleted_at is null`, users))
	want := must.Get(b.DB.Audit().Checked(t.Context()))(t)["profiles"].Users // nobody, in every state
	after := maps.Clone(want)
	var damage, changed []string
	for n := 1; n <= users; n++ {
		switch kind := random.IntN(4); {
		case n%5 == 0 && kind == 0:
			damage = append(damage, fmt.Sprintf("insert into p (id, email) values ('u%d', 'ghost%[1]d')", n))
			want[audit.Extra]++
		case n%5 == 0: // gone, and no row is right
		case kind == 0:
			damage = append(damage, fmt.Sprintf("delete from p where id = 'u%d'", n))
			want[audit.Missing]++
		case kind == 1:
			changed = append(changed, fmt.Sprint(n))
			want[audit.Different]++
		default:
			want[audit.Present]++
		}
	}
	random.Shuffle(len(changed), func(i, j int) { changed[i], changed[j] = changed[j], changed[i] })
	for some := range slices.Chunk(changed, 4) { // each has the e-mail of the next, the last a new one
		damage = append(damage, fmt.Sprintf("update p set email = 'new' || id where id = 'u%s'", some[len(some)-1]))
		for i := len(some) - 2; i >= 0; i-- {
			damage = append(damage, fmt.Sprintf("update p set email = '%s@x.com' where id = 'u%s'", some[i+1], some[i]))
		}
	}
	strangers := int64(1 + random.IntN(20))
	damage = append(damage, fmt.Sprintf("insert into p (id) select 'stranger' || n from generate_series(1, %d) n", strangers))
	want[audit.Extra] += strangers
	b.Exec(strings.Join(damage, ";"))

	counted := must.Get(b.DB.Audit().Report(t.Context(), audit.Options{}))(t)
	damaged := []audit.Tally{{Target: "profiles", Source: "app", Users: want, Unowned: strangers}}
	must.Equal(t, counted.Tallies, damaged, "counted")
	after[audit.Present], after[audit.Extra] = users*4/5, strangers
	healed := []audit.Tally{{Target: "profiles", Source: "app", Users: after, Unowned: strangers, Repaired: counted.Tallies[0].OutOfStep()}}
	counted = must.Get(b.DB.Audit().Report(t.Context(), audit.Options{Repair: true}))(t)
	must.Equal(t, counted.Tallies, healed, "repaired")
	b.Want("select count(*) from p join rollcall.users u using (id) where p.email = u.email", fmt.Sprint(users*4/5))
}

// A hundred thousand users, with the plans that were made while the tables were empty, with
// statistics that don't know of them, and with e-mails that a user on a later page has to
// give up first.
func TestAuditOfManyUsers(t *testing.T) {
	t.Parallel()
	second := fixture.Second()
	second.Set, second.Where = fixture.Assign("id: new.id", "email: new.email"), &target.Expr{SQL: "new.email is not null"}
	b := fixture.NewBench(t, fixture.BothTables+"alter table q set (autovacuum_enabled = off); alter table p set (autovacuum_enabled = off)", fixture.Everyone(), second)
	b.Exec("alter table rollcall.users set (autovacuum_enabled = off); alter table rollcall.parked set (autovacuum_enabled = off)")
	for range 12 { // on every connection, more often than it takes to make a plan generic
		wantReport(b, false, "profiles app", "second app")
	}
	b.Exec(`insert into rollcall.users (source, id, version) select 'other', n, 1 from generate_series(1, 1000) n; analyze rollcall.users;
		insert into rollcall.users (source, id, version, email) select 'app', 'u' || n, 1, n || '@x' from generate_series(1, 100000) n;
		insert into p select id, email from rollcall.users where source = 'app' and id <> 'u7'; insert into q select id, email from p where id <> 'u8';
		insert into q (id) values ('s'), ('u7');
		update p set email = 'free' where id = 'u99999'; update p set email = '99999@x' where id = 'u1'`)
	start := time.Now()
	wantReport(b, false, "profiles app present=99997 missing=1 different=2", "second app present=99998 missing=1 extra=1 different=1 unowned=1")
	took := time.Since(start)
	t.Logf("two targets and 100,000 users: %s", took)
	if testtag.Timing && took > 30*time.Second {
		t.Errorf("an audit of 100,000 users takes %s", took)
	}
	wantReport(b, true, "profiles app present=100000 repaired=3", "second app present=100000 extra=1 unowned=1 repaired=2")
}

// Where another transaction holds a row of the roll, an audit leaves open what triggers decide.
func TestAuditBesideALockedUser(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+`create function touch() returns trigger language plpgsql as $$ begin return null; end $$;
		create trigger touch after insert or update on p for each row execute function touch();`, fixture.Everyone())
	b.Applies(fixture.All(event.Applied, 1), fixture.Updated("a", 1, "a@x.test"))
	b.Exec("update p set email = 'other'")
	b.Exec("begin; update rollcall.users set email = 'b@x.test'")
	c := must.Get(b.DB.Audit().Report(t.Context(), audit.Options{}))(t)
	b.Exec("rollback")
	must.Equal(t, c.Tallies[0].Users[audit.Different], 1, "users who differ")
}

// Users who would take over a row are a state of their own, and a repair has them do it.
func TestAuditOfAdoptions(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable, fixture.Adopting())
	b.Submit(fixture.Verified("u1", 1, "a@x.test"), fixture.Verified("u2", 1, "b@x.test"), fixture.Updated("u3", 1, "c@x.test"), fixture.Verified("u4", 1, "d@x.test"))
	b.Exec("delete from people; insert into people (email) values ('A@x.test'), ('b@x.test'), ('b@x.test'), ('c@x.test')")
	wantReport(b, false, "people app missing=3 adoptable=1")
	checked := must.Get(b.DB.Audit().Checked(t.Context()))(t)["people"]
	must.Equal(t, checked.OutOfStep(), int64(4), "out of step")
	wantReport(b, true, "people app present=2 parked=2 repaired=2")
	b.Want("select coalesce(auth_id, '-') || ' ' || email from people order by id", "u1 a@x.test", "- b@x.test", "- b@x.test", "- c@x.test", "u4 d@x.test")
}
