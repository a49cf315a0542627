package api

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
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
		{delivery{outcome: event.Refused, event: event.Event{Reply: []byte(`{"error":{"http_code":403,"message":"No."}}`)}}, 200, `{"error":{"http_code":403,"message":"No."}}`, ""},
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
}

// Every outcome that package event declares has an answer; one that has none is answered with 500.
func TestAcknowledgeEveryOutcome(t *testing.T) {
	t.Parallel()
	declared := declaredOutcomes(t)
	if len(declared) != len(replies)+1 { // never_created answers no request
		t.Errorf("%d outcomes are declared, %d have an answer", len(declared), len(replies))
	}
	for _, o := range append(declared, "", "made up") {
		w := httptest.NewRecorder()
		status := acknowledge(w, &delivery{outcome: o})
		_, known := replies[o]
		switch {
		case status != w.Code || w.Header().Get(OutcomeHeader) != string(o):
			t.Errorf("%q: returned %d, wrote %d and the header %q", o, status, w.Code, w.Header().Get(OutcomeHeader))
		case known && status == http.StatusInternalServerError:
			t.Errorf("%q is answered with 500", o)
		case !known && (status != http.StatusInternalServerError || !strings.HasPrefix(w.Body.String(), `{"error":{"code":"internal"`)):
			t.Errorf("%q has no answer of its own and gets %d %s", o, status, w.Body)
		}
	}
}

// declaredOutcomes are the constants of type Outcome in package event.
func declaredOutcomes(t *testing.T) []event.Outcome {
	t.Helper()
	file := must.Get(parser.ParseFile(token.NewFileSet(), "../internal/event/event.go", nil, 0))(t)
	var all []event.Outcome
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Outcome" {
			for _, v := range spec.Values {
				literal, ok := v.(*ast.BasicLit)
				if !ok {
					t.Fatal("an outcome that is no literal")
				}
				word := must.Get(strconv.Unquote(literal.Value))(t)
				all = append(all, event.Outcome(word))
			}
		}
		return true
	})
	return all
}

// A handler that panics answers 500; neither the answer nor the log has the words of the panic.
func TestPanicInAHandler(t *testing.T) {
	t.Parallel()
	src := clerkSource(t)
	var log bytes.Buffer
	s := New(Config{
		Sources: []*source.Source{src}, Log: slog.New(slog.NewJSONHandler(&log, nil)),
		Submit: func(context.Context, event.Event) (event.Outcome, error) { panic("bob@example.com") },
	})
	body := `{"object":"event","type":"user.created","data":{"id":"u"}}`
	header := must.Get(src.Sign(source.Hook, []byte(body)))(t)
	server := httptest.NewServer(s.Public())
	defer server.Close()
	status, _, answer := deliver(t.Context(), server, header, body)
	if status != http.StatusInternalServerError || !strings.Contains(answer, `"internal"`) {
		t.Errorf("got %d %s", status, answer)
	}
	if said := log.String(); strings.Contains(said+answer, "bob@example.com") || !strings.Contains(said, "webhook_test.go") {
		t.Errorf("the log says %s", said)
	}
}
