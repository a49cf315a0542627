package settle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/target"
)

// rowsOfPeople are the rows of people: the key, the address and the role.
const rowsOfPeople = "select coalesce(auth_id, '-') || ' ' || coalesce(email, '-') || ' ' || role from people order by id"

// wantParked compares who is parked, with the beginning of the reason.
func wantParked(t *testing.T, b *fixture.Bench, want ...string) {
	t.Helper()
	got := b.Rows("select user_id || ' ' || error || ' ' || sqlstate from rollcall.parked order by user_id")
	if len(got) != len(want) {
		t.Fatalf("parked: %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) || !strings.HasSuffix(got[i], " 23000") {
			t.Errorf("parked: %q, want %q and 23000", got[i], want[i])
		}
	}
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	const (
		taken      = " match: the row of another user has the user's address"
		several    = " match: several rows without a key have the user's address"
		unverified = " match: a row without a key has the user's address, which the provider has not verified"
		rivals     = " match: several users with one address came at once"
	)
	tests := map[string]struct {
		rows   string // of people: key, address, role
		events [][]event.Event
		want   []string
		parked []string
	}{
		"a row without a key": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}}, []string{"u1 ann@x.test old"}, nil,
		},
		"letter case": {
			"(null, 'Ann@X.test')", [][]event.Event{{fixture.Verified("u1", 1, "aNN@x.TEST")}}, []string{"u1 aNN@x.TEST old"}, nil,
		},
		"an address with a plus is another one": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann+shop@x.test")}},
			[]string{"- ann@x.test old", "u1 ann+shop@x.test new"}, nil,
		},
		"nobody has the address": {
			"(null, 'bob@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test"), fixture.Updated("u2", 1, "")}},
			[]string{"- bob@x.test old", "u1 ann@x.test new", "u2 - new"}, nil,
		},
		"an unverified address": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Updated("u1", 1, "ann@x.test")}},
			[]string{"- ann@x.test old"}, []string{"u1" + unverified},
		},
		"an address that is verified later": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Updated("u1", 1, "ann@x.test")}, {fixture.Verified("u1", 2, "ann@x.test")}},
			[]string{"u1 ann@x.test old"}, nil,
		},
		"several rows": {
			"(null, 'ann@x.test'), (null, 'ANN@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}},
			[]string{"- ann@x.test old", "- ANN@x.test old"}, []string{"u1" + several},
		},
		"a row with another id": {
			"('u9', 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}},
			[]string{"u9 ann@x.test old"}, []string{"u1" + taken},
		},
		"a row with another id beside one without": {
			"('u9', 'ann@x.test'), (null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}},
			[]string{"u9 ann@x.test old", "- ann@x.test old"}, []string{"u1" + taken},
		},
		"a user who has a row": {
			"('u1', 'old@x.test'), (null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}},
			[]string{"u1 ann@x.test old", "- ann@x.test old"}, nil,
		},
		"two users in one batch": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test"), fixture.Verified("u2", 1, "Ann@x.test"), fixture.Verified("u3", 1, "c@x.test")}},
			[]string{"- ann@x.test old", "u3 c@x.test new"}, []string{"u1" + rivals, "u2" + rivals},
		},
		"two users in one batch, and no row": {
			"(null, 'bob@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test"), fixture.Verified("u2", 1, "ann@x.test")}},
			[]string{"- bob@x.test old"}, []string{"u1" + rivals, "u2" + rivals},
		},
		"two users in one batch, and no row, one of them verified": {
			"(null, 'bob@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test"), fixture.Updated("u2", 1, "ann@x.test")}},
			[]string{"- bob@x.test old", "u1 ann@x.test new"}, []string{"u2" + rivals},
		},
		"a user without the right to the row is no rival": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test"), fixture.Updated("u2", 1, "ann@x.test")}},
			[]string{"u1 ann@x.test old"}, []string{"u2"},
		},
		"two users in two batches": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}, {fixture.Verified("u2", 1, "ann@x.test")}},
			[]string{"u1 ann@x.test old"}, []string{"u2" + taken},
		},
		"an address that changes hands": {
			"(null, 'ann@x.test')",
			[][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}, {fixture.Verified("u1", 2, "bea@x.test")}, {fixture.Verified("u2", 1, "ann@x.test")}},
			[]string{"u1 bea@x.test old", "u2 ann@x.test new"}, nil,
		},
		"an address that changes hands in one batch": {
			"('u1', 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 2, "bea@x.test"), fixture.Verified("u2", 1, "ann@x.test")}},
			[]string{"u1 bea@x.test old", "u2 ann@x.test new"}, nil,
		},
		"the address of a user who is deleted in the same batch": {
			"('u1', 'ann@x.test')", [][]event.Event{{fixture.Gone("u1", 2), fixture.Verified("u2", 1, "ann@x.test")}},
			[]string{"u2 ann@x.test new"}, nil,
		},
		"deletion after adoption": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}, {fixture.Gone("u1", 2)}}, nil, nil,
		},
		"a duplicate adopts nothing": {
			"(null, 'ann@x.test')", [][]event.Event{{fixture.Verified("u1", 1, "ann@x.test")}, {fixture.Verified("u1", 1, "ann@x.test")}},
			[]string{"u1 ann@x.test old"}, nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (auth_id, email) values "+tt.rows, fixture.Adopting())
			for _, batch := range tt.events {
				b.Submit(batch...)
			}
			b.Want(rowsOfPeople, tt.want...)
			if name == "a user without the right to the row is no rival" {
				must.Equal(t, b.Rows("select user_id from rollcall.parked"), []string{"u2"}, "parked")
				return
			}
			wantParked(t, b, tt.parked...)
		})
	}
}

