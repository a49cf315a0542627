package roll_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestApplyOutcomes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())

	b.Applies(fixture.Applied, fixture.Updated("a", 5, "a@x"))
	b.Applies(fixture.All(event.Duplicate, 1), fixture.Updated("a", 5, "other@x"))
	b.Applies(fixture.All(event.Stale, 1), fixture.Updated("a", 4, "old@x"))
	b.Applies(fixture.Applied, fixture.Observed(fixture.Updated("a", 5, "a@x"))) // an equal version passes: it carries equal content
	b.Applies([]event.Outcome{event.Stale, event.Applied, event.Duplicate}, fixture.Updated("b", 1, "b1@x"), fixture.Updated("b", 2, "b2@x"), fixture.Updated("b", 1, "b1@x"))
	b.Applies(fixture.Applied, fixture.Gone("b", 1))
	b.Applies(fixture.All(event.Stale, 1), fixture.Updated("b", 9, "b9@x"))
	b.Applies(fixture.Applied, fixture.Gone("never", 1))

	b.Want("select id, version, email, deleted_at is not null from rollcall.users order by id",
		"a|5|a@x|f", "b|1|∅|t", "never|1|∅|t")
	b.Want("select id, email, role from p", "a|a@x|customer")
	b.Want("select id, outcome from rollcall.events order by id",
		"a-4|stale", "a-5|applied", "b-1|stale", "b-2|applied", "b-9|stale", "b-gone|applied", "never-gone|applied")
}

func TestApplyRecordsWithoutTouchingTheRoll(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	now := time.Unix(1_700_000_000, 0)
	announced := event.Event{Source: "app", ID: "n", Type: "before-user-created", Op: event.Announce, UserID: "a", ReceivedAt: now, Body: []byte("{}")}
	unread := event.Event{Source: "app", ID: "x", Type: "other", Op: event.Undecodable, ReceivedAt: now, Body: []byte("{")}

	b.Applies([]event.Outcome{event.Announced, event.UndecodableBody}, announced, unread)
	b.Applies(fixture.All(event.Duplicate, 2), announced, unread)
	b.Want("select id, type, user_id, outcome, encode(body, 'escape') from rollcall.events order by id",
		"n|before-user-created|a|announced|{}", "x|other|∅|undecodable|{")
	b.Want("select count(*) from rollcall.users", "0")
}

// A duplicate repairs: a provider's dashboard replay sends the same id again.
func TestApplyDuplicateSettlesAgain(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, fixture.Updated("a", 5, "a@x"))
	b.Applies(fixture.Applied, fixture.Updated("b", 5, "b@x"))
	b.Applies(fixture.Applied, fixture.Gone("b", 6))
	b.Exec("delete from p; insert into p values ('b', 'b@x')")
	b.Applies(fixture.All(event.Duplicate, 2), fixture.Updated("a", 5, "a@x"), fixture.Updated("b", 5, "b@x"))
	b.Want("select id, email from p", "a|a@x")
}

// Who is only to be settled is brought up to date with the roll, beside whatever else is in
// the batch, and says so when a target refuses the user.
func TestApplySettles(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable+"; alter table p add check (email <> 'bad@x')", fixture.Everyone())
	settle := func(id string) event.Event { return event.Event{Source: "app", Op: event.Settle, UserID: id} }
	b.Applies([]event.Outcome{event.Applied, event.Applied, event.Parked}, fixture.Updated("a", 5, "a@x"), fixture.Updated("b", 5, "b@x"), fixture.Updated("c", 5, "bad@x"))
	b.Exec("delete from p where id = 'a'; insert into p values ('ghost', 'g@x')")
	before := b.Rows("select id, xmin from rollcall.users order by id")
	b.Applies([]event.Outcome{event.Applied, event.Parked, event.Applied}, settle("a"), settle("c"), settle("nobody"))
	b.Want("select id, xmin from rollcall.users order by id", before...)
	b.Want("select id, email from p order by id", "a|a@x", "b|b@x", "ghost|g@x")
	b.Exec("delete from p where id = 'a'")
	b.Applies([]event.Outcome{event.Applied, event.Applied, event.Applied, event.Parked}, fixture.Gone("b", 6), settle("b"), settle("a"), settle("c"))
	b.Want("select id, email from p order by id", "a|a@x", "ghost|g@x")
	b.Want("select count(*) from rollcall.events", "4")
}

