package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"rollcall/internal/clerktest"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

const (
	jwtSecret = "made-up-jwt-secret-with-at-least-32-characters"
	appOrigin = "https://app.example.com"
	supaUser  = "6f1d0f4e-8a37-4c57-9a55-3c1d7e1d9b11"
)

// lobby is a serve whose users can be looked up: Clerk's by a stand-in for its API, Supabase's
// in the table of the same database.
type lobby struct {
	*instance
	clerk *clerktest.Clerk
	keys  *httptest.Server // Clerk's issuer
	sign  jose.Signer
}

var lobbyKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// openLobby starts one; more is the rest of its configuration.
func openLobby(t *testing.T, more ...string) *lobby {
	t.Helper()
	l := &lobby{clerk: clerktest.New(t)}
	key := must.Get(lobbyKey())(t)
	l.sign = must.Get(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "ins_1"}}, nil))(t)
	l.keys = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "ins_1", Use: "sig", Algorithm: "RS256"}}})
	}))
	t.Cleanup(l.keys.Close)
	yaml := strings.NewReplacer(
		clerkInstance, fmt.Sprintf("    api: {key: %s, url: %s}\n    session: {issuer: %s, authorized_parties: [%s]}\n", l.clerk.Key(), l.clerk.URL(), l.keys.URL, appOrigin),
		"    database_webhook:", supabaseSession+"    database_webhook:",
	).Replace(twoSources) + "sync: {origins: [" + appOrigin + "]}\n" + shopTargets + strings.Join(more, "")
	l.instance = serveAt(t, yaml, pgtest.NewWith(t, pgtest.Auth, shopTables))
	l.log.await(t, "a finding", 1) // of the superuser: the first examination has asked Clerk's API, too
	l.clerk.ForgetRequests()
	return l
}

// clerkToken is a session token of Clerk's, changed before it is signed.
func (l *lobby) clerkToken(user string, change func(map[string]any)) string {
	l.t.Helper()
	now := time.Now()
	claims := map[string]any{"iss": l.keys.URL, "sub": user, "azp": appOrigin, "iat": now.Unix(), "nbf": now.Unix() - 10, "exp": now.Add(time.Minute).Unix(), "sid": "sess_1"}
	if change != nil {
		change(claims)
	}
	return must.Get(jwt.Signed(l.sign).Claims(claims).Serialize())(l.t)
}

func (in *instance) supabaseToken(user string) string {
	in.t.Helper()
	return supabaseToken(in.t, user)
}

// supabaseToken is a session token of Supabase's.
func supabaseToken(t testing.TB, user string) string {
	t.Helper()
	sign := must.Get(jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(jwtSecret)}, nil))(t)
	return must.Get(jwt.Signed(sign).Claims(map[string]any{
		"iss": "https://made-up.supabase.co/auth/v1", "aud": "authenticated", "sub": user, "role": "authenticated",
		"exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize())(t)
}

// answered is what a front end gets back.
type answered struct {
	status int
	header http.Header
	User   struct {
		Source, ID, Email string
	}
	Organization, Membership map[string]any
	Targets                  map[string]string
	Error                    struct{ Code, Message string }
	body                     string
}

func (a answered) String() string {
	return fmt.Sprintf("%d %s%s %v", a.status, a.Error.Code, a.User.ID, a.Targets)
}

// call sends a request of a method to /v1/sync.
func (in *instance) call(method, token string, asked map[string]string) answered {
	in.t.Helper()
	r := must.Get(http.NewRequestWithContext(in.t.Context(), method, in.public+"/v1/sync", http.NoBody))(in.t)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for name, value := range asked {
		r.Header.Set(name, value)
	}
	status, header, body := exchange(in.t, r)
	a := answered{status: status, header: header, body: body}
	if body != "" {
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			in.t.Fatalf("%s: %v", body, err)
		}
	}
	return a
}

// wants fails unless a sync with the token is answered so.
func (l *lobby) wants(token, want string) answered {
	l.t.Helper()
	a := l.call(http.MethodPost, token, nil)
	if a.String() != want {
		l.t.Errorf("got %s, want %s", a, want)
	}
	return a
}

// Many first requests of one user: one fetch, one row, and every request has its answer.
func TestSyncFirstRequests(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	user := l.clerk.Put(clerktest.User{ID: "user_first", Email: "first@example.com", FirstName: "Fi"})
	l.clerk.SetDelay(50 * time.Millisecond)
	token := l.clerkToken(user.ID, nil)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			a := l.wants(token, "200 user_first map[profiles:applied]")
			if a.User.Email != user.Email || a.User.Source != "clerk" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %+v", a)
			}
		})
	}
	asking.Wait()
	if n := l.clerk.Requested(clerktest.Single); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	l.db.Want("select id, email, name from profiles", "user_first|first@example.com|Fi")
	l.counts(
		`rollcall_sync_total{result="synced",source="clerk"} 20`, `rollcall_sync_lookups_total{result="found",source="clerk"} 1`,
		`rollcall_sync_total{result="limited",source="supabase"} 0`, `rollcall_sync_total{result="unverified",source="unknown"} 0`,
		`rollcall_sync_seconds_count{source="clerk"} 20`,
	)
}

