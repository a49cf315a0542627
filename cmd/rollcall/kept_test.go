package main

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// banTarget follows what a provider decides and what a client writes.
const banTarget = `
targets:
  members:
    table: public.members
    key: id
    set:
      id: new.id
      email: new.email
      banned: new.banned
      name: new.full_name
      theme: new.raw_user_meta_data->>'theme'
    on_delete: delete
`

const members = `create table members (id text primary key, email text, banned boolean, name text, theme text)`

// hostile are metadata that no jsonb of the roll takes.
var hostile = map[string]string{
	"deep":    `{"theme":"x","name":"X","a":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`,
	"numbers": `{"theme":"x","name":"X","a":[` + strings.Repeat(`1e131071,`, 100) + `1]}`,
}

// startKept is a serve whose users are in no table, or in one.
func startKept(t testing.TB, table string) *instance {
	t.Helper()
	yaml := strings.Replace(twoSources, "provider: supabase\n", "provider: supabase\n    users_table: "+table+"\n", 1) + banTarget
	return serveAt(t, yaml, pgtest.NewWith(t, pgtest.Auth, members))
}

// keeps waits until the target has one row so, "" for none, and the roll keeps so many columns.
func (in *instance) keeps(row string, columns int) {
	in.t.Helper()
	awaitRows(in.db, `select coalesce((select concat_ws('|', email, banned, name, theme) from members), '') || '|' ||
		coalesce((select max(cardinality(kept)) from rollcall.users), 0)`, fmt.Sprintf("%s|%d", row, columns))
}

// deliver sends a webhook that is applied.
func (in *instance) deliver(provider string, endpoint source.Endpoint, body string) {
	in.t.Helper()
	in.expect(signed(in.t, provider, endpoint, body), accepted("applied"))
}

const (
	keptID  = "5a3f1e00-0000-4000-8000-000000000b01"
	forever = "2999-01-01T00:00:00+00:00"
)

// A ban, a new e-mail address and a deletion come through Clerk's webhooks, whatever the user
// writes into the metadata, which keeps its last known value.
func TestKeptThroughClerk(t *testing.T) {
	t.Parallel()
	k := startKept(t, "none")
	user := func(version int, rest string) string {
		return fmt.Sprintf(`{"id":"user_1","first_name":"Ada","updated_at":%d,"primary_email_address_id":"e","email_addresses":[{"id":"e","email_address":"%d@example.com"}]%s}`,
			1760000000000+version, version, rest)
	}
	event := func(kind, data string) string {
		return `{"object":"event","type":"` + kind + `","timestamp":1760000000900,"data":` + data + `}`
	}
	k.deliver("clerk", source.Hook, event("user.created", user(1, `,"unsafe_metadata":{"theme":"dark"}`)))
	k.keeps("1@example.com|f|Ada|dark", 0)
	version := 1
	for _, metadata := range hostile {
		version += 3
		k.deliver("clerk", source.Hook, event("user.updated", user(version, `,"banned":true,"unsafe_metadata":`+metadata)))
		k.keeps(fmt.Sprintf("%d@example.com|t|Ada|dark", version), 1)
		session := `{"id":"sess_1","user":` + user(version+1, `,"unsafe_metadata":`+metadata) + `}`
		k.deliver("clerk", source.Hook, event("session.created", session))
		k.keeps(fmt.Sprintf("%d@example.com|f|Ada|dark", version+1), 1)
		k.deliver("clerk", source.Hook, event("user.updated", user(version+2, `,"unsafe_metadata":{"theme":"dark"}`)))
		k.keeps(fmt.Sprintf("%d@example.com|f|Ada|dark", version+2), 0)
	}
	k.deliver("clerk", source.Hook, event("user.updated", user(version+3, `,"banned":true,"public_metadata":`+hostile["deep"])))
	k.keeps(fmt.Sprintf("%d@example.com|t|Ada", version+3), 1)
	line := k.log.await(t, "webhook", 2)
	if line["level"] != "WARN" || line["kept"] != "raw_user_meta_data" || !strings.Contains(fmt.Sprint(line["reason"]), "metadata") || line["user"] != "user_1" {
		t.Errorf("log line %v", line)
	}
	got := k.run(t.Context(), "check", "--user", "user_1")
	if got.code != exitFine || !strings.Contains(got.out, "last known value is kept of raw_app_meta_data") {
		t.Error(got)
	}
	k.deliver("clerk", source.Hook, event("user.deleted", `{"id":"user_1","deleted":true}`))
	k.keeps("", 0)
}