// A parked user takes the row over once it may.
func TestAdoptionAfterCorrection(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (auth_id, email) values (null, 'ann@x.test'), (null, 'ann@x.test')", fixture.Adopting())
	b.Submit(fixture.Verified("u1", 1, "ann@x.test"))
	wantParked(t, b, "u1 match: several")
	b.Exec("delete from people where id = 2")
	must.Equal(t, must.Get(b.Parked.Retry(t.Context(), "people", nil))(t), int64(1), "tried")
	b.Want(rowsOfPeople, "u1 ann@x.test old")
	wantParked(t, b)
}

// Two transactions that want one row: the second waits for the first, finds the row taken, and parks its user.
func TestAdoptionAtOnce(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (auth_id, email) values (null, 'ann@x.test')", fixture.Adopting())
	b.FillRoll(2)
	b.Exec("update rollcall.users set email = 'ann@x.test', email_verified = true")
	first := b.Begin(settle.LockWork([]settle.Key{{Roll: &event.Users, Source: "app", ID: "u1"}}))
	err := fixture.Beside(func() error {
		_, err := b.Commit(t.Context(), settle.LockWork([]settle.Key{{Roll: &event.Users, Source: "app", ID: "u2"}}))
		return err
	}, func() {
		b.Await(`select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`, "t")
		first.Commit()
	})
	must.Do(t, err)
	b.Want(rowsOfPeople, "u1 ann@x.test old")
	wantParked(t, b, "u2 match: the row of another user")
}

// A row that the application changes between the verdict and the adoption makes the transaction run again.
func TestAdoptionOfAChangedRow(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+`insert into people (auth_id, email) values ('u0', 'z@x.test'), (null, 'ann@x.test');
		create table orders (customer text references people (auth_id)); insert into orders values ('u0');`, fixture.Adopting())
	b.Submit(fixture.Verified("u0", 1, "z@x.test"))
	changing := b.Hold("update people set email = 'other@x.test' where auth_id is null")
	err := fixture.Beside(func() error {
		_, err := b.Apply(t.Context(), []event.Event{fixture.Gone("u0", 2), fixture.Verified("u1", 1, "ann@x.test")}) // the removal is refused
		return err
	}, func() {
		b.Await(`select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`, "t")
		must.Get(changing.Exec(t.Context(), "commit"))(t)
	})
	must.Do(t, err)
	b.Want(rowsOfPeople, "u0 z@x.test old", "- other@x.test old", "u1 ann@x.test new")
	b.Want("select user_id || ' ' || sqlstate from rollcall.parked", "u0 23503")
}