// A captured change counts if its row of the outbox is there, and takes it out; what else is in the batch counts as ever.
func TestApplyCaptured(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Exec("insert into rollcall.outbox (id, source, user_id, gone, data) overriding system value values (7, 'app', 'a', false, '{}'), (9, 'app', 'd', false, '{}')")
	captured := func(row int64, e event.Event) event.Event {
		e.ID, e.Captured = "", []int64{row}
		return e
	}
	b.Applies([]event.Outcome{event.Applied, event.Stale, event.Applied},
		captured(7, fixture.Updated("a", 5, "a@x")), captured(8, fixture.Updated("b", 5, "b@x")), fixture.Updated("c", 5, "c@x"))
	b.Want("select id from p order by id", "a", "c")
	b.Want("select id from rollcall.outbox", "9")
	b.Want("select user_id from rollcall.events", "c")
}

func TestApplyWritesNothingWhereNothingChanges(t *testing.T) {
	t.Parallel()
	tgt := fixture.Everyone()
	tgt.Set = append(tgt.Set, fixture.Assign("seen_at: now()", "extra: new.raw_user_meta_data::json", "place: point(1,2)")...)
	keep := target.Target{Name: "gone", Table: "public.g", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id", "email: new.email"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "deleted_at: now()")}}
	b := fixture.NewBench(t, `create table p (id text primary key, email text, name text, role text, seen_at timestamptz, extra json, place point);
		create table g (id text primary key, email text, deleted_at timestamp(0));`, tgt, keep)
	versions := "select id, xmin from p union all select id, xmin from g order by 1"

	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 5, "a@x"), fixture.Updated("b", 5, ""))
	before := b.Rows(versions)
	b.Applies(fixture.All(event.Applied, 2), fixture.Observed(fixture.Updated("a", 6, "a@x")), fixture.Observed(fixture.Updated("b", 6, "")))
	b.Applies(fixture.All(event.Duplicate, 2), fixture.Updated("a", 5, "a@x"), fixture.Updated("b", 5, ""))
	b.Want(versions, before...)
	b.Applies(fixture.Applied, fixture.Observed(fixture.Updated("a", 7, "new@x")))
	if after := b.Rows(versions); after[0] == before[0] || after[2] != before[2] {
		t.Errorf("a changed e-mail must write a's rows and nobody else's: before %v, after %v", before, after)
	}

	b.Applies(fixture.All(event.Applied, 2), fixture.Gone("a", 8), fixture.Gone("b", 8)) // b, without an e-mail, changes by now() alone
	b.Want("select id, email, deleted_at is not null from g order by id", "a|∅|t", "b|∅|t")
	before = b.Rows("select xmin from g")
	b.Applies(fixture.All(event.Duplicate, 2), fixture.Gone("a", 8), fixture.Gone("b", 8))
	b.Want("select xmin from g", before...)
}

