package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// A request that does not prove who it is from learns nothing, and no provider is asked.
func TestSyncUnverified(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.clerk.Put(clerktest.User{ID: "user_a", Email: "a@example.com"})
	good := l.clerkToken("user_a", nil)
	header, payload, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(payload, ".")
	for name, token := range map[string]string{
		"none at all": "",
		"expired":     l.clerkToken("user_a", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() }),
		"foreign":     l.clerkToken("user_a", func(c map[string]any) { c["iss"] = "https://evil.example.com" }),
		"another app": l.clerkToken("user_a", func(c map[string]any) { c["azp"] = "https://evil.example.com" }),
		"no user":     l.clerkToken("", nil),
		"unsigned":    header + "." + payload + ".",
		"tampered":    header + "." + payload[:len(payload)-4] + "AAAA." + signature,
		"of nobody":   "x.y.z",
	} {
		a := l.call(http.MethodPost, token, nil)
		challenge := `Bearer error="invalid_token"`
		if token == "" {
			challenge = "Bearer"
		}
		if a.status != http.StatusUnauthorized || a.Error.Code != "unverified" || a.header.Get("WWW-Authenticate") != challenge {
			t.Errorf("%s: got %s, %s", name, a, a.header.Get("WWW-Authenticate"))
		}
	}
	l.counts(
		`rollcall_sync_total{result="unverified",source="clerk"} 3`, // expired, another app, no user
		`rollcall_sync_total{result="unverified",source="unknown"} 5`,
		`rollcall_sync_total{result="unverified",source="supabase"} 0`,
		`rollcall_sync_seconds_count{source="clerk"} 0`,
	)
	for _, line := range l.log.Lines("sync") {
		if line["user"] != nil {
			t.Errorf("the log names a user who is not proven: %v", line)
		}
	}
	if n := len(l.clerk.Requests()); n != 0 {
		t.Errorf("the API was asked %d times", n)
	}
	l.db.Want("select count(*) from rollcall.users", "0")
	l.wants(good, "200 user_a map[profiles:applied]")
	l.keys.Close() // the last good keys are kept
	l.wants(l.clerkToken("user_a", nil), "200 user_a map[profiles:applied]")
}

// A provider whose keys can't be had is away for its own users only, and is counted as that.
func TestSyncWithoutKeys(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.keys.Close()
	a := l.wants(l.clerkToken("user_a", nil), "503 unavailable map[]")
	// The keys are not asked for again at once: to come back after a second would be in vain.
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 2 || seconds > 5 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	l.wants(l.supabaseToken(supaUser), "404 gone map[]")
	l.counts(
		`rollcall_sync_total{result="unavailable",source="clerk"} 1`, `rollcall_sync_total{result="unavailable",source="supabase"} 0`,
		`rollcall_sync_seconds_count{source="clerk"} 1`,
	)
}

