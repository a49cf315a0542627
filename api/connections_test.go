package api

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
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
		response, err := client.Do(request)
		must.Do(t, err)
		return response
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
