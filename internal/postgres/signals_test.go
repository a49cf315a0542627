package postgres

import (
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/target"
)

const usersTable = `create schema auth;
create table auth.users (
  id uuid primary key, email varchar(255), phone text unique, raw_user_meta_data jsonb, raw_app_meta_data jsonb,
  is_anonymous boolean not null default false, email_confirmed_at timestamptz, phone_confirmed_at timestamptz,
  banned_until timestamptz, created_at timestamptz default now(), updated_at timestamptz default now(),
  last_sign_in_at timestamptz, deleted_at timestamptz, encrypted_password text);
create table p (id uuid primary key, email text, name text, role text);`

func members() target.Target {
	t := profiles()
	t.From = []target.Origin{{Source: "app", SampleID: "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90"}}
	return t
}

func followed(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, usersTable, members())
	must.Do(t, b.Follow(t.Context(), "app", "auth.users"))
	return b
}

func userID(n int) string { return "00000000-0000-0000-0000-00000000000" + string(rune('0'+n)) }

func (b *bench) signal(want event.Outcome, events ...event.Event) {
	b.t.Helper()
	outcomes := must.Get(b.Apply(b.t.Context(), events))(b.t)
	for i, o := range outcomes {
		if o != want {
			b.t.Errorf("event %d: %s, want %s", i, o, want)
		}
	}
}

func lookAt(n int) event.Event { return event.Event{Source: "app", Op: event.Look, UserID: userID(n)} }

// The table decides, also where a version goes back.
func TestSignals(t *testing.T) {
	t.Parallel()
	b := followed(t)
	b.exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "one"}')`)
	b.signal(event.Applied, lookAt(1))
	b.wantRows("select id, email, name from p", userID(1)+"|a@x.test|one")
	b.exec(`update auth.users set raw_user_meta_data = '{"first_name": "two"}', updated_at = updated_at - interval '5 ms'`)
	b.signal(event.Applied, lookAt(1))
	b.wantRows("select id, email from p", userID(1)+"|a@x.test")
	b.wantRows("select first_name from rollcall.users", "two")
	b.signal(event.Stale, lookAt(2))
	b.wantRows("select count(*) from rollcall.users", "1")
	b.exec("delete from auth.users")
	e := lookAt(1)
	e.Op = event.Delete
	b.signal(event.Applied, e)
	b.wantRows("select count(*) from p", "0")
	b.wantRows("select deleted_at is not null, email is null from rollcall.users", "t|t")
	b.signal(event.Stale, e)
	b.exec(`insert into auth.users (id, email, raw_user_meta_data) values ('` + userID(1) + `', 'a@x.test', '{"first_name": "back"}')`)
	b.signal(event.Applied, lookAt(1))
	b.wantRows("select name from p", "back")
}
