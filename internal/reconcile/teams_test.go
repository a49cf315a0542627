package reconcile_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
)

// teams is an instance whose application has tables of teams and of their members.
type teams struct{ *instance }

const teamTables = `create table people (id text primary key, email text, name text);
create table teams (id text primary key, name text);
create table members (team_id text references teams on delete cascade, user_id text references people on delete cascade, role text, primary key (team_id, user_id))`

func newTeams(t testing.TB) teams {
	t.Helper()
	from := []target.Origin{{Source: "clerk"}}
	people := fixture.Target(source.Clerk)
	people.Name, people.Table, people.OnInsert = "people", "public.people", nil
	in := &instance{startProject(fixture.New(t, teamTables), "", people, target.Target{
		Name: "teams", Roll: "organizations", At: "test.yaml:2:1", Table: "public.teams", Key: []string{"id"}, From: from,
		Set: fixture.Assign("id: new.id", "name: new.name"), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}, target.Target{
		Name: "members", Roll: "memberships", At: "test.yaml:3:1", Table: "public.members", Key: []string{"team_id", "user_id"}, From: from,
		Set:      fixture.Assign("team_id: new.organization_id", "user_id: new.user_id", "role: new.role"),
		OnDelete: target.OnDelete{Action: target.DeleteRow},
	}), clerktest.New(t)}
	in.Source = fixture.Source(t, source.Clerk)
	in.connect(in.clerk, in.clerk.Client())
	return teams{in}
}

// filledTeams has n organisations of so many members, who are different users, in the rolls for an hour.
func filledTeams(t testing.TB, n, size int) (in teams, users, organizations, members []string) {
	t.Helper()
	in = newTeams(t)
	users = in.put(n * size)
	organizations, members = in.clerk.PutTeams(n, size)
	in.wantTeams(created(n*size), created(n), created(n*size))
	in.ageTeams()
	in.clerk.ForgetRequests()
	return in, users, organizations, members
}

func created(n int) directory.Reconciled   { return directory.Reconciled{Created: int64(n)} }
func unchanged(n int) directory.Reconciled { return directory.Reconciled{Unchanged: int64(n)} }

// ageTeams lets the rolls have known everything for an hour more.
func (in teams) ageTeams() {
	in.T.Helper()
	for _, table := range []string{"users", "organizations", "memberships"} {
		in.Exec("update rollcall." + table + " set changed_at = changed_at - interval '1 hour'")
	}
}

// wantTeams runs, and compares what was done about users, organisations and memberships.
func (in teams) wantTeams(want ...directory.Reconciled) {
	in.T.Helper()
	must.Equal(in.T, listed(must.Get(reconcile.Run(in.T.Context(), in.Config))(in.T)), want, "a run")
}

// listed are the counters of what was compared.
func listed(t reconcile.Tally) []directory.Reconciled {
	list := []directory.Reconciled{t.Reconciled}
	for _, other := range []*directory.Reconciled{t.Organizations, t.Memberships} {
		if other != nil {
			list = append(list, *other)
		}
	}
	return list
}

// teamsInStep holds the application's tables against the instance.
func (in teams) teamsInStep() {
	in.T.Helper()
	in.inStep()
	var organizations, members []string
	for _, o := range in.clerk.Organizations() {
		organizations = append(organizations, o.ID+"|"+o.Name)
	}
	for _, m := range in.clerk.Memberships() {
		members = append(members, m.OrganizationID+"|"+m.UserID+"|"+m.Role)
	}
	slices.Sort(organizations)
	slices.Sort(members)
	in.Want(`select id, name from teams order by id collate "C"`, organizations...)
	in.Want(`select team_id, user_id, role from members order by team_id collate "C", user_id collate "C"`, members...)
}

