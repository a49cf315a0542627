package session

import (
	"net/http"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// TestBelieved takes what the providers really send, and what the leeway allows.
func TestBelieved(t *testing.T) {
	t.Parallel()
	clerk, supabase := (*world).clerkDraft, (*world).supabaseDraft
	for _, c := range []struct {
		name   string
		from   func(*world) draft
		change func(*draft)
	}{
		{"Clerk, RS256", clerk, nil},
		{"Clerk, version 1, without sts", clerk, without("sts")},
		{"Clerk, the other party", clerk, claim("azp", "https://other.example.com")},
		{"Clerk, an audience nobody asked for", clerk, claim("aud", "an-api")},
		{"Clerk, without typ", clerk, without("typ")},
		{"Clerk, typ in lower case", clerk, header("typ", "jwt")},
		{"Clerk, a subject of 255 bytes", clerk, nil},
		{"within the leeway after exp", clerk, since("exp", -4)},
		{"within the leeway before nbf", clerk, since("nbf", 5)},
		{"within the leeway before iat", clerk, since("iat", 5)},
		{"without nbf and iat", clerk, both(without("nbf"), without("iat"))},
		{"ten years long", clerk, since("exp", 315360000)},
		{"Supabase, ES256", supabase, nil},
		{"Supabase, RS256", (*world).supabaseRSA, nil},
		{"Supabase, HS256", (*world).supabaseHMAC, nil},
		{"Supabase, HS256 without kid", (*world).supabaseHMAC, without("kid")},
		{"Supabase, several audiences", supabase, claim("aud", []string{"other", "authenticated"})},
		{"Supabase, claims of the application's own", supabase, both(claim("azp", 7), claim("sts", map[string]any{}))},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := parallel(t)
			d := c.from(w)
			if c.change != nil {
				c.change(&d)
			}
			if strings.Contains(c.name, "255") {
				d.claims["sub"] = strings.Repeat("é", 127) + "x"
				w.accept(t, d.token(t), "clerk", strings.Repeat("é", 127)+"x")
				return
			}
			source, userID := "clerk", clerkUser
			if strings.Contains(c.name, "Supabase") {
				source, userID = "supabase", supabaseUser
			}
			w.accept(t, d.token(t), source, userID)
		})
	}
}

// TestActiveOrganization reads it of Clerk's tokens of both versions, and takes nothing else for one.
func TestActiveOrganization(t *testing.T) {
	w := parallel(t)
	active := map[string]any{"id": "org_1", "slg": "acme", "rol": "admin", "per": "read", "fpm": "1"}
	for _, c := range []struct {
		change func(*draft)
		want   string
	}{
		{func(*draft) {}, ""},
		{claim("o", active), "org_1"},
		{both(claim("org_id", "org_2"), without("v")), "org_2"},
		{both(claim("o", active), claim("org_id", "org_2")), "org_1"},
		{both(claim("o", "org_1"), claim("org_id", "org_2")), "org_2"},
		{claim("o", "org_1"), ""},
		{claim("o", []any{active}), ""},
		{claim("o", nil), ""},
		{claim("o", map[string]any{}), ""},
		{claim("o", map[string]any{"id": 7}), ""},
		{claim("o", map[string]any{"id": ""}), ""},
		{claim("o", map[string]any{"id": "org\x00"}), ""},
		{claim("o", map[string]any{"id": strings.Repeat("x", maxID+1)}), ""},
		{claim("org_id", map[string]any{"id": "org_1"}), ""},
	} {
		d := w.clerkDraft()
		c.change(&d)
		got := must.Get(w.Verify(t.Context(), d.token(t)))(t)
		must.Equal(t, got, Identity{Source: "clerk", User: clerkUser, Organization: c.want}, string(encode(t, d.claims)))
	}
	d := w.supabaseDraft()
	d.claims["o"], d.claims["org_id"] = active, "org_2" // an application's own
	w.accept(t, d.token(t), "supabase", supabaseUser)
}

