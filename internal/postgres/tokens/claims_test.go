//go:build unix

package tokens_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/tokens"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	known   = "00000000-0000-4000-8000-000000000001"
	unknown = "00000000-0000-4000-8000-000000000002"
	deleted = "00000000-0000-4000-8000-000000000003"
)

// project is a hosted project whose auth server asks for claims.
type project struct {
	*fixture.Bench
	hosted *pgtest.Hosted
	auth   *pgtest.Conn
	tokens tokens.Tokens
}

// newProject has two users in the roll, one of them deleted, and a table of the application with row security.
func newProject(t *testing.T) *project {
	t.Helper()
	h := pgtest.NewHosted(t)
	owner := pgtest.Connect(t, h.As("owner"))
	p := &project{hosted: h, Bench: &fixture.Bench{Database: fixture.At(t, h.URL)}}
	rollcall := h.Role("rollcall")
	owner.Run(fmt.Sprintf(`create role %[1]s login; grant connect, create on database %[2]s to %[1]s;
create table public.p (id uuid primary key, email text, name text, role text);
create table public.roles (user_id text primary key, role text); alter table public.roles enable row level security;
insert into public.roles values ('%[3]s', 'editor');
grant usage on schema public to %[1]s; grant select, insert, update, delete on public.p, public.roles to %[1]s`, rollcall, p.SQL.Config().Database, known))
	p.Exec(fmt.Sprintf("grant %s to %s; alter role %[1]s bypassrls; alter role %[3]s login", rollcall, h.Role("owner"), h.Role("supabase_auth_admin")))
	p.Bench = p.Database.Bench(h.As("rollcall"), fixture.Members())
	must.Get(p.DB.Migrate(t.Context()))(t)
	p.Exec(fmt.Sprintf(`insert into rollcall.users (source, id, version, changed_at, email, first_name, deleted_at) values
		('app', '%s', 1, now(), 'a@x', 'Ada', null), ('app', '%s', 1, now(), null, null, now())`, known, deleted))
	p.auth = pgtest.Connect(t, h.As("supabase_auth_admin"))
	p.tokens = tokens.Tokens{Pool: p.Pool}
	return p
}

func (p *project) claims(of map[string]string) *target.Claims {
	c := &target.Claims{Source: "app", Role: p.hosted.Role("supabase_auth_admin")}
	for name, sql := range of {
		c.Set = append(c.Set, target.Assignment{Column: name, Expr: target.Expr{SQL: sql, At: "rollcall.yaml:9:7"}})
	}
	slices.SortFunc(c.Set, func(a, b target.Assignment) int { return strings.Compare(a.Column, b.Column) })
	return c
}

// required is what the auth server's own claims are.
const required = `"aal": "aal1", "aud": "authenticated", "email": "a@x", "exp": 2, "iat": 1, "is_anonymous": false, "phone": "", "role": "authenticated", "session_id": "s"`

// signIn asks as the auth server does, and returns what is added; the auth server's own claims must be there.
func (p *project) signIn(c *target.Claims, id string) map[string]any {
	p.T.Helper()
	var out struct {
		UserID string `json:"user_id"`
		Claims map[string]any
		Method string `json:"authentication_method"`
	}
	event := fmt.Sprintf(`{"user_id": %q, "claims": {"sub": %[1]q, %s}, "authentication_method": "password"}`, id, required)
	var answer string
	p.auth.Run("set statement_timeout = '2s'")
	must.Do(p.T, p.auth.QueryRow(p.T.Context(), "select rollcall_api."+c.Function()+"($1)", event).Scan(&answer))
	must.Do(p.T, json.Unmarshal([]byte(answer), &out))
	var own map[string]any
	must.Do(p.T, json.Unmarshal([]byte("{"+required+"}"), &own))
	for name, value := range own {
		must.Equal(p.T, out.Claims[name], value, "the claim "+name)
		delete(out.Claims, name)
	}
	must.True(p.T, out.UserID == id && out.Claims["sub"] == id && out.Method == "password", "the event is another: %s", answer)
	delete(out.Claims, "sub")
	return out.Claims
}

// Claims come from the roll and from tables with row security. A user that the roll does not have gets defaults, and
// a claim that is null is left out.
func TestClaims(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := p.claims(map[string]string{
		"app_role":  "coalesce((select r.role from public.roles r where r.user_id = new.id), 'member')",
		"name":      "new.first_name",
		"tags":      "array['a', 'b']",
		"$rollcall": "'$rollcall$'",
		"new":       "new.id is null",
	})
	must.Do(t, p.tokens.Install(t.Context(), c))
	must.Do(t, p.tokens.Install(t.Context(), c))
	tags := []any{"a", "b"}
	must.Equal(t, p.signIn(c, known), map[string]any{"app_role": "editor", "name": "Ada", "tags": tags, "$rollcall": "$rollcall$", "new": false}, "of a known user")
	for _, id := range []string{unknown, deleted} {
		must.Equal(t, p.signIn(c, id), map[string]any{"app_role": "member", "tags": tags, "$rollcall": "$rollcall$", "new": true}, "of "+id)
	}
	must.Do(t, p.tokens.Remove(t.Context(), c))
	must.Equal(t, must.Get(p.tokens.State(t.Context(), c))(t), tokens.State{}, "state once removed")
}