// What can't be known now is asked for again later, when the answer says so.
func TestSyncUnavailable(t *testing.T) {
	testtag.Parallel(t)
	l := openLobby(t)
	l.clerk.Put(clerktest.User{ID: "user_a", Email: "a@example.com"})
	token := l.clerkToken("user_a", nil)
	away := func(retryAfter string) {
		t.Helper()
		if a := l.wants(token, "503 unavailable map[]"); a.header.Get("Retry-After") != retryAfter {
			t.Errorf("Retry-After %q, want %q", a.header.Get("Retry-After"), retryAfter)
		}
	}
	l.clerk.FailNext(1, http.StatusInternalServerError)
	away("1")
	l.clerk.CutNext(1)
	away("1")
	l.clerk.SetDelay(time.Minute)
	began := time.Now()
	away("1")
	if took := time.Since(began); testtag.Timing && took > 8*time.Second {
		t.Errorf("a slow provider was waited for %s", took)
	}
	l.clerk.SetDelay(0)
	l.wants(token, "200 user_a map[profiles:applied]")

	for range 10 {
		l.wants(l.clerkToken("user_b", nil), "404 gone map[]")
	}
	asked := l.clerk.Requested(clerktest.Single)
	a := l.wants(l.clerkToken("user_b", nil), "429 limited map[]")
	var seconds int
	if _, err := fmt.Sscan(a.header.Get("Retry-After"), &seconds); err != nil || seconds < 30 || seconds > 60 || l.clerk.Requested(clerktest.Single) != asked {
		t.Errorf("Retry-After %q after %d fetches", a.header.Get("Retry-After"), l.clerk.Requested(clerktest.Single))
	}

	key := l.clerk.Key()
	l.clerk.SetKey("sk_test_another")
	l.clerk.Put(clerktest.User{ID: "user_c"})
	l.wants(l.clerkToken("user_c", nil), "503 unavailable map[]")
	l.clerk.SetKey(key)
	if log := l.log.String(); strings.Contains(log, key) {
		t.Error("the log holds the key of the API")
	}
	l.clerk.SetLimit(1, 30*time.Second)
	l.wants(l.clerkToken("user_d", nil), "404 gone map[]")
	a = l.wants(l.clerkToken("user_c", nil), "503 unavailable map[]")
	asked = l.clerk.Requested(clerktest.Single)
	b := l.wants(l.clerkToken("user_c", nil), "503 unavailable map[]")
	if a.header.Get("Retry-After") < "20" || b.header.Get("Retry-After") < "20" || l.clerk.Requested(clerktest.Single) != asked {
		t.Errorf("Retry-After %q, then %q", a.header.Get("Retry-After"), b.header.Get("Retry-After"))
	}
}

// Where everything is slow, a request waits for as long as a sync may take, not for as long as
// a body may.
func TestSyncSlow(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.clerk.Put(clerktest.User{ID: "user_a", Email: "a@example.com"})
	quick := l.keys.Config.Handler
	l.keys.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Second)
		quick.ServeHTTP(w, r)
	})
	l.clerk.SetDelay(2 * time.Second)
	l.db.Exec(`create function dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(1.2); return new; end';
create trigger slow before insert on profiles for each row execute function dawdle()`)
	l.wants(l.clerkToken("user_a", nil), "200 user_a map[profiles:applied]")
}

// Pages of the configured origins may call, and nobody else's.
func TestSyncOrigins(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.clerk.Put(clerktest.User{ID: "user_a"})
	ask := map[string]string{"Origin": appOrigin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
	a := l.call(http.MethodOptions, "", ask)
	if h := a.header; a.status != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != appOrigin || h.Get("Access-Control-Allow-Methods") != "POST" ||
		!strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "authorization") || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("got %d, %v", a.status, h)
	}
	token := l.clerkToken("user_a", nil)
	if a := l.call(http.MethodPost, token, map[string]string{"Origin": appOrigin}); a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != appOrigin {
		t.Errorf("got %d, %v", a.status, a.header)
	}
	if a := l.call(http.MethodPost, "bad", map[string]string{"Origin": appOrigin}); a.status != http.StatusUnauthorized || a.header.Get("Access-Control-Allow-Origin") != appOrigin {
		t.Errorf("a page must be able to read why it is refused: got %d, %v", a.status, a.header)
	}
	for _, origin := range []string{"https://evil.example.com", appOrigin + ".evil.com", "null", "http://app.example.com", appOrigin + ":8443"} {
		ask["Origin"] = origin
		for _, method := range []string{http.MethodOptions, http.MethodPost} {
			if a := l.call(method, token, ask); a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: got %v", method, origin, a.header)
			}
		}
	}
	if a := l.call(http.MethodGet, token, nil); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// Where no source has a session, the path is closed.
func TestSyncClosed(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	for _, method := range []string{http.MethodPost, http.MethodOptions} {
		r := must.Get(http.NewRequestWithContext(t.Context(), method, "/v1/sync", http.NoBody))(t)
		if status, _, body := in.send(r); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
}