// Organisations and memberships that no webhook has announced are brought in after the users, and what differs or is
// gone is mended.
func TestTeams(t *testing.T) {
	t.Parallel()
	in, users, organizations, members := filledTeams(t, 30, 40)
	in.teamsInStep()
	in.wantTeams(unchanged(1200), unchanged(30), unchanged(1200))
	in.clerk.UpdateOrganization(organizations[0], func(o *clerktest.Organization) { o.Name = "New" })
	in.clerk.UpdateOrganization(organizations[1], func(o *clerktest.Organization) { o.MaxMembers = 5; o.UpdatedAt = o.UpdatedAt.Add(time.Hour) })
	in.clerk.UpdateMembership(members[0], func(m *clerktest.Membership) { m.Role = "org:admin" })
	in.clerk.UpdateMembership(members[1], func(m *clerktest.Membership) { m.UpdatedAt = m.UpdatedAt.Add(time.Hour) })
	in.clerk.DeleteMembership(members[2])
	in.clerk.DeleteOrganization(organizations[29])
	in.clerk.PutOrganization(clerktest.Organization{ID: "org_new", Name: "Another"})
	in.clerk.PutMembership(clerktest.Membership{OrganizationID: "org_new", UserID: users[0]})
	in.wantTeams(unchanged(1200), directory.Reconciled{Created: 1, Updated: 2, Deleted: 1, Unchanged: 27},
		directory.Reconciled{Created: 1, Updated: 1, Touched: 1, Deleted: 1, Unchanged: 1157})
	in.teamsInStep()
	in.Want("select count(*) from rollcall.memberships where deleted_at is not null", "41")
	in.Want("select count(*) from rollcall.memberships where deleted_at is not null and changed_at < now() - interval '1 minute'", "1")
	in.Want("select (select count(*) from rollcall.listed), (select count(*) from rollcall.events)", "0|0")
	in.wantTeams(unchanged(1200), unchanged(30), unchanged(1160))
	runs := must.Get(in.DB.Directory().LastRuns(t.Context()))(t)
	must.Equal(t, runs[0].Others, map[string]directory.Reconciled{"organizations": unchanged(30), "memberships": unchanged(1160)}, "the last run")
}

// A run that was interrupted goes on in the roll where it was, behind its last page, and remembers what was listed.
func TestTeamsResume(t *testing.T) {
	t.Parallel()
	in, _, organizations, members := filledTeams(t, 2, 600)
	for _, interrupted := range []*event.Roll{&event.Organizations, &event.Memberships} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := in.Config
		cfg.Progress = func(roll *event.Roll, _, _ int64) {
			if roll == interrupted {
				cancel()
			}
		}
		must.Fail(t, must.Err(reconcile.Run(ctx, cfg)), context.Canceled)
		cancel()
	}
	in.Want("select count(*), max(others->'memberships'->>'unchanged') from rollcall.reconciliations where finished_at is null", "1|500")
	in.clerk.ForgetRequests()
	in.clerk.DeleteMembership(members[1]) // was shown: the next run's affair
	in.wantTeams(unchanged(1200), unchanged(2), unchanged(1200))
	for _, r := range in.clerk.Requests() {
		if r.Kind == clerktest.List || r.Kind == clerktest.Organizations || r.Kind == clerktest.Memberships && r.Query.Get("limit") == "500" && len(r.Query.Get("offset")) < 3 {
			t.Errorf("asked again: %s %v", r.Kind, r.Query)
		}
	}
	in.Want("select count(*) from rollcall.reconciliations", "2")
	in.clerk.UpdateOrganization(organizations[0], func(o *clerktest.Organization) { o.Name = "New" })
	in.wantTeams(unchanged(1200), directory.Reconciled{Updated: 1, Unchanged: 1}, directory.Reconciled{Deleted: 1, Unchanged: 1199})
	in.teamsInStep()
}

