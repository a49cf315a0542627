package console_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/trial"
)

// A sample is shown before it is sent, is sent once, and can be deleted again; all of it without JavaScript.
func TestTrySample(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	v.signIn()
	status, page := v.get("/try")
	v.wants(status, page, 200, `<option value="clerk/organizationMembership.created"`)
	status, page = v.get("/try?event=clerk/user.created&user=7&data.first_name=Zo%C3%AB")
	v.wants(status, page, 200, "user_2RollcallSampleAda0000000000_7")
	v.wants(status, page, 200, `<td><span class="empty">none</span></td><td><code>Zoë Example</code></td>`)
	v.wants(status, page, 200, `<td><span class="empty">none</span></td><td><code>ada&#43;7@example.com</code></td>`)
	v.wants(status, page, 200, "Nothing has changed yet")
	s.Want("select count(*) from rollcall.users", "0")
	s.Want("select count(*) from rollcall.events", "0")
	s.Want("select count(*) from rollcall.audit_log", "0")

	form := v.confirm(link(t, page, "/confirm/sample?"))
	for range 2 {
		status, page = v.post("/do/sample", form)
		v.wants(status, page, 200, "What user.created of clerk has changed")
		v.wants(status, page, 200, `<td><span class="empty">none</span></td><td><code>Zoë Example</code></td>`)
	}
	s.Want("select id, name from profiles", "user_2RollcallSampleAda0000000000_7|Zoë Example")
	s.Want("select count(*) from rollcall.events", "1")
	s.Want("select who, action, object, result from rollcall.audit_log",
		"alice|send sample|user.created users/clerk/user_2RollcallSampleAda0000000000_7|applied")

	status, page = v.get(link(t, page, "/try?event=user.deleted"))
	v.wants(status, page, 200, `<td><code>Zoë Example</code></td><td><span class="empty">none</span></td>`)
	status, page = v.post("/do/sample", v.confirm(link(t, page, "/confirm/sample?")))
	v.wants(status, page, 200, `<td><code>Zoë Example</code></td><td><span class="empty">none</span></td>`)
	s.Want("select count(*) from profiles", "0")
	s.Want("select deleted_at is not null from rollcall.users", "t")
	status, page = v.get("/try?event=clerk/user.updated&user=7")
	v.wants(status, page, 200, "the user is deleted, for good")
}

// link is the first link of a page that begins so.
func link(t *testing.T, page, begin string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, `href="`+begin)
	must.True(t, found, "no link to %s on\n%s", begin, page)
	rest, _, _ = strings.Cut(rest, `"`)
	return html.UnescapeString(begin + rest)
}

// A target that refuses the sample has it parked, and the page says why, before and after.
func TestTryParked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	v.signIn()
	_, page := v.get("/try?event=clerk/user.created&user=9&data.first_name=&data.last_name=&set=" + url.QueryEscape("data.first_name=null\ndata.last_name=null"))
	must.True(t, strings.Contains(page, `null value in column &#34;name&#34;`), "no reason on %s", page)
	s.Want("select count(*) from rollcall.parked", "0")
	status, page := v.post("/do/sample", v.confirm(link(t, page, "/confirm/sample?")))
	v.wants(status, page, 200, `It was <span class="state fair">parked</span>`)
	v.wants(status, page, 200, `null value in column &#34;name&#34;`)
	s.Want("select target, user_id from rollcall.parked", "profiles|user_2RollcallSampleAda0000000000_9")
}

// Organisations and memberships have samples of their own. One membership ends without those of others.
func TestTryTeams(t *testing.T) {
	t.Parallel()
	s := serve(t, "  profiles:", `  members:
    roll: memberships
    table: public.members
    key: [team, who]
    set: {team: new.organization_id, who: new.user_id, role: new.role}
    on_delete: delete
  teams:
    roll: organizations
    table: public.teams
    key: id
    set: {id: new.id, name: new.name}
    on_delete: delete
  profiles:`)
	v := s.visit()
	v.signIn()
	_, page := v.get("/try?event=clerk/organizationMembership.created&user=5&data.role=org:admin")
	_, sent := v.post("/do/sample", v.confirm(link(t, page, "/confirm/sample?")))
	s.Want("select team, who, role from members", "org_2RollcallSampleTeam00000000000_5|user_2RollcallSampleAda0000000000_5|org:admin")
	s.Want("select id from teams", "org_2RollcallSampleTeam00000000000_5")
	for _, begin := range []string{"/try?event=organizationMembership.deleted", "/try?event=organization.deleted"} {
		_, page = v.get(link(t, sent, begin))
		v.post("/do/sample", v.confirm(link(t, page, "/confirm/sample?")))
	}
	s.Want("select count(*) from members", "0")
	s.Want("select count(*) from teams", "0")
}

// areas are the contents of text areas, which come back as they were written, too.
var areas = regexp.MustCompile(`(?s)<textarea.*?</textarea>`)

