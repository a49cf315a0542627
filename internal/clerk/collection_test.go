package clerk

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// teams is a stand-in with n organisations of size members each.
func teams(t *testing.T, n, size int) (clerk *clerktest.Clerk, organizations, memberships []string) {
	t.Helper()
	clerk = clerktest.New(t)
	clerk.PutMany(max(n, size))
	organizations, memberships = clerk.PutTeams(n, size)
	return clerk, organizations, memberships
}

func TestListingTeams(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 499, 500, 501, 1234} {
		clerk, orgs, members := teams(t, n, 1)
		api := apiOf(clerk)
		must.Equal(t, all(t, api.ListOrganizations(Position{})), orgs, n, " organizations")
		clerk.ForgetRequests()
		l := api.ListMemberships(Position{})
		must.Equal(t, all(t, l), members, n, " memberships")
		// Two behind the last: one that overlaps it, and an empty one.
		must.True(t, len(clerk.Requests()) <= (n+499)/450+2, "%d memberships: %d requests", n, len(clerk.Requests()))
		for _, r := range clerk.Requests() {
			if r.Kind != clerktest.Memberships || r.Query.Get("limit") != "500" || r.Query.Get("order_by") != "+created_at" || r.Query.Has("starting_after") {
				t.Errorf("%s %v", r.Kind, r.Query)
			}
		}
		must.Equal(t, must.Get(l.Next(t.Context()))(t), nil, n, ": behind the end")
		must.Equal(t, len(all(t, api.ListMemberships(l.Position()))) <= 500, true, n, ": resumed at the end")
	}
	clerk, orgs, members := teams(t, 2, 2)
	page := must.Get(apiOf(clerk).ListMemberships(Position{}).Next(t.Context()))(t)
	must.Equal(t, string(page[1].Row), string(clerk.MembershipObject(members[1])), "membership")
	page = must.Get(apiOf(clerk).ListOrganizations(Position{}).Next(t.Context()))(t)
	must.Equal(t, string(page[1].Row), string(clerk.OrganizationObject(orgs[1])), "organization")
}

// Pages that are shorter than asked for, and counts that are wrong, end no list.
func TestListingTeamsOfShortPages(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 9, 10, 11, 100, 499} {
		clerk, _, members := teams(t, 120, 1)
		clerk.SetTotal(func(int) int { return 3 })
		clerk.SetPage(size)
		must.Equal(t, all(t, apiOf(clerk).ListMemberships(Position{})), members, "pages of ", size)
		clerk.SetPage(0)
		clerk.BeforePage(func(page int, _ url.Values) { clerk.SetPage(2 + page*7%50) })
		must.Equal(t, all(t, small(apiOf(clerk), Position{}).as(memberships)), members, "pages of any size")
	}
	clerk, _, members := teams(t, 120, 1)
	clerk.BeforePage(func(page int, _ url.Values) { clerk.SetPage(map[bool]int{true: 100, false: 3}[page == 1]) })
	must.Equal(t, all(t, apiOf(clerk).ListMemberships(Position{})), members, "pages that shrink below the overlap")
}

// as makes it a listing of another collection.
func (l *Listing) as(of collection) *Listing {
	l.of, l.byOffset = of, !of.cursor
	return l
}

// Every membership that exists all the while is listed, whatever happens between two pages, and wherever
// the listing is broken off and resumed.
func TestListingTeamsSkipsNothing(t *testing.T) {
	t.Parallel()
	for seed := range testtag.Part(80) {
		checkTeams(t, uint64(seed))
	}
}

func checkTeams(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 2))
	clerk, orgs, _ := teams(t, 3, 1+random.IntN(80))
	stayed := map[string]bool{}
	for _, m := range clerk.Memberships() {
		stayed[m.ID] = true
	}
	users := clerk.Users()
	clerk.BeforePage(func(int, url.Values) {
		if seed%3 == 0 {
			clerk.SetPage(2 + random.IntN(30))
		}
		members := clerk.Memberships()
		gone, from := random.IntN(4), random.IntN(len(members)+1)
		if random.IntN(10) == 0 {
			gone = random.IntN(60)
		}
		for i := range gone {
			if at := from + i; at < len(members) {
				clerk.DeleteMembership(members[at].ID)
				delete(stayed, members[at].ID)
			}
		}
		for range random.IntN(4) { // some with a creation in the past, as after an import
			m := clerktest.Membership{OrganizationID: orgs[0], UserID: users[0].ID}
			if len(members) > 0 && random.IntN(2) == 0 {
				m.CreatedAt = members[random.IntN(len(members))].CreatedAt
			}
			clerk.PutMembership(m)
		}
	})
	api, listed := apiOf(clerk), map[string]bool{}
	l := small(api, Position{}).as(memberships)
	for {
		if seed%2 == 0 && random.IntN(3) == 0 {
			l = small(api, l.Position()).as(memberships)
		}
		page := must.Get(l.Next(t.Context()))(t)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			listed[m.ID] = true
		}
		if len(clerk.Requests()) > 4000 {
			t.Fatalf("seed %d: no end", seed)
		}
	}
	for id := range stayed {
		if !listed[id] {
			t.Fatalf("seed %d: %s was skipped", seed, id)
		}
	}
}

func TestListingTeamsFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk, _, members := teams(t, 95, 1)
		api := apiOf(clerk)
		clerk.FailEvery(3, http.StatusBadGateway)
		clerk.CutNext(1)
		clerk.SetLimit(5, 10_000_000_000)
		must.Equal(t, all(t, small(api, Position{}).as(memberships)), members, "memberships")
		clerk.SetLimit(0, 0)
		clerk.FailEvery(1, http.StatusBadGateway)
		l := small(api, Position{}).as(memberships)
		err := must.Err(l.Next(t.Context()))
		must.Fail(t, err, event.ErrUnavailable, "list the memberships behind the first 0", "GET /organization_memberships")
		clerk.FailEvery(0, 0)
		must.Equal(t, all(t, l), members, "memberships, with the same page again")
		// The last page, which is empty, fails: the list has not ended.
		broken := answers(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("offset") == "95" {
				return answered(http.StatusBadGateway, "")
			}
			return clerk.Client().Transport.RoundTrip(r)
		})
		l = New(Config{Key: clerk.Key(), URL: clerktest.Address, Client: &http.Client{Transport: broken}, Limit: plenty}).ListMemberships(Position{})
		must.Equal(t, len(must.Get(l.Next(t.Context()))(t)), 95, "memberships")
		must.Fail(t, must.Err(l.Next(t.Context())), event.ErrUnavailable, "list the memberships behind the first 95")
	})
	for _, entries := range []string{`{"id":"m"}`, `{"x":1}`} { // the offset is ignored
		synctest.Test(t, func(t *testing.T) {
			l := always(200, `{"data":[`+strings.Repeat(entries+",", 19)+entries+`]}`).ListMemberships(Position{})
			must.Get(l.Next(t.Context()))(t)
			must.Fail(t, must.Err(l.Next(t.Context())), event.ErrUnavailable, "brought no new")
		})
	}
}

func TestFetchTeams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clerk, orgs, members := teams(t, 3, 3)
		api, users := apiOf(clerk), clerk.Users()
		must.Equal(t, string(must.Get(api.FetchOrganization(t.Context(), orgs[1]))(t)), string(clerk.OrganizationObject(orgs[1])), "organization")
		member := Member{orgs[1], users[2].ID}
		must.Equal(t, string(must.Get(api.FetchMembership(t.Context(), member))(t)), string(clerk.MembershipObject(members[5])), "membership")
		clerk.DeleteMembership(members[5])
		must.Fail(t, must.Err(api.FetchMembership(t.Context(), member)), ErrGone)
		again := clerk.PutMembership(clerktest.Membership{OrganizationID: orgs[1], UserID: users[2].ID})
		must.Equal(t, string(must.Get(api.FetchMembership(t.Context(), member))(t)), string(clerk.MembershipObject(again.ID)), "membership, joined again")
		clerk.DeleteOrganization(orgs[2])
		must.Fail(t, must.Err(api.FetchOrganization(t.Context(), orgs[2])), ErrGone)
		clerk.ForgetRequests()
		for i, gone := range []Member{{orgs[2], users[0].ID}, {orgs[0], "user_none"}, {orgs[0], ""}, {"", users[0].ID}, {"..", users[0].ID}} {
			must.Fail(t, must.Err(api.FetchMembership(t.Context(), gone)), ErrGone)
			must.Equal(t, len(clerk.Requests()), min(i+1, 2), "requests: nothing is asked without ids")
		}
		clerk.FailEvery(3, http.StatusBadGateway)
		got := must.Get(api.FetchOrganizations(t.Context(), []string{orgs[0], "org_none", orgs[2], orgs[1]}))(t)
		must.Equal(t, got, [][]byte{clerk.OrganizationObject(orgs[0]), nil, nil, clerk.OrganizationObject(orgs[1])}, "organizations")
		got = must.Get(api.FetchMemberships(t.Context(), []Member{{orgs[0], "user_none"}, {orgs[0], users[1].ID}, {orgs[2], users[0].ID}}))(t)
		must.Equal(t, got, [][]byte{nil, clerk.MembershipObject(members[1]), nil}, "memberships")
		clerk.FailEvery(0, 0)
		clerk.SetTotal(func(n int) int { return 10 * n })
		must.Equal(t, must.Get(api.CountOrganizations(t.Context()))(t), 20, "organizations, as the API counts them")
		must.Equal(t, must.Get(api.CountMemberships(t.Context()))(t), 60, "memberships, as the API counts them")
		clerk.UpdateMembership(members[1], func(m *clerktest.Membership) { m.Anonymous = true })
		must.Get(api.FetchMembership(t.Context(), Member{orgs[0], users[1].ID}))(t) // it is there, whoever's it is
	})
}

