package console_test

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// The page of a user has their memberships, each beside its rows in the targets.
func TestMembershipsOfAUser(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "targets:\n  members: {table: public.members, roll: memberships, key: [team, who], set: {team: new.organization_id, who: new.user_id, role: new.role}, on_delete: delete}")
	for _, name := range []string{"organization.created", "user.created", "organizationMembership.created"} {
		s.send(name)
	}
	s.Exec("update members set role = 'changed by hand'")
	user, membership := s.Rows("select user_id from rollcall.memberships")[0], s.Rows("select id from rollcall.memberships")[0]
	v := s.visit()
	v.signIn()
	status, page := v.get("/users?who=" + user)
	v.wants(status, page, 200, "<h3>Membership "+membership+"</h3>")
	v.wants(status, page, 200, "differs")
	team := s.Rows("select id from rollcall.organizations")[0]
	must.Equal(t, v.link(page, s.Rows("select name from rollcall.organizations")[0]), "/users?who="+team, "the organisation")
	status, page = v.get("/users?who=" + team)
	v.wants(status, page, 200, "<h2>"+team+"</h2>")
}

// The page Now says how each source is doing, and how its last reconciliation ended.
func TestNow(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app: {provider: supabase, signing_secrets: [\"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==\"]}\ntargets:")
	s.send("user.created")
	s.Await("select count(*) from rollcall.receipts where source = 'clerk' and requests > 0", "1")
	s.Exec("insert into rollcall.reconciliations (source, listed, finished_at, error) values ('clerk', 'users', now(), 'the list is not whole')")
	v := s.visit()
	v.signIn()
	_, page := v.get("/")
	row := regexp.MustCompile(`(?s)<tr><td><a href="/events\?source=clerk">clerk</a></td><td>clerk</td><td>events</td><td><time .*?</time></td>`)
	must.True(t, row.MatchString(page), "no row of clerk in %s", page)
	v.wants(200, page, 200, "the list is not whole")
	v.wants(200, page, 200, "captured changes")
}

// link is where a link of a page leads to that has some words in it.
func (v *visitor) link(page, words string) string {
	v.t.Helper()
	for _, a := range regexp.MustCompile(`(?s)<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>`).FindAllStringSubmatch(page, -1) {
		if strings.Contains(a[2], words) {
			return html.UnescapeString(a[1])
		}
	}
	v.t.Fatalf("no link says %q:\n%s", words, page)
	return ""
}

// act goes by the link of a page to the page that asks, agrees, and returns the page after it.
func (v *visitor) act(page, words string) string {
	v.t.Helper()
	to := v.link(page, words)
	form := v.confirm(to)
	action, _, _ := strings.Cut(strings.TrimPrefix(to, "/confirm/"), "?")
	status, after := v.post("/do/"+action, form)
	v.wants(status, after, 200, "<h1>Done</h1>")
	return after
}

// A choice of events is replayed by a task, once a page has said what the first of them would change.
func TestReplayOfAChoice(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, id := range []string{"user_1", "user_2", "user_3"} {
		s.send("user.created", set("data.id", id), set("data.email_addresses[0].email_address", id+"@example.com"))
	}
	s.send("user.updated", set("data.id", "user_4"), set("data.email_addresses[0].email_address", "4@example.com"))
	s.Exec("update profiles set name = 'changed by hand'")
	v := s.visit()
	v.signIn()
	_, page := v.get("/events?type=user.created&since=1h")
	_, page = v.get(v.link(page, "Replay these events"))
	v.wants(200, page, 200, "3 events received from")
	must.True(t, strings.Count(page, "changed by hand")+strings.Count(page, "c…") == 3, "three rows change: %s", page)
	s.Want("select count(*) from profiles where name = 'changed by hand'", "4")
	after := v.act(page, "Replay 3 events")
	v.wants(200, after, 200, "Task 1 has begun.")
	s.Await("select state, done, total, requested_by, result -> 'events' from rollcall.tasks", "succeeded|3|3|alice|3")
	s.Want("select id from profiles where name = 'changed by hand'", "user_4")
	s.Want("select who, action, result from rollcall.audit_log", "alice|replay|task 1")

	_, page = v.get("/events?type=user.created")
	_, page = v.get(v.link(page, "Replay these events"))
	v.wants(200, page, 200, "since when")
	_, page = v.get("/replay?since=1h&type=nothing.such")
	v.wants(200, page, 200, "No event fits.")
	status, page := v.post("/do/replay-events", url.Values{"key": {"k"}, "form": v.confirm("/confirm/replay-events?events=9")["form"]})
	v.wants(status, page, 422, "from which moment on")
}

// The link to older events keeps the filter.
func TestOlderEvents(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.Exec(`insert into rollcall.events (source, id, type, received_at) select 'clerk', 'msg_' || n, case when n % 2 = 0 then 'user.created' else 'user&x=updated' end,
		now() - n * interval '1 second' from generate_series(1, 240) n`)
	v := s.visit()
	v.signIn()
	_, page := v.get("/events?type=user.created&since=1h")
	_, page = v.get(v.link(page, "Older events"))
	must.True(t, strings.Contains(page, "msg_102<") && !strings.Contains(page, "msg_101<") && !strings.Contains(page, "msg_2<"), "the second page: %s", page)
	_, page = v.get(v.link(page, "Older events"))
	must.True(t, strings.Contains(page, "msg_240<") && !strings.Contains(page, "Older events"), "the last page: %s", page)
	_, page = v.get("/events?" + url.Values{"type": {"user&x=updated"}}.Encode())
	_, page = v.get(v.link(page, "Older events"))
	must.True(t, strings.Contains(page, "msg_101<") && !strings.Contains(page, "msg_102<"), "an odd type: %s", page)
}

// What has failed of a name is sent again, and one alone, without the others.
func TestNotificationsAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	v.signIn()
	_, page := v.get("/notifications")
	v.wants(200, page, 200, "No notification is configured")
	s.Exec("insert into rollcall.transitions (type, source, row_id) select 'appeared', 'clerk', 'user_' || i from generate_series(1, 4) i")
	s.Exec("insert into rollcall.notifiers (name, since) values ('welcome', now()), ('other', now())")
	s.Exec(`insert into rollcall.notifications (name, transition, noted_at, state, attempts, error) select name, id, at, case row_id when 'user_1' then 'delivered' else 'failed' end, 8, 'status 500'
		from rollcall.transitions, (values ('welcome'), ('other')) v (name)`)
	_, page = v.get("/notifications?name=welcome&state=failed")
	must.True(t, !strings.Contains(page, "user_1<") && strings.Count(page, ">user_") == 3, "the list: %s", page)
	after := v.act(page, "Send again")
	v.wants(200, after, 200, "Notifications due again: 1.")
	s.Want("select name, state, count(*)::text from rollcall.notifications group by 1, 2 order by 1, 2", "other|delivered|1", "other|failed|3", "welcome|delivered|1", "welcome|failed|2", "welcome|pending|1")
	_, page = v.get(v.link(after, "Go on"))
	after = v.act(page, "Send what has failed of other again")
	v.wants(200, after, 200, "Notifications due again: 3.")
	s.Want("select count(*)::text from rollcall.audit_log where action = 'retry notifications' and who = 'alice'", "2")
}