// Each source's users, by each source's token, at each state they can be in.
func TestSyncAnswers(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.clerk.Put(clerktest.User{ID: "user_a", Email: "a@example.com"})
	l.db.Exec("insert into auth.users (id, email, created_at, updated_at) values ($1, 's@example.com', now(), now())", supaUser)
	l.wants(l.supabaseToken(supaUser), "200 "+supaUser+" map[profiles:applied]")
	l.wants(l.supabaseToken("11111111-0000-4000-8000-000000000000"), "404 gone map[]")
	l.wants(l.clerkToken("user_nobody", nil), "404 gone map[]")
	l.wants(l.clerkToken("../count", nil), "404 gone map[]")
	l.db.Exec("alter table profiles add constraint no check (email <> 'a@example.com')")
	l.wants(l.clerkToken("user_a", nil), "200 user_a map[profiles:parked]")
	l.db.Exec("alter table profiles drop constraint no")
	l.wants(l.clerkToken("user_a", nil), "200 user_a map[profiles:applied]")

	l.expect(signed(t, source.Clerk, source.Hook, string(l.clerk.Event("user.deleted", "user_a"))), accepted("applied"))
	l.wants(l.clerkToken("user_a", nil), "410 deleted map[]") // the API still has the user
	l.db.Exec("delete from auth.users")
	l.db.Exec("update rollcall.users set changed_at = changed_at - interval '1 hour'")
	l.wants(l.supabaseToken(supaUser), "410 deleted map[]")
	l.wants(l.supabaseToken(strings.ToUpper(supaUser)), "410 deleted map[]")
	l.db.Want("select count(*) from profiles", "0")
	line := l.log.Lines("sync")[0]
	if line["source"] != "supabase" || line["result"] != "synced" || line["user"] != supaUser || line["status"] != 200.0 {
		t.Errorf("the log says %v", line)
	}
	if log := l.log.String(); strings.Contains(log, "eyJ") || strings.Contains(log, "s@example.com") || strings.Contains(log, "a@example.com") {
		t.Errorf("the log holds a token or an address:\n%s", log)
	}
}

// acting is a change to a token: the user acts for an organisation, as an administrator.
func acting(organization string) func(map[string]any) {
	return func(c map[string]any) {
		c["v"], c["o"] = 2, map[string]any{"id": organization, "slg": "acme", "rol": "admin", "per": "read", "fpm": "1"}
	}
}

