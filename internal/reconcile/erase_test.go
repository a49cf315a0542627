package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/erasure"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// person is what tells who a user of these tests is.
var person = []string{"zoraida", "quillfeather", "zo@quill.example", "old@quill.example", "+4915550199", "plum tart"}

// wantNoTrace holds the whole database against the words of a person, but for some schemas.
func (p *project) wantNoTrace(when string, except ...string) {
	p.T.Helper()
	must.Equal(p.T, p.SQL.Traces(person, except...), nil, "columns with the person ", when)
	dump := strings.ToLower(p.SQL.Dump("rollcall"))
	for _, word := range person {
		must.True(p.T, !strings.Contains(dump, word), "%s: %s is in a dump", when, word)
	}
}

// seen has the planner's statistics hold what the tables have.
func (p *project) seen() {
	p.T.Helper()
	for _, table := range p.Rows("select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'rollcall'") {
		p.Exec("analyze " + table)
	}
	found := strings.Join(p.SQL.Traces(person), " ")
	must.Contain(p.T, found, "rollcall.users.email", "rollcall.events.body", "pg_catalog.pg_statistic")
}

// says delivers a body at an endpoint and returns the outcome.
func (p *project) says(at source.Endpoint, id string, body []byte) event.Outcome {
	p.T.Helper()
	header := http.Header{"Svix-Id": {id}, "Webhook-Id": {id}}
	e := p.Source.Decode(source.Request{Endpoint: at, Header: header, Body: body, ReceivedAt: time.Now()})
	return must.Get(p.Submit(p.T.Context(), []event.Event{e}))(p.T)[0]
}

func (p *project) erase(id string, living bool) (erasure.Result, error) {
	return p.DB.Eraser().Erase(p.T.Context(), erasure.Request{Source: p.Source.Name(), ID: id, Living: living, Who: "cli:tester"})
}