// What can't be tried is explained: no such source or event, no secret, no target, a mistake in the changes.
func TestTryRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app: {provider: supabase}\n  hooks: {provider: supabase, users_table: none, signing_secrets: [\"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==\"]}\ntargets:")
	v := s.visit()
	v.signIn()
	for query, want := range map[string]string{
		"event=nobody/user.created":                                 "no source of this name",
		"event=clerk/user.married":                                  "there is no such event; those of clerk are user.created,",
		"event=app/database.insert":                                 "the database endpoint of source app is closed, because it has no secret; give the source database_webhook",
		"event=hooks/database.delete":                               "give the source database_webhook",
		"event=clerk/user.created&set=" + url.QueryEscape("Zoé"):    "write path=value",
		"event=clerk/user.created&set=" + url.QueryEscape("a.b=c"):  "no event of clerk has a at its top",
		"event=clerk/user.created&set=" + url.QueryEscape("data=1"): "undecodable",
		"event=clerk/session.ended&user=-3":                         "there is no such event",
		"event=hooks/after-user-created&user=x":                     "It would be",
		"event=" + url.QueryEscape(hostile):                         "no source of this name",
		"event=clerk/user.created&data.first_name=" + url.QueryEscape(hostile+"\x00\xff") + "&set=" + url.QueryEscape("data.id="+hostile): "It would be",
	} {
		status, page := v.get("/try?" + query)
		v.wants(status, page, 200, want)
		if bare := areas.ReplaceAllString(values.ReplaceAllString(page, ""), ""); strings.Contains(bare, "<img") || strings.Contains(bare, "\u202e") || strings.Contains(bare, "whsec_") {
			t.Errorf("%s has a text or a secret as it is:\n%s", query, bare)
		}
	}
	s.Want("select count(*) from rollcall.users", "0")
	status, page := v.post("/do/sample", v.confirm("/confirm/sample?source=clerk&event=user.married&user=2"))
	v.wants(status, page, 422, "there is no such event")
}

// A source that follows a table takes a sample for a signal: the page says that the table decides.
func TestTryTableSource(t *testing.T) {
	t.Parallel()
	s := serveOn(fixture.Supabase(t, "drop table profiles", tables), "targets:", "  app: {provider: supabase, signing_secrets: [\"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==\"]}\n  silent: {provider: supabase}\ntargets:")
	v := s.visit()
	v.signIn()
	status, page := v.get("/try?event=app/after-user-created&user=3")
	v.wants(status, page, 200, `It would be <span class="state fair">stale</span>: the user is not in auth.users, which decides`)
	v.wants(status, page, 200, "changes no row")
	status, page = v.get("/try?event=silent/after-user-created&user=3")
	v.wants(status, page, 200, "source silent has no secret, so there is nothing to sign a sample with: it follows the table auth.users")
}

// A sample about another user than the made-up ones shows no personal data of theirs.
func TestTryMasked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.send("user.created", set("data.id", "user_real"), set("data.email_addresses[0].email_address", "secret.person@example.com"))
	v := s.visit()
	v.signIn()
	status, page := v.get("/try?event=clerk/user.deleted&set=data.id%3Duser_real")
	v.wants(status, page, 200, "profiles: delete")
	must.True(t, !strings.Contains(page, "secret.person"), "personal data on %s", page)
}

// The admin API does the same, and sends nothing twice.
func TestTryOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ask := func(body string, want int) (tried trial.Tried, text string) {
		t.Helper()
		r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodPost, s.admin+"/admin/v1/samples", strings.NewReader(body)))(t)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", body)
		status, text := s.visit().read(r)
		must.Equal(t, status, want, text)
		_ = json.Unmarshal([]byte(text), &tried) // an error is told by its text
		return tried, text
	}
	tried, _ := ask(`{"source": "clerk", "event": "user.created", "user": 3, "dry_run": true}`, 200)
	must.Equal(t, []any{tried.Sent, tried.Outcome, len(tried.Changes), tried.Changes[0].Action}, []any{false, "applied", 1, "insert"}, "dry run")
	s.Want("select count(*) from rollcall.events", "0")
	for range 2 {
		tried, _ = ask(`{"source": "clerk", "event": "user.created", "user": 3, "set": ["data.first_name=Zoé"]}`, 200)
		must.Equal(t, []any{tried.Sent, tried.Status, tried.Outcome, tried.Undo[0].Event, tried.Undo[0].User}, []any{true, 204, "applied", "user.deleted", 3}, "sent")
	}
	s.Want("select count(*) from rollcall.events", "1")
	s.Want("select who, action from rollcall.audit_log", "alice|send sample")
	_, text := ask(`{"source": "clerk", "event": "user.married"}`, 422)
	must.Contain(t, text, "there is no such event")
}

// A trial of a sign-up says what the rules of its source decide, before it is sent and behind it.
func TestTrySignUp(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app:\n    provider: supabase\n    when_unavailable: refuse\n    signing_secrets: [\"v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]\n"+
		"    admission: {deny_domains: [evil.example], require: \"new.email not like 'bob%' and 1 / (position('x' in new.email)) = 1\"}\ntargets:")
	v := s.visit()
	v.signIn()
	for email, want := range map[string]string{
		"eve@evil.example": "refused</span>: refused by deny_domains: the domain is on the list", "bob@example.com": "refused</span>: refused by require: the condition is not met",
		"x@example.com": "announced</span>: admitted by require: the condition is met", "ada@ok.org": "unavailable</span>: require: the condition could not be asked",
	} {
		status, page := v.get("/try?event=app/before-user-created&set=" + url.QueryEscape("user.email="+email))
		v.wants(status, page, 200, want)
	}
	s.Want("select count(*) from rollcall.events", "0")
	_, page := v.get("/try?event=app/before-user-created&set=" + url.QueryEscape("user.email=eve@evil.example"))
	status, page := v.post("/do/sample", v.confirm(link(t, page, "/confirm/sample?")))
	v.wants(status, page, 200, "refused by deny_domains: the domain is on the list")
}
