package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
	"rollcall/internal/testlog"
)

func clerkSource(t *testing.T) *source.Source {
	t.Helper()
	return must.Get(source.New(source.Config{
		Name: "clerk", Provider: source.Clerk, SigningSecrets: []string{"whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="},
	}))(t)
}

// strangersServer takes Clerk's and Supabase's events and applies them all.
func strangersServer(t *testing.T, log *slog.Logger, cfg Config) (*Server, *source.Source) {
	t.Helper()
	src := clerkSource(t)
	other := must.Get(source.New(source.Config{
		Name: "supabase", Provider: source.Supabase, SigningSecrets: []string{"v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ=="},
		WebhookHeader: "X-Webhook-Secret", WebhookSecrets: []string{"test-secret-of-the-database-endpoint"},
	}))(t)
	cfg.Sources, cfg.Log = []*source.Source{src, other}, log
	cfg.Submit = func(context.Context, event.Event) (event.Outcome, error) { return event.Applied, nil }
	return New(cfg), src
}

// Unverified bodies that arrive slowly take no room from a signed request.
func TestUnverifiedBodiesLeaveRoom(t *testing.T) {
	t.Parallel()
	for _, size := range []int{8 << 10, 60 << 10} { // what each unverified request has sent so far
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			s, src := strangersServer(t, slog.New(slog.DiscardHandler), Config{Limits: Limits{Bodies: 400 << 10, Connections: 64}})
			server := httptest.NewServer(s.Public())
			t.Cleanup(server.Close)
			body := `{"object":"event","type":"user.created","data":{"id":"u","first_name":"` + strings.Repeat("x", 2500) + `"}}`
			header := must.Get(src.Sign(source.Hook, []byte(body)))(t)
			for range 60 {
				hold(t, server.Listener.Addr().String(), header, size)
			}
			time.Sleep(300 * time.Millisecond) // they are read
			for range 5 {
				if status, _, answer := deliver(t.Context(), server, header, body); status != http.StatusNoContent {
					t.Errorf("an honest request got %d %s", status, answer)
				}
			}
		})
	}
}

// deliver posts a body to Clerk's endpoint, and returns the answer's status, header and body.
func deliver(ctx context.Context, to *httptest.Server, header http.Header, body string) (int, http.Header, string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL+"/webhooks/clerk", strings.NewReader(body))
	if err != nil {
		return 0, nil, err.Error()
	}
	r.Header = header
	response, err := to.Client().Do(r)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return response.StatusCode, response.Header, string(answer)
}

// hold sends the beginning of a body with the header of another one, and no more.
func hold(t *testing.T, address string, header http.Header, size int) {
	t.Helper()
	conn := must.Get(net.Dial("tcp", address))(t)
	t.Cleanup(func() { _ = conn.Close() })
	var request bytes.Buffer
	request.WriteString("POST /webhooks/clerk HTTP/1.1\r\nHost: rollcall\r\nContent-Length: " + strconv.Itoa(size+1) + "\r\n")
	must.Do(t, header.Write(&request))
	request.WriteString("\r\n" + strings.Repeat("x", size))
	must.Get(conn.Write(request.Bytes()))(t)
}

// A flood of unverified requests leaves few lines, and one that counts the rest.
func TestFloodLeavesFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testlog.Log
		s, src := strangersServer(t, slog.New(slog.NewJSONHandler(&log, nil)), Config{})
		handler := s.Public()
		ask := func(path string, header http.Header) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("{}"))
			r.Header = header
			handler.ServeHTTP(deadlines{httptest.NewRecorder()}, r)
		}
		for range 1000 {
			ask("/webhooks/clerk", http.Header{})
			ask("/webhooks/supabase/database", http.Header{})
			ask("/nowhere", http.Header{})
			ask("/healthz", http.Header{})
		}
		good := must.Get(src.Sign(source.Hook, []byte("{}")))(t)
		for range 50 {
			ask("/webhooks/clerk", good)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 4*linesOfAKind+50 {
			t.Errorf("%d lines", lines)
		}
		log.Reset()
		time.Sleep(linesTime + time.Second)
		synctest.Wait()
		left := map[any]any{}
		for _, line := range log.Lines("") {
			left[line["kind"]] = line["lines"]
		}
		for _, kind := range []string{"webhook clerk unverified", "webhook supabase unverified", "request refused 404", "request refused 405"} {
			if left[kind] != float64(1000-linesOfAKind) {
				t.Errorf("%s: %v lines were left out", kind, left[kind])
			}
		}
		log.Reset()
		ask("/webhooks/clerk", http.Header{})
		if !strings.Contains(log.String(), `"outcome":"unverified"`) {
			t.Errorf("the next one has no line: %s", &log)
		}
	})
}