// Nothing in the database tells who a user of Clerk was, before and after whatever comes late.
func TestEraseClerk(t *testing.T) {
	t.Parallel()
	in := newTeams(t)
	in.Exec("create table letters (id text primary key, sent int default 7)")
	keeps := target.Target{
		Name: "letters", At: "test.yaml:4:1", Table: "public.letters", Key: []string{"id"}, From: []target.Origin{{Source: "clerk"}},
		Set: fixture.Assign("id: new.id"), OnDelete: target.OnDelete{Action: target.DeleteKeep},
	}
	in.addTarget(keeps)
	user := in.clerk.Put(clerktest.User{
		FirstName: "Zoraida", LastName: "Quillfeather", Email: "old@quill.example", Phone: "+4915550199",
		Public: map[string]any{"likes": "plum tart"}, Unsafe: map[string]any{"likes": "plum tart"},
	}).ID
	other := in.clerk.Put(clerktest.User{FirstName: "Ada", Email: "ada@x.test"}).ID
	team := in.clerk.PutOrganization(clerktest.Organization{Name: "Bakers", CreatedBy: user}).ID
	member := in.clerk.PutMembership(clerktest.Membership{OrganizationID: team, UserID: user, Role: "org:admin", Public: map[string]any{"brings": "plum tart"}}).ID
	must.Equal(t, in.says(source.Hook, "m1", in.clerk.Event("user.created", user)), event.Applied, "created")
	in.clerk.Update(user, func(u *clerktest.User) { u.Email = "zo@quill.example" })
	must.Equal(t, in.says(source.Hook, "m2", in.clerk.Event("user.updated", user)), event.Applied, "updated")
	must.Equal(t, in.says(source.Hook, "m3", in.clerk.Event("user.created", other)), event.Applied, "another")
	must.Equal(t, in.says(source.Hook, "m4", in.clerk.Event("organizationMembership.created", member)), event.Applied, "a member")
	unread := []byte(strings.ReplaceAll(string(in.clerk.Event("user.updated", user)), `"id":"`+user+`"`, `"id":""`))
	must.Equal(t, in.says(source.Hook, "m5", unread), event.UndecodableBody, "a body that can't be read")
	in.Exec(fmt.Sprintf(`insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error)
		select x.target, 'clerk', x.id, now(), '23505', 'zo@quill.example is taken' from (values ('people', '%s'), ('members', '%s')) x (target, id)`, user, member))

	in.seen()
	_, err := in.erase(user, false)
	must.Fail(t, err, erasure.ErrLiving, "is living")
	in.Want("select count(*)::text from rollcall.events where body is not null", "5")
	_, err = in.erase("user_nobody", true)
	must.Fail(t, err, erasure.ErrUnknownUser)
	in.Want("select count(*)::text from rollcall.audit_log", "0")

	must.Equal(t, in.says(source.Hook, "m6", in.clerk.Event("user.deleted", user)), event.Applied, "deleted")
	done := must.Get(in.erase(user, false))(t)
	must.True(t, done.ErasedAt.After(done.DeletedAt), "erased at %s, deleted at %s", done.ErasedAt, done.DeletedAt)
	must.Equal(t, done, erasure.Result{
		Source: "clerk", ID: user, DeletedAt: done.DeletedAt, ErasedAt: done.ErasedAt, Bodies: 5, Memberships: 1, Remaining: []erasure.Remaining{
			{Target: "letters", Table: "public.letters", Key: map[string]string{"id": user}, Why: "on_delete is keep"},
		},
	}, "what was done")
	in.wantNoTrace("after the erasure")
	in.Want("select who || ' ' || action || ' ' || object || ' ' || result from rollcall.audit_log", "cli:tester erase users/clerk/"+user+" erased")
	in.Want("select id from rollcall.users where erased_at is not null", user)
	in.Want("select id from rollcall.events where body is not null", "m3")
	in.Want("select id from people", other)

	for id, kind := range map[string]string{"l1": "user.created", "l2": "user.updated", "l3": "user.deleted", "l4": "session.created"} {
		must.Equal(t, in.says(source.Hook, id, in.clerk.Event(kind, user)), event.Stale, kind)
	}
	for id, kind := range map[string]string{"l5": "organizationMembership.updated", "l6": "organizationMembership.deleted"} {
		in.says(source.Hook, id, in.clerk.Event(kind, member))
	}
	again := in.clerk.PutMembership(clerktest.Membership{OrganizationID: team, UserID: user, Role: "org:chef", Public: map[string]any{"brings": "plum tart"}}).ID
	in.says(source.Hook, "l7", in.clerk.Event("organizationMembership.created", again))
	in.Want("select count(*)::text from rollcall.events where id like 'l%' and body is null", "7")
	in.Want("select distinct (role is null and raw_public_metadata is null and deleted_at is not null)::text from rollcall.memberships", "true")
	in.wantNoTrace("after late events")
	in.ageTeams()
	in.wantTeams(unchanged(2), unchanged(1), unchanged(2))
	in.ageTeams()
	in.wantTeams(unchanged(2), unchanged(1), unchanged(2))
	in.wantNoTrace("after a reconciliation")
	done = must.Get(in.erase(user, false))(t)
	must.True(t, done.Before && done.Bodies == 0, "erased again: %+v", done)
	in.Want("select count(*)::text from members", "0")
}

// addTarget puts a further target into service.
func (p *project) addTarget(t target.Target) {
	p.T.Helper()
	targets := p.DB.Targets()
	if _, found, err := p.DB.Watch().Reload(p.T.Context(), append(slices.Clone(targets.Configured()), t)); err != nil || len(found) > 0 {
		p.T.Fatal(found, err)
	}
}

// supabasePerson is a person's row of auth.users.
const supabasePerson = `insert into auth.users (id, email, phone, raw_user_meta_data, raw_app_meta_data, created_at, updated_at) values
('00000000-0000-4000-8000-00000000000a', 'zo@quill.example', '+4915550199', '{"full_name": "Zoraida Quillfeather", "likes": "plum tart"}', '{"likes": "plum tart"}', '2026-01-01', '2026-01-02')`

