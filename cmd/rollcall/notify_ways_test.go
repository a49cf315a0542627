package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

const everyTransition = "appeared, confirmed, email_changed, upgraded, banned, unbanned, deleted, joined, left, role_changed"

// ways are two replicas that note every transition, and the ways on which they learn of one.
type ways struct {
	*lobby
	other *instance
	sent  []func() *http.Request // all webhooks so far, each signed anew
}

func newWays(t *testing.T) *ways {
	t.Helper()
	w := &ways{lobby: openLobby(t, "notify:\n  all: {on: ["+everyTransition+"], channel: everything}\n")}
	w.other = startServe(t, string(must.Get(os.ReadFile(w.file))(t)), w.getenv)
	w.other.log.await(t, "ready", 1)
	return w
}

// post sends a webhook to one replica.
func (w *ways) post(provider string, endpoint source.Endpoint, body string) {
	w.t.Helper()
	r := signed(w.t, provider, endpoint, body)
	for _, base := range []string{w.public, w.other.public} { // the second one hears a duplicate
		if heard := ask(w.t, base, r); heard.status != 204 {
			w.t.Errorf("the answer is %v", heard)
		}
	}
	w.sent = append(w.sent, func() *http.Request { return signed(w.t, provider, endpoint, body) })
}

func (w *ways) does(args ...string) {
	w.t.Helper()
	if got := w.run(w.t.Context(), args...); got.code != 0 {
		w.t.Errorf("%s: %s", args, got)
	}
}

// again says all that was said once more, to both replicas: each webhook late and as another event, each event as a
// replay, and what the providers have.
func (w *ways) again() {
	w.t.Helper()
	for _, r := range w.sent {
		ask(w.t, w.public, r())
		ask(w.t, w.other.public, r())
	}
	w.does("replay", "--since", "1h")
	w.does("backfill", "profiles")
	w.does("reconcile", "clerk")
	w.does("reconcile", "supabase")
}

// step is one that has some transitions follow.
type step struct {
	do   func()
	kind string // of Clerk's webhook
	want []string
}

// noted compares what was noted since the last time, and forgets it.
func (w *ways) noted(want []string) {
	w.t.Helper()
	got := w.db.Rows("delete from rollcall.transitions returning type")
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		w.t.Errorf("noted %q, want %q", got, want)
	}
}

// aged has the roll's state be older than what lists may lack.
func (w *ways) aged() {
	w.db.Exec("update rollcall.users set changed_at = now() - interval '1 hour'; update rollcall.memberships set changed_at = now() - interval '1 hour'")
}

// Every transition of Clerk's users and memberships is noted once, whether a webhook brings it or a reconciliation, and
// whatever repeats it.
func TestTransitionsOfClerk(t *testing.T) {
	t.Parallel()
	for name, byWebhook := range map[string]bool{"webhook": true, "reconcile": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWays(t)
			w.clerk.Put(clerktest.User{CreatedAt: time.Now().Add(-time.Hour)}) // another one, so that a list is believed
			w.does("reconcile", "clerk")
			w.noted(nil)
			later := time.Now().Add(time.Second)
			u := clerktest.User{ID: "user_1", Email: "one@example.com", Unverified: true, CreatedAt: later, UpdatedAt: later}
			change := func(change func(*clerktest.User)) func() { return func() { w.clerk.Update("user_1", change) } }
			var m clerktest.Membership
			for _, s := range []step{
				{func() { w.clerk.Put(u) }, "user.created", []string{"appeared"}},
				{change(func(u *clerktest.User) { u.Unverified = false }), "user.updated", []string{"confirmed"}},
				{change(func(u *clerktest.User) { u.Email = "two@example.com" }), "user.updated", []string{"email_changed"}},
				{change(func(u *clerktest.User) { u.FirstName = "Ada" }), "user.updated", nil},
				{change(func(u *clerktest.User) { u.Banned = true }), "user.updated", []string{"banned"}},
				{change(func(u *clerktest.User) { u.Banned = false }), "user.updated", []string{"unbanned"}},
				{func() {
					o := w.clerk.PutOrganization(clerktest.Organization{ID: "org_1", Name: "Team"})
					m = w.clerk.PutMembership(clerktest.Membership{ID: "orgmem_1", OrganizationID: o.ID, UserID: "user_1", Role: "org:member", CreatedAt: later, UpdatedAt: later})
				}, "organizationMembership.created", []string{"joined"}},
				{func() { w.clerk.UpdateMembership(m.ID, func(m *clerktest.Membership) { m.Role = "org:admin" }) }, "organizationMembership.updated", []string{"role_changed"}},
				{func() { w.clerk.DeleteMembership(m.ID) }, "organizationMembership.deleted", []string{"left"}},
				{func() { w.clerk.Delete("user_1") }, "user.deleted", []string{"deleted"}},
			} {
				s.do()
				w.aged()
				id := "user_1"
				if strings.HasPrefix(s.kind, "organization") {
					id = m.ID
				}
				if byWebhook {
					w.post(source.Clerk, source.Hook, string(w.clerk.Event(s.kind, id)))
				} else {
					w.does("reconcile", "clerk", "--max-delete", "100%")
				}
				w.again()
				w.noted(s.want)
			}
		})
	}
}