// A key of several columns: the rows of another source are no business of this one's users.
func TestAdoptionByTwoColumns(t *testing.T) {
	t.Parallel()
	two := fixture.Adopting()
	two.Key, two.Set = []string{"provider", "auth_id"}, append(fixture.Assign("provider: new.source"), two.Set...)
	b := fixture.NewBench(t, fixture.PeopleTable+`alter table people add provider text, drop constraint people_auth_id_key, add unique (provider, auth_id);
		insert into people (provider, auth_id, email) values ('other', 'u1', 'ann@x.test'), (null, null, 'ann@x.test'), ('app', null, 'bob@x.test'), ('other', null, 'cec@x.test')`, two)
	b.Submit(fixture.Verified("u1", 1, "ann@x.test"), fixture.Verified("u2", 1, "bob@x.test"), fixture.Verified("u3", 1, "cec@x.test"))
	b.Want("select concat_ws(' ', coalesce(provider, '-'), coalesce(auth_id, '-'), email, role) from people order by id",
		"other u1 ann@x.test old", "app u1 ann@x.test old", "app u2 bob@x.test old", "other - cec@x.test old", "app u3 cec@x.test new")
	wantParked(t, b)
}

// A trigger that silently keeps a row from being taken over parks the user, who would get a second row otherwise.
func TestAdoptionUndoneByATrigger(t *testing.T) {
	t.Parallel()
	for _, undo := range []string{"return null", "new.auth_id := null; return new"} {
		b := fixture.NewBench(t, fixture.PeopleTable+`insert into people (email) values ('ann@x.test');
			create function undo() returns trigger language plpgsql as $$ begin `+undo+`; end $$;
			create trigger undo before update on people for each row execute function undo()`, fixture.Adopting())
		b.Submit(fixture.Verified("u1", 1, "ann@x.test"), fixture.Verified("u2", 1, "bob@x.test"))
		b.Want(rowsOfPeople, "- ann@x.test old", "u2 bob@x.test new")
		b.Want("select user_id || ' ' || (error like '%or a trigger keeps it from being taken over%') || ' ' || sqlstate from rollcall.parked", "u1 true 40001")
		b.Exec("drop trigger undo on people")
		must.Get(b.Parked.Retry(t.Context(), "people", nil))(t)
		b.Want(rowsOfPeople, "u1 ann@x.test old", "u2 bob@x.test new")
	}
}

// Users of two sources whose rows have the source in their key are no rivals.
func TestAdoptionOfTwoSources(t *testing.T) {
	t.Parallel()
	two := fixture.Adopting()
	two.From = append(slices.Clone(two.From), target.Origin{Source: "web", SampleID: "u1"})
	two.Key, two.Set = []string{"provider", "auth_id"}, append(fixture.Assign("provider: new.source"), two.Set...)
	b := fixture.NewBench(t, fixture.PeopleTable+`alter table people add provider text, drop constraint people_auth_id_key, add unique (provider, auth_id);
		insert into people (provider, email) values ('web', 'ann@x.test')`, two)
	web := fixture.With(fixture.Verified("u1", 1, "ann@x.test"), func(u *event.User) { u.Source = "web" })
	web.Source = "web"
	b.Submit(fixture.Verified("u1", 1, "ann@x.test"), web)
	b.Want("select provider || ' ' || auth_id || ' ' || role from people order by id", "web u1 old", "app u1 new")
	wantParked(t, b)
}

// What a trigger refuses about one row of those taken over parks one user.
func TestAdoptionRefused(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+fixture.Raising("people", "P0001")+
		"insert into people (email) values ('b@x.test'); alter table people disable trigger raise; insert into people (email) values ('bad'); alter table people enable trigger raise", fixture.Adopting())
	b.Submit(fixture.Verified("u1", 1, "b@x.test"), fixture.Verified("u2", 1, "bad"))
	b.Want(rowsOfPeople, "u1 b@x.test old", "- bad old")
	b.Want("select user_id || ' ' || sqlstate from rollcall.parked", "u2 P0001")
}

