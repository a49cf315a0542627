package reconcile_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/must"
	"rollcall/internal/reconcile"
)

// Whatever the API does between two pages, everything is found and nothing else is deleted.
func TestTeamsTrouble(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(in teams, members []string){
		"429":            func(in teams, _ []string) { in.clerk.SetLimit(2, time.Second) },
		"500":            func(in teams, _ []string) { in.clerk.FailNext(2, http.StatusInternalServerError) },
		"cut off":        func(in teams, _ []string) { in.clerk.CutNext(1) },
		"short pages":    func(in teams, _ []string) { in.clerk.SetPage(120) },
		"counts too low": func(in teams, _ []string) { in.clerk.SetTotal(func(int) int { return 0 }) },
		"those before leave": func(in teams, members []string) {
			for _, id := range members[100:180] {
				in.clerk.DeleteMembership(id)
			}
		},
		"the last one listed leaves": func(in teams, members []string) { in.clerk.DeleteMembership(members[499]) },
		"others come": func(in teams, _ []string) {
			for i := range 30 {
				in.clerk.PutMembership(clerktest.Membership{OrganizationID: in.clerk.Organizations()[0].ID, UserID: in.clerk.Users()[1199-i].ID})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newTeams(t)
			in.put(1200)
			_, members := in.clerk.PutTeams(3, 400)
			once := sync.OnceFunc(func() { trouble(in, members) })
			in.clerk.AfterPage(func(_ int, query url.Values) {
				if query.Get("limit") == "500" && in.clerk.Requested(clerktest.Memberships) == 2 { // behind the count
					once()
				}
			})
			tally := must.Get(reconcile.Run(t.Context(), in.Config))(t)
			if tally.Memberships.Created < 1200 || tally.Failures() != 0 {
				t.Errorf("got %+v", *tally.Memberships)
			}
			in.clerk.AfterPage(nil)
			in.clerk.SetLimit(0, 0)
			in.clerk.SetPage(0)
			in.ageTeams()
			in.MaxDelete = 0.1
			must.Get(reconcile.Run(t.Context(), in.Config))(t) // removes what was deleted after it was listed
			in.teamsInStep()
		})
	}
}

// Each roll has a guard of its own. One that stops a run leaves what was compared before as it is, and the rolls after
// it to the next run.
func TestTeamsGuards(t *testing.T) {
	t.Parallel()
	const instead = " Correct api.key of the source"
	for name, test := range map[string]struct {
		do        func(in teams, organizations, members []string)
		says      []string
		maxDelete float64
	}{
		"too many memberships": {func(in teams, _, members []string) {
			for _, id := range members[:6] {
				in.clerk.DeleteMembership(id)
			}
		}, []string{"nothing was deleted", "6 of the 100 memberships that the roll knows of clerk are gone from https", "--dry-run --max-delete 6%"}, 0.06},
		"too many organizations": {func(in teams, organizations, _ []string) {
			for _, id := range organizations[:2] {
				in.clerk.DeleteOrganization(id)
			}
		}, []string{"2 of the 20 organizations that the roll knows", "--max-delete 10%"}, 0.1},
		"no membership left": {func(in teams, _, members []string) {
			for _, id := range members {
				in.clerk.DeleteMembership(id)
			}
		}, []string{"none of the 20 memberships of clerk", "nothing was changed in rollcall.memberships", instead}, 1},
		"no organization left": {func(in teams, organizations, _ []string) {
			for _, id := range organizations {
				in.clerk.DeleteOrganization(id)
			}
		}, []string{"none of the 20 organizations of clerk", instead}, 1},
		"half the list": {func(in teams, _, members []string) {
			in.clerk.Hide(func(id string) bool { return slices.Contains(members[:50], id) })
		}, []string{"nothing was deleted", "ended after 50 of the 100 memberships"}, 1},
		"counts too high": {func(in teams, _, _ []string) { in.clerk.SetTotal(func(n int) int { return n + 50 }) }, []string{"ended after 20 of the 70 organizations"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, _, organizations, members := filledTeams(t, 20, 5)
			test.do(in, organizations, members)
			before := in.Rows("select * from teams, members order by 1, 2, 3, 4")
			must.Fail(t, must.Err(reconcile.Run(t.Context(), in.Config)), reconcile.ErrStopped, test.says...)
			_, err := reconcile.Preview(t.Context(), in.Config, func(reconcile.Plan) error { return nil })
			must.Fail(t, err, reconcile.ErrStopped, strings.Replace(test.says[0], "nothing was deleted", "nothing", 1))
			in.Want("select * from teams, members order by 1, 2, 3, 4", before...)
			in.Want("select count(*) from rollcall.reconciliations where error is not null", "1")
			in.MaxDelete = test.maxDelete
			must.Get(reconcile.Run(t.Context(), in.Config))(t)
			in.teamsInStep()
		})
	}
}

// The key of another instance that has the same users is noticed by the organisations.
func TestTeamsOfAnotherInstance(t *testing.T) {
	t.Parallel()
	in, _, _, _ := filledTeams(t, 2, 3)
	other := clerktest.New(t)
	for _, u := range in.clerk.Users() {
		other.Put(u)
	}
	other.PutTeams(5, 1)
	in.connect(other, other.Client())
	in.instance.unchanged(func() {
		must.Fail(t, must.Err(reconcile.Run(t.Context(), in.Config)), reconcile.ErrStopped, "another instance", "none of the 2 organizations")
	})
}