// Every transition of Supabase's users is noted once, whether the trigger brings it, a webhook, a reconciliation or
// a user's own request, and whatever repeats it.
func TestTransitionsOfSupabase(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"capture", "webhook", "reconcile", "request"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWays(t)
			if way == "capture" {
				w.does("capture", "install", "supabase")
				w.log.await(t, "a capture is watched", 1)
			}
			w.db.Exec("insert into auth.users (id, email, created_at, updated_at) values ('11111111-0000-4000-8000-000000000000', 'old@x.test', now() - interval '1 day', now())")
			w.does("reconcile", "supabase")
			w.noted(nil)
			exec := func(sql string) func() {
				return func() { w.db.Exec(strings.ReplaceAll(sql, "ME", "id = '"+supaUser+"'")) }
			}
			for _, s := range []step{
				{exec("insert into auth.users (id, is_anonymous, created_at, updated_at) values ('" + supaUser + "', true, clock_timestamp(), now())"), "INSERT", []string{"appeared"}},
				{exec("update auth.users set is_anonymous = false, email = 'one@x.test' where ME"), "UPDATE", []string{"email_changed", "upgraded"}},
				{exec("update auth.users set email_confirmed_at = now() where ME"), "UPDATE", []string{"confirmed"}},
				{exec("update auth.users set email = 'two@x.test' where ME"), "UPDATE", []string{"email_changed"}},
				{exec(`update auth.users set raw_user_meta_data = '{"a": 1}' where ME`), "UPDATE", nil},
				{exec("update auth.users set banned_until = now() + interval '1 hour' where ME"), "UPDATE", []string{"banned"}},
				{exec("update auth.users set banned_until = null where ME"), "UPDATE", []string{"unbanned"}},
				{exec("delete from auth.users where ME"), "DELETE", []string{"deleted"}},
			} {
				s.do()
				w.aged()
				switch way {
				case "capture":
					w.db.Await("select count(*)::text from rollcall_provider.outbox", "0")
				case "webhook":
					record := fmt.Sprintf(`{"id":%q,"updated_at":"2026-01-02T03:04:06+00:00"}`, supaUser)
					kinds := map[string]string{"INSERT": `"record":` + record + `,"old_record":null`, "UPDATE": `"record":` + record + `,"old_record":` + record, "DELETE": `"record":null,"old_record":` + record}
					w.post(source.Supabase, source.Database, `{"type":"`+s.kind+`","schema":"auth","table":"users",`+kinds[s.kind]+`}`)
				case "reconcile":
					w.does("reconcile", "supabase", "--max-delete", "100%")
				case "request":
					w.call("POST", w.supabaseToken(supaUser), nil)
				}
				w.again()
				w.noted(s.want)
			}
		})
	}
}

// A ban that ends by time is lifted once, though two replicas look. What a list brings of many users who were there
// before is silent, and a user who signs up among them is not.
func TestTransitionsOfImports(t *testing.T) {
	t.Parallel()
	w := newWays(t)
	w.db.InsertUsers(1, testtag.Part(50_000))
	w.db.Exec("update auth.users set email_confirmed_at = now(), banned_until = now() + interval '1 hour' where id = $1", fixture.ID(1))
	w.db.Exec("insert into auth.users (id, email, created_at, updated_at) values ('" + supaUser + "', 'new@x.test', clock_timestamp(), now())")
	w.does("reconcile", "supabase")
	for _, table := range []string{"auth.users", "rollcall.users"} {
		w.db.Exec("update "+table+" set banned_until = now() where id = $1", fixture.ID(1)) // as if the hour were over
	}
	w.db.Await("select type || ' ' || row_id from rollcall.transitions order by id", "appeared "+supaUser, "unbanned "+fixture.ID(1))
	w.again()
	w.noted([]string{"appeared", "unbanned"})
}
