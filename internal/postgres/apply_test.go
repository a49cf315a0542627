package postgres

import (
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/target"
)

func ptr[T any](v T) *T { return &v }

func TestApplyOutcomes(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())

	b.apply(applied, updated("a", 5, "a@x"))
	b.apply(all(event.Duplicate, 1), updated("a", 5, "other@x"))
	b.apply(all(event.Stale, 1), updated("a", 4, "old@x"))
	b.apply(applied, finding(updated("a", 5, "a@x"))) // an equal version passes: it carries equal content
	b.apply([]event.Outcome{event.Stale, event.Applied, event.Duplicate}, updated("b", 1, "b1@x"), updated("b", 2, "b2@x"), updated("b", 1, "b1@x"))
	b.apply(applied, gone("b", 1))
	b.apply(all(event.Stale, 1), updated("b", 9, "b9@x"))
	b.apply(applied, gone("never", 1))

	b.wantRows("select id, version, email, deleted_at is not null from rollcall.users order by id",
		"a|5|a@x|f", "b|1|∅|t", "never|1|∅|t")
	b.wantRows("select id, email, role from p", "a|a@x|customer")
	b.wantRows("select id, outcome from rollcall.events order by id",
		"a-4|stale", "a-5|applied", "b-1|stale", "b-2|applied", "b-9|stale", "b-gone|applied", "never-gone|applied")
}

func TestApplyRecordsWithoutTouchingTheRoll(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	now := time.Unix(1_700_000_000, 0)
	announced := event.Event{Source: "app", ID: "n", Type: "before-user-created", Op: event.Announce, UserID: "a", ReceivedAt: now, Body: []byte("{}")}
	unread := event.Event{Source: "app", ID: "x", Type: "other", Op: event.Undecodable, ReceivedAt: now, Body: []byte("{")}

	b.apply([]event.Outcome{event.Announced, event.UndecodableBody}, announced, unread)
	b.apply(all(event.Duplicate, 2), announced, unread)
	b.wantRows("select id, type, user_id, outcome, encode(body, 'escape') from rollcall.events order by id",
		"n|before-user-created|a|announced|{}", "x|other|∅|undecodable|{")
	b.wantRows("select count(*) from rollcall.users", "0")
}

// A duplicate repairs: a provider's dashboard replay sends the same id again.
func TestApplyDuplicateSettlesAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.apply(applied, updated("a", 5, "a@x"))
	b.apply(applied, updated("b", 5, "b@x"))
	b.apply(applied, gone("b", 6))
	b.exec("delete from p; insert into p values ('b', 'b@x')")
	b.apply(all(event.Duplicate, 2), updated("a", 5, "a@x"), updated("b", 5, "b@x"))
	b.wantRows("select id, email from p", "a|a@x")
}

// Who is only to be settled is brought up to date with the roll, beside whatever else is in
// the batch, and says so when a target refuses the user.
func TestApplySettles(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+"; alter table p add check (email <> 'bad@x')", profiles())
	settle := func(id string) event.Event { return event.Event{Source: "app", Op: event.Settle, UserID: id} }
	b.apply([]event.Outcome{event.Applied, event.Applied, event.Parked}, updated("a", 5, "a@x"), updated("b", 5, "b@x"), updated("c", 5, "bad@x"))
	b.exec("delete from p where id = 'a'; insert into p values ('ghost', 'g@x')")
	before := b.rows("select id, xmin from rollcall.users order by id")
	b.apply([]event.Outcome{event.Applied, event.Parked, event.Applied}, settle("a"), settle("c"), settle("nobody"))
	b.wantRows("select id, xmin from rollcall.users order by id", before...)
	b.wantRows("select id, email from p order by id", "a|a@x", "b|b@x", "ghost|g@x")
	b.exec("delete from p where id = 'a'")
	b.apply([]event.Outcome{event.Applied, event.Applied, event.Applied, event.Parked}, gone("b", 6), settle("b"), settle("a"), settle("c"))
	b.wantRows("select id, email from p order by id", "a|a@x", "ghost|g@x")
	b.wantRows("select count(*) from rollcall.events", "4")
}

