package session

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"rollcall/internal/must"
)

// What the tests configure. No server has an issuer's name: keys are fetched from JWKSURL.
const (
	clerkIssuer    = "https://clerk.example.com"
	supabaseIssuer = "https://made-up.supabase.co/auth/v1"
	origin         = "https://app.example.com"
	jwtSecret      = "made-up-jwt-secret-with-at-least-32-characters"
	clerkUser      = "user_2abcMadeUp"
	supabaseUser   = "6f1d0f4e-8a37-4c57-9a55-3c1d7e1d9b11"
)

// RSA keys take long to make; each is made once.
var (
	clerkKey    = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	supabaseKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	foreignKey  = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	curveKey    = sync.OnceValue(newEC)
)

// sure returns a value whose making does not fail.
func sure[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newRSA(bits int) *rsa.PrivateKey {
	return sure(rsa.GenerateKey(rand.Reader, bits))
}

func newEC() *ecdsa.PrivateKey { return newCurve(elliptic.P256()) }

func newCurve(curve elliptic.Curve) *ecdsa.PrivateKey {
	return sure(ecdsa.GenerateKey(curve, rand.Reader))
}

// clock stands still until it is moved.
type clock struct{ unix atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.unix.Store(time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC).Unix())
	return c
}

func (c *clock) now() time.Time { return time.Unix(c.unix.Load(), 0) }

func (c *clock) pass(d time.Duration) { c.unix.Add(int64(d / time.Second)) }

// provider stands in for the server that publishes keys, and counts who asks.
type provider struct {
	*httptest.Server
	calls  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newProvider(t testing.TB, answer http.HandlerFunc) *provider {
	t.Helper()
	p := &provider{}
	p.answer.Store(&answer)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		(*p.answer.Load())(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// becomes changes what is answered from now on.
func (p *provider) becomes(answer http.HandlerFunc) { p.answer.Store(&answer) }

func (p *provider) wantCalls(t testing.TB, want int64) {
	t.Helper()
	must.Equal(t, p.calls.Load(), want, "fetches of the keys")
}

func publish(t testing.TB, keys ...jose.JSONWebKey) http.HandlerFunc {
	t.Helper()
	return text(http.StatusOK, string(encode(t, jose.JSONWebKeySet{Keys: keys})))
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	return must.Get(json.Marshal(v))(t)
}

func public(kid string, key crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"}
}

// draft is a token before it is written; sign gets header and claims as encoded.
type draft struct {
	header, claims map[string]any
	sign           func(input string) []byte
}

func (d draft) token(t testing.TB) string {
	t.Helper()
	return compact(string(encode(t, d.header)), string(encode(t, d.claims)), d.sign)
}

func compact(header, claims string, sign func(string) []byte) string {
	input := b64(header) + "." + b64(claims)
	return input + "." + b64(string(sign(input)))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func signRSA(key *rsa.PrivateKey) func(string) []byte { return signWith(key, crypto.SHA256) }

// signWith signs with RSA as the options say: a hash alone is PKCS #1.
func signWith(key *rsa.PrivateKey, options crypto.SignerOpts) func(string) []byte {
	return func(input string) []byte {
		sum := options.HashFunc().New()
		sum.Write([]byte(input))
		return sure(key.Sign(rand.Reader, sum.Sum(nil), options))
	}
}

func signEC(key *ecdsa.PrivateKey) func(string) []byte {
	return func(input string) []byte {
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			panic(err)
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		return signature
	}
}

func signHMAC(secret string) func(string) []byte {
	return func(input string) []byte {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(input))
		return mac.Sum(nil)
	}
}

func header(name string, value any) func(*draft) {
	return func(d *draft) { d.header[name] = value }
}

func claim(name string, value any) func(*draft) {
	return func(d *draft) { d.claims[name] = value }
}

func without(name string) func(*draft) {
	return func(d *draft) {
		delete(d.header, name)
		delete(d.claims, name)
	}
}

// since moves a moment to so many seconds from now.
func since(name string, seconds int64) func(*draft) {
	return claim(name, newClock().now().Unix()+seconds)
}

func both(changes ...func(*draft)) func(*draft) {
	return func(d *draft) {
		for _, change := range changes {
			change(d)
		}
	}
}

func signedBy(sign func(string) []byte) func(*draft) {
	return func(d *draft) { d.sign = sign }
}

// world is both providers with the verifier that believes them.
type world struct {
	*Verifier
	*clock
	clerk, supabase *provider
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: newClock()}
	w.clerk = newProvider(t, publish(t, public("ins_1", clerkKey())))
	w.supabase = newProvider(t, publish(t, public("ec-1", curveKey()), public("rsa-1", supabaseKey())))
	w.Verifier = build(t, w.clerkConfig(), w.supabaseConfig())
	return w
}

// parallel is newWorld for a test that runs beside others.
func parallel(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return newWorld(t)
}

func build(t testing.TB, configs ...Config) *Verifier {
	t.Helper()
	return must.Get(New(configs...))(t)
}

func (w *world) clerkConfig() Config {
	return Config{
		Source: "clerk", Provider: Clerk, Issuer: clerkIssuer, JWKSURL: w.clerk.URL,
		AuthorizedParties: []string{"https://other.example.com", origin}, Now: w.now,
	}
}

func (w *world) supabaseConfig() Config {
	return Config{
		Source: "supabase", Provider: Supabase, Issuer: supabaseIssuer, JWKSURL: w.supabase.URL,
		Audience: "authenticated", HS256Secret: jwtSecret, Now: w.now,
	}
}

// clerkDraft has what Clerk's session tokens have.
func (w *world) clerkDraft() draft {
	now := w.now().Unix()
	return draft{
		header: map[string]any{"alg": "RS256", "cat": "cl_made_up", "kid": "ins_1", "typ": "JWT"},
		claims: map[string]any{
			"azp": origin, "exp": now + 60, "iat": now, "iss": clerkIssuer, "jti": "made-up", "nbf": now - 10,
			"sid": "sess_made_up", "sts": "active", "sub": clerkUser, "v": 2,
		},
		sign: signRSA(clerkKey()),
	}
}

func (w *world) supabaseDraft() draft {
	now := w.now().Unix()
	return draft{
		header: map[string]any{"alg": "ES256", "kid": "ec-1", "typ": "JWT"},
		claims: map[string]any{
			"iss": supabaseIssuer, "sub": supabaseUser, "aud": "authenticated", "exp": now + 3600, "iat": now,
			"role": "authenticated", "aal": "aal1", "app_metadata": map[string]any{"provider": "email"},
		},
		sign: signEC(curveKey()),
	}
}

func (w *world) supabaseRSA() draft {
	d := w.supabaseDraft()
	d.header["alg"], d.header["kid"], d.sign = "RS256", "rsa-1", signRSA(supabaseKey())
	return d
}

func (w *world) supabaseHMAC() draft {
	d := w.supabaseDraft()
	d.header["alg"], d.header["kid"], d.sign = "HS256", "legacy", signHMAC(jwtSecret)
	return d
}

// accept fails the test unless the token is believed.
func (w *world) accept(t testing.TB, token, source, userID string) {
	t.Helper()
	got, err := w.Verify(t.Context(), token)
	must.True(t, err == nil && got == Identity{Source: source, User: userID}, "Verify = %+v, %v, want %q, %q", got, err, source, userID)
}

// refusal is why a token is not believed, nil if it is.
func (w *world) refusal(t testing.TB, token string) error {
	t.Helper()
	return must.Err(w.Verify(t.Context(), token))
}
