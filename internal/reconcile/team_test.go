package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// team is an instance with a user who is a member of an organisation, and a Syncer.
type team struct {
	*instance
	*reconcile.Syncer
	user, organization, membership string
}

func newTeam(t testing.TB) *team {
	t.Helper()
	in := newTeams(t).instance
	at := time.Now().Add(-time.Hour)
	g := &team{instance: in}
	g.user = in.clerk.Put(clerktest.User{Email: "a@x.test", CreatedAt: at, UpdatedAt: at}).ID
	g.organization = in.clerk.PutOrganization(clerktest.Organization{Name: "Acme", CreatedAt: at, UpdatedAt: at}).ID
	g.membership = in.clerk.PutMembership(clerktest.Membership{OrganizationID: g.organization, UserID: g.user, CreatedAt: at, UpdatedAt: at}).ID
	g.restart()
	return g
}

// restart makes a Syncer that knows nothing.
func (g *team) restart() {
	g.Syncer = reconcile.NewSyncer(reconcile.SyncConfig{
		Providers: map[string]reconcile.Provider{source.Clerk: reconcile.APIProvider(g.API, g.Source)}, DB: g.DB, Submit: g.pipeline.Submit, MaxAge: time.Minute,
	})
}

var standings = map[reconcile.Standing]string{
	reconcile.Alone: "alone", reconcile.IsMember: "member", reconcile.NotMember: "not a member", reconcile.NoOrganization: "no organization",
}

// ask is what one request of the user hears: the standing and the targets, or the error.
func (g *team) ask() string {
	all, err := g.SyncAll(context.Background(), reconcile.SignedIn{Source: source.Clerk, User: g.user, Organization: g.organization})
	if err != nil {
		return said(all.User, err)
	}
	if (all.Standing == reconcile.IsMember) != (all.Organization.Record != nil && all.Membership.Record != nil) || all.User.Record == nil {
		return fmt.Sprintf("%+v", all)
	}
	return fmt.Sprint(standings[all.Standing], " ", all.Targets)
}

// answers fails unless a request is answered so, after so many fetches of a user, an organisation and memberships since the last.
func (g *team) answers(want string, user, organization, memberships int) {
	g.T.Helper()
	must.Equal(g.T, g.ask(), want, "answer")
	g.fetched(user, organization, memberships)
}

// looksAgain fails unless a request about old rows has them fetched. The membership may bring the organisation along
// before that is asked for.
func (g *team) looksAgain() {
	g.T.Helper()
	must.Equal(g.T, g.ask(), inTeam, "answer")
	must.True(g.T, g.clerk.Requested(clerktest.SingleOrganization) <= 1, "organizations were fetched more than once")
	must.Equal(g.T, []int{g.clerk.Requested(clerktest.Single), g.clerk.Requested(clerktest.MembershipsOf)}, []int{1, 1}, "fetches of a user, memberships")
	g.clerk.ForgetRequests()
}

func (g *team) fetched(user, organization, memberships int) {
	g.T.Helper()
	got := []int{g.clerk.Requested(clerktest.Single), g.clerk.Requested(clerktest.SingleOrganization), g.clerk.Requested(clerktest.MembershipsOf)}
	must.Equal(g.T, got, []int{user, organization, memberships}, "fetches of a user, an organization, memberships")
	g.clerk.ForgetRequests()
}

// ageAll lets all rolls have known what they know for an hour more.
func (g *team) ageAll() {
	g.Exec(`update rollcall.users set changed_at = changed_at - interval '1 hour';
		update rollcall.organizations set changed_at = changed_at - interval '1 hour';
		update rollcall.memberships set changed_at = changed_at - interval '1 hour'`)
}

const (
	inTeam   = "member map[members:applied people:applied teams:applied]"
	outside  = "not a member map[people:applied]"
	teamless = "no organization map[people:applied]"
	rowsSQL  = "select t.name || ' ' || p.email || ' ' || m.role from members m join teams t on t.id = m.team_id join people p on p.id = m.user_id"
	rows     = "Acme a@x.test org:member"

	neverParked = `create function never() returns trigger language plpgsql as 'begin raise ''parked''; end';
		create trigger never before insert on rollcall.parked for each row execute function never()`
)

// Many first requests fetch everything once, and nothing is parked on the way.
func TestSyncTeamTwentyAtOnce(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.Exec(neverParked)
	g.clerk.SetDelay(50 * time.Millisecond)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() { must.Equal(t, g.ask(), inTeam, "answer") })
	}
	asking.Wait()
	g.fetched(1, 1, 1)
	g.Want(rowsSQL, rows)
	g.Want("select id from rollcall.events")
	g.answers(inTeam, 0, 0, 0)
}

// slowUsers delays what is asked about users.
type slowUsers struct{ http.RoundTripper }

func (s slowUsers) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/users/") {
		time.Sleep(300 * time.Millisecond)
	}
	return s.RoundTripper.RoundTrip(r)
}

