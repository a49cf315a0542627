package roll_test

import (
	"fmt"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/postgres/roll"
	"rollcall/internal/postgres/settle"
	"rollcall/internal/target"
)

// teamTables are an application's tables of teams and of their members.
const teamTables = `create table teams (id text primary key, name text, archived boolean not null default false);
	create table members (team_id text references teams, user_id text, role text, primary key (team_id, user_id));`

func teamTargets() []target.Target {
	return []target.Target{{
		Name: "teams", Roll: "organizations", At: "test.yaml:1:1", Table: "public.teams", From: fixture.FromApp, Key: []string{"id"},
		Set:      fixture.Assign("id: new.id", "name: new.name", "archived: false"),
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("archived: true")},
	}, {
		Name: "members", Roll: "memberships", At: "test.yaml:2:1", Table: "public.members", From: fixture.FromApp, Key: []string{"team_id", "user_id"},
		Set:      fixture.Assign("team_id: new.organization_id", "user_id: new.user_id", "role: new.role"),
		OnDelete: target.OnDelete{Action: target.DeleteRow},
	}}
}

func newTeams(t testing.TB) *fixture.Bench {
	t.Helper()
	return fixture.NewBench(t, teamTables+fixture.PTable, append(teamTargets(), fixture.Everyone())...)
}

var since = time.UnixMilli(1_760_000_000_000)

func after(minutes int) *time.Time { return new(since.Add(time.Duration(minutes) * time.Minute)) }

// organization is a team at a version.
func organization(id string, version int64, name string) *event.Organization {
	return &event.Organization{Row: event.Row{Source: "app", ID: id, Version: version}, Name: &name, RawPublicMetadata: "{}", CreatedAt: after(0)}
}

func said(o *event.Organization) event.Event {
	e := event.Event{Source: "app", ID: fmt.Sprint(o.ID, "-", o.Version, o.Dead()), Type: "organization.updated", Op: event.Upsert, Organization: o, ReceivedAt: time.Now(), Body: []byte("{}")}
	if o.Dead() {
		e.Op, e.Type = event.Delete, "organization.deleted"
	}
	return e
}

func disbanded(id string, version int64) event.Event {
	return said(&event.Organization{Row: event.Row{Source: "app", ID: id, Version: version, DeletedAt: after(9)}})
}

// life is a membership from the moment that a user joins a team, in minutes after the first.
type life struct {
	id, team, user string
	since          int
}

// joined is a membership at a version.
func joined(l life, version int64, role string) event.Event {
	m := &event.Membership{
		Row:            event.Row{Source: "app", ID: l.id, Version: version},
		OrganizationID: &l.team, UserID: &l.user, Role: &role, Permissions: "[]", RawPublicMetadata: "{}", CreatedAt: after(l.since),
	}
	return event.Event{
		Source: "app", ID: fmt.Sprint(l.id, "-", version, "-", l.since), Type: "organizationMembership.updated", Op: event.Upsert, UserID: l.user,
		Membership: m, Organization: organization(l.team, 1, "The "+l.team), ReceivedAt: time.Now(), Body: []byte("{}"),
	}
}

func left(l life, version int64) event.Event {
	e := joined(l, version, "")
	m := *e.Membership
	m.Role, m.Permissions, m.RawPublicMetadata, m.DeletedAt = nil, "", "", after(9)
	e.ID, e.Type, e.Op, e.Membership = e.ID+"-left", "organizationMembership.deleted", event.Delete, &m
	return e
}

const memberRows = "select team_id, user_id, role from members order by 1, 2"