// deadlines are those of a connection, which a recorder has none of.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error { return nil }

// Every path is served with a slash behind it, too; the line of one that is not has it, in
// harmless spelling.
func TestPaths(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	db := must.Get(postgres.Open(postgres.Config{URL: "postgres://127.0.0.1:1/away", Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(db.Close)
	s, src := strangersServer(t, slog.New(slog.NewTextHandler(&log, nil)), Config{
		DB: db, Ready: func(context.Context) error { return nil }, Sync: Sync{Sources: []string{"clerk"}},
	})
	header := must.Get(src.Sign(source.Hook, []byte("{}")))(t)
	tests := []struct {
		handler      http.Handler
		method, path string
		header       http.Header
		status       int
	}{
		{s.Public(), "POST", "/webhooks/clerk/", header, 204},
		{s.Public(), "POST", "/webhooks/supabase/", http.Header{}, 401},
		{s.Public(), "POST", "/webhooks/supabase/database/", http.Header{"X-Webhook-Secret": {"test-secret-of-the-database-endpoint"}}, 204},
		{s.Public(), "GET", "/webhooks/clerk/", http.Header{}, 405},
		{s.Public(), "GET", "/v1/sync/", http.Header{}, 405},
		{s.Public(), "GET", "/healthz/", http.Header{}, 200},
		{s.Public(), "GET", "/readyz/", http.Header{}, 200},
		{s.Public(), "POST", "/webhooks/nobody/", http.Header{}, 404},
		{s.Public(), "POST", "/" + strings.Repeat("long", 100), http.Header{}, 404},
		{s.Public(), "POST", "/a%1b%c2%9b%e2%80%aeb%0a", http.Header{}, 404},
		// monitors ask with HEAD, which every path that takes GET takes
		{s.Admin(), "HEAD", "/healthz", http.Header{}, 200},
		{s.Admin(), "HEAD", "/readyz", http.Header{}, 200},
		{s.Admin(), "HEAD", "/healthz/", http.Header{}, 200},
		{s.Admin(), "HEAD", "/webhooks/clerk", http.Header{}, 404},
	}
	for _, tt := range tests {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader("{}"))
		r.Header = tt.header
		w := httptest.NewRecorder()
		tt.handler.ServeHTTP(deadlines{w}, r)
		if w.Code != tt.status {
			t.Errorf("%s %.60s %v: got %d, want %d: %s", tt.method, tt.path, tt.header, w.Code, tt.status, w.Body)
		}
	}
	for _, want := range []string{"path=/webhooks/nobody", "path=/longlong", `/a\u001b\u009b\u202eb\u000a`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, &log)
		}
	}
	for line := range strings.Lines(log.String()) {
		if len(line) > 500 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}

// One connection too many is told to come again, in the words of any other answer, and
// those who idle make room for the next.
func TestBound(t *testing.T) {
	t.Parallel()
	s := New(Config{Limits: Limits{Connections: 2}, Log: slog.New(slog.DiscardHandler)})
	server := &http.Server{Handler: s.Public(), ReadHeaderTimeout: time.Second}
	l := must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	bound, _ := s.Bound(server, l).(*connectionLimit)
	go func() { _ = server.Serve(bound) }()
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
			must.Await(t, "an idle one has gone", func() bool { return bound.open.Load() < 2 })
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
		_, got, _ := deliver(t.Context(), server, header, body)
		return got.Get(OutcomeHeader) + got.Get("Retry-After")
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