// TestNotLookedAt leaves out what the configuration leaves out.
func TestNotLookedAt(t *testing.T) {
	w := parallel(t)
	clerk, supabase := w.clerkConfig(), w.supabaseConfig()
	clerk.AuthorizedParties, supabase.Audience = nil, ""
	w.Verifier = build(t, clerk, supabase)
	d := w.clerkDraft()
	delete(d.claims, "azp")
	w.accept(t, d.token(t), "clerk", clerkUser)
	d = w.supabaseDraft()
	d.claims["aud"] = "another"
	w.accept(t, d.token(t), "supabase", supabaseUser)
}

// TestSecretOnlyWhereConfigured refuses HS256 where there is no secret, whatever signs.
func TestSecretOnlyWhereConfigured(t *testing.T) {
	w := parallel(t)
	good := w.supabaseHMAC()
	w.accept(t, good.token(t), "supabase", supabaseUser)
	w.supabase.wantCalls(t, 0) // a secret needs no keys
	cfg := w.supabaseConfig()
	cfg.HS256Secret = ""
	w.Verifier = build(t, cfg)
	for _, secret := range []string{"", jwtSecret} {
		good.sign = signHMAC(secret)
		must.Fail(t, w.refusal(t, good.token(t)), nil, whyAlgorithm)
	}
	w.accept(t, w.supabaseDraft().token(t), "supabase", supabaseUser)
}

// TestDefaultAddress asks below the issuer when no address is given.
func TestDefaultAddress(t *testing.T) {
	t.Parallel()
	for _, slash := range []string{"", "/"} {
		w := newWorld(t)
		w.clerk.becomes(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/auth/v1/.well-known/jwks.json" {
				publish(t, public("ins_1", clerkKey()))(rw, r)
			}
		})
		cfg := w.clerkConfig()
		cfg.Issuer, cfg.JWKSURL = w.clerk.URL+"/auth/v1"+slash, ""
		w.Verifier = build(t, cfg)
		d := w.clerkDraft()
		d.claims["iss"] = cfg.Issuer
		w.accept(t, d.token(t), "clerk", clerkUser)
	}
}

// TestNew refuses what could not be told apart or would accept any token.
func TestNew(t *testing.T) {
	t.Parallel()
	clerk := Config{Source: "a", Provider: Clerk, Issuer: clerkIssuer}
	supabase := Config{Source: "b", Provider: Supabase, Issuer: supabaseIssuer, HS256Secret: jwtSecret}
	must.Get(New(clerk, supabase))(t)
	for _, c := range []struct {
		change func(clerk, supabase *Config)
		want   string
	}{
		{func(_, s *Config) { s.Issuer = clerkIssuer }, "source b: session: issuer: source a has the same"},
		{func(c, _ *Config) { c.Source = "" }, "it needs the name of its source"},
		{func(c, _ *Config) { c.Provider = "auth0" }, "its provider must be clerk or supabase"},
		{func(c, _ *Config) { c.Issuer = "" }, "issuer: it must be an http or https URL"},
		{func(c, _ *Config) { c.Issuer = "clerk.example.com" }, "issuer: it must be an http or https URL"},
		{func(c, _ *Config) { c.JWKSURL = "file:///etc/passwd" }, "jwks_url: it must be an http or https URL"},
		{func(c, _ *Config) { c.HS256Secret = jwtSecret }, "hs256_secret: Clerk signs session tokens with RS256 only"},
		{func(_, s *Config) { s.HS256Secret = jwtSecret[:31] }, "hs256_secret: it has fewer than 32 bytes"},
	} {
		a, b := clerk, supabase
		c.change(&a, &b)
		v, err := New(a, b)
		if v != nil || err == nil {
			t.Fatalf("New: %v, %v, want %s", v, err, c.want)
		}
		must.Contain(t, err.Error(), c.want)
		must.Lack(t, err.Error(), jwtSecret[:8])
	}
}