func TestOnDelete(t *testing.T) {
	t.Parallel()
	form := func(name string, on target.Action, set ...string) target.Target {
		return target.Target{Name: name, Table: "public." + name, From: fixture.FromApp, Key: []string{"id"},
			Set: fixture.Assign("id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: on, Set: fixture.Assign(set...)}}
	}
	b := fixture.NewBench(t, `create table d (id text primary key, email text); create table k (like d including all);
		create table m (id text primary key, email text, at timestamptz);`,
		form("d", target.DeleteRow), form("k", target.DeleteKeep), form("m", target.DeleteSet, "email: null", "at: new.deleted_at"))
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Applies(fixture.All(event.Applied, 2), fixture.Gone("a", 2), fixture.Gone("stranger", 2))
	b.Applies(fixture.All(event.Stale, 1), fixture.Updated("a", 3, "late@x"))
	b.Want("select * from d order by 1", "b|b@x")
	b.Want("select * from k order by 1", "a|a@x", "b|b@x")
	b.Want("select id, email, at at time zone 'utc' from m order by 1", "a|∅|2023-11-14 22:13:20", "b|b@x|∅")
}

// A constant is compared like any value, however it is written; only what changes by the
// moment is not.
func TestConstantsCount(t *testing.T) {
	t.Parallel()
	target := target.Target{Name: "t", Table: "public.t", From: fixture.FromApp, Key: []string{"id"},
		Set:      fixture.Assign("id: new.id", "status: 'active'::public.status", "kind: cast('user' as text)"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("status: 'deleted'::public.status", "kind: upper('x')", "keep_for: interval '1 day'")}}
	b := fixture.NewBench(t, `create type status as enum ('active', 'deleted');
		create table t (id text primary key, status status not null, kind text not null, keep_for interval)`, target)
	b.Applies(fixture.Applied, fixture.Updated("a", 1, ""))
	b.Exec("update t set kind = 'robot'")
	b.Applies(fixture.Applied, fixture.Updated("a", 2, ""))
	b.Want("select * from t", "a|active|user|∅")
	b.Applies(fixture.Applied, fixture.Gone("a", 3))
	b.Want("select * from t", "a|deleted|X|1 day")
}

func TestWhere(t *testing.T) {
	t.Parallel()
	where := &target.Expr{SQL: "new.email like '%@corp'", At: "test.yaml:2:2"}
	staff := target.Target{Name: "staff", Table: "public.staff", From: fixture.FromApp, Key: []string{"id"}, Where: where,
		Set: fixture.Assign("id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	badge := target.Target{Name: "badge", Table: "public.badge", From: fixture.FromApp, Key: []string{"id"}, Where: where,
		Set: fixture.Assign("id: new.id", "email: new.email", "left_at: null"), OnDelete: target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "left_at: now()")}}
	b := fixture.NewBench(t, `create table staff (id text primary key, email text);
		create table badge (id text primary key, email text, left_at timestamptz);`, staff, badge)
	show := "select id, email, null from staff union all select id, email, left_at is null from badge order by 1, 3 nulls first"

	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("a", 1, "a@corp"), fixture.Updated("b", 1, "b@home"), fixture.Updated("c", 1, ""))
	b.Want(show, "a|a@corp|∅", "a|a@corp|t")
	b.Applies(fixture.Applied, fixture.Updated("a", 2, "")) // where is null: the user leaves
	b.Want(show, "a|∅|f")
	b.Applies(fixture.Applied, fixture.Updated("a", 3, "a@corp"))
	b.Want(show, "a|a@corp|∅", "a|a@corp|t")
	b.Applies(fixture.Applied, fixture.Gone("a", 4))
	b.Want(show, "a|∅|f")
}

func TestTypes(t *testing.T) {
	t.Parallel()
	target := target.Target{Name: "t", Table: "Shop.User Profiles", From: []target.Origin{{Source: "app", SampleID: "00000000-0000-0000-0000-000000000001"}}, Key: []string{"authSource", "userId"},
		Set: fixture.Assign(`userId: new.id`, `authSource: new.source`, `eMail: new.email`, `role: new.raw_app_meta_data->>'role'`,
			`tags: array(select jsonb_array_elements_text(new.raw_user_meta_data->'tags'))`, `doc: new.raw_user_meta_data`,
			`at: new.created_at`, `n: (new.raw_user_meta_data->>'n')::int`, `ci: new.username`, `flag: new.email_verified -- a comment`),
		OnInsert: fixture.Assign(`short: 'abc'`, `amount: 12.345`, `def: null`), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := fixture.NewBench(t, `create extension citext; create schema "Shop"; create type "Role" as enum ('admin', 'user'); create domain short as varchar(3);
		create table "Shop"."User Profiles" ("userId" uuid, "authSource" text, "eMail" varchar(20), role "Role", tags text[], doc json, at timestamp(3), n smallint,
		ci citext, flag boolean, short short, shorts short[], amount numeric(6,2), def int, serial int generated by default as identity,
		upper_mail text generated always as (upper("eMail")) stored, primary key ("userId", "authSource"))`, target)
	id := "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f0001"
	u := fixture.User(id, 1, "a@x")
	u.RawAppMetaData, u.RawUserMetaData = `{"role":"admin"}`, `{"tags":["x","y"],"n":7}`
	u.CreatedAt, u.Username = new(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)), new("Ada")
	b.Applies(fixture.Applied, fixture.Said(u))
	b.Want(`select * from "Shop"."User Profiles"`, id+`|app|a@x|admin|{x,y}|{"n": 7, "tags": ["x", "y"]}|2026-01-02 03:04:05.679|7|Ada|f|abc|∅|12.35|∅|1|A@X`)

	next := *u
	next.Version, next.Username = 2, new("ADA") // equal to citext, and yet another name
	b.Applies(fixture.Applied, fixture.Said(&next))
	b.Want(`select ci, serial from "Shop"."User Profiles"`, "ADA|1")

	long := *u
	long.Version, long.Email = 3, new("this-is-longer-than-twenty@example.com")
	b.Applies(fixture.All(event.Parked, 1), fixture.Said(&long)) // never cut
	b.Want(`select "eMail" from "Shop"."User Profiles"`, "a@x")
	b.Want("select target, user_id, sqlstate, error from rollcall.parked", "t|"+id+"|22001|column \"eMail\": value too long for type character varying(20)")
}