// A membership waits for a user that the API shows later.
func TestSyncTeamUserLast(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.Exec(neverParked)
	g.connect(g.clerk, &http.Client{Transport: slowUsers{g.clerk.Client().Transport}})
	g.restart()
	g.answers(inTeam, 1, 1, 1)
	g.Want(rowsSQL, rows)
}

// Two members at once share the organisation, and each has their own membership.
func TestSyncTeamOfTwo(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	other := g.clerk.Put(clerktest.User{Email: "b@x.test"}).ID
	g.clerk.PutMembership(clerktest.Membership{OrganizationID: g.organization, UserID: other, Role: "org:admin"})
	g.clerk.SetDelay(100 * time.Millisecond)
	var asking sync.WaitGroup
	for _, user := range []string{g.user, other} {
		asking.Go(func() {
			all := must.Get(g.SyncAll(context.Background(), reconcile.SignedIn{Source: source.Clerk, User: user, Organization: g.organization}))(t)
			must.Contain(t, string(all.Membership.Record), `"user_id":"`+user+`"`)
			must.Contain(t, string(all.User.Record), `"id":"`+user+`"`)
		})
	}
	asking.Wait()
	g.fetched(2, 1, 2)
	g.Want(rowsSQL+" order by 1", rows, "Acme b@x.test org:admin")
}

// A young roll answers by itself, and mends rows; an old one is held against the API.
func TestSyncTeamAge(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.hookTeam("organization.created", g.clerk.OrganizationObject(g.organization))
	g.hook("user.created", g.user)
	g.hookTeam("organizationMembership.created", g.clerk.MembershipObject(g.membership))
	g.answers(inTeam, 0, 0, 0)
	g.Exec("delete from members; delete from teams")
	must.Equal(t, g.ask(), inTeam, "answer")
	g.answers(inTeam, 0, 0, 0)
	g.Want(rowsSQL, rows)
	g.clerk.UpdateMembership(g.membership, func(m *clerktest.Membership) { m.Role = "org:admin" })
	g.clerk.UpdateOrganization(g.organization, func(o *clerktest.Organization) { o.Name = "Apex" })
	g.answers(inTeam, 0, 0, 0)
	g.Want(rowsSQL, rows)
	g.ageAll()
	g.looksAgain()
	g.answers(inTeam, 0, 0, 0)
	g.Want(rowsSQL, "Apex a@x.test org:admin")
}

// The row of a membership that is settled before that of its organisation is there when the request is answered.
func TestSyncTeamOrganizationLast(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.Syncer = reconcile.NewSyncer(reconcile.SyncConfig{
		Providers: map[string]reconcile.Provider{source.Clerk: reconcile.APIProvider(g.API, g.Source)}, DB: g.DB, MaxAge: time.Minute,
		Submit: func(ctx context.Context, e event.Event) (event.Outcome, error) {
			if e.Organization != nil {
				time.Sleep(100 * time.Millisecond)
			}
			return g.pipeline.Submit(ctx, e)
		},
	})
	g.Exec("delete from members; delete from teams")
	g.answers(inTeam, 0, 0, 0)
	g.Want(rowsSQL, rows)
}

// Who has left is no member, and who has joined again, is.
func TestSyncTeamLeft(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.clerk.DeleteMembership(g.membership)
	g.answers(inTeam, 0, 0, 0)
	g.Exec("update rollcall.memberships set changed_at = changed_at - interval '1 hour'")
	g.answers(outside, 0, 0, 1)
	g.Want(rowsSQL)
	g.Want("select name from teams", "Acme")
	g.Want("select id || ' ' || (deleted_at is not null) from rollcall.memberships", g.membership+" true")
	g.answers(outside, 0, 0, 1) // they may have joined again
	g.clerk.PutMembership(clerktest.Membership{OrganizationID: g.organization, UserID: g.user, Role: "org:admin"})
	g.answers(inTeam, 0, 0, 1)
	g.Want(rowsSQL, "Acme a@x.test org:admin")
	g.answers(inTeam, 0, 0, 0)
}

// A user of another organisation, or of one that nobody knows, has no place in it.
func TestSyncTeamOfOthers(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.clerk.DeleteMembership(g.membership)
	g.answers(outside, 1, 1, 1)
	g.Want("select id from rollcall.memberships")
	g.Want("select name from teams", "Acme")
	g.organization = "org_unknown"
	must.Equal(t, g.ask(), teamless, "answer")
	must.Equal(t, g.clerk.Requested(clerktest.SingleOrganization), 1, "fetches") // the membership's is not waited for
	g.Want("select count(*)::text from rollcall.organizations", "1")
}

// An organisation that was deleted meanwhile takes its memberships along, and is not asked about again.
func TestSyncTeamDeleted(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.clerk.DeleteOrganization(g.organization)
	g.Exec("update rollcall.organizations set changed_at = changed_at - interval '1 hour'")
	g.answers(teamless, 0, 1, 0)
	g.Want("select id from teams")
	g.Want(rowsSQL)
	g.answers(teamless, 0, 0, 0)
	g.Want("select count(*)::text from rollcall.memberships where deleted_at is null", "0")
}