// A row of any roll is found by its name, with the targets of its roll; of several memberships of a pair the
// latest that is alive. Settling it brings its rows back.
func TestMemberOfAnyRoll(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	look := func(of *event.Roll, id, user string) string {
		m := must.Get(b.Member(t.Context(), roll.Name{Roll: of, Source: "app", ID: id, User: user}))(t)
		return fmt.Sprint(m.ID, " ", m.Known, m.Deleted, " ", m.Version, " ", m.Targets)
	}
	const nothing = " false false 0 map[]"
	must.Equal(t, look(&event.Organizations, "red", ""), nothing, "a team")
	must.Equal(t, look(&event.Memberships, "red", "ada"), nothing, "a member")
	b.Applies(fixture.All(event.Applied, 3), joined(life{"m2", "red", "ada", 2}, 5, "member"), joined(life{"m1", "red", "ada", 1}, 9, "member"), joined(life{"m3", "red", "eve", 0}, 1, "member"))
	must.Equal(t, look(&event.Organizations, "red", ""), "red true false 1 map[teams:applied]", "a team")
	must.Equal(t, look(&event.Memberships, "red", "ada"), "m2 true false 5 map[members:applied]", "a member")
	must.Equal(t, look(&event.Users, "ada", ""), nothing, "a user")
	b.Applies(fixture.All(event.Applied, 1), left(life{"m2", "red", "ada", 2}, 5))
	must.Equal(t, look(&event.Memberships, "red", "ada"), "m1 true false 9 map[members:applied]", "an earlier one")
	b.Applies(fixture.All(event.Applied, 1), left(life{"m1", "red", "ada", 1}, 9))
	must.Equal(t, look(&event.Memberships, "red", "ada"), "m2 true true 5 map[]", "one who has left")
	must.Equal(t, look(&event.Memberships, "blue", "ada"), nothing, "a member of another team")

	b.Exec("delete from members; update teams set name = 'x'")
	row := event.Row{Source: "app", ID: "m3"}
	settle := event.Event{Source: "app", Op: event.Settle, Membership: &event.Membership{Row: row}}
	b.Applies(fixture.All(event.Applied, 1), settle)
	b.Want(memberRows, "red|eve|member")
	b.Want("select name from teams", "x")
	row.ID = "red"
	settle.Membership, settle.Organization = nil, &event.Organization{Row: row}
	b.Applies(fixture.All(event.Applied, 1), settle)
	b.Want("select name from teams", "The red")
	b.Want("select role from rollcall.memberships where id = 'm3'", "member")
	b.Exec("alter table teams add constraint no check (name <> 'The red') not valid; update teams set name = 'x'")
	b.Applies(fixture.All(event.Parked, 1), settle)
	must.Equal(t, look(&event.Organizations, "red", ""), "red true false 1 map[teams:parked]", "a team that is parked")
}

// A team and its members follow what is said about them, and a member brings their team along.
func TestTeams(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x"))
	b.Applies(fixture.Applied, joined(life{"m1", "t1", "u1", 1}, 5, "admin"))
	b.Want("select id, name, archived from teams", "t1|The t1|f")
	b.Want(memberRows, "t1|u1|admin")
	b.Applies(fixture.All(event.Duplicate, 1), joined(life{"m1", "t1", "u1", 1}, 5, "admin"))
	b.Applies(fixture.All(event.Stale, 1), joined(life{"m1", "t1", "u1", 1}, 4, "guest"))
	b.Applies(fixture.Applied, joined(life{"m1", "t1", "u1", 1}, 6, "guest"))
	b.Want(memberRows, "t1|u1|guest")
	b.Applies([]event.Outcome{event.Applied, event.Applied}, said(organization("t1", 7, "New")), left(life{"m1", "t1", "u1", 1}, 6))
	b.Want("select id, name, archived from teams", "t1|New|f")
	b.Want(memberRows)
	b.Want("select organization_id, user_id, deleted_at is not null from rollcall.memberships", "t1|u1|t")
	b.Want("select count(*) from rollcall.users where version is null", "0")
}

// Who leaves and joins again is a member, whatever the ids and the order of the events.
func TestRejoin(t *testing.T) {
	t.Parallel()
	for name, events := range map[string][]event.Event{
		"the same id":                 {joined(life{"m1", "t1", "u1", 1}, 5, "admin"), left(life{"m1", "t1", "u1", 1}, 5), joined(life{"m1", "t1", "u1", 4}, 9, "guest")},
		"another id":                  {joined(life{"m1", "t1", "u1", 1}, 5, "admin"), left(life{"m1", "t1", "u1", 1}, 5), joined(life{"m2", "t1", "u1", 4}, 9, "guest")},
		"the same id, a late delete":  {joined(life{"m1", "t1", "u1", 1}, 5, "admin"), joined(life{"m1", "t1", "u1", 4}, 9, "guest"), left(life{"m1", "t1", "u1", 1}, 5)},
		"another id, a late delete":   {joined(life{"m1", "t1", "u1", 1}, 5, "admin"), joined(life{"m2", "t1", "u1", 4}, 9, "guest"), left(life{"m1", "t1", "u1", 1}, 5)},
		"another id, a late creation": {joined(life{"m2", "t1", "u1", 4}, 9, "guest"), left(life{"m1", "t1", "u1", 1}, 5), joined(life{"m1", "t1", "u1", 1}, 5, "admin")},
		"another id, a late role":     {joined(life{"m1", "t1", "u1", 1}, 5, "admin"), joined(life{"m2", "t1", "u1", 4}, 9, "guest"), joined(life{"m1", "t1", "u1", 1}, 11, "owner")},
	} {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", together ", together), func(t *testing.T) {
				t.Parallel()
				b := newTeams(t)
				b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x"))
				if together {
					b.Submit(events...)
				} else {
					b.Seed(events...)
				}
				b.Want(memberRows, "t1|u1|guest")
				b.Want("select count(*) from rollcall.parked", "0")
				if report := must.Get(b.DB.Audit().Report(t.Context(), audit.Options{}))(t); !report.InStep() {
					t.Errorf("out of step: %+v", report.Tallies)
				}
			})
		}
	}
}