const supabaseID = "00000000-0000-4000-8000-00000000000a"

// hookBody is what a hook says of the person.
func hookBody(name string) []byte {
	return fmt.Appendf(nil, `{"metadata": {"uuid": "%[2]s", "time": "2026-01-02T00:00:00Z", "name": "%[1]s"}, "user": {"id": "%[3]s", "email": "zo@quill.example", "phone": "+4915550199",
"app_metadata": {"likes": "plum tart"}, "user_metadata": {"full_name": "Zoraida Quillfeather", "likes": "plum tart"}, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}}`,
		name, time.Now().Format(time.RFC3339Nano), supabaseID)
}

// drain empties the outboxes as serve does.
func (p *project) drain() {
	p.T.Helper()
	ctx, cancel := context.WithCancel(p.T.Context())
	var running sync.WaitGroup
	running.Go(func() {
		capture.Run(ctx, capture.Config{
			Sources: []*source.Source{p.Source}, DB: p.DB, Submit: p.Submit, Observe: func(string, event.Outcome) {}, Log: slog.New(slog.DiscardHandler),
		})
	})
	defer running.Wait()
	defer cancel()
	p.Await("select (select count(*) from rollcall.outbox) + (select count(*) from rollcall_provider.outbox)", "0")
}

// supabaseToErase is a project with a capture whose person was captured and announced.
func supabaseToErase(t *testing.T) *project {
	t.Helper()
	p := newProject(t)
	must.Do(t, p.DB.Outbox().Install(t.Context(), outbox.Capture{Source: "supabase", Table: "auth.users"}))
	return p
}

// sayAll delivers the person's hooks and database webhooks.
func (p *project) sayAll(prefix string) {
	p.T.Helper()
	row := `{"id": "` + supabaseID + `", "email": "zo@quill.example", "raw_user_meta_data": {"likes": "plum tart"}, "updated_at": "2026-01-02T00:00:00Z"}`
	p.says(source.Hook, prefix+"1", hookBody("before-user-created"))
	p.says(source.Hook, prefix+"2", hookBody("after-user-created"))
	p.says(source.Database, "", []byte(`{"type": "INSERT", "schema": "auth", "table": "users", "record": `+row+`, "old_record": null}`))
	p.says(source.Database, "", []byte(`{"type": "UPDATE", "schema": "auth", "table": "users", "record": `+row+`, "old_record": `+row+`}`))
}

// sayDeleted delivers the database webhook of the person's deletion.
func (p *project) sayDeleted() {
	p.T.Helper()
	p.says(source.Database, "", []byte(`{"type": "DELETE", "schema": "auth", "table": "users", "record": null,
"old_record": {"id": "`+supabaseID+`", "email": "zo@quill.example", "updated_at": "2026-01-02T00:00:00Z"}}`))
}

// sayUnreadable delivers a hook about the person that names no id.
func (p *project) sayUnreadable() {
	p.T.Helper()
	body := []byte(`{"metadata": {"uuid": "unreadable", "name": "after-user-created"}, "user": {"email": "zo@quill.example"}}`)
	must.Equal(p.T, p.says(source.Hook, "unreadable", body), event.UndecodableBody, "a hook without an id")
}