// hasTeam fails unless an answer tells of an organisation and a membership: as JSON, or "" for neither of the two.
func (a answered) hasTeam(t *testing.T, organization, role string) {
	t.Helper()
	got := fmt.Sprint(a.Organization["id"], " ", a.Membership["role"], " ", strings.Contains(a.body, `"organization":null,"membership":null`))
	if want := fmt.Sprint(organization, " ", role, " ", false); got != want {
		t.Errorf("got %s in %s, want %s", got, a.body, want)
	}
}

// A token that names an organisation brings it along, with the membership: what the API says of them, not the token.
func TestSyncTeam(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	user := l.clerk.Put(clerktest.User{ID: "user_a", Email: "a@example.com"}).ID
	org := l.clerk.PutOrganization(clerktest.Organization{ID: "org_a", Name: "Acme", Slug: "acme"}).ID
	m := l.clerk.PutMembership(clerktest.Membership{OrganizationID: org, UserID: user, Role: "org:member", Permissions: []string{"org:read"}})
	l.clerk.SetDelay(50 * time.Millisecond)
	token := l.clerkToken(user, acting(org))
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() { l.wants(token, "200 user_a map[profiles:applied]").hasTeam(t, org, "org:member") })
	}
	asking.Wait()
	l.clerk.SetDelay(0)
	fetched := fmt.Sprint(l.clerk.Requested(clerktest.Single), l.clerk.Requested(clerktest.SingleOrganization), l.clerk.Requested(clerktest.MembershipsOf), len(l.clerk.Requests()))
	must.Equal(t, fetched, "1 1 1 3", "fetches")
	l.db.Want("select organization_id, user_id, role, permissions from rollcall.memberships", "org_a|user_a|org:member|[\"org:read\"]")
	l.wants(l.clerkToken(user, func(c map[string]any) { c["org_id"], c["org_role"] = org, "org:admin" }), "200 user_a map[profiles:applied]").hasTeam(t, org, "org:member")

	for name, change := range map[string]func(map[string]any){
		"none":         nil,
		"a text":       func(c map[string]any) { c["o"] = org },
		"without id":   func(c map[string]any) { c["o"] = map[string]any{"slg": "acme"} },
		"no text":      func(c map[string]any) { c["org_id"] = 7 },
		"an empty one": func(c map[string]any) { c["org_id"] = "" },
	} {
		a := l.wants(l.clerkToken(user, change), "200 user_a map[profiles:applied]")
		if strings.Contains(a.body, "organization") || strings.Contains(a.body, "membership") {
			t.Errorf("%s: got %s", name, a.body)
		}
	}

	l.clerk.DeleteMembership(m.ID)
	l.db.Exec("update rollcall.memberships set changed_at = changed_at - interval '1 hour'")
	l.outside(l.wants(token, "200 user_a map[profiles:applied]"), "not_member")
	l.outside(l.wants(l.clerkToken(user, acting("org_unknown")), "200 user_a map[profiles:applied]"), "no_organization")
	l.counts(`rollcall_sync_total{result="not_member",source="clerk"} 1`, `rollcall_sync_total{result="no_organization",source="clerk"} 1`)

	l.clerk.FailEvery(1, http.StatusInternalServerError)
	a := l.wants(l.clerkToken(user, acting("org_other")), "503 unavailable map[]")
	must.Equal(t, a.header.Get("Retry-After"), "1", "Retry-After")
	must.Lack(t, a.body, "user_a")
	l.wants(l.clerkToken(user, nil), "200 user_a map[profiles:applied]")
}

// outside fails unless an answer tells that its user is no member, and the log has the result.
func (l *lobby) outside(a answered, result string) {
	l.t.Helper()
	must.Contain(l.t, a.body, `"organization":null,"membership":null,"targets":{"profiles":"applied"}`)
	lines := l.log.Lines("sync")
	if last := lines[len(lines)-1]; last["result"] != result || last["level"] != "INFO" || last["organization"] == nil {
		l.t.Errorf("the log says %v, want %s", last, result)
	}
}
