package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// knock sends a request without a body to the admin listener.
func knock(t *testing.T, method, path, authorization string) (answer *httptest.ResponseRecorder, log string) {
	t.Helper()
	var lines strings.Builder
	s := New(Config{
		Limits: Limits{Connections: 2}, Log: slog.New(slog.NewTextHandler(&lines, nil)), AdminToken: "made-up-token",
		Ready: func(context.Context) error { return nil },
	})
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer = httptest.NewRecorder()
	s.Admin().ServeHTTP(answer, r)
	return answer, lines.String()
}

// Monitors ask with HEAD, which every path that takes GET takes.
func TestHead(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK, "/healthz/": http.StatusOK, "/webhooks/clerk": http.StatusNotFound} {
		if answer, log := knock(t, http.MethodHead, path, ""); answer.Code != want {
			t.Errorf("HEAD %s: %d, want %d; the log says %s", path, answer.Code, want, log)
		}
	}
}

// Who guesses the admin token shows in the log, and the guess does not.
func TestWrongAdminToken(t *testing.T) {
	t.Parallel()
	for _, authorization := range []string{"", "Bearer guess", "made-up-token"} {
		answer, log := knock(t, http.MethodGet, "/admin/v1/status", authorization)
		if answer.Code != http.StatusUnauthorized || !strings.Contains(log, "request refused") || !strings.Contains(log, "status=401") ||
			strings.Contains(log, "guess") || strings.Contains(log, "made-up-token") {
			t.Errorf("%q: %d; the log says %s", authorization, answer.Code, log)
		}
	}
}