// A dry run says what a run would do about each roll, and writes nothing.
func TestTeamsPreview(t *testing.T) {
	t.Parallel()
	in, users, organizations, members := filledTeams(t, 25, 4)
	in.clerk.UpdateOrganization(organizations[0], func(o *clerktest.Organization) { o.Name = "New" })
	in.clerk.DeleteOrganization(organizations[24]) // with 4 of 100 memberships
	in.clerk.Delete(users[95])                     // of another organisation
	in.clerk.UpdateMembership(members[0], func(m *clerktest.Membership) { m.Role = "org:admin" })
	in.clerk.DeleteMembership(members[1])
	born := in.clerk.PutMembership(clerktest.Membership{OrganizationID: organizations[0], UserID: users[50]})
	want := []directory.Reconciled{
		{Deleted: 1, Unchanged: 99}, {Updated: 1, Deleted: 1, Unchanged: 23}, {Created: 1, Updated: 1, Deleted: 1, Unchanged: 93},
	}
	var got []string
	in.instance.unchanged(func() {
		tally := must.Get(reconcile.Preview(t.Context(), in.Config, func(f reconcile.Plan) error {
			said := fmt.Sprint(f.Roll.Name, " ", f.Action, " ", f.User, f.ID)
			if f.Action == "updated" {
				said += fmt.Sprint(f.Differences[1:])
			}
			got = append(got, said)
			return nil
		}))(t)
		must.Equal(t, listed(tally), want, "a dry run")
	})
	must.Equal(t, got, []string{
		"users deleted " + users[95],
		"organizations updated " + organizations[0] + "[{name Example New} {updated_at " + got[1][strings.Index(got[1], "{updated_at ")+12:],
		"organizations deleted " + organizations[24],
		"memberships updated " + members[0] + "[{role org:member org:admin} {updated_at " + got[3][strings.Index(got[3], "{updated_at ")+12:],
		"memberships created " + born.ID, "memberships deleted " + members[1],
	}, "findings")
	in.wantTeams(want...) // and a run does what it said
	in.teamsInStep()
}

// An instance without organisations costs two requests, and neither a failure nor what the rolls have.
func TestTeamsAreNotEnabled(t *testing.T) {
	t.Parallel()
	in, _, _, _ := filledTeams(t, 2, 3)
	in.clerk.DisableOrganizations(true)
	var log strings.Builder
	in.Log = slog.New(slog.NewTextHandler(&log, nil))
	in.wantTeams(unchanged(6))
	asked := 0
	for _, r := range in.clerk.Requests() {
		if r.Status == http.StatusForbidden {
			asked++
		}
	}
	must.Equal(t, asked, 2, "requests")
	must.Equal(t, strings.Count(log.String(), "organizations are not enabled at Clerk"), 2, "lines")
	must.Equal(t, len(listed(must.Get(reconcile.Preview(t.Context(), in.Config, nil))(t))), 1, "rolls of a dry run")
	in.clerk.DisableOrganizations(false)
	in.wantTeams(unchanged(6), unchanged(2), unchanged(6))
	in.teamsInStep()
}

// An organisation with more members than a transaction ends is deleted with all of them: they are no memberships that
// are gone by themselves, which would be too many.
func TestTeamsOfADeletedOrganization(t *testing.T) {
	t.Parallel()
	in := newTeams(t)
	in.put(1300)
	large, _ := in.clerk.PutTeams(1, 1200)
	in.clerk.PutTeams(30, 1)
	in.wantTeams(created(1300), created(31), created(1230))
	in.ageTeams()
	in.clerk.DeleteOrganization(large[0])
	in.wantTeams(unchanged(1300), directory.Reconciled{Deleted: 1, Unchanged: 30}, unchanged(30))
	in.teamsInStep()
	in.Want("select count(*) from rollcall.endings", "0")
}

