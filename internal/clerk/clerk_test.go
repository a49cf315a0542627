package clerk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
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
func apiOf(clerk *clerktest.Clerk) *API { return limited(clerk, plenty) }

func limited(clerk *clerktest.Clerk, limit int) *API {
	return New(Config{Key: clerk.Key(), URL: clerktest.Address, Client: clerk.Client(), Limit: limit})
}

// calls are the ways to ask.
var calls = map[string]func(context.Context, *API, []string) error{
	"fetch":     func(ctx context.Context, a *API, ids []string) error { return must.Err(a.Fetch(ctx, ids[0])) },
	"fetch all": func(ctx context.Context, a *API, ids []string) error { return must.Err(a.FetchAll(ctx, ids)) },
	"count":     func(ctx context.Context, a *API, _ []string) error { return must.Err(a.Count(ctx)) },
	"list":      func(ctx context.Context, a *API, _ []string) error { return must.Err(a.List(Position{}).Next(ctx)) },
	"resume": func(ctx context.Context, a *API, ids []string) error {
		return must.Err(a.List(Position{ids[0], 1}).Next(ctx))
	},
	"count organizations": func(ctx context.Context, a *API, _ []string) error { return must.Err(a.CountOrganizations(ctx)) },
	"list memberships": func(ctx context.Context, a *API, _ []string) error {
		return must.Err(a.ListMemberships(Position{}).Next(ctx))
	},
	"fetch memberships": func(ctx context.Context, a *API, ids []string) error {
		return must.Err(a.FetchMemberships(ctx, []Member{{"org_1", ids[0]}}))
	},
}

// Nobody has the id of someUser; many are enough for the requests to meet.
var (
	someUser = []string{"user_1"}
	many     = slices.Repeat(someUser, 200)
)

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
	must.Equal(t, must.Get(api.Fetch(t.Context(), ids[1]))(t), clerk.Object(ids[1]), "user")
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
		must.Fail(t, must.Err(api.Fetch(t.Context(), id)), ErrGone)
		if asked := clerk.Requests(); len(asked) != 1 || asked[0].Kind != clerktest.Single || asked[0].ID != id || len(asked[0].Query) != 0 {
			t.Errorf("%q: asked for %+v", id, asked)
		}
	}
	clerk.ForgetRequests()
	for _, id := range []string{"", ".", ".."} {
		must.Fail(t, must.Err(api.Fetch(t.Context(), id)), ErrGone)
	}
	must.Equal(t, len(clerk.Requests()), 0, "requests")
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
		"too large":        always(200, `{"id":"user_1","x":"`+strings.Repeat("x", maxRowAnswer)+`"}`),
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
		must.Fail(t, must.Err(always(404, body).Fetch(t.Context(), "user_1")), ErrGone)
	}
	user := must.Get(always(200, "{\"id\":\"user_1\",\"x\":\"\xff\"}").Fetch(t.Context(), "user_1"))(t)
	must.Equal(t, string(user), "{\"id\":\"user_1\",\"x\":\"\uFFFD\"}", "user")
}

// A body that is too long is not read to its end.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for status, most := range map[int]int{200: maxRowAnswer, 404: maxProblem} {
		body := bytes.NewReader(bytes.Repeat([]byte(" "), 3*most))
		api := answers(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: io.NopCloser(body)}, nil
		}).api()
		must.Fail(t, must.Err(api.Fetch(t.Context(), "user_1")), event.ErrUnavailable)
		if left := body.Len(); left < most {
			t.Errorf("%d: read all but %d bytes", status, left)
		}
	}
}

func TestRefusedKey(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	ids := clerk.PutMany(1)
	api := apiOf(clerk)
	former := clerk.Key()
	clerk.SetKey("another")
	for name, ask := range calls {
		clerk.ForgetRequests()
		err := ask(t.Context(), api, ids)
		if !errors.Is(err, ErrRefused) || errors.Is(err, event.ErrUnavailable) || strings.Contains(err.Error(), former) {
			t.Errorf("%s: %v", name, err)
		}
		must.Equal(t, len(clerk.Requests()), 1, name, ": requests")
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
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			http.Redirect(w, r, other.URL+r.URL.Path, status)
		}))
		for _, client := range []*http.Client{nil, {}} {
			api := New(Config{Key: "sk_test_made_up", URL: server.URL, Client: client})
			for name, ask := range calls {
				err := ask(t.Context(), api, someUser)
				if err == nil || errors.Is(err, event.ErrUnavailable) || errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "redirect") {
					t.Errorf("%s, %d: %v", name, status, err)
				}
			}
		}
		must.Equal(t, int(asked.Load()), 2*len(calls), status, ": requests")
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
		want := make([][]byte, len(asked)) // nil for who is gone
		for i, id := range asked[3:] {
			if i%3 != 0 {
				want[i+3] = clerk.Object(id)
			}
		}
		must.Equal(t, must.Get(apiOf(clerk).FetchAll(t.Context(), asked))(t), want, "users")
		must.Equal(t, len(must.Get(apiOf(clerk).FetchAll(t.Context(), nil))(t)), 0, "users without ids")
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
		must.Get(api.FetchAll(t.Context(), many))(t)
		must.Equal(t, most.Load(), abreast, "requests at once")
	})
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
	must.Equal(t, must.Get(apiOf(clerk).Count(t.Context()))(t), 1234, "users")
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{`{}`, `{"total_count":null}`, `{"total_count":-1}`, `{"total_count":"5"}`, `[]`, ``} {
			must.Fail(t, must.Err(always(200, body).Count(t.Context())), event.ErrUnavailable)
		}
	})
}