// The parent of two targets is settled first and removed last.
func TestForeignKeyBetweenTargets(t *testing.T) {
	t.Parallel()
	child := target.Target{Name: "a_child", Table: "public.c", From: fixture.FromApp, Key: []string{"user_id"}, Set: fixture.Assign("user_id: new.id", "email: new.email"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	parent := target.Target{Name: "b_parent", Table: "public.par", From: fixture.FromApp, Key: []string{"id"}, Set: fixture.Assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteRow}}
	b := fixture.NewBench(t, `create table par (id text primary key); create table c (user_id text primary key references par on delete restrict, email text)`, child, parent)
	b.Applies(fixture.All(event.Applied, 2), fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Applies(fixture.Applied, fixture.Gone("a", 2))
	b.Want("select par.id, email from par left join c on user_id = par.id", "b|b@x")
}

// The roll is written although the user does not exist at the provider's table yet.
func TestForeignKeyToAuthUsers(t *testing.T) {
	t.Parallel()
	target := fixture.Everyone()
	b := fixture.NewBench(t, `create schema auth; create table auth.users (id text primary key);
		create table p (id text primary key references auth.users deferrable initially deferred, email text, name text, role text)`, target)
	b.Exec("insert into auth.users values ('a')")
	b.Applies([]event.Outcome{event.Applied, event.Parked}, fixture.Updated("a", 1, "a@x"), fixture.Updated("b", 1, "b@x"))
	b.Want("select id from p", "a")
	b.Want("select user_id, sqlstate from rollcall.parked", "b|23503")
	b.Exec("insert into auth.users values ('b')")
	b.Applies(fixture.All(event.Duplicate, 1), fixture.Updated("b", 1, "b@x"))
	b.Want("select id from p order by 1", "a", "b")
	b.Want("select user_id from rollcall.parked")
}

func TestTargetsFollowTheirSources(t *testing.T) {
	t.Parallel()
	target := fixture.Everyone()
	b := fixture.NewBench(t, fixture.PTable, target)
	other := fixture.User("z", 1, "z@x")
	other.Source = "elsewhere"
	b.Applies(fixture.Applied, fixture.Said(other))
	b.Want("select count(*) from p", "0")
	b.Want("select source, id from rollcall.users", "elsewhere|z")
}

// BenchmarkApply commits batches of new users on one connection, as Clerk describes them, to two targets. The
// server for tests does not wait for the disk: this is the cost of everything else.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 8, 28, 64, 512} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			db := fixture.NewBench(b, `create table p (id text primary key, email text, name text, role text);
				create table q (like p including all)`, fixture.Everyone(), fixture.Second())
			batch := make([]event.Event, size)
			b.ReportAllocs()
			for b.Loop() {
				for i := range batch {
					batch[i] = newcomer()
				}
				must.Get(db.Apply(b.Context(), batch))(b)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/event")
		})
	}
}

// newcomer is the creation of a user of a random id, with what Clerk says about nearly all users.
func newcomer() event.Event {
	id := fmt.Sprintf("user_%x", rand.Uint64())
	u := fixture.User(id, time.Now().UnixMilli(), id+"@example.com")
	now := time.Now()
	u.FirstName, u.LastName, u.FullName = new("Ada"), new("Lovelace"), new("Ada Lovelace")
	u.AvatarURL, u.EmailVerified, u.Banned, u.Locked = new("https://img.example.com/"+id), true, false, false
	u.CreatedAt, u.UpdatedAt, u.LastSignInAt = &now, &now, &now
	u.EmailAddresses = `[{"id": "idn_` + id + `", "email_address": "` + id + `@example.com", "verified": true, "primary": true}]`
	u.ExternalAccounts = `[{"id": "eac_` + id + `", "provider": "oauth_google", "provider_user_id": "1234", "email_address": "` + id + `@example.com"}]`
	e := fixture.Said(u)
	e.Body = fmt.Appendf(nil, `{"id": "%s", "rest": "%s"}`, id, strings.Repeat(id, 85))
	return e
}

// described is a user with metadata and what follows from it.
func described(id string, version int64, text string) event.Event {
	u := fixture.User(id, version, text+"@example.com")
	u.FirstName, u.FullName, u.AvatarURL, u.Username, u.LastName = &text, &text, &text, &text, &text
	u.RawUserMetaData, u.RawAppMetaData = `{"is": "`+text+`"}`, `{"app": "`+text+`"}`
	return fixture.Said(u)
}

// keeping is a user whose metadata can't be used: banned, with a new e-mail address.
func keeping(id string, version int64, email string) event.Event {
	u := fixture.User(id, version, email)
	until := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	u.Banned, u.BannedUntil = true, &until
	u.Kept = []string{"avatar_url", "first_name", "full_name", "last_name", "raw_app_meta_data", "raw_user_meta_data", "username"}
	return fixture.Said(u)
}

const keptRow = `select id, version, email, banned, first_name, last_name, full_name, username, avatar_url,
  raw_user_meta_data, raw_app_meta_data, cardinality(kept) from rollcall.users order by id`

// What can't be used of a user keeps its last known value, and the rest is applied.
func TestKeptColumns(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.Applied, keeping("a", 2, "new@example.com"))
	b.Want(keptRow, `a|2|new@example.com|t|one|one|one|one|one|{"is": "one"}|{"app": "one"}|7`)
	b.Want("select email, name from p", "new@example.com|one")

	b.Applies(fixture.Applied, described("a", 3, "three"))
	b.Want(keptRow, `a|3|three@example.com|f|three|three|three|three|three|{"is": "three"}|{"app": "three"}|∅`)

	b.Applies(fixture.Applied, keeping("a", 4, ""))
	b.Applies(fixture.Applied, fixture.Gone("a", 5))
	b.Want(keptRow, "a|5|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅")

	b.Applies(fixture.Applied, keeping("b", 1, "b@example.com"))
	b.Want(keptRow+" desc limit 1", "b|1|b@example.com|t|∅|∅|∅|∅|∅|{}|{}|7")
}

// Every column that may be kept can be: the roll's value stays, also of a time.
func TestKeptTimes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	at := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC) // a ban that is over would end
	first, second := fixture.User("a", 1, ""), fixture.User("a", 2, "")
	first.Banned, first.BannedUntil, first.CreatedAt, first.UpdatedAt, first.LastSignInAt = true, &at, &at, &at, &at
	second.Kept = []string{"banned", "banned_until", "created_at", "last_sign_in_at", "updated_at"}
	b.Applies(fixture.Applied, fixture.Said(first))
	b.Applies(fixture.Applied, fixture.Said(second))
	b.Want("select version, banned, banned_until = created_at, created_at = updated_at, updated_at = last_sign_in_at, created_at::date from rollcall.users",
		"2|t|t|t|t|2120-01-01")
}

// In one batch, what an overtaken event of the user says is the last known value.
func TestKeptOfOneBatch(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.All(event.Applied, 3), described("a", 2, "two"), fixture.Updated("b", 1, ""), keeping("a", 3, "new@example.com"))
	b.Want("select version, email, banned, raw_user_meta_data, first_name from rollcall.users where id = 'a'", `3|new@example.com|t|{"is": "two"}|two`)

	b.Applies([]event.Outcome{event.Stale, event.Applied, event.Applied}, keeping("a", 5, "x@example.com"), described("a", 4, "four"), keeping("a", 6, "y@example.com"))
	b.Want("select version, email, raw_user_meta_data from rollcall.users where id = 'a'", `6|y@example.com|{"is": "four"}`)

	b.Applies([]event.Outcome{event.Stale, event.Applied}, keeping("a", 7, "z@example.com"), fixture.Gone("a", 1))
	b.Want("select deleted_at is null, kept from rollcall.users where id = 'a'", "f|∅")
}

// Should the roll refuse what Decode lets pass, only the part that a client writes is left out.
func TestKeptWhatTheRollRefuses(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	refused := func(id string, version int64, email string) event.Event {
		e := described(id, version, email)
		e.User.RawUserMetaData, e.User.Banned = `{"a":"\u0000"}`, true
		return e
	}
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("b", 1, ""), refused("a", 2, "two"), refused("c", 1, "c"))
	b.Want(keptRow, `a|2|two@example.com|t|one|one|one|one|one|{"is": "one"}|{"app": "one"}|7`,
		"b|1|∅|f|∅|∅|∅|∅|∅|{}|{}|∅", "c|1|c@example.com|t|∅|∅|∅|∅|∅|{}|{}|7")
	b.Applies([]event.Outcome{event.UndecodableBody}, refused("a", 3, "\x00"))
	b.Want("select version from rollcall.users where id = 'a'", "2")
}