// The same through Supabase's endpoints, where the table of users is elsewhere.
func TestKeptThroughSupabase(t *testing.T) {
	t.Parallel()
	for name, metadata := range hostile {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := startKept(t, "none")
			row := func(minute int, rest string) string {
				return fmt.Sprintf(`{"id":%q,"email":"%d@example.com","updated_at":"2026-11-21T01:%02d:00+00:00"%s}`, keptID, minute, minute, rest)
			}
			change := func(kind, record, old string) string {
				return `{"type":"` + kind + `","schema":"auth","table":"users","record":` + record + `,"old_record":` + old + `}`
			}
			hook := func(minute int, user string) string {
				return fmt.Sprintf(`{"metadata":{"uuid":"%s-%d","name":"after-user-created"},"user":%s}`, keptID, minute, user)
			}
			k.deliver("supabase", source.Hook, hook(1, row(1, `,"user_metadata":{"theme":"dark","name":"Ada"}`)))
			k.keeps("1@example.com|f|Ada|dark", 0)
			k.deliver("supabase", source.Hook, hook(2, row(2, `,"banned_until":"`+forever+`","user_metadata":`+metadata)))
			k.keeps("2@example.com|t|Ada|dark", 6)
			k.deliver("supabase", source.Database, change("UPDATE", row(3, `,"raw_user_meta_data":`+metadata), row(2, `,"raw_user_meta_data":`+metadata)))
			k.keeps("3@example.com|f|Ada|dark", 6)
			k.deliver("supabase", source.Database, change("UPDATE", row(4, `,"raw_user_meta_data":{"name":"Bea"}`), "null"))
			k.keeps("4@example.com|f|Bea", 0)
			k.deliver("supabase", source.Database, change("DELETE", "null", row(5, `,"raw_user_meta_data":`+metadata)))
			k.keeps("", 0)
		})
	}
}

// The same by capture and by reconciliation, which ends with success night after night.
func TestKeptFromTheTable(t *testing.T) {
	t.Parallel()
	k := startKept(t, "auth.users")
	large := `{"theme":"x","name":"X","a":"` + strings.Repeat("a", 2<<20) + `"}`
	k.db.Exec(`insert into auth.users (id, email, raw_user_meta_data, updated_at) values ($1, '1@example.com', '{"theme":"dark","name":"Ada"}', now())`, keptID)
	k.run(t.Context(), "capture", "install", "supabase")
	update := func(n int, set string, args ...any) {
		k.db.Exec(fmt.Sprintf(`update auth.users set email = '%d@example.com', updated_at = now(), %s`, n, set), args...)
	}
	update(2, `banned_until = null`)
	k.keeps("2@example.com|f|Ada|dark", 0)
	update(3, `banned_until = '`+forever+`', raw_user_meta_data = $1`, large)
	k.keeps("3@example.com|t|Ada|dark", 6)
	line := k.log.await(t, "columns of a user keep their last known value; the rest is applied", 1)
	if line["level"] != "WARN" || line["user"] != keptID || !strings.Contains(fmt.Sprint(line["reason"]), "limits.metadata") {
		t.Errorf("log line %v", line)
	}
	for range 2 {
		if got := k.run(t.Context(), "reconcile", "supabase"); got.code != exitFine || !strings.Contains(got.out, "unchanged 1") {
			t.Error(got)
		}
	}
	k.run(t.Context(), "capture", "remove", "supabase")
	update(4, `banned_until = null`)
	if got := k.run(t.Context(), "reconcile", "supabase"); got.code != exitFine {
		t.Error(got)
	}
	k.keeps("4@example.com|f|Ada|dark", 6)
	update(5, `raw_user_meta_data = '{"name":"Bea"}'`)
	k.run(t.Context(), "reconcile", "supabase")
	k.keeps("5@example.com|f|Bea", 0)
	update(6, `deleted_at = now(), raw_user_meta_data = $1`, large)
	k.db.Exec(`insert into auth.users (id, email, updated_at) values (gen_random_uuid(), null, now())`)
	k.run(t.Context(), "reconcile", "supabase", "--max-delete", "100%")
	k.db.Exec("delete from members where email is null")
	k.keeps("", 0)
}
