package console_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"rollcall/internal/console"
	"rollcall/internal/must"
)

// Open pages are fed by one look at the database, however many they are, and let go when the service ends.
func TestLive(t *testing.T) {
	t.Parallel()
	s := serve(t)
	v := s.visit()
	v.signIn()
	v.Timeout = 0
	const pages = 100
	heard := make(chan string, pages)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range pages {
		r := must.Get(http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"/live?page=events&type=user.created", nil))(t)
		answer, err := v.Do(r) //nolint:bodyclose // the goroutine closes it
		must.Do(t, err)
		must.Equal(t, answer.Header.Get("Content-Type"), "text/event-stream", "content type")
		go func() {
			defer func() { _ = answer.Body.Close() }()
			text, buffer := "", make([]byte, 4096)
			for !strings.Contains(text, "</tr>") {
				n, err := answer.Body.Read(buffer)
				if text += string(buffer[:n]); err != nil {
					return
				}
			}
			heard <- text
		}()
	}
	late := time.After(time.Minute)
	for hearers := 0; hearers < pages; {
		select {
		case text := <-heard:
			must.True(t, strings.Contains(text, "user.created") && !strings.Contains(text, "user.updated"), "got %s", text)
			hearers++
		case <-time.After(time.Second): // what came before the first look is not new
			if hearers == 0 {
				s.send("user.updated")
				s.send("user.created")
			}
		case <-late:
			t.Fatal("an open page has heard of no event")
		}
	}
}

// The metrics that are drawn are there.
func TestWatchedMetrics(t *testing.T) {
	t.Parallel()
	s := serve(t, "targets:", "  app: {provider: supabase, signing_secrets: [\"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==\"]}\ntargets:")
	for _, name := range console.Watched() {
		s.awaitMetric(name)
	}
}
