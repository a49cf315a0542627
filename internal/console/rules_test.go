package console_test

import (
	"net/http"
	"testing"

	"rollcall/internal/must"
)

// The first page has the rules about sign-ups, and an event the one that decided.
func TestSignUps(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app:\n    provider: supabase\n    signing_secrets: [\"v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\"]\n"+
		"    admission: {deny_domains: [evil.example], allow_domains: [example.com]}\ntargets:")
	s.sendTo("app", "before-user-created", set("user.email", "eve@evil.example"))
	s.Await("select outcome from rollcall.events", "refused")
	s.Exec("update rollcall.events set id = 'msg_1'")
	v := s.visit()
	v.signIn()
	for path, text := range map[string]string{
		"/": "decided by deny_domains, allow_domains; an outage: admit.", "/events?outcome=refused": "refused by deny_domains: the domain is on the list",
		"/events/app/msg_1": "<dt>Reason</dt><dd>refused by deny_domains: the domain is on the list</dd>",
	} {
		status, page := v.get(path)
		v.wants(status, page, 200, text)
	}
}

// The page Now and the API say how the function of a source's claims is.
func TestClaims(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app: {provider: supabase, signing_secrets: [\"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==\"], claims: {plan: \"'free'\"}}\ntargets:")
	v := s.visit()
	v.signIn()
	for _, tt := range []struct{ sql, state, tone string }{
		{"select 1", "missing", "fair"},
		{"create function rollcall_api.access_token_claims_app(jsonb) returns jsonb language sql as 'select $1'", "outdated", "fair"},
	} {
		s.Exec(tt.sql)
		_, page := v.get("/")
		must.Contain(t, page, `<span class="state `+tt.tone+`">`+tt.state+`</span>`)
		ask := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, s.admin+"/admin/v1/status", nil))(t)
		ask.Header.Set("Authorization", "Bearer "+token)
		_, answer := v.read(ask)
		must.Contain(t, answer, `{"name":"clerk","provider":"clerk","decides":"events","last_event":null,"age_seconds":null,"waiting":0},{"name":"app","provider":"supabase",`)
		must.Contain(t, answer, `"claims":"`+tt.state+`"`)
	}
}