// A user who is deleted hears that, whatever the organisation is.
func TestSyncTeamOfTheDeleted(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.clerk.Delete(g.user)
	g.ageAll()
	must.Equal(t, g.ask(), "gone", "answer")
	must.Equal(t, g.ask(), "deleted", "answer")
	g.Want(rowsSQL)
}

// What webhooks have told is not undone by an API that does not know it yet.
func TestSyncTeamBehindTheRoll(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.hookTeam("organizationMembership.deleted", g.clerk.MembershipObject(g.membership))
	g.answers(outside, 0, 0, 1)
	g.Want(rowsSQL)

	g.clerk.DeleteMembership(g.membership)
	joined := g.clerk.PutMembership(clerktest.Membership{OrganizationID: g.organization, UserID: g.user}).ID
	g.hookTeam("organizationMembership.created", g.clerk.MembershipObject(joined))
	g.clerk.DeleteMembership(joined)
	g.Exec("update rollcall.memberships set changed_at = changed_at - interval '90 seconds'")
	g.answers(inTeam, 0, 0, 1)
	g.Want(rowsSQL, rows)
	g.Exec("update rollcall.memberships set changed_at = changed_at - interval '90 seconds'")
	g.answers(outside, 0, 0, 1)
	g.Want(rowsSQL)
}

// A row that a foreign key refuses is parked, and the answer says so.
func TestSyncTeamParked(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.Exec("create table seats (user_id text primary key); alter table members add foreign key (user_id) references seats")
	g.answers("member map[members:parked people:applied teams:applied]", 1, 1, 1)
	g.answers("member map[members:parked people:applied teams:applied]", 0, 0, 0)
	g.Exec("insert into seats select id from people")
	g.answers(inTeam, 0, 0, 0)
	g.Want(rowsSQL, rows)
}

// With another instance's key nobody would be a member of anything: nothing is believed, nothing changes.
func TestSyncTeamOfAnotherInstance(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	other := clerktest.New(t)
	other.PutMany(3)
	g.connect(other, other.Client())
	g.restart()
	for _, aged := range []string{"organizations", "memberships"} {
		g.Exec("update rollcall." + aged + " set changed_at = changed_at - interval '1 hour'")
		g.unchanged(func() { must.Equal(t, g.ask(), "unavailable", aged) })
	}
	g.ageAll()
	g.connect(g.clerk, g.clerk.Client())
	g.restart()
	g.looksAgain()
}

// While Clerk's API is away, or can't be understood, nothing is known and nothing changes.
func TestSyncTeamWithoutTheAPI(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.answers(inTeam, 1, 1, 1)
	g.ageAll()
	g.hook("user.updated", g.user)
	g.clerk.FailEvery(1, http.StatusBadGateway)
	g.unchanged(func() { must.Equal(t, g.ask(), "unavailable", "answer") })
	g.clerk.FailEvery(0, 0)
	g.clerk.IgnoreFilter(true)
	stranger := g.clerk.Put(clerktest.User{}).ID
	g.clerk.PutMembership(clerktest.Membership{OrganizationID: g.organization, UserID: stranger})
	must.Equal(t, g.ask(), "unavailable", "answer")
	g.clerk.IgnoreFilter(false)
	must.Equal(t, g.ask(), inTeam, "answer")
}

// Each row has its own limit of looks.
func TestSyncTeamLimit(t *testing.T) {
	t.Parallel()
	g := newTeam(t)
	g.clerk.DeleteMembership(g.membership)
	for range 10 {
		must.Equal(t, g.ask(), outside, "answer")
	}
	g.fetched(1, 1, 10)
	all, err := g.SyncAll(t.Context(), reconcile.SignedIn{Source: source.Clerk, User: g.user, Organization: g.organization})
	var limit *reconcile.LimitError
	must.True(t, errors.As(err, &limit) && limit.Wait > 30*time.Second, "got %+v, %v", all, err)
	g.fetched(0, 0, 0)
}

// hookTeam delivers a webhook of Clerk's about an object.
func (g *team) hookTeam(kind string, object []byte) {
	g.T.Helper()
	body := fmt.Sprintf(`{"object":"event","type":%q,"timestamp":%d,"data":%s}`, kind, time.Now().UnixMilli(), object)
	e := g.Source.Decode(source.Request{
		Header: http.Header{"Svix-Id": {fmt.Sprint("msg_", kind, time.Now().UnixNano())}}, Body: []byte(body), ReceivedAt: time.Now(),
	})
	if outcomes, err := g.Submit(context.Background(), []event.Event{e}); err != nil || outcomes[0] != event.Applied {
		g.T.Error(outcomes, err, e.Reason)
	}
}