// The deletion of a user or an organisation ends the memberships in the same transaction, more than one
// transaction ends later, and none begins below it.
func TestMembershipsEndWithTheirParents(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Submit(fixture.Updated("u1", 1, "a@x"), fixture.Updated("u2", 1, "b@x"))
	b.Submit(joined(life{"m1", "t1", "u1", 1}, 5, "admin"), joined(life{"m2", "t1", "u2", 1}, 5, "guest"), joined(life{"m3", "t2", "u1", 1}, 5, "admin"))
	b.Want(memberRows, "t1|u1|admin", "t1|u2|guest", "t2|u1|admin")
	b.Applies(fixture.Applied, fixture.Gone("u1", 9))
	b.Want(memberRows, "t1|u2|guest")
	b.Applies(fixture.Applied, disbanded("t1", 9))
	b.Want(memberRows)
	b.Want("select id, archived from teams order by 1", "t1|t", "t2|f")
	b.Applies(fixture.Applied, joined(life{"m4", "t1", "u2", 30}, 20, "admin"))
	b.Applies(fixture.Applied, joined(life{"m5", "t2", "u1", 30}, 20, "admin"))
	b.Want(memberRows)
	b.Want("select count(*) from rollcall.memberships where deleted_at is null", "0")
}

// An organisation whose members are more than one transaction ends is deleted at once, and its members by the job.
func TestEndMemberships(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	const members = 1200
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	b.Exec(fmt.Sprintf(`insert into rollcall.memberships (source, id, version, organization_id, user_id, role, created_at)
		select 'app', 'm' || n, 1, 't1', 'u' || n, 'guest', now() from generate_series(1, %d) n;
		insert into members select 't1', 'u' || n, 'guest' from generate_series(1, %[1]d) n`, members))
	b.Applies(fixture.Applied, disbanded("t1", 9))
	b.Want("select count(*) from members", fmt.Sprint(members-500))
	if some := must.Get(b.Roll.MembershipsToEnd(t.Context()))(t); !some {
		t.Error("nothing is noted to be ended")
	}
	must.Equal(t, must.Get(b.Roll.EndMemberships(t.Context()))(t), members-500, "ended by the job")
	b.Want("select count(*) from members", "0")
	b.Want("select count(*) from rollcall.memberships where deleted_at is null", "0")
	if some := must.Get(b.Roll.MembershipsToEnd(t.Context()))(t); some {
		t.Error("the note is still there")
	}
}

// Other transactions end some of the memberships that the job is about to end: it ends the rest all the same.
func TestEndMembershipsBesideOthers(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	b.Exec(`insert into rollcall.memberships (source, id, version, organization_id, user_id, role, created_at)
		select 'app', 'm' || n, 1, 't1', 'u' || n, 'guest', now() from generate_series(1, 1200) n`)
	b.Applies(fixture.Applied, disbanded("t1", 9))
	others := b.Hold(`update rollcall.memberships set deleted_at = now()
		where deleted_at is null and substr(id, 2)::integer % 2 = 0`)
	job := func() error { _, err := b.Roll.EndMemberships(t.Context()); return err }
	must.Do(t, fixture.Beside(job, func() { others.Run("commit") }))
	b.Want("select count(*) from rollcall.memberships where deleted_at is null", "0")
	b.Want("select count(*) from rollcall.endings", "0")
}

