package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

// One user against every target, by id or by e-mail.
func TestUser(t *testing.T) {
	t.Parallel()
	second, third, missing := fixture.Second(), fixture.Everyone(), fixture.Everyone()
	second.From = []target.Origin{{Source: "app", SampleID: "x"}, {Source: "web", SampleID: "x"}}
	third.Name, third.Table, third.Set = "third", "public.r", append(third.Set, fixture.Assign("role: (new.raw_user_meta_data->>'n')::int")...)
	third.OnInsert = nil
	missing.Name, missing.Table = "missing", "public.nowhere"
	b := fixture.EmptyBench(t, fixture.BothTables+"create table r (like p including all);", fixture.Everyone(), second, third, missing)
	must.Equal(t, len(must.Get(b.Check(t.Context()))(t)), 1, "findings")
	b.Seed(fixture.Updated("a", 1_000_000, "Ann@Example.com"), fixture.Updated("b", 1, "b@x.com"), fixture.Gone("b", 2), fromWeb(fixture.Updated("w", 1, "ann@example.com")),
		fixture.With(fixture.Updated("p", 1, "p@x.com"), func(u *event.User) { u.RawUserMetaData = `{"n":"many"}` }))
	b.Exec(`delete from p where id = 'a'; update q set email = 'x', name = 'y' where id = 'a'; insert into q (id) values ('b');
		delete from rollcall.parked where target = 'third'; insert into r (id, email) values ('p', 'p@x.com')`)
	const nowhere = "table public.nowhere does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name"
	out := audit.Status{Target: "missing", Problem: nowhere, Parked: &audit.ParkedUser{Attempts: 1, Error: nowhere + " (42000)"}}
	ann := audit.User{Source: "app", ID: "a", Email: "A…@E….com", Version: time.Unix(1, 0).UTC(), Statuses: []audit.Status{
		{Target: "profiles", State: audit.Missing}, {Target: "second", State: audit.Different, Columns: []string{"email", "name"}}, {Target: "third", State: audit.Present}, out,
	}}
	web := audit.User{Source: "web", ID: "w", Email: "a…@e….com", Version: time.UnixMicro(1).UTC(), Statuses: []audit.Status{{Target: "second", State: audit.Present}}}
	tests := []struct {
		who    string
		repair bool
		want   []audit.User
	}{
		{"a", false, []audit.User{ann}},
		{"ANN@example.com", false, []audit.User{ann, web}},
		{"w", false, []audit.User{web}},
		{"b", false, []audit.User{{Source: "app", ID: "b", Version: time.UnixMicro(2).UTC(), Deleted: true, Statuses: []audit.Status{{Target: "profiles"}, {Target: "second", State: audit.Extra}, {Target: "third"}, out}}}},
		{"p", false, []audit.User{{Source: "app", ID: "p", Email: "p…@x….com", Version: time.UnixMicro(1).UTC(), Statuses: []audit.Status{{Target: "profiles", State: audit.Present}, {Target: "second", State: audit.Present},
			{Target: "third", State: audit.Different, Problem: `column "role": invalid input syntax for type integer: "…" (22P02)`}, out}}}},
		{"p", true, []audit.User{{Source: "app", ID: "p", Email: "p…@x….com", Version: time.UnixMicro(1).UTC(), Statuses: []audit.Status{{Target: "profiles", State: audit.Present}, {Target: "second", State: audit.Present},
			{Target: "third", State: audit.Parked, Parked: &audit.ParkedUser{Attempts: 1, Error: `column "role": invalid input syntax for type integer: "…" (22P02)`}}, out}}}},
		{"a", true, []audit.User{{Source: "app", ID: "a", Email: "A…@E….com", Version: time.Unix(1, 0).UTC(), Statuses: []audit.Status{
			{Target: "profiles", State: audit.Present}, {Target: "second", State: audit.Present}, {Target: "third", State: audit.Present}, out}}}},
	}
	for _, tt := range tests { // in this order: the last ones repair
		got := must.Get(b.DB.Audit().Users(t.Context(), tt.who, audit.Options{Repair: tt.repair}))(t)
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(audit.ParkedUser{}, "Since", "RetryAt"), cmpopts.IgnoreFields(audit.User{}, "Roll")); diff != "" {
			t.Errorf("%s, repair %v (-want +got):\n%s", tt.who, tt.repair, diff)
		}
	}
	must.Fail(t, must.Err(b.DB.Audit().Users(t.Context(), "nobody", audit.Options{})), audit.ErrNotInRoll)
	b.Want("select count(*) from rollcall.checks", "0")
}

// A parent's row goes after the child's, whichever target is repaired first.
func TestUserRepairsParentsAndChildren(t *testing.T) {
	t.Parallel()
	kids := target.Target{Name: "kids", At: "t:1:1", Table: "public.k", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := fixture.NewBench(t, fixture.PTable+"create table k (id text primary key references p)", kids, fixture.Everyone())
	b.Seed(fixture.Updated("a", 1, "a"), fixture.Gone("a", 2))
	b.Exec("insert into p (id) values ('a'); insert into k values ('a')")
	got := must.Get(b.DB.Audit().Users(t.Context(), "a", audit.Options{Repair: true}))(t)
	must.Equal(t, got[0].Statuses, []audit.Status{{Target: "kids"}, {Target: "profiles"}}, "statuses")
	b.Want("select id from p union all select id from k union all select user_id from rollcall.parked")
}

func TestMigrated(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, fixture.PTable, fixture.Everyone())
	must.Do(t, b.DB.Migrated(t.Context()))
	b.Exec("delete from rollcall.migrations where version > 1")
	must.Equal(t, fmt.Sprint(b.DB.Migrated(t.Context())),
		"the schema rollcall is older than this binary; run rollcall migrate or serve first", "an old schema")
	b.Exec("drop schema rollcall cascade")
	must.Equal(t, fmt.Sprint(b.DB.Migrated(t.Context())),
		"there is no schema rollcall in this database yet; run rollcall migrate or serve first", "no schema")
}
