package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/audit"
	"rollcall/internal/target"
)

// side writes rows as target: column is/should, and the state.
func side(statuses []audit.Status) string {
	var lines []string
	for _, s := range statuses {
		line := s.Target + ": " + string(s.State)
		for _, c := range s.Row {
			line += fmt.Sprintf(" %s %s/%s", c.Name, c.Is, c.Should)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// The rows of a user stand beside what they should be: also where they differ, are missing or are left, and where the
// user is parked.
func TestRowsBeside(t *testing.T) {
	t.Parallel()
	second := fixture.Second()
	second.OnDelete = target.OnDelete{Action: target.DeleteSet, Set: fixture.Assign("email: null", "name: 'gone'")}
	b := fixture.NewBench(t, fixture.BothTables, fixture.Everyone(), second)
	b.Submit(fixture.Updated("u1", 1, "ann@example.com"))
	rows := func(reveal bool) string {
		users := must.Get(b.DB.Audit().Users(t.Context(), "u1", audit.Options{Rows: true, Reveal: reveal}))(t)
		return side(users[0].Statuses)
	}
	b.Exec("update p set email = 'other@example.org'; delete from q")
	must.Equal(t, rows(true), `profiles: different id "u1"/"u1" email "other@example.org"/"ann@example.com" name null/null role "customer"/
second: missing id null/"u1" email null/"ann@example.com" name null/null`, "revealed")
	must.Lack(t, rows(false), "example")
	must.Contain(t, rows(false), `email "o…@e….org"/"a…@e….com"`)
	b.Exec("update p set email = 'anna@example.com'") // masked, it looks the same
	users := must.Get(b.DB.Audit().Users(t.Context(), "u1", audit.Options{Rows: true}))(t)
	must.True(t, users[0].Statuses[0].Row[1].Differs && !users[0].Statuses[0].Row[0].Differs, "what differs: %+v", users[0].Statuses[0].Row)
	b.Exec("update p set email = 'other@example.org'")
	b.Exec("alter table p add constraint refuse check (email like 'o%')")
	b.Submit(fixture.Updated("u1", 2, "bob@example.com"))
	must.Contain(t, rows(true), `profiles: parked id "u1"/"u1" email "other@example.org"/"bob@example.com"`)
	b.Exec("alter table p drop constraint refuse")
	b.Submit(fixture.Gone("u1", 3))
	b.Exec("insert into p (id) values ('u1'); update q set name = 'x'")
	must.Equal(t, rows(true), `profiles: extra id "u1"/ email null/ name null/ role null/
second: extra id "u1"/ email null/null name "x"/"gone" role "customer"/`, "deleted")
}

// A user's memberships are held against the targets of their roll, and the user is not.
func TestMembers(t *testing.T) {
	t.Parallel()
	members := target.Target{
		Name: "members", Roll: "memberships", At: "test.yaml:2:1", Table: "public.m", From: fixture.FromApp, Key: []string{"org", "usr"},
		Set: fixture.Assign("org: new.organization_id", "usr: new.user_id", "role: new.role"), OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
	b := fixture.NewBench(t, fixture.PTable+"create table m (org text, usr text, role text check (role <> 'refused'), primary key (org, usr))", fixture.Everyone(), members)
	b.Submit(fixture.Updated("u1", 1, "ann@example.com"))
	for i, role := range []string{"admin", "refused"} {
		org, user, name := fmt.Sprint("o", i), "u1", "The org"
		b.Submit(event.Event{Source: "app", Op: event.Upsert, UserID: user, Membership: &event.Membership{
			Row: event.Row{Source: "app", ID: fmt.Sprint("m", i), Version: 1}, OrganizationID: &org, UserID: &user, Role: &role, Permissions: "[]", RawPublicMetadata: "{}",
		}, Organization: &event.Organization{Row: event.Row{Source: "app", ID: org, Version: 1}, Name: &name, RawPublicMetadata: "{}"}})
	}
	b.Exec("update m set role = 'else'")
	users := must.Get(b.DB.Audit().Users(t.Context(), "u1", audit.Options{}))(t)
	must.Equal(t, side(users[0].Statuses), "profiles: present", "targets of the user")
	list := must.Get(b.DB.Audit().Members(t.Context(), "app", "u1", audit.Options{Rows: true}))(t)
	must.Equal(t, len(list), 2, "memberships")
	must.Equal(t, list[0].Organization+" "+list[0].Name+" "+list[0].Role, "o0 The org admin", "the first")
	must.Equal(t, side(list[0].Statuses), `members: different org "o0"/"o0" usr "u1"/"u1" role "else"/"admin"`, "its row")
	must.Contain(t, side(list[1].Statuses), "members: parked")
	must.Contain(t, list[1].Statuses[0].Parked.Error, "(23514)")

	groups := must.Get(b.DB.Audit().ParkedGroups(t.Context(), audit.ParkedFilter{Targets: []string{"profiles", "members"}, Users: []string{"u1"}, Groups: 5}))(t)
	must.Equal(t, len(groups), 1, "groups of the user")
	must.Equal(t, groups[0].Target+" "+groups[0].Roll+" "+groups[0].ID, "members memberships m1", "the group")
	must.Equal(t, len(must.Get(b.DB.Audit().ParkedGroups(t.Context(), audit.ParkedFilter{Targets: []string{"members"}, Users: []string{"u2"}, Groups: 5}))(t)), 0, "of another user")
}
