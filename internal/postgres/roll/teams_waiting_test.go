package roll_test

import (
	"fmt"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
)

// A membership that comes before its user and its team is parked where a foreign key wants them, and settled as
// soon as they are there.
func TestMembershipBeforeItsParents(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, teamTables+fixture.PTable+"alter table members add foreign key (user_id) references p", append(teamTargets(), fixture.Everyone())...)
	early := joined(life{"m1", "t1", "u1", 1}, 5, "admin")
	early.Organization = nil
	b.Applies(fixture.All(event.Parked, 1), early)
	b.Want("select target, user_id, sqlstate from rollcall.parked", "members|m1|23503")
	b.Want("select count(*) from rollcall.organizations", "0")
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	b.Want(memberRows)
	b.Exec("update rollcall.parked set given_up = true, retry_at = now() + interval '1 hour'")
	b.Applies(fixture.Applied, fixture.Updated("u1", 1, "a@x"))
	b.Want(memberRows, "t1|u1|admin")
	b.Want("select count(*) from rollcall.parked", "0")
}

// A membership event that carries its organisation settles what waited for that: not those that wait for their users.
func TestWaitingForACarriedOrganisation(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, teamTables+fixture.PTable+"alter table members add foreign key (user_id) references p; alter table teams add check (name <> 'bad')",
		append(teamTargets(), fixture.Everyone())...)
	b.Exec(`create sequence tries; create function tried() returns trigger language plpgsql as 'begin perform nextval(''tries''); return new; end';
		create trigger tried before insert on members for each row when (new.user_id = 'u1') execute function tried()`)
	b.Applies(fixture.All(event.Parked, 1), joined(life{"m1", "t1", "u1", 1}, 5, "admin"))
	b.Exec("select setval('tries', 1)")
	b.Applies(fixture.All(event.Parked, 1), joined(life{"m2", "t1", "u2", 1}, 5, "admin"))
	b.Want("select last_value from tries", "1")

	b.Submit(fixture.Updated("u4", 1, "d@x"), fixture.Updated("u5", 1, "e@x"))
	unknown, bad := joined(life{"m4", "t2", "u4", 1}, 5, "guest"), joined(life{"m5", "t3", "u4", 1}, 5, "guest")
	unknown.Organization, bad.Organization = nil, organization("t3", 1, "bad")
	b.Applies(fixture.All(event.Parked, 2), unknown, bad)
	better := joined(life{"m7", "t3", "u5", 1}, 5, "guest")
	better.Organization = organization("t3", 2, "good")
	b.Applies(fixture.All(event.Applied, 2), joined(life{"m6", "t2", "u5", 1}, 5, "guest"), better)
	b.Want(memberRows, "t2|u4|guest", "t2|u5|guest", "t3|u4|guest", "t3|u5|guest")
}

// An event about a membership carries its organisation and does not try again what is parked of it. An organisation
// that changes does: some at once, the others by the next try.
func TestOrganizationOfManyWaiting(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	const members = 300
	b.Exec("alter table members add constraint no check (role <> 'guest') not valid")
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	b.Exec(fmt.Sprintf(`insert into rollcall.memberships (source, id, version, organization_id, user_id, role, created_at)
		select 'app', 'm' || n, 1, 't1', 'u' || n, 'guest', now() from generate_series(1, %d) n;
		insert into rollcall.parked (target, source, user_id, retry_at, given_up, sqlstate, error)
		select 'members', 'app', 'm' || n, 'infinity', true, '23503', 'text' from generate_series(1, %[1]d) n`, members))
	const (
		tried   = "select count(*) from rollcall.parked where sqlstate = '23514' and not given_up"
		waiting = "select count(*) from rollcall.parked where given_up"
	)
	b.Applies(fixture.Applied, joined(life{"j1", "t1", "v1", 1}, 5, "admin"))
	b.Want(waiting, fmt.Sprint(members))
	b.Applies(fixture.Applied, said(organization("t1", 2, "New")))
	b.Want(waiting, "0")
	b.Want(tried, "100")
	must.Get(b.Parked.CatchUp(t.Context(), "members"))(t) // it may take so long that some are due again
	b.Want(tried, fmt.Sprint(members))
	b.Exec("alter table members drop constraint no")
	b.Applies(fixture.Applied, said(organization("t1", 3, "Newer")))
	must.Equal(t, must.Get(b.Parked.CatchUp(t.Context(), "members"))(t), members-100, "tried later")
	b.Want("select count(*) from members", fmt.Sprint(members+1))
}

// Another try for many members of an organisation holds it for a few at a time, whatever the target refuses them for.
func TestCatchUpWithMembers(t *testing.T) {
	t.Parallel()
	b := newTeams(t)
	b.Applies(fixture.Applied, said(organization("t1", 1, "Team")))
	b.Exec(`alter table members add constraint no check (role <> 'guest') not valid;
		insert into rollcall.memberships (source, id, version, organization_id, user_id, role, created_at)
		select 'app', 'm' || n, 1, 't1', 'u' || n, 'guest', now() from generate_series(1, 600) n;
		insert into rollcall.parked (target, source, user_id, retry_at, sqlstate, error)
		select 'members', 'app', 'm' || n, now(), case when n > 300 then '23503' else '23505' end, 'text' from generate_series(1, 600) n`)
	must.Get(b.Parked.CatchUp(t.Context(), "members"))(t) // it may take so long that some are due again
	b.Want("select count(*) from rollcall.parked where sqlstate = '23514'", "600")
	b.Want("select max(n) <= 128 from (select count(*) n from rollcall.parked group by xmin) tries", "t")
}
