package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

// What all bodies take together is bounded, until their requests are answered.
func TestBodiesTogether(t *testing.T) {
	t.Parallel()
	src := must.Get(source.New(source.Config{Name: "clerk", Provider: source.Clerk, SigningSecrets: []string{"whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="}}))(t)
	arrived, answer := make(chan struct{}), make(chan struct{})
	s := New(Config{
		Sources: []*source.Source{src}, Limits: Limits{Bodies: 1500}, Log: slog.New(slog.DiscardHandler),
		Submit: func(context.Context, event.Event) (event.Outcome, error) {
			arrived <- struct{}{}
			<-answer
			return event.Applied, nil
		},
	})
	server := httptest.NewServer(s.Public())
	t.Cleanup(server.Close)
	body := `{"object":"event","type":"user.created","data":{"id":"u","first_name":"` + strings.Repeat("x", 1000) + `"}}`
	deliver := func() string {
		header, err := src.Sign(source.Hook, []byte(body))
		if err != nil {
			t.Error(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/webhooks/clerk", strings.NewReader(body))
		if err != nil {
			return err.Error()
		}
		r.Header = header
		response, err := server.Client().Do(r)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		return response.Header.Get(OutcomeHeader) + response.Header.Get("Retry-After")
	}
	first := make(chan string)
	go func() { first <- deliver() }()
	<-arrived
	if got := deliver(); got != "unavailable1" {
		t.Errorf("one body too many: got %s", got)
	}
	close(answer)
	if got := <-first; got != "applied" {
		t.Errorf("the first: got %s", got)
	}
	go func() { <-arrived }()
	if got := deliver(); got != "applied" {
		t.Errorf("after the first is answered: got %s", got)
	}
}
