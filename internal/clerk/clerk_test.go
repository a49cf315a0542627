package clerk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
)

// plenty is a limit that no test reaches.
const plenty = 1_000_000_000

// apiOf asks the stand-in in memory.
func apiOf(clerk *clerktest.Clerk) *API {
	return New(Config{Key: clerk.Key(), URL: clerktest.Address, Client: clerk.Client(), Limit: plenty})
}

// answers is a server in memory.
type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f answers) api() *API {
	return New(Config{Key: "sk_test_made_up", Client: &http.Client{Transport: f}, Limit: plenty})
}

func answered(status int, body string, header ...string) (*http.Response, error) {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r, nil
}

// always answers everything alike.
func always(status int, body string, header ...string) *API {
	return answers(func(*http.Request) (*http.Response, error) { return answered(status, body, header...) }).api()
}

func TestFetch(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	ids := clerk.PutMany(3)
	api := New(Config{Key: clerk.Key(), URL: clerk.URL() + "/"})
	user, err := api.Fetch(t.Context(), ids[1])
	if err != nil || !bytes.Equal(user, clerk.Object(ids[1])) {
		t.Errorf("%s, %v", user, err)
	}
	clerk.Delete(ids[1])
	if user, err := api.Fetch(t.Context(), ids[1]); !errors.Is(err, ErrGone) || errors.Is(err, event.ErrUnavailable) || user != nil {
		t.Errorf("of one who was deleted: %s, %v", user, err)
	}
	h := clerk.Requests()[0].Header
	if h.Get("Clerk-API-Version") != apiVersion || h.Get("User-Agent") != "rollcall" || h.Get("Accept") != "application/json" {
		t.Errorf("%v", h)
	}
}

func TestFetchEscapesIDs(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	api := New(Config{Key: clerk.Key(), URL: clerk.URL()})
	for _, id := range []string{"../count", "a/b", "?x", "a b%2F", "#", "é\n"} {
		clerk.ForgetRequests()
		if _, err := api.Fetch(t.Context(), id); !errors.Is(err, ErrGone) {
			t.Errorf("%q: %v", id, err)
		}
		if asked := clerk.Requests(); len(asked) != 1 || asked[0].Kind != clerktest.Single || asked[0].ID != id || len(asked[0].Query) != 0 {
			t.Errorf("%q: asked for %+v", id, asked)
		}
	}
	clerk.ForgetRequests()
	for _, id := range []string{"", ".", ".."} {
		if _, err := api.Fetch(t.Context(), id); !errors.Is(err, ErrGone) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if asked := clerk.Requests(); len(asked) != 0 {
		t.Errorf("asked for %+v", asked)
	}
	must.Fail(t, must.Err(api.Fetch(t.Context(), "count")), event.ErrUnavailable)
}

// What is no user, or another one, is neither returned nor taken for an absence, and
// nothing of it is repeated.
func TestFetchOddAnswers(t *testing.T) {
	t.Parallel()
	for name, api := range map[string]*API{
		"another user":     always(200, `{"id":"user_secret","email":"secret"}`),
		"no id":            always(200, `{"object":"secret"}`),
		"an array":         always(200, `[{"id":"user_1"}]`),
		"no JSON":          always(200, `<secret>`),
		"half":             always(200, `{"id":"user_1",`),
		"nothing":          always(200, ``),
		"204":              always(204, ``),
		"500":              always(500, `{"errors":[{"code":"secret"}]}`),
		"404 of a proxy":   always(404, `<h1>secret</h1>`),
		"408":              always(408, ``),
		"429":              always(429, `{"errors":[{"code":"secret"}]}`),
		"too large":        always(200, `{"id":"user_1","x":"`+strings.Repeat("x", maxUserAnswer)+`"}`),
		"quoted by a net":  answers(func(*http.Request) (*http.Response, error) { return nil, errors.New(`malformed "secret"`) }).api(),
		"no connection":    answers(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }).api(),
		"with other bytes": always(200, "{\"id\":\"user_1\xff\"}"),
	} {
		user, err := api.Fetch(t.Context(), "user_1")
		if user != nil || !errors.Is(err, event.ErrUnavailable) || errors.Is(err, ErrGone) || errors.Is(err, ErrRefused) {
			t.Errorf("%s: %.40s, %v", name, user, err)
		}
		for _, secret := range []string{"secret", "user_1", "sk_test"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error repeats what came, or names a user: %v", name, err)
			}
		}
	}
	for _, body := range []string{`{"errors":[]}`, `{"message":"none"}`, "404 page not found\n", ""} {
		if _, err := always(404, body).Fetch(t.Context(), "user_1"); !errors.Is(err, ErrGone) {
			t.Errorf("404 with %q: %v", body, err)
		}
	}
	if user, err := always(200, "{\"id\":\"user_1\",\"x\":\"\xff\"}").Fetch(t.Context(), "user_1"); err != nil || string(user) != "{\"id\":\"user_1\",\"x\":\"\uFFFD\"}" {
		t.Errorf("%q, %v", user, err)
	}
}