// An answer that is not what was asked for is no absence, and nothing of it is repeated.
func TestFetchTeamsOddAnswers(t *testing.T) {
	t.Parallel()
	clerk, orgs, _ := teams(t, 1, 3)
	clerk.IgnoreFilter(true)
	must.Fail(t, must.Err(apiOf(clerk).FetchMembership(t.Context(), Member{orgs[0], clerk.Users()[2].ID})), event.ErrUnavailable, "not asked for")
	for _, body := range []string{
		`{"data":[{"id":"secret","public_user_data":{"user_id":"secret"}}]}`, `{"data":[{"id":"m","organization":{"id":"secret"}}]}`,
		`{"data":[{"id":5,"public_user_data":{"user_id":"user_1"}}]}`, `{"data":["secret"]}`, `{"data":{}}`, `{}`, ``, `<secret>`,
	} {
		api := always(200, body)
		for _, err := range []error{must.Err(api.FetchMembership(t.Context(), Member{"org_1", "user_1"})), must.Err(api.FetchOrganization(t.Context(), "org_1"))} {
			must.Fail(t, err, event.ErrUnavailable)
			must.True(t, !errors.Is(err, ErrGone) && !strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "_1"), "%v", err)
		}
	}
	for _, api := range []*API{always(404, `<h1>proxy</h1>`), always(500, ``)} {
		must.Fail(t, must.Err(api.FetchMembership(t.Context(), Member{"org_1", "user_1"})), event.ErrUnavailable)
	}
	for _, status := range []int{401, 403} {
		must.Fail(t, must.Err(always(status, ``).FetchMembership(t.Context(), Member{"org_1", "user_1"})), ErrRefused)
	}
	must.Fail(t, must.Err(always(404, `{"errors":[]}`).CountMemberships(t.Context())), nil, "rejects the request")
}

func TestFetchTeamsEscapesIDs(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	api := apiOf(clerk)
	for _, id := range []string{"../users", "a/b", "?x", "a b%2F", "#", "é\n"} {
		clerk.ForgetRequests()
		must.Fail(t, must.Err(api.FetchOrganization(t.Context(), id)), ErrGone)
		must.Fail(t, must.Err(api.FetchMembership(t.Context(), Member{id, id})), ErrGone)
		asked := clerk.Requests()
		if len(asked) != 2 || asked[0].Kind != clerktest.SingleOrganization || asked[1].Kind != clerktest.MembershipsOf || asked[0].ID != id || asked[1].ID != id || !slices.Equal(asked[1].Query["user_id"], []string{id}) {
			t.Errorf("%q: asked for %+v", id, asked)
		}
	}
}

// An instance without organisations is told from a refused key, and from a proxy that answers instead.
func TestOrganizationsAreNotEnabled(t *testing.T) {
	t.Parallel()
	clerk, _, _ := teams(t, 1, 1)
	api := apiOf(clerk)
	clerk.DisableOrganizations(true)
	must.Fail(t, must.Err(api.CountOrganizations(t.Context())), ErrDisabled)
	must.Fail(t, must.Err(api.CountMemberships(t.Context())), ErrDisabled)
	must.Fail(t, must.Err(api.ListMemberships(Position{}).Next(t.Context())), ErrDisabled)
	must.Get(api.Count(t.Context()))(t)
	clerk.DisableOrganizations(false)
	clerk.SetKey("another")
	must.Fail(t, must.Err(api.CountOrganizations(t.Context())), ErrRefused)
	proxy := &http.Client{Transport: page{http.StatusForbidden, "<html>"}}
	must.Fail(t, must.Err(New(Config{Key: "k", URL: clerktest.Address, Client: proxy}).CountOrganizations(t.Context())), ErrRefused)
}

// page is a server that answers everything alike.
type page struct {
	status int
	body   string
}

func (p page) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: p.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(p.body)), Request: r}, nil
}
