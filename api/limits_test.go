package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

// One connection too many is told to come again, in the words of any other answer, and
// those who idle make room for the next.
func TestBound(t *testing.T) {
	t.Parallel()
	s := New(Config{Limits: Limits{Connections: 2}, Log: slog.New(slog.DiscardHandler)})
	server := &http.Server{Handler: s.Public(), ReadHeaderTimeout: time.Second}
	l := must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	go func() { _ = server.Serve(s.Bound(server, l)) }()
	t.Cleanup(func() { _ = server.Close() })
	ask := func() *http.Response {
		client := &http.Client{Transport: &http.Transport{}} // its connection idles afterwards
		t.Cleanup(client.CloseIdleConnections)
		request := must.Get(http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/healthz", strings.NewReader(strings.Repeat("x", 3000))))(t)
		request.Method = http.MethodGet
		return must.Get(client.Do(request))(t)
	}
	for n, want := range []int{200, 200, 503, 200} {
		response := ask()
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want || err != nil {
			t.Errorf("request %d: got %s %s, error %v, want %d", n, response.Status, body, err, want)
		}
		if want == http.StatusServiceUnavailable {
			if got := response.Header.Get("Retry-After") + response.Header.Get(OutcomeHeader) + string(body); got != `1unavailable{"error":{"code":"unavailable","message":"not recorded; send it again later"}}`+"\n" {
				t.Errorf("the answer is %s", got)
			}
			time.Sleep(100 * time.Millisecond) // until the idle ones have gone
		}
	}
}

// What all bodies take together is bounded, until their requests are answered.
func TestBodiesTogether(t *testing.T) {
	t.Parallel()
	src := clerkSource(t)
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
	header := must.Get(src.Sign(source.Hook, []byte(body)))(t)
	outcome := func() string {
		response, _, err := deliver(t.Context(), server, header, body)
		if err != nil {
			return err.Error()
		}
		return response.Header.Get(OutcomeHeader) + response.Header.Get("Retry-After")
	}
	first := make(chan string)
	go func() { first <- outcome() }()
	<-arrived
	if got := outcome(); got != "unavailable1" {
		t.Errorf("one body too many: got %s", got)
	}
	close(answer)
	if got := <-first; got != "applied" {
		t.Errorf("the first: got %s", got)
	}
	go func() { <-arrived }()
	if got := outcome(); got != "applied" {
		t.Errorf("after the first is answered: got %s", got)
	}
}
