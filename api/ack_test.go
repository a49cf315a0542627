package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rollcall/internal/event"
)

// The answers of the contract: what the provider reads, and nothing for a forger.
func TestAcknowledge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		delivery delivery
		status   int
		body     string // its start
		retry    string
	}{
		{delivery{outcome: event.Applied}, 204, "", ""},
		{delivery{outcome: event.Duplicate}, 204, "", ""},
		{delivery{outcome: event.Stale}, 204, "", ""},
		{delivery{outcome: event.Ignored}, 204, "", ""},
		{delivery{outcome: event.Ignored, event: event.Event{Reply: []byte(`{"decision":"continue"}`)}}, 200, `{"decision":"continue"}`, ""},
		{delivery{outcome: event.Announced}, 204, "", ""},
		{delivery{outcome: event.Admitted}, 204, "", ""},
		{delivery{outcome: event.Parked}, 204, "", ""},
		{delivery{outcome: event.UndecodableBody}, 204, "", ""},
		{delivery{outcome: event.Unverified}, 401, `{"error":{"code":"unverified","message":"`, ""},
		{delivery{outcome: event.TooLarge}, 413, `{"error":{"code":"too_large","message":"`, ""},
		{delivery{outcome: event.Malformed}, 400, `{"error":{"code":"malformed","message":"`, ""},
		{delivery{outcome: event.Malformed, slow: true}, 408, `{"error":{"code":"malformed","message":"`, ""},
		{delivery{outcome: event.Unavailable}, 503, `{"error":{"code":"unavailable","message":"`, "1"},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		status := acknowledge(w, &tt.delivery)
		if status != tt.status || w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) || (tt.body == "") != (w.Body.Len() == 0) {
			t.Errorf("%s: got %d %s, want %d %s", tt.delivery.outcome, w.Code, w.Body, tt.status, tt.body)
		}
		if got := w.Header().Get("Rollcall-Outcome"); got != string(tt.delivery.outcome) {
			t.Errorf("%s: header %q", tt.delivery.outcome, got)
		}
		if got := w.Header().Get("Retry-After"); got != tt.retry {
			t.Errorf("%s: Retry-After %q", tt.delivery.outcome, got)
		}
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusNoContent && got != "application/json" {
			t.Errorf("%s: Content-Type %q", tt.delivery.outcome, got)
		}
	}
	if len(replies) != 12 {
		t.Errorf("%d outcomes have an answer, want 12", len(replies))
	}
}