// Whatever goes wrong, the user signs in, without the added claims.
func TestClaimsThatFail(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.Exec(`create table public.later (id text); grant select on public.later to public;
		create function public.raises(text) returns text language plpgsql as $$ begin if $1 is not null then raise 'no'; end if; return 'x'; end $$;
		create function public.slow(text) returns text language plpgsql as $$ begin if $1 is not null then perform pg_sleep(10); end if; return 'x'; end $$;
		create function public.asserts(text) returns text language plpgsql as $$ begin assert $1 is null, 'no'; return 'x'; end $$`)
	for name, tt := range map[string]struct{ sql, before string }{
		"a missing table":         {"(select id from public.later limit 1)", "drop table public.later"},
		"a query that raises":     {"public.raises(new.id)", ""},
		"an assertion that fails": {"public.asserts(new.id)", ""},
		"a slow query":            {"public.slow(new.id)", ""},
		"several rows":            {"(select 'x' from generate_series(1, 2))", ""},
		"a table that is locked":  {"(select role from public.roles limit 1)", "begin; lock table public.roles"},
		"hidden rows":             {"(select role from public.roles limit 1)", "alter role " + p.hosted.Role("rollcall") + " nobypassrls"},
		"a division of the roll":  {"1 / (length(new.first_name) - 3)", ""},
		"a column that was taken": {"(select role from public.roles limit 1)", "alter table public.roles rename role to kind"},
	} {
		c := p.claims(map[string]string{"a": "'always'", "bad": tt.sql})
		must.Do(t, p.tokens.Install(t.Context(), c))
		p.Exec(tt.before)
		began := time.Now()
		must.Equal(t, p.signIn(c, known), map[string]any{}, name)
		must.True(t, time.Since(began) < 5*time.Second, "%s takes %s", name, time.Since(began))
		p.Exec(`rollback; alter role ` + p.hosted.Role("rollcall") + ` bypassrls;
			create table if not exists public.later (id text); grant select on public.later to public;
			do $$ begin alter table public.roles rename kind to role; exception when others then null; end $$`)
	}
	c := p.claims(map[string]string{"empty": "null"})
	must.Do(t, p.tokens.Install(t.Context(), c))
	must.Equal(t, p.signIn(c, known), map[string]any{}, "of null")
}

// An expression that PostgreSQL refuses is refused before anything is installed, with its place.
func TestClaimsAreChecked(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	p.Exec("alter role " + p.hosted.Role("rollcall") + " nobypassrls; create function public.lookup(text) returns text language sql as 'select $1'")
	for sql, want := range map[string]string{
		"new.emial":           `column new.emial does not exist`,
		"unnest(array[1, 2])": "set-returning functions are not allowed in CASE",
		"max(new.id)":         "aggregate functions are not allowed",
		"(select role from public.roles where user_id = new.id)": "row-level security",
		"(select 1 from public.nothing)":                         "\"public.nothing\" does not exist (42P01)",
		"(select 1 from roles)":                                  "\"roles\" does not exist (42P01); write tables, functions and types with their schema, such as public.NAME",
		"lookup(new.id)":                                         "does not exist (42883); write tables, functions and types with their schema",
	} {
		err := p.tokens.Install(t.Context(), p.claims(map[string]string{"x": sql}))
		must.True(t, err != nil && strings.Contains(err.Error(), want) && strings.HasPrefix(err.Error(), "rollcall.yaml:9:7: claim x of source app"), "got %v, want %s", err, want)
		must.Equal(t, strings.Contains(err.Error(), "such as public.NAME"), strings.Contains(want, "their schema"), sql+": "+err.Error())
	}
	must.Equal(t, must.Get(p.tokens.State(t.Context(), p.claims(nil)))(t).Installed, false, "installed")
}

