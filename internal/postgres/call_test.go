package postgres

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

// One user against every target, by id or by e-mail.
func TestCall(t *testing.T) {
	t.Parallel()
	second, third, missing := profiles(), profiles(), profiles()
	second.Name, second.Table = "second", "public.q"
	second.From = []target.Origin{{Source: "app", SampleID: "x"}, {Source: "web", SampleID: "x"}}
	third.Name, third.Table, third.Set = "third", "public.r", append(third.Set, assign("role: (new.raw_user_meta_data->>'n')::int")...)
	third.OnInsert = nil
	missing.Name, missing.Table = "missing", "public.nowhere"
	b := emptyBench(t, profilesTable+"create table q (like p including all); create table r (like p including all);", profiles(), second, third, missing)
	if found, err := b.Check(t.Context()); err != nil || len(found) != 1 {
		t.Fatalf("findings %v, error %v; want one", found, err)
	}
	b.seed(updated("a", 1_000_000, "Ann@Example.com"), updated("b", 1, "b@x.com"), gone("b", 2), fromWeb(updated("w", 1, "ann@example.com")),
		with(updated("p", 1, "p@x.com"), func(u *event.User) { u.RawUserMetaData = `{"n":"many"}` }))
	b.exec(`delete from p where id = 'a'; update q set email = 'x', name = 'y' where id = 'a'; insert into q (id) values ('b');
		delete from rollcall.parked where target = 'third'; insert into r (id, email) values ('p', 'p@x.com')`)
	const nowhere = "table public.nowhere does not exist; names are exact, as in the catalog: schema.table; create it, or correct the name"
	out := Standing{Target: "missing", Problem: nowhere, Parked: &ParkedUser{Attempts: 1, Error: nowhere + " (42000)"}}
	ann := Called{Source: "app", ID: "a", Email: "A…@E….com", Version: time.Unix(1, 0).UTC(), Standings: []Standing{
		{Target: "profiles", State: Missing}, {Target: "second", State: Different, Columns: []string{"email", "name"}}, {Target: "third", State: Present}, out,
	}}
	web := Called{Source: "web", ID: "w", Email: "a…@e….com", Version: time.UnixMicro(1).UTC(), Standings: []Standing{{Target: "second", State: Present}}}
	left := out
	left.Parked = &ParkedUser{Attempts: 1, Error: nowhere + " (42000)"}
	tests := []struct {
		who    string
		repair bool
		want   []Called
	}{
		{"a", false, []Called{ann}},
		{"ANN@example.com", false, []Called{ann, web}},
		{"b", false, []Called{{Source: "app", ID: "b", Version: time.UnixMicro(2).UTC(), Deleted: true, Standings: []Standing{{Target: "profiles"}, {Target: "second", State: Extra}, {Target: "third"}, left}}}},
		{"p", false, []Called{{Source: "app", ID: "p", Email: "p…@x….com", Version: time.UnixMicro(1).UTC(), Standings: []Standing{{Target: "profiles", State: Present}, {Target: "second", State: Present},
			{Target: "third", State: Different, Problem: `column "role": invalid input syntax for type integer: "…" (22P02)`}, out}}}},
		{"p", true, []Called{{Source: "app", ID: "p", Email: "p…@x….com", Version: time.UnixMicro(1).UTC(), Standings: []Standing{{Target: "profiles", State: Present}, {Target: "second", State: Present},
			{Target: "third", State: Parked, Parked: &ParkedUser{Attempts: 1, Error: `column "role": invalid input syntax for type integer: "…" (22P02)`}}, out}}}},
		{"a", true, []Called{{Source: "app", ID: "a", Email: "A…@E….com", Version: time.Unix(1, 0).UTC(), Standings: []Standing{
			{Target: "profiles", State: Present}, {Target: "second", State: Present}, {Target: "third", State: Present}, out}}}},
	}
	for _, tt := range tests { // in this order: the last ones repair
		got := must.Get(b.Call(t.Context(), tt.who, CensusOptions{Repair: tt.repair}))(t)
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(ParkedUser{}, "Since", "RetryAt")); diff != "" {
			t.Errorf("%s, repair %v (-want +got):\n%s", tt.who, tt.repair, diff)
		}
	}
	if _, err := b.Call(t.Context(), "nobody", CensusOptions{}); !errors.Is(err, ErrNotInRoll) {
		t.Errorf("nobody: got %v, want ErrNotInRoll", err)
	}
	b.wantRows("select count(*) from rollcall.checks", "0")
}

// A parent's row goes after the child's, whichever target is repaired first.
func TestCallRepairsParentsAndChildren(t *testing.T) {
	t.Parallel()
	kids := target.Target{Name: "kids", At: "t:1:1", Table: "public.k", From: fromApp, Key: []string{"id"}, Set: assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := newBench(t, profilesTable+"create table k (id text primary key references p)", kids, profiles())
	b.seed(updated("a", 1, "a"), gone("a", 2))
	b.exec("insert into p (id) values ('a'); insert into k values ('a')")
	got := must.Get(b.Call(t.Context(), "a", CensusOptions{Repair: true}))(t)
	if diff := cmp.Diff([]Standing{{Target: "kids"}, {Target: "profiles"}}, got[0].Standings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b.wantRows("select id from p union all select id from k union all select user_id from rollcall.parked")
}

func TestMigrated(t *testing.T) {
	t.Parallel()
	b := emptyBench(t, profilesTable, profiles())
	if err := b.Migrated(t.Context()); err != nil {
		t.Error(err)
	}
	b.exec("delete from rollcall.migrations where version > 1")
	if err := b.Migrated(t.Context()); err == nil || err.Error() != "the schema rollcall is older than this binary; run rollcall migrate or serve first" {
		t.Errorf("an old schema: %v", err)
	}
	b.exec("drop schema rollcall cascade")
	if err := b.Migrated(t.Context()); err == nil || err.Error() != "there is no schema rollcall in this database yet; run rollcall migrate or serve first" {
		t.Errorf("no schema: %v", err)
	}
}
