package clerk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// all lists to the end.
func all(t *testing.T, l *Listing) []string {
	t.Helper()
	var ids []string
	for {
		page := must.Get(l.Next(t.Context()))(t)
		if len(page) == 0 {
			return ids
		}
		for _, u := range page {
			ids = append(ids, u.ID)
		}
	}
}

// small is a listing with small pages.
func small(api *API, p Position) *Listing {
	l := api.List(p)
	l.size = 20
	return l
}

func TestListing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 499, 500, 501, 1234} {
		clerk := clerktest.New(t)
		ids := clerk.PutMany(n)
		l := apiOf(clerk).List(Position{})
		var got []string
		for {
			page, err := l.Next(t.Context())
			if err != nil || len(page) > pageSize {
				t.Fatal(len(page), err)
			}
			if len(page) == 0 {
				break
			}
			for _, u := range page {
				got = append(got, u.ID)
				if n == 499 {
					must.Equal(t, u.Row, clerk.Object(u.ID), u.ID)
				}
			}
			must.Equal(t, l.Position(), Position{After: got[len(got)-1], Listed: int64(len(got))}, "position")
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%d users: got %d", n, len(got))
		}
		must.Equal(t, clerk.Requested(clerktest.List), n/pageSize+1, n, " users: requests")
		must.Equal(t, must.Get(l.Next(t.Context()))(t), nil, n, " users: behind the end")
		for _, r := range clerk.Requests() {
			if r.Query.Get("limit") != "500" || r.Query.Get("order_by") != "+created_at" || r.Query.Has("offset") {
				t.Errorf("%v", r.Query)
			}
		}
	}
}

// The ways of a cursor all list each user once, if none is created or deleted meanwhile.
func TestListingWithoutCursor(t *testing.T) {
	t.Parallel()
	for _, cursor := range []clerktest.Cursor{clerktest.CursorRefused, clerktest.CursorIgnored} {
		clerk := clerktest.New(t)
		clerk.SetCursor(cursor)
		ids := clerk.PutMany(95)
		api := apiOf(clerk)
		must.Equal(t, all(t, small(api, Position{})), ids, "users")
		// Five pages of which each but the first repeats two users, and one cursor in vain.
		must.Equal(t, clerk.Requested(clerktest.List), 7, "requests")
		clerk.ForgetRequests()
		got := all(t, small(api, Position{ids[49], 50}))
		// The user at which the listing was broken off tells where it is.
		if n := clerk.Requested(clerktest.List); cursor == clerktest.CursorRefused && n != 4 {
			t.Errorf("resumed: %d requests", n)
		}
		if !containsAll(got, ids[50:]) {
			t.Errorf("resumed: got %d users", len(got))
		}
	}
}

func containsAll(got, want []string) bool {
	return !slices.ContainsFunc(want, func(id string) bool { return !slices.Contains(got, id) })
}

// The cursor's user is deleted between two pages: a few requests more, and nobody lost.
func TestListingWhoseCursorIsDeleted(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	ids := clerk.PutMany(100)
	clerk.BeforePage(func(page int, _ url.Values) {
		if page == 3 {
			clerk.Delete(ids[39])
		}
	})
	must.Equal(t, all(t, small(apiOf(clerk), Position{})), ids, "users")
	if n := clerk.Requested(clerktest.List); n > 8 {
		t.Errorf("%d requests", n)
	}
	clerk.ForgetRequests()
	got := all(t, small(apiOf(clerk), Position{ids[39], 40})) // nobody is known to be listed: all over again
	must.Equal(t, got, slices.Delete(slices.Clone(ids), 39, 40), "users, resumed")
}

// Whoever exists all the while is listed, whatever happens between two pages, and
// wherever the listing is broken off and resumed.
func TestListingSkipsNobody(t *testing.T) {
	t.Parallel()
	for name, cursor := range map[string]clerktest.Cursor{
		"cursor": clerktest.CursorWorks, "refused": clerktest.CursorRefused, "ignored": clerktest.CursorIgnored,
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resumed %v", name, resumed), func(t *testing.T) {
				t.Parallel()
				for seed := range testtag.Part(40) {
					checkListing(t, commotion{seed: uint64(seed), cursor: cursor, resumed: resumed})
				}
			})
		}
	}
}

// commotion is a listing while users come and go.
type commotion struct {
	seed    uint64
	cursor  clerktest.Cursor
	resumed bool
	random  *rand.Rand
	clerk   *clerktest.Clerk
	stayed  map[string]bool // who exists all the while
}

func checkListing(t *testing.T, c commotion) {
	t.Helper()
	c.random, c.clerk, c.stayed = rand.New(rand.NewPCG(c.seed, 1)), clerktest.New(t), map[string]bool{}
	c.clerk.SetCursor(c.cursor)
	for _, id := range c.clerk.PutMany(c.random.IntN(200)) {
		c.stayed[id] = true
	}
	c.clerk.BeforePage(func(int, url.Values) { c.stir() })
	api, listed := apiOf(c.clerk), map[string]bool{}
	l := small(api, Position{})
	for {
		if c.resumed && c.random.IntN(3) == 0 {
			l = small(api, l.Position())
		}
		page, err := l.Next(t.Context())
		if err != nil {
			t.Fatalf("seed %d: %v", c.seed, err)
		}
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			listed[u.ID] = true
		}
		if len(c.clerk.Requests()) > 2000 {
			t.Fatalf("seed %d: no end", c.seed)
		}
	}
	for id := range c.stayed {
		if !listed[id] {
			t.Fatalf("seed %d: %s was skipped", c.seed, id)
		}
	}
}