// One user's parked row is given up, and tried again, without the others.
func TestOneParkedRow(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, id := range []string{"user_1", "user_2"} {
		s.send("user.created", set("data.id", id), set("data.first_name", ""), set("data.last_name", ""), set("data.email_addresses[0].email_address", id+"@example.com"))
	}
	s.Want("select count(*) from rollcall.parked", "2")
	v := s.visit()
	v.signIn()
	_, page := v.get("/users?who=user_1")
	after := v.act(page, "Give up")
	v.wants(200, after, 200, "Rows given up: 1.")
	s.Want("select user_id, given_up from rollcall.parked order by 1", "user_1|t", "user_2|f")
	s.Exec("update rollcall.parked set retry_at = now() + interval '1 hour'")
	_, page = v.get(v.link(after, "Go on"))
	must.True(t, strings.Contains(page, "given up") && !strings.Contains(page, "Give up<"), "the user's page: %s", page)
	v.act(page, "Try again")
	s.Await("select state, options ->> 'ids', result ->> 'tried', result ->> 'still_parked', done, total from rollcall.tasks", `succeeded|["user_1"]|1|1|0|1`)
	s.Want("select user_id, given_up, retry_at < now() + interval '1 minute' from rollcall.parked order by 1", "user_1|f|t", "user_2|f|f")
	s.Want("select action, object from rollcall.audit_log order by at", "give up|profiles user_1", "retry|profiles user_1")
}