// Nobody but the auth server may call the function, whoever installs it and whatever default privileges say.
func TestCallers(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := p.claims(map[string]string{"x": "1"})
	p.Exec(fmt.Sprintf("alter default privileges for role %s in schema rollcall_api grant execute on functions to %s; grant usage on schema rollcall_api to public",
		p.hosted.Role("rollcall"), p.hosted.Role("anon")))
	must.Do(t, p.tokens.Install(t.Context(), c))
	for _, role := range []string{"anon", "authenticated", "service_role", "stranger"} {
		_, err := pgtest.Connect(t, p.hosted.As(role)).Exec(t.Context(), "select rollcall_api."+c.Function()+"('{}')")
		must.True(t, err != nil && strings.Contains(err.Error(), "permission denied"), "%s may call it: %v", role, err)
	}
	state := must.Get(p.tokens.State(t.Context(), c))(t)
	must.Equal(t, state, tokens.State{Installed: true, Current: true, Owner: p.hosted.Role("rollcall"), Others: []string{}, Callable: true}, "state")
	p.Exec("grant execute on function rollcall_api." + c.Function() + "(jsonb) to public, " + p.hosted.Role("anon") + "; revoke all on schema rollcall_api from public, " + c.Role)
	state = must.Get(p.tokens.State(t.Context(), c))(t)
	must.True(t, slices.Equal(state.Others, []string{p.hosted.Role("anon"), "public"}) && !state.Callable, "state %+v", state)
	must.True(t, !must.Get(p.tokens.State(t.Context(), p.claims(map[string]string{"x": "2"})))(t).Current, "another text is current")
	for _, change := range []string{"set search_path = pg_catalog, public", "security invoker", "reset lock_timeout"} {
		must.Do(t, p.tokens.Install(t.Context(), c))
		p.Exec("alter function rollcall_api." + c.Function() + "(jsonb) " + change)
		must.True(t, !must.Get(p.tokens.State(t.Context(), c))(t).Current, "current after %s", change)
	}
}

// No function of rollcall_api finds anything by a name without a schema that others may create, a temporary table of
// the caller's either: the expressions of claims name schemas.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	must.Do(t, p.tokens.Install(t.Context(), p.claims(map[string]string{"x": "1"})))
	p.Exec(must.Get(p.tokens.Policy(t.Context(), &target.Target{Name: "p", Table: "public.p", Set: set("id", "new.id::uuid")}, p.hosted.Role("authenticated")))(t))
	const path = " search_path=pg_catalog, pg_temp"
	p.Want(`select p.proname || ' ' || p.prosecdef || ' ' || (select c from unnest(p.proconfig) c where c like 'search_path=%')
		from pg_proc p where p.pronamespace = 'rollcall_api'::regnamespace order by p.proname`,
		"access_token_claims_app true"+path, "be false"+path, "me false"+path, "my_organizations true"+path)
}

// The script works for the project's owner, too, in the SQL editor.
func TestScriptOfClaims(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	c := p.claims(map[string]string{"role_of": "(select r.role from public.roles r where r.user_id = new.id)"})
	owner := pgtest.Connect(t, p.hosted.As("owner"))
	var inherits string
	must.Do(t, owner.QueryRow(t.Context(), "select case when current_setting('server_version_num')::int >= 160000 then ' with inherit true' else '' end").Scan(&inherits))
	p.Exec("revoke " + p.hosted.Role("rollcall") + " from " + p.hosted.Role("owner"))
	p.Exec(fmt.Sprintf("grant usage on schema rollcall to %[1]s; grant select on rollcall.users to %[1]s; grant usage, create on schema rollcall_api to %[1]s", p.hosted.Role("owner")))
	_, refused := owner.Exec(t.Context(), tokens.Script(c))
	must.True(t, refused != nil && strings.Contains(refused.Error(), "may not grant the use of schema rollcall_api"), "the script without that right: %v", refused)
	owner.Run("rollback")
	must.Equal(t, must.Get(p.tokens.State(t.Context(), c))(t).Installed, false, "installed in part")
	p.Exec("grant " + p.hosted.Role("rollcall") + " to " + p.hosted.Role("owner") + inherits)
	owner.Run(tokens.Script(c))
	must.Equal(t, p.signIn(c, known), map[string]any{"role_of": "editor"}, "claims")
	_, err := pgtest.Connect(t, p.hosted.As("stranger")).Exec(t.Context(), tokens.Script(c))
	must.True(t, err != nil && strings.Contains(err.Error(), "may not read rollcall.users"), "a stranger installs it: %v", err)
}

// What claims cost each sign-in: printed.
func TestCostOfClaims(t *testing.T) {
	p := newProject(t)
	c := p.claims(map[string]string{"app_role": "coalesce((select r.role from public.roles r where r.user_id = new.id), 'member')", "name": "new.first_name"})
	must.Do(t, p.tokens.Install(t.Context(), c))
	p.FillRoll(10_000)
	var took []time.Duration
	for range 10_000 {
		began := time.Now()
		_, err := p.auth.Exec(t.Context(), "select rollcall_api."+c.Function()+"($1)", fmt.Sprintf(`{"user_id": %q, "claims": {"role": "authenticated"}}`, known))
		must.Do(t, err)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("of 10,000 calls: median %s, 99 in 100 below %s", took[5000], took[9900])
}