// A transaction waits for another one about the same user or team, which commits meanwhile, and sees what it has
// done.
func TestRaceOfTeams(t *testing.T) {
	t.Parallel()
	m1, rejoin, late := joined(life{"m1", "t1", "u1", 1}, 5, "admin"), joined(life{"m2", "t1", "u1", 4}, 9, "guest"), left(life{"m1", "t1", "u1", 1}, 5)
	users := func(e event.Event) func(*fixture.Bench) *settle.Work {
		return func(b *fixture.Bench) *settle.Work { return b.Work([]event.Event{e}) }
	}
	teams := func(e event.Event) func(*fixture.Bench) *settle.Work {
		return func(b *fixture.Bench) *settle.Work { return b.TeamWork(e) }
	}
	for name, tt := range map[string]struct {
		before []event.Event
		first  func(*fixture.Bench) *settle.Work
		second event.Event
		want   []string
	}{
		"a late delete beside the rejoin":              {[]event.Event{m1}, teams(rejoin), late, []string{"t1|u1|guest"}},
		"the rejoin beside a late delete":              {[]event.Event{m1}, teams(late), rejoin, []string{"t1|u1|guest"}},
		"the user's deletion beside a join":            {nil, teams(m1), fixture.Gone("u1", 9), nil},
		"a join beside the user's deletion":            {nil, users(fixture.Gone("u1", 9)), m1, nil},
		"the organisation's deletion beside a join":    {nil, teams(m1), disbanded("t1", 9), nil},
		"a join beside the organisation's deletion":    {nil, teams(disbanded("t1", 9)), m1, nil},
		"a join beside the deletion of an unknown one": {nil, teams(disbanded("t9", 9)), joined(life{"m9", "t9", "u1", 1}, 5, "admin"), nil},
		"an unknown one's deletion beside a join":      {nil, teams(joined(life{"m9", "t1", "u9", 1}, 5, "admin")), fixture.Gone("u9", 9), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTeams(t)
			b.Submit(fixture.Updated("u1", 1, "a@x"), said(organization("t1", 1, "Team")), left(life{"m0", "t1", "u1", 0}, 1))
			b.Submit(tt.before...)
			first := b.Begin(tt.first(b))
			must.Do(t, fixture.Beside(applying(b, tt.second), first.Commit))
			b.Want(memberRows, tt.want...)
			b.Want("select count(*) from rollcall.memberships where deleted_at is null", fmt.Sprint(len(tt.want)))
		})
	}
}

// A membership is settled in a statement that waits for another pair's row, while its user joins again: the statement
// does not see the newer membership, which therefore waits for it, and wins.
func TestRejoinBesideSettling(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Submit(joined(life{"m0", "t0", "u1", 1}, 5, "admin"), joined(life{"m1", "t1", "u1", 1}, 5, "admin"))
	members := []settle.Key{{Roll: &event.Memberships, Source: "app", ID: "m0"}, {Roll: &event.Memberships, Source: "app", ID: "m1"}}
	application := b.Hold("select from members where team_id = 't0' for update")
	rejoined := make(chan error, 1)
	settling := func() error { return b.Settle(t.Context(), b.Targets.Named("members"), members) }
	must.Do(t, fixture.Beside(settling, func() {
		rejoined <- fixture.Beside(applying(b, joined(life{"m2", "t1", "u1", 4}, 9, "guest")), func() { application.Run("commit") })
	}))
	must.Do(t, <-rejoined)
	b.Want(memberRows, "t0|u1|admin", "t1|u1|guest")
}

// What a listing or a look says of a team or a member may keep columns: then a line of the log names them, as for users.
func TestKeptOfTeamsIsLogged(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	log := logged(b)
	b.Applies(fixture.Applied, joined(life{"m1", "t1", "u1", 1}, 5, "admin"))
	seen := joined(life{"m1", "t1", "u1", 1}, 6, "guest")
	seen.ID, seen.SeenAt = "", time.Now().Add(time.Second)
	seen.Membership.Kept, seen.Membership.KeptBecause = []string{"raw_public_metadata"}, "too deep"
	b.Applies(fixture.All(event.Applied, 1), seen)
	b.Want(memberRows, "t1|u1|guest")
	must.Contain(t, log.String(), `msg="columns keep their last known value; the rest is applied" source=app type=organizationMembership.updated user=u1 `+
		`organization=t1 kept=memberships.raw_public_metadata reason="too deep"`)
}

// The views show who is alive, to a role with the grants that the documentation names, and nothing else.
func TestLiveViews(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Submit(fixture.Updated("u1", 1, "a@x"), fixture.Updated("u2", 1, "b@x"), joined(life{"m1", "t1", "u1", 1}, 5, "admin"), said(organization("t2", 1, "Two")))
	b.Submit(fixture.Gone("u2", 2), disbanded("t2", 2))
	role := b.NewRole("", "grant usage on schema rollcall_api to %[1]s; grant select on all tables in schema rollcall_api to %[1]s")
	b.Exec("set role " + role)
	b.Want("select id, email from rollcall_api.live_users", "u1|a@x")
	b.Want("select id, name from rollcall_api.live_organizations", "t1|The t1")
	b.Want("select id, organization_id, user_id, role from rollcall_api.live_memberships", "m1|t1|u1|admin")
	for _, r := range event.Rolls {
		if _, err := b.SQL.Exec(t.Context(), "select from "+r.Table); err == nil {
			t.Errorf("the role may read %s", r.Table)
		}
	}
	b.Exec("reset role")
	for _, r := range event.Rolls {
		columns := r.Columns()
		b.Want("select attname from pg_attribute where attrelid = 'rollcall_api.live_"+r.Name+"'::regclass and attnum > 0 order by attnum", columns[:len(columns)-1]...)
	}
}
