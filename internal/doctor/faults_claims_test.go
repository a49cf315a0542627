package doctor_test

import (
	"strings"
	"testing"

	"rollcall/internal/doctor"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/tokens"
)

// withClaims gives the source app a claim, whose auth server works as a role of the test.
func withClaims(expression string) func(*patient) {
	return func(p *patient) {
		edit(appSource, appSource+"    claims: {plan: \""+expression+"\"}\n")(p)
		p.authRole = p.NewRole("", "comment on role %[1]s is 'an auth server''s'")
		p.change = func(c *doctor.Config) {
			for i := range c.Claims {
				c.Claims[i].Role = p.authRole
			}
		}
	}
}

// installed installs the claims that the source has now.
func installed(p *patient) {
	p.T.Helper()
	s, db := p.open()
	c := s.Claims()[0]
	c.Role = p.authRole
	pgtest.Connect(p.T, p.url).Run(tokens.Script(&c))
	must.Equal(p.T, must.Get(tokens.Tokens{Pool: db.Pool()}.State(p.T.Context(), &c))(p.T).Current, true, "the claims are installed")
	db.Close()
}

// claimsFaults are those of the function for access tokens.
var claimsFaults = []fault{
	{
		code: "claims_missing", place: "rollcall.yaml:", words: "the function is not installed", remedy: "rollcall claims install app",
		seed: withClaims("'free'"), after: installed,
	},
	{
		code: "claims_old", place: "function rollcall_api.access_token_claims_app", words: "older than the configuration", remedy: "rollcall claims install app",
		seed:  both(withClaims("'free'"), installed, func(p *patient) { p.yaml = strings.Replace(p.yaml, "plan: \"'free'\"", "plan: \"'paid'\"", 1) }),
		after: installed,
	},
	{
		code: "claims_open", place: "function rollcall_api.access_token_claims_app", words: "any user has: public", remedy: "from public",
		seed: both(withClaims("'free'"), installed, run("grant execute on function rollcall_api.access_token_claims_app(jsonb) to public")),
	},
	{
		code: "claims_closed", place: "function rollcall_api.access_token_claims_app", words: "no user can sign in", remedy: "rollcall claims install app",
		seed: both(withClaims("'free'"), installed, func(p *patient) {
			p.Exec("revoke all on function rollcall_api.access_token_claims_app(jsonb) from " + p.authRole)
		}), after: installed,
	},
	{
		code: "claims_refused", place: "rollcall.yaml:", words: "claim plan of source app", remedy: "rollcall.yaml",
		seed:  withClaims("(select plan from public.nothing)"),
		after: run("create table public.nothing (plan text); grant select on public.nothing to %[1]s"),
	},
	{
		code: "claim_invalid", place: "rollcall.yaml:", words: "Supabase gives this claim itself", remedy: "rollcall.yaml",
		seed:  edit(appSource, appSource+"    claims: {role: \"'admin'\"}\n"),
		after: edit("{role:", "{app_role:"), stays: "the function is missing then",
	},
}

// The status says of each source with claims how its function is.
func TestStatusOfClaims(t *testing.T) {
	t.Parallel()
	p := admit(t)
	states := func() string {
		s, db := p.open()
		defer db.Close()
		cfg := s.Doctor(db, nil)
		if p.change != nil {
			p.change(&cfg)
		}
		status := doctor.Read(t.Context(), cfg)
		must.True(t, status.Seen(), "unseen: %+v", status.Unseen)
		var said []string
		for _, src := range status.Sources {
			said = append(said, src.Name+" "+src.Claims)
		}
		return strings.Join(said, ", ")
	}
	must.Equal(t, states(), "clerk , app ", "without claims")
	withClaims("'free'")(p)
	must.Equal(t, states(), "clerk , app missing", "before they are installed")
	installed(p)
	must.Equal(t, states(), "clerk , app installed", "then")
	p.yaml = strings.Replace(p.yaml, "'free'\"}", "'paid'\"}", 1)
	must.Equal(t, states(), "clerk , app outdated", "with another claim in the file")
}