// A target with match whose row nobody waits for: with a session that holds the row, the user is parked.
func TestAdoptionOfAHeldRow(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (email) values ('ann@x.test')", fixture.Adopting())
	held := b.Hold("select from people for update")
	b.Submit(fixture.Verified("u1", 1, "ann@x.test"), fixture.Verified("u2", 1, "b@x.test"))
	b.Want(rowsOfPeople, "- ann@x.test old", "u2 b@x.test new")
	b.Want("select user_id || ' ' || sqlstate from rollcall.parked", "u1 55P03")
	must.Get(held.Exec(t.Context(), "commit"))(t)
	must.Get(b.Parked.Retry(t.Context(), "people", nil))(t)
	b.Want(rowsOfPeople, "u1 ann@x.test old", "u2 b@x.test new")
}

// The letter case of an address is that of the column's own collation, whatever the column's type.
func TestAdoptionByAnyText(t *testing.T) {
	t.Parallel()
	const loose = `create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`
	tests := []struct{ before, column, row, user string }{
		{"", "text", "Ärger@x.test", "Ärger@x.test"},
		{"", `text collate "C"`, "Ärger@x.test", "Ärger@X.test"},
		{"", `text collate "und-x-icu"`, "ÄRGER@x.test", "ÄRGER@x.test"},
		{"", `text collate "und-x-icu"`, "ÄRGER@x.test", "ärger@x.test"},
		{"", `text collate "tr-x-icu"`, "INFO@x.test", "INFO@x.test"},
		{loose, "text collate loose", "ÄRGER@x.test", "ärger@x.test"},
		{"create extension citext", "citext", "Ann@x.test", "ann@X.test"},
		{`create domain address as varchar(90) collate "und-x-icu" check (value like '%@%')`, "address", "ÄRGER@x.test", "ärger@x.test"},
		{"", `varchar(40) collate "C"`, "Ann@x.test", "ann@X.test"},
		{"", "char(40)", "Ann@x.test", "ann@X.test"},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, tt.before+"; "+fixture.PeopleTable+"alter table people alter email type "+tt.column+"; insert into people (email) values ('"+tt.row+"')", fixture.Adopting())
			b.Submit(fixture.Verified("u1", 1, tt.user))
			wantParked(t, b)
			b.Want("select coalesce(auth_id, '-') || ' ' || role from people", "u1 old")
		})
	}
}

// An address that only a collation calls equal may be another person's: a letter beyond ASCII never stands for "k".
func TestAdoptionOfALookalike(t *testing.T) {
	t.Parallel()
	const loose = `create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)`
	tests := []struct{ before, column, row, user string }{
		{"", `text collate "und-x-icu"`, "mike@x.test", "mi\u212ae@x.test"}, // the Kelvin sign, in lower case a k
		{"", `text collate "und-x-icu"`, "mi\u212ae@x.test", "mike@x.test"},
		{loose, "text collate loose", "ann@x.test", "ánn@x.test"},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			b := fixture.NewBench(t, tt.before+"; "+fixture.PeopleTable+"alter table people alter email type "+tt.column+"; insert into people (email) values ('"+tt.row+"')", fixture.Adopting())
			b.Submit(fixture.Verified("u1", 1, tt.user))
			b.Want(rowsOfPeople, "- "+tt.row+" old", "u1 "+tt.user+" new")
			b.Submit(fixture.Verified("u2", 1, strings.ToUpper(tt.row[:1])+tt.row[1:]))
			b.Want("select auth_id || ' ' || role from people where auth_id = 'u2'", "u2 old")
		})
	}
}