// A body without an end must not be read to its end.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int64{200: maxUserAnswer, 404: maxProblem} {
		var read atomic.Int64
		api := answers(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: endless{&read}}, nil
		}).api()
		if _, err := api.Fetch(t.Context(), "user_1"); !errors.Is(err, event.ErrUnavailable) {
			t.Errorf("%d: %v", status, err)
		}
		if got := read.Load(); got > 2*most {
			t.Errorf("%d: read %d bytes", status, got)
		}
	}
}

type endless struct{ read *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	if e.read.Add(int64(len(p))) > 1<<30 {
		return 0, io.EOF
	}
	return copy(p, bytes.Repeat([]byte(" "), len(p))), nil
}

func (e endless) Close() error { return nil }

func TestRefusedKey(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	ids := clerk.PutMany(1)
	api := apiOf(clerk)
	former := clerk.Key()
	clerk.SetKey("another")
	for name, ask := range map[string]func() error{
		"fetch":     func() error { _, err := api.Fetch(t.Context(), ids[0]); return err },
		"fetch all": func() error { _, err := api.FetchAll(t.Context(), ids); return err },
		"count":     func() error { _, err := api.Count(t.Context()); return err },
		"list":      func() error { _, err := api.List(Position{}).Next(t.Context()); return err },
		"resume":    func() error { _, err := api.List(Position{ids[0], 1}).Next(t.Context()); return err },
	} {
		clerk.ForgetRequests()
		err := ask()
		if !errors.Is(err, ErrRefused) || errors.Is(err, event.ErrUnavailable) || strings.Contains(err.Error(), former) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(clerk.Requests()); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	must.Fail(t, must.Err(always(403, ``).Count(t.Context())), ErrRefused)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = io.WriteString(w, `{"id":"user_1","total_count":1}`)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			http.Redirect(w, r, other.URL+r.URL.Path, status)
		}))
		for _, client := range []*http.Client{nil, {}} {
			api := New(Config{Key: "sk_test_made_up", URL: server.URL, Client: client})
			_, err := api.Fetch(t.Context(), "user_1")
			_, err2 := api.Count(t.Context())
			_, err3 := api.List(Position{"user_1", 1}).Next(t.Context())
			for _, err := range []error{err, err2, err3} {
				if err == nil || errors.Is(err, event.ErrUnavailable) || errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "redirect") {
					t.Errorf("%d: %v", status, err)
				}
			}
		}
		if asked.Load() != 6 {
			t.Errorf("%d: asked %d times", status, asked.Load())
		}
		server.Close()
	}
	if elsewhere.Load() != 0 {
		t.Error("the key went elsewhere")
	}
}

func TestFetchAll(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	ids := clerk.PutMany(40)
	for i := 0; i < len(ids); i += 3 {
		clerk.Delete(ids[i])
	}
	asked := append([]string{"", "a/b", "user_never"}, ids...)
	clerk.FailEvery(10, 503)
	synctest.Test(t, func(t *testing.T) {
		users, err := apiOf(clerk).FetchAll(t.Context(), asked)
		if err != nil || len(users) != len(asked) {
			t.Fatal(len(users), err)
		}
		for i, user := range users {
			switch gone := i < 3 || (i-3)%3 == 0; {
			case gone && user != nil:
				t.Errorf("%d is gone: %s", i, user)
			case !gone && !bytes.Equal(user, clerk.Object(asked[i])):
				t.Errorf("%d: got %s", i, user)
			}
		}
		if users, err := apiOf(clerk).FetchAll(t.Context(), nil); err != nil || len(users) != 0 {
			t.Error(users, err)
		}
	})
}

func TestFetchAllConcurrency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		api := answers(func(*http.Request) (*http.Response, error) {
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return answered(404, `{"errors":[]}`)
		}).api()
		if _, err := api.FetchAll(t.Context(), make200()); err != nil || most.Load() != abreast {
			t.Errorf("%d at once, want %d: %v", most.Load(), abreast, err)
		}
	})
}

func make200() []string {
	ids := make([]string, 200)
	for i := range ids {
		ids[i] = "user_" + strings.Repeat("x", i+1)
	}
	return ids
}

func TestFetchAllFailsAsAWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		ids := clerk.PutMany(100)
		clerk.FailNext(1_000_000, 500)
		users, err := apiOf(clerk).FetchAll(t.Context(), ids)
		if users != nil || !errors.Is(err, event.ErrUnavailable) || errors.Is(err, context.Canceled) {
			t.Errorf("%d users, %v", len(users), err)
		}
		if n := len(clerk.Requests()); n > abreast*tries {
			t.Errorf("%d requests for nothing", n)
		}
	})
}

func TestCount(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	clerk.PutMany(1234)
	if n, err := apiOf(clerk).Count(t.Context()); n != 1234 || err != nil {
		t.Error(n, err)
	}
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{`{}`, `{"total_count":null}`, `{"total_count":-1}`, `{"total_count":"5"}`, `[]`, ``} {
			if _, err := always(200, body).Count(t.Context()); !errors.Is(err, event.ErrUnavailable) {
				t.Errorf("%s: %v", body, err)
			}
		}
	})
}