func TestApplyWritesNothingWhereNothingChanges(t *testing.T) {
	t.Parallel()
	tgt := profiles()
	tgt.Set = append(tgt.Set, assign("seen_at: now()", "extra: new.raw_user_meta_data::json", "place: point(1,2)")...)
	keep := target.Target{Name: "gone", Table: "public.g", From: fromApp, Key: []string{"id"}, Set: assign("id: new.id", "email: new.email"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: assign("email: null", "deleted_at: now()")}}
	b := newBench(t, `create table p (id text primary key, email text, name text, role text, seen_at timestamptz, extra json, place point);
		create table g (id text primary key, email text, deleted_at timestamp(0));`, tgt, keep)
	versions := "select id, xmin from p union all select id, xmin from g order by 1"

	b.apply(all(event.Applied, 2), updated("a", 5, "a@x"), updated("b", 5, ""))
	before := b.rows(versions)
	b.apply(all(event.Applied, 2), finding(updated("a", 6, "a@x")), finding(updated("b", 6, "")))
	b.apply(all(event.Duplicate, 2), updated("a", 5, "a@x"), updated("b", 5, ""))
	b.wantRows(versions, before...)
	b.apply(applied, finding(updated("a", 7, "new@x")))
	if after := b.rows(versions); after[0] == before[0] || after[2] != before[2] {
		t.Errorf("a changed e-mail must write a's rows and nobody else's: before %v, after %v", before, after)
	}

	b.apply(all(event.Applied, 2), gone("a", 8), gone("b", 8)) // b, without an e-mail, changes by now() alone
	b.wantRows("select id, email, deleted_at is not null from g order by id", "a|∅|t", "b|∅|t")
	before = b.rows("select xmin from g")
	b.apply(all(event.Duplicate, 2), gone("a", 8), gone("b", 8))
	b.wantRows("select xmin from g", before...)
}

