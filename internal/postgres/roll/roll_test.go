package roll_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/backfill"
	"rollcall/internal/postgres/catalog"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/target"
)

// The table has the fields of the roll, with their types.
func TestFieldsOfTheTable(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, "")
	var want []string
	for _, f := range event.Users.Fields {
		want = append(want, fmt.Sprintf("%s|%s", f.Name, f.Type))
	}
	slices.Sort(want)
	b.Want(`select column_name || '|' || case data_type when 'timestamp with time zone' then 'timestamptz' else data_type end
		from information_schema.columns where table_schema = 'rollcall' and table_name = 'users'
			and column_name not in ('source', 'id', 'version', 'changed_at', 'config', 'deleted_at', 'kept', 'erased_at')
		order by 1`, want...)
}

// The lists of a user are JSON to a target, to a dry run, and to those who ask for a user.
func TestListsOfAUser(t *testing.T) {
	t.Parallel()
	lists := fixture.Everyone()
	lists.Set = fixture.Assign("id: new.id", "email: new.email_addresses -> 1 ->> 'email_address'",
		"name: pg_typeof(new.external_accounts)::text || coalesce(new.external_accounts ->> 0, '')")
	b := fixture.NewBench(t, fixture.PTable, lists)
	said := fixture.With(fixture.Updated("a", 1, ""), func(u *event.User) {
		u.EmailAddresses, u.ExternalAccounts = `[{}, {"email_address": "two@x.test"}]`, `["one"]`
	})
	b.Applies(fixture.All(event.Applied, 2), said, fixture.Updated("b", 1, "b@x.test"))
	b.Want("select id, email, name from p order by id", "a|two@x.test|jsonbone", "b|∅|jsonb")
	member := must.Get(b.Member(t.Context(), roll.Name{Roll: &event.Users, Source: "app", ID: "a"}))(t)
	var user struct {
		Addresses []any    `json:"email_addresses"`
		Accounts  []string `json:"external_accounts"`
	}
	must.Do(t, json.Unmarshal(member.Record, &user))
	must.Equal(t, len(user.Addresses), 2, "addresses")
	must.Equal(t, user.Accounts, []string{"one"}, "accounts")
	b.Exec("update p set email = null")
	preview := must.Get(b.DB.Backfills().Preview(t.Context(), "profiles"))(t)
	must.Equal(t, preview, backfill.Preview{Visit: 2, Change: 1}, "a dry run")
	must.Get(b.DB.Backfills().Run(t.Context(), "profiles", nil))(t)
	b.Want("select email from p where id = 'a'", "two@x.test")
}

// team is a record of another kind of roll.
type team struct {
	event.Row
	Name     *string
	Open     bool
	Settings string
	Founded  *time.Time
}

