package sample

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ flag, listen, want string }{
		{"", ":8080", "http://127.0.0.1:8080"},
		{"", "0.0.0.0:80", "http://127.0.0.1:80"},
		{"", "[::]:80", "http://127.0.0.1:80"},
		{"", "[::1]:80", "http://[::1]:80"},
		{"", "127.0.0.2:80", "http://127.0.0.2:80"},
		{"", "10.1.2.3:80", "http://127.0.0.1:80"},
		{"", "rollcall.example.com:80", "http://127.0.0.1:80"},
		{"https://rollcall.example.com/hooks/", ":8080", "https://rollcall.example.com/hooks"},
	} {
		if got, err := baseURL(test.flag, test.listen); err != nil || got != test.want {
			t.Errorf("--url %q, listen %s: got %s, %v, want %s", test.flag, test.listen, got, err, test.want)
		}
	}
}

// A sender shows what is answered: a redirect isn't followed, and what isn't Rollcall's
// has no outcome.
func TestSenderShowsTheAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		fmt.Fprintf(w, `{"error":{"message":"%s\u001b[31m"}}`, r.URL.Path)
	}))
	t.Cleanup(server.Close)
	p := must.Get(testevent.Seal(newClerk(t), source.Hook, []byte("{}")))(t)
	a, err := testevent.NewSender(server.URL).Post(t.Context(), p)
	if err != nil || a.Status != http.StatusTemporaryRedirect || a.Accepted() {
		t.Fatalf("got %+v, %v", a, err)
	}
	var line strings.Builder
	must.Do(t, (sent{Request: p, Answer: a}).report(&line, "text"))
	if got := line.String(); !strings.HasPrefix(got, "307  - ") || !strings.HasSuffix(got, "  /webhooks/clerk\\u001b[31m\n") {
		t.Errorf("got %q", got)
	}
}

// A line says which organisation or membership was sent.
func TestSenderShowsTeams(t *testing.T) {
	t.Parallel()
	src := newClerk(t)
	for name, want := range map[string][2]string{
		"organization.deleted": {"204  applied      organization.deleted    org_2RollcallSampleTeam00000000000 ", `"organization":"org_2RollcallSampleTeam00000000000"}`},
		"organizationMembership.created": {"204  applied      organizationMembership.created  user_2RollcallSampleAda0000000000 ",
			`"user":"user_2RollcallSampleAda0000000000","organization":"org_2RollcallSampleTeam00000000000"}`},
	} {
		sample, _ := testevent.Find(src, name)
		p := must.Get(testevent.Seal(src, source.Hook, sample.Body(time.Now())))(t)
		for output, want := range map[string]string{"text": want[0], "json": want[1]} {
			var line strings.Builder
			must.Do(t, (sent{Request: p, Answer: testevent.Answer{Status: http.StatusNoContent, Outcome: "applied"}}).report(&line, output))
			must.True(t, strings.Contains(line.String(), want), "%s: %s", name, line.String())
		}
	}
}

// newClerk speaks like Clerk.
func newClerk(t *testing.T) *source.Source {
	t.Helper()
	return must.Get(source.New(source.Config{Name: "clerk", Provider: source.Clerk, SigningSecrets: []string{"whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ=="}}))(t)
}