// Who has left and joined again is a member, with another id or with the same.
func TestTeamsRejoin(t *testing.T) {
	t.Parallel()
	in, users, organizations, members := filledTeams(t, 10, 4)
	again := time.Now()
	in.clerk.DeleteMembership(members[0])
	in.clerk.PutMembership(clerktest.Membership{OrganizationID: organizations[0], UserID: users[0], Role: "org:other"})
	in.clerk.DeleteMembership(members[1])
	in.hookTeam("organizationMembership.deleted", members[1])
	in.clerk.PutMembership(clerktest.Membership{ID: members[1], OrganizationID: organizations[0], UserID: users[1], Role: "org:same", CreatedAt: again, UpdatedAt: again})
	in.clerk.DeleteMembership(members[2])
	in.clerk.PutMembership(clerktest.Membership{ID: members[2], OrganizationID: organizations[0], UserID: users[2], Role: "org:unseen", CreatedAt: again, UpdatedAt: again})
	in.wantTeams(unchanged(40), unchanged(10), directory.Reconciled{Created: 2, Updated: 1, Deleted: 1, Unchanged: 37})
	in.teamsInStep()
	in.wantTeams(unchanged(40), unchanged(10), unchanged(40))
}

// hookTeam delivers a webhook about an organisation or a membership.
func (in teams) hookTeam(kind, id string) {
	in.T.Helper()
	e := in.Source.Decode(source.Request{Header: http.Header{"Svix-Id": {kind + id}}, Body: in.clerk.Event(kind, id), ReceivedAt: time.Now()})
	must.Equal(in.T, must.Get(in.Submit(context.Background(), []event.Event{e}))(in.T), []event.Outcome{event.Applied}, "outcomes")
}

// A membership whose user is not listed yet is parked where a foreign key wants them, and settled when they come. One
// that does not say whose it is counts as failed, and deletes nothing.
func TestTeamsOfUnknownUsers(t *testing.T) {
	t.Parallel()
	in, _, organizations, members := filledTeams(t, 3, 2)
	in.clerk.Hide(func(id string) bool { return id == "user_hidden" })
	in.clerk.Put(clerktest.User{ID: "user_hidden", Email: "hidden@x.test"})
	in.clerk.PutMembership(clerktest.Membership{ID: "orgmem_hidden", OrganizationID: organizations[0], UserID: "user_hidden"})
	in.clerk.UpdateMembership(members[0], func(m *clerktest.Membership) { m.Anonymous = true })
	in.wantTeams(unchanged(6), unchanged(3), directory.Reconciled{Created: 1, Unchanged: 5, Failed: 1})
	in.Want("select count(*) from members", "6")
	in.Want("select id from rollcall.memberships where deleted_at is null and id in ('orgmem_hidden', '"+members[0]+"') order by 1", members[0], "orgmem_hidden")
	in.clerk.Hide(nil)
	in.clerk.UpdateMembership(members[0], func(m *clerktest.Membership) { m.Anonymous = false })
	in.wantTeams(directory.Reconciled{Created: 1, Unchanged: 6}, unchanged(3), directory.Reconciled{Touched: 1, Unchanged: 6})
	in.teamsInStep()
}

// What webhooks tell while the lists are on their way is newer than the lists.
func TestTeamsMeanwhile(t *testing.T) {
	t.Parallel()
	in, users, organizations, members := filledTeams(t, 20, 2)
	once := sync.OnceFunc(func() {
		in.clerk.UpdateMembership(members[0], func(m *clerktest.Membership) { m.Role = "org:edited" })
		in.hookTeam("organizationMembership.updated", members[0])
		in.clerk.DeleteMembership(members[1])
		in.hookTeam("organizationMembership.deleted", members[1])
		born := in.clerk.PutMembership(clerktest.Membership{OrganizationID: organizations[0], UserID: users[30]})
		in.hookTeam("organizationMembership.created", born.ID)
	})
	in.clerk.AfterPage(func(_ int, query url.Values) {
		if query.Get("limit") == "500" && in.clerk.Requested(clerktest.Memberships) == 2 {
			once()
		}
	})
	in.wantTeams(unchanged(40), unchanged(20), unchanged(41)) // the next page shows who came
	in.teamsInStep()
	in.wantTeams(unchanged(40), unchanged(20), unchanged(40))
}