// Another kind of roll takes its fields, and no statement of its own: its rows follow their versions,
// keep what can't be used, and end with a deletion.
func TestAnotherRoll(t *testing.T) {
	t.Parallel()
	b := fixture.EmptyBench(t, "")
	b.Exec(`create table rollcall.teams (source text collate "C", id text collate "C", version bigint, changed_at timestamptz, config integer,
		name text, open boolean, settings jsonb, founded timestamptz, deleted_at timestamptz, kept text[], primary key (source, id))`)
	said := map[string]*team{}
	teams := &event.Roll{
		Table: "rollcall.teams",
		Fields: []event.Field{
			{Name: "name", Type: event.Text, At: event.Of(func(t *team) any { return &t.Name })},
			{Name: "open", Type: event.Boolean, At: event.Of(func(t *team) any { return &t.Open })},
			{Name: "settings", Type: event.JSON, At: event.Of(func(t *team) any { return &t.Settings }), Keeps: true},
			{Name: "founded", Type: event.Time, At: event.Of(func(t *team) any { return &t.Founded })},
		},
		Of: func(e *event.Event) event.Record { return said[e.ID] },
	}
	apply := func(version int64, name string, change func(*team), want event.Outcome) {
		t.Helper()
		founded := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		record := &team{Row: event.Row{Source: "app", ID: "t1", Version: version}, Name: &name, Open: true, Settings: `{"seats": 5}`, Founded: &founded}
		change(record)
		e := event.Event{Source: "app", ID: fmt.Sprint("e", len(said)), Type: "other", Op: event.Upsert, ReceivedAt: time.Now()}
		said[e.ID] = record
		if got := must.Get(b.ApplyTo(t.Context(), teams, []event.Event{e, e}))(t); got[0] != want || got[1] != event.Duplicate {
			t.Errorf("outcomes %s, want %s and duplicate", got, want)
		}
	}
	const row = "select version, name, open, settings, founded at time zone 'UTC', deleted_at is not null, kept from rollcall.teams"
	apply(2, "Two", func(*team) {}, event.Applied)
	apply(1, "One", func(*team) {}, event.Stale)
	apply(3, "Three", func(t *team) { t.Settings, t.Kept, t.Open = "{}", []string{"settings"}, false }, event.Applied)
	b.Want(row, "3|Three|f|{\"seats\": 5}|2026-01-02 03:04:05|f|{settings}")
	apply(4, "", func(t *team) { *t = team{Row: event.Row{Source: "app", ID: "t1", Version: 4, DeletedAt: t.Founded}} }, event.Applied)
	apply(5, "Five", func(*team) {}, event.Stale)
	b.Want(row, "4|∅|∅|∅|∅|t|∅")

	var read team
	dest, done := teams.Scan(&read)
	b.Exec("update rollcall.teams set name = 'Six', deleted_at = null")
	must.Do(t, b.SQL.QueryRow(t.Context(), "select name, open, settings, founded, deleted_at from rollcall.teams").Scan(dest...))
	if done(); read.Name == nil || *read.Name != "Six" || read.Open || read.Settings != "" || read.Founded != nil {
		t.Errorf("read %+v", read)
	}
}

// The statements for another kind of roll do there what they do for users.
func TestStatementsForAnotherRoll(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, `create table teams (source text collate "C", id text collate "C", name text, deleted_at timestamptz, primary key (source, id));
		create table crew (id text primary key, title text, gone boolean);
		insert into crew values ('b', 'old', false), ('c', 'left', false), ('stranger', 'x', false)`)
	crews := &target.Roll{Table: "public.teams", Source: "source", ID: "id", Columns: []target.Field{
		{Name: "source", Type: "text"}, {Name: "id", Type: "text"}, {Name: "name", Type: "text"}, {Name: "deleted_at", Type: "timestamptz"},
	}}
	crew := &target.Target{
		Name: "crew", At: "test.yaml:1:1", Table: "public.crew", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id", "title: new.name", "gone: false"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("gone: true")},
	}
	tab := must.Get(catalog.Read(t.Context(), b.SQL.Conn, crew.Table))(t)
	if found := append(crew.Lint(crews), crew.Check(crews, &tab.Table)...); len(found) > 0 {
		t.Fatalf("findings %v", found)
	}
	c := target.NewCompiler(crew, crews, &tab.Table)
	b.Exec(`insert into teams values ('app', 'a', 'A', null), ('app', 'b', 'B', null), ('app', 'c', 'C', now()), ('web', 'd', 'D', null)`)
	ids := []string{"a", "b", "c", "d"}
	sources := []string{"app", "app", "app", "web"}
	for _, statement := range []string{c.Compile().Removal, c.Compile().Upsert} {
		b.Exec(statement, sources, ids, true)
	}
	b.Want("select id, title, gone from crew order by 1", "a|A|f", "b|B|f", "c|left|t", "stranger|x|f")
	var strangers, visit, insert, change, remove int64
	must.Do(t, b.SQL.QueryRow(t.Context(), target.Unowned([]*target.Compiler{c}, 0), []string{}, []string{}).Scan(&strangers))
	must.Equal(t, strangers, 1, "rows of no team")
	b.Exec("update teams set name = 'new' where id = 'a'; delete from crew where id = 'b'")
	must.Do(t, b.SQL.QueryRow(t.Context(), c.Preview()).Scan(&visit, &insert, &change, &remove))
	must.Equal(t, []int64{visit, insert, change, remove}, []int64{3, 1, 1, 0}, "preview")
}