func TestOnDelete(t *testing.T) {
	t.Parallel()
	form := func(name string, on target.Action, set ...string) target.Target {
		return target.Target{Name: name, Table: "public." + name, From: fromApp, Key: []string{"id"},
			Set: assign("id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: on, Set: assign(set...)}}
	}
	b := newBench(t, `create table d (id text primary key, email text); create table k (like d including all);
		create table m (id text primary key, email text, at timestamptz);`,
		form("d", target.DeleteRow), form("k", target.DeleteKeep), form("m", target.DeleteSet, "email: null", "at: new.deleted_at"))
	b.apply(all(event.Applied, 2), updated("a", 1, "a@x"), updated("b", 1, "b@x"))
	b.apply(all(event.Applied, 2), gone("a", 2), gone("stranger", 2))
	b.apply(all(event.Stale, 1), updated("a", 3, "late@x"))
	b.wantRows("select * from d order by 1", "b|b@x")
	b.wantRows("select * from k order by 1", "a|a@x", "b|b@x")
	b.wantRows("select id, email, at at time zone 'utc' from m order by 1", "a|∅|2023-11-14 22:13:20", "b|b@x|∅")
}

// A constant is compared like any value, however it is written; only what changes by the
// moment is not.
func TestConstantsCount(t *testing.T) {
	t.Parallel()
	target := target.Target{Name: "t", Table: "public.t", From: fromApp, Key: []string{"id"},
		Set:      assign("id: new.id", "status: 'active'::public.status", "kind: cast('user' as text)"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: assign("status: 'deleted'::public.status", "kind: upper('x')", "keep_for: interval '1 day'")}}
	b := newBench(t, `create type status as enum ('active', 'deleted');
		create table t (id text primary key, status status not null, kind text not null, keep_for interval)`, target)
	b.apply(applied, updated("a", 1, ""))
	b.exec("update t set kind = 'robot'")
	b.apply(applied, updated("a", 2, ""))
	b.wantRows("select * from t", "a|active|user|∅")
	b.apply(applied, gone("a", 3))
	b.wantRows("select * from t", "a|deleted|X|1 day")
}

func TestWhere(t *testing.T) {
	t.Parallel()
	where := &target.Expr{SQL: "new.email like '%@corp'", At: "test.yaml:2:2"}
	staff := target.Target{Name: "staff", Table: "public.staff", From: fromApp, Key: []string{"id"}, Where: where,
		Set: assign("id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	badge := target.Target{Name: "badge", Table: "public.badge", From: fromApp, Key: []string{"id"}, Where: where,
		Set: assign("id: new.id", "email: new.email", "left_at: null"), OnDelete: target.OnDelete{Action: target.DeleteSet, Set: assign("email: null", "left_at: now()")}}
	b := newBench(t, `create table staff (id text primary key, email text);
		create table badge (id text primary key, email text, left_at timestamptz);`, staff, badge)
	show := "select id, email, null from staff union all select id, email, left_at is null from badge order by 1, 3 nulls first"

	b.apply(all(event.Applied, 3), updated("a", 1, "a@corp"), updated("b", 1, "b@home"), updated("c", 1, ""))
	b.wantRows(show, "a|a@corp|∅", "a|a@corp|t")
	b.apply(applied, updated("a", 2, "")) // where is null: the user leaves
	b.wantRows(show, "a|∅|f")
	b.apply(applied, updated("a", 3, "a@corp"))
	b.wantRows(show, "a|a@corp|∅", "a|a@corp|t")
	b.apply(applied, gone("a", 4))
	b.wantRows(show, "a|∅|f")
}

func TestTypes(t *testing.T) {
	t.Parallel()
	target := target.Target{Name: "t", Table: "Shop.User Profiles", From: []target.Origin{{Source: "app", SampleID: "00000000-0000-0000-0000-000000000001"}}, Key: []string{"authSource", "userId"},
		Set: assign(`userId: new.id`, `authSource: new.source`, `eMail: new.email`, `role: new.raw_app_meta_data->>'role'`,
			`tags: array(select jsonb_array_elements_text(new.raw_user_meta_data->'tags'))`, `doc: new.raw_user_meta_data`,
			`at: new.created_at`, `n: (new.raw_user_meta_data->>'n')::int`, `ci: new.username`, `flag: new.email_verified -- a comment`),
		OnInsert: assign(`short: 'abc'`, `amount: 12.345`, `def: null`), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := newBench(t, `create extension citext; create schema "Shop"; create type "Role" as enum ('admin', 'user'); create domain short as varchar(3);
		create table "Shop"."User Profiles" ("userId" uuid, "authSource" text, "eMail" varchar(20), role "Role", tags text[], doc json, at timestamp(3), n smallint,
		ci citext, flag boolean, short short, shorts short[], amount numeric(6,2), def int, serial int generated by default as identity,
		upper_mail text generated always as (upper("eMail")) stored, primary key ("userId", "authSource"))`, target)
	id := "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f0001"
	u := user(id, 1, "a@x")
	u.RawAppMetaData, u.RawUserMetaData = `{"role":"admin"}`, `{"tags":["x","y"],"n":7}`
	u.CreatedAt, u.Username = ptr(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)), ptr("Ada")
	b.apply(applied, said(u))
	b.wantRows(`select * from "Shop"."User Profiles"`, id+`|app|a@x|admin|{x,y}|{"n": 7, "tags": ["x", "y"]}|2026-01-02 03:04:05.679|7|Ada|f|abc|∅|12.35|∅|1|A@X`)

	next := *u
	next.Version, next.Username = 2, ptr("ADA") // equal to citext, and yet another name
	b.apply(applied, said(&next))
	b.wantRows(`select ci, serial from "Shop"."User Profiles"`, "ADA|1")

	long := *u
	long.Version, long.Email = 3, ptr("this-is-longer-than-twenty@example.com")
	b.apply(all(event.Parked, 1), said(&long)) // never cut
	b.wantRows(`select "eMail" from "Shop"."User Profiles"`, "a@x")
	b.wantRows("select target, user_id, sqlstate, error from rollcall.parked", "t|"+id+"|22001|column \"eMail\": value too long for type character varying(20)")
}

// The parent of two targets is settled first and removed last.
func TestForeignKeyBetweenTargets(t *testing.T) {
	t.Parallel()
	child := target.Target{Name: "a_child", Table: "public.c", From: fromApp, Key: []string{"user_id"}, Set: assign("user_id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	parent := target.Target{Name: "b_parent", Table: "public.par", From: fromApp, Key: []string{"id"}, Set: assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := newBench(t, `create table par (id text primary key); create table c (user_id text primary key references par on delete restrict, email text)`, child, parent)
	b.apply(all(event.Applied, 2), updated("a", 1, "a@x"), updated("b", 1, "b@x"))
	b.apply(applied, gone("a", 2))
	b.wantRows("select par.id, email from par left join c on user_id = par.id", "b|b@x")
}

// The roll is written although the user does not exist at the provider's table yet.
func TestForeignKeyToAuthUsers(t *testing.T) {
	t.Parallel()
	target := profiles()
	b := newBench(t, `create schema auth; create table auth.users (id text primary key);
		create table p (id text primary key references auth.users deferrable initially deferred, email text, name text, role text)`, target)
	b.exec("insert into auth.users values ('a')")
	b.apply([]event.Outcome{event.Applied, event.Parked}, updated("a", 1, "a@x"), updated("b", 1, "b@x"))
	b.wantRows("select id from p", "a")
	b.wantRows("select user_id, sqlstate from rollcall.parked", "b|23503")
	b.exec("insert into auth.users values ('b')")
	b.apply(all(event.Duplicate, 1), updated("b", 1, "b@x"))
	b.wantRows("select id from p order by 1", "a", "b")
	b.wantRows("select user_id from rollcall.parked")
}

func TestTargetsFollowTheirSources(t *testing.T) {
	t.Parallel()
	target := profiles()
	b := newBench(t, profilesTable, target)
	other := user("z", 1, "z@x")
	other.Source = "elsewhere"
	b.apply(applied, said(other))
	b.wantRows("select count(*) from p", "0")
	b.wantRows("select source, id from rollcall.users", "elsewhere|z")
}
