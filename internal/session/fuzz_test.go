package session

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"rollcall/internal/must"
)

// FuzzVerify believes nothing but the tokens it began with: nobody else has a key. The
// verifier never panics, and refuses with ErrInvalid alone.
func FuzzVerify(f *testing.F) {
	attacker := newProvider(f, publish(f, public("ins_1", foreignKey())))
	w := newWorld(f)
	believed := map[string]bool{}
	for _, d := range []draft{w.clerkDraft(), w.supabaseDraft(), w.supabaseRSA(), w.supabaseHMAC()} {
		token := d.token(f)
		believed[token] = true
		f.Add(token)
	}
	for _, h := range hostiles(attacker.URL) {
		_, bad := h.tokens(f, w)
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, token string) {
		try := func(token string) {
			who, err := w.Verify(t.Context(), token)
			switch {
			case believed[token] != (err == nil):
				t.Errorf("Verify(%q) = %+v, %v", token, who, err)
			case err != nil && !errors.Is(err, ErrInvalid):
				t.Errorf("Verify(%q): %v, want %v", token, err, ErrInvalid)
			}
		}
		try(token)
		// A mutation hardly ever stays in base64url: let it be the claims, and the header, too.
		try(compact(`{"alg":"RS256","kid":"ins_1"}`, token, fixed(strings.Repeat("x", 256))))
		try(compact(token, `{"iss":"`+clerkIssuer+`"}`, signHMAC(strings.Repeat("x", minSecret))))
	})
}

// FuzzClaims signs whatever claims with the right secret. Those that are believed name the
// source's issuer and audience, end in the future, and have an id that a table can hold.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	good := w.supabaseHMAC()
	f.Add(string(encode(f, good.claims)))
	for _, h := range hostileClaims() {
		d := h.from(w)
		d.claims["iss"], d.claims["aud"] = good.claims["iss"], good.claims["aud"]
		h.change(&d)
		f.Add(string(encode(f, d.claims)))
	}
	f.Fuzz(func(t *testing.T, claims string) {
		who, err := w.Verify(t.Context(), compact(`{"alg":"HS256"}`, claims, signHMAC(jwtSecret)))
		if err != nil {
			must.True(t, errors.Is(err, ErrInvalid), "%q: %v", claims, err)
			return
		}
		var c map[string]any // a struct would match "EXP", too
		if err := json.Unmarshal([]byte(claims), &c); err != nil {
			t.Fatalf("%q is believed: %v", claims, err)
		}
		list, _ := c["aud"].([]any)
		one, _ := c["aud"].(string)
		exp, _ := c["exp"].(float64)
		if who.Source != "supabase" || who.Organization != "" || c["iss"] != supabaseIssuer || int64(exp)+5 <= w.now().Unix() ||
			one != "authenticated" && !slices.Contains(list, any("authenticated")) {
			t.Errorf("%q is believed", claims)
		}
		if id := who.User; id != c["sub"] || id == "" || len(id) > maxID || !utf8.ValidString(id) || strings.Contains(id, "\x00") {
			t.Errorf("%q is believed of %q", claims, id)
		}
	})
}

// FuzzKeySet reads whatever is published. What is kept of it can verify, and can't sign.
func FuzzKeySet(f *testing.F) {
	for _, key := range []any{clerkKey().Public(), curveKey().Public(), clerkKey(), curveKey(), []byte(jwtSecret), newCurve(elliptic.P384()).Public()} {
		f.Add(encode(f, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "ins_1", Use: "sig"}}}))
	}
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"e"},{"kty":"RSA","n":"AA","e":"","kid":"r"},null,[]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeys(body)
		must.True(t, (err == nil) == (len(keys) > 0), "%d keys, %v", len(keys), err)
		for name, key := range keys {
			_, ofRSA := key.(*rsa.PublicKey)
			_, ofEC := key.(*ecdsa.PublicKey)
			must.True(t, name.id != "" && ofRSA == (name.algorithm == jose.RS256) && ofEC == (name.algorithm == jose.ES256),
				"kept %T as %v", key, name)
		}
	})
}