// stir deletes users, now and then many, and creates some, also with a creation in the
// past, as an import does, and at the same moment as another.
func (c *commotion) stir() {
	users := c.clerk.Users()
	deleted := c.random.IntN(4)
	if c.random.IntN(10) == 0 {
		deleted = c.random.IntN(60)
	}
	first := c.random.IntN(len(users) + 1)
	for i := range deleted {
		at := c.random.IntN(len(users) + 1)
		if c.seed%2 == 0 { // next to each other
			at = first + i
		}
		if at < len(users) {
			c.clerk.Delete(users[at].ID)
			delete(c.stayed, users[at].ID)
		}
	}
	for range c.random.IntN(4) {
		u := clerktest.User{}
		if len(users) > 0 && c.random.IntN(2) == 0 {
			u.CreatedAt = users[c.random.IntN(len(users))].CreatedAt
		}
		c.clerk.Put(u)
	}
}

// What is remembered doesn't grow with the number of users.
func TestListingForgets(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	clerk.PutMany(200)
	l := small(apiOf(clerk), Position{})
	if n := len(all(t, l)); n != 200 || len(l.seen) != remembered*l.size || len(l.recent) != remembered*l.size {
		t.Errorf("%d users listed, %d and %d remembered", n, len(l.seen), len(l.recent))
	}
}

// More are deleted between two pages than a page holds, and all who were just listed.
func TestListingBehindManyDeletions(t *testing.T) {
	t.Parallel()
	for gone := 10; gone <= 100; gone += 10 {
		clerk := clerktest.New(t)
		clerk.SetCursor(clerktest.CursorRefused)
		ids := clerk.PutMany(200)
		clerk.BeforePage(func(int, url.Values) {
			if clerk.Requested(clerktest.List) == 6 {
				for _, id := range ids[max(0, 92-gone):92] {
					clerk.Delete(id)
				}
			}
		})
		got := all(t, small(apiOf(clerk), Position{}))
		if !containsAll(got, ids[92:]) {
			t.Errorf("%d deleted: only %d listed", gone, len(got))
		}
	}
}

func TestListingFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk := clerktest.New(t)
		ids := clerk.PutMany(95)
		api := apiOf(clerk)
		clerk.FailEvery(3, http.StatusBadGateway)
		clerk.CutNext(1)
		must.Equal(t, all(t, small(api, Position{})), ids, "users")
		clerk.FailEvery(1, http.StatusBadGateway)
		l := small(api, Position{})
		must.Fail(t, must.Err(l.Next(t.Context())), event.ErrUnavailable)
		clerk.FailEvery(0, 0)
		must.Equal(t, all(t, l), ids, "users, with the same page again")
		clerk.ForgetRequests()
		clerk.FailNext(1, http.StatusUnprocessableEntity)
		if _, err := small(api, Position{}).Next(t.Context()); err == nil || len(clerk.Requests()) != 1 {
			t.Errorf("a first page has no cursor to refuse: %d requests, %v", len(clerk.Requests()), err)
		}
	})
}

// Entries without an id are given to the caller, who counts them, and hold nothing up.
func TestListingUnreadableEntries(t *testing.T) {
	t.Parallel()
	const page = `[null,{"id":5},{"id":"a\u0000"},{"object":"user"},{"id":"user_1"},` +
		`[{"id":"user_2"}],{"id":""},["id","user_3"]]`
	for _, body := range []string{page, ` {"data":` + page + `,"total_count":8}`} {
		users := must.Get(always(200, body).List(Position{}).Next(t.Context()))(t)
		var ids []string
		for _, u := range users {
			ids = append(ids, u.ID)
		}
		must.Equal(t, ids, []string{"", "", "", "", "user_1", "", "", ""}, "ids")
		must.Equal(t, string(users[1].Row), `{"id":5}`, "user")
	}
	synctest.Test(t, func(t *testing.T) {
		for _, body := range []string{`{}`, `{"data":{}}`, `null`, `"x"`, `[`, ``, `[{"id":"user_1"}`, `<html>`} {
			must.Fail(t, must.Err(always(200, body).List(Position{}).Next(t.Context())), event.ErrUnavailable)
		}
	})
}

// A provider who always answers the same full page must not keep a listing for ever.
func TestListingThatStandsStill(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, entry := range map[string]string{"users": `{"id":"user_%d"}`, "no users": `{"x":%d}`} {
		entries := make([]string, 20)
		for i := range entries {
			entries[i] = fmt.Sprintf(entry, i)
		}
		l := small(always(200, "["+strings.Join(entries, ",")+"]"), Position{})
		if page, err := l.Next(ctx); len(page) != 20 || err != nil {
			t.Fatal(len(page), err)
		}
		if page, err := l.Next(ctx); page != nil || !errors.Is(err, event.ErrUnavailable) || ctx.Err() != nil {
			t.Errorf("%s: %d, %v", name, len(page), err)
		}
	}
}