// A dry run tells a row that is taken over from one that is inserted, also where another user has given up the address
// in the same transaction.
func TestDryRunOfALateAdoption(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+"insert into people (auth_id, email) values ('u1', 'ann@x.test'), (null, 'Ann@x.test')", fixture.Adopting())
	b.FillRoll(3)
	b.Exec("update rollcall.users set email_verified = true, email = case id when 'u1' then 'bea@x.test' when 'u2' then 'ann@x.test' else 'cec@x.test' end")
	users := []settle.Key{{Roll: &event.Users, Source: "app", ID: "u1"}, {Roll: &event.Users, Source: "app", ID: "u2"}, {Roll: &event.Users, Source: "app", ID: "u3"}}
	dry := must.Get(b.DryRun(t.Context(), func(undone *settle.Targets) error {
		_, err := undone.Commit(t.Context(), settle.LockWork(users))
		return err
	}))(t)
	must.Equal(t, len(dry.Rows), 3, "rows")
	for _, row := range dry.Rows {
		must.Equal(t, row.Adopted, row.Key.ID == "u2", row.Key.ID+" takes a row over")
		must.Equal(t, row.Before == "", row.Key.ID == "u3", row.Key.ID+" has no row before")
	}
	b.Want(rowsOfPeople, "u1 ann@x.test old", "- Ann@x.test old")
}

// A table that hangs only where a row is taken over stays out of service until it no longer does.
func TestBreakerOfAHangingAdoption(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable+`insert into people (email) values ('ann@x.test'), ('bob@x.test');
		create function hang() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return new; end $$;
		create trigger hang before update of auth_id on people for each row execute function hang()`, fixture.Adopting())
	b.Submit(fixture.Updated("u1", 1, "ann@x.test"))
	wantParked(t, b, "u1 match: a row without a key")
	b.Submit(fixture.Verified("u2", 1, "bob@x.test"))
	b.WantOutages("it takes too long")
	for range 3 {
		must.Do(t, b.Probe(t.Context()))
		b.WantOutages("it takes too long")
	}
	b.Exec("drop trigger hang on people")
	must.Do(t, b.Probe(t.Context()))
	b.WantOutages()
	must.Get(b.Parked.Retry(t.Context(), "people", nil))(t)
	b.Want(rowsOfPeople, "- ann@x.test old", "u2 bob@x.test old")
}

// What keeps users from taking over rows takes the target out of service, with its remedy.
func TestAdoptionChecks(t *testing.T) {
	t.Parallel()
	const needs = `people: match: rows are found by lower("email"), which needs an index on all of public.people; run: create index on "public"."people" (lower("email"))`
	tests := []struct{ schema, column, want string }{
		{"drop index people_lower_idx", "email", needs},
		{"drop index people_lower_idx; create index on people (email)", "email", needs},
		{"drop index people_lower_idx; create index on people (lower(email)) where auth_id is null", "email", needs},
		{"drop index people_lower_idx; create index on people (name, lower(email))", "email", needs},
		{`drop index people_lower_idx; create index on people (lower(email) collate "und-x-icu")`, "email", needs},
		{"drop index people_lower_idx; create unique index on people (lower(email), name)", "email", ""},
		{"drop index people_lower_idx; alter table people alter email type varchar(200); create index on people using hash (lower(email))", "email", ""},
		{`alter table people rename email to "E Mail"; alter table people add email text`, "E Mail", ""},
		{"", "mail", `people: match: public.people has no column "mail"`},
		{"", "auth_id", `people: match: "auth_id" is a column of key`},
		{"", "id", `people: match: column "id" is integer; name a column of a text type`},
		{"alter table people alter auth_id set not null", "email", `people: match: key column "auth_id" is not null: no row of public.people can be without a key; take another column for key, unique, that may be null`},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			match := fixture.Adopting()
			match.Match.Column = tt.column
			b := fixture.EmptyBench(t, fixture.PeopleTable+tt.schema, match)
			must.Get(b.Check(t.Context()))(t)
			outages := strings.Join(b.Outages(), "\n")
			if tt.want == "" {
				must.Equal(t, outages, "", "outages")
			}
			must.Contain(t, outages, tt.want)
		})
	}
}