// Nothing tells who a user of a table source was, though the table has them still.
func TestEraseTableSource(t *testing.T) {
	t.Parallel()
	p := supabaseToErase(t)
	must.Do(t, p.DB.Roll().Follow(t.Context(), "supabase", "auth.users"))
	p.InsertUsers(1, 2)
	p.Exec(supabasePerson)
	p.drain()
	p.sayAll("m")
	p.sayUnreadable()
	p.Want("select count(*)::text from profiles", "3")
	p.Exec("update auth.users set raw_user_meta_data = raw_user_meta_data || '{\"n\": 1}'") // waits in the outbox
	p.seen()
	_, err := p.erase(supabaseID, false)
	must.Fail(t, err, erasure.ErrLiving)
	done := must.Get(p.erase(strings.ToUpper(supabaseID), true))(t)
	must.Equal(t, done, erasure.Result{Source: "supabase", ID: supabaseID, DeletedAt: done.DeletedAt, ErasedAt: done.ErasedAt, Bodies: done.Bodies, Captured: 1, Remaining: []erasure.Remaining{}}, "what was done")
	must.True(t, done.Bodies > 3, "%d bodies", done.Bodies)
	p.wantNoTrace("after the erasure", "auth")
	p.Want("select count(*)::text from profiles", "2")
	p.drain()
	p.sayAll("l")
	p.sayDeleted()
	p.Exec("update auth.users set email = 'old@quill.example' where id = '" + supabaseID + "'") // lags
	p.wantNoTrace("after late events", "auth")
	p.drain()
	must.Equal(t, must.Get(p.Submit(t.Context(), []event.Event{{Source: "supabase", Op: event.Look, UserID: supabaseID}}))(t)[0], event.Stale, "a look")
	p.wantRun(directory.Reconciled{Unchanged: 3})
	_, plan, err := p.preview()
	must.Do(t, err)
	must.Equal(t, plan, directory.Reconciled{Unchanged: 3}, "a dry run")
	p.wantNoTrace("after a reconciliation", "auth")
	p.Exec("delete from auth.users where id = '" + supabaseID + "'")
	p.drain()
	p.wantRun(directory.Reconciled{Unchanged: 2})
	p.Exec(supabasePerson)
	p.drain()
	p.wantNoTrace("after they came back", "auth")
	p.Want("select count(*)::text from profiles", "2")
	p.Want("select (deleted_at is not null and erased_at is not null)::text from rollcall.users where id = '"+supabaseID+"'", "true")
}

// So it is for a source whose events decide, with the outbox of older versions, which has data.
func TestEraseOldCapture(t *testing.T) {
	t.Parallel()
	p := supabaseToErase(t)
	p.Exec(`drop trigger rollcall_capture on auth.users; create constraint trigger rollcall_capture after insert or update or delete on auth.users
deferrable initially deferred for each row execute function rollcall.capture('supabase')`)
	p.InsertUsers(1, 2)
	p.Exec(supabasePerson)
	p.drain()
	p.sayAll("m")
	p.sayUnreadable()
	p.Exec("update auth.users set email = 'old@quill.example' where id = '" + supabaseID + "'")
	p.seen()
	done := must.Get(p.erase(supabaseID, true))(t)
	must.True(t, done.Bodies > 3 && done.Captured == 1, "%+v", done)
	p.wantNoTrace("after the erasure", "auth")
	p.sayAll("l")
	p.sayDeleted()
	p.wantNoTrace("after late events", "auth")
	p.Exec("update auth.users set email = 'zo@quill.example' where id = '" + supabaseID + "'")
	p.drain()
	p.wantNoTrace("after a captured change", "auth")
	p.Want("select count(*)::text from profiles", "2")
}

// What is known of a user may be no more than an event.
func TestEraseOfAnEventAlone(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	user := in.clerk.Put(clerktest.User{FirstName: "Zoraida", Email: "zo@quill.example"}).ID
	unread := []byte(strings.ReplaceAll(string(in.clerk.Event("user.updated", user)), `"object":"user"`, `"object":"user","public_user_data":7`))
	in.Exec(fmt.Sprintf("insert into rollcall.events (source, id, type, outcome, received_at, body) values ('clerk', 'm', 'user.updated', 'undecodable', now() - interval '5 days', '%s')", unread))
	done := must.Get(in.erase(user, false))(t)
	must.Equal(t, done.Bodies, 1, "bodies")
	in.wantNoTrace("after the erasure")
	must.Equal(t, in.says(source.Hook, "late", in.clerk.Event("user.created", user)), event.Stale, "created")
	in.wantNoTrace("after a late event")
}
