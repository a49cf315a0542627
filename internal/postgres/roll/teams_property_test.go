package roll_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// clerkHistory is what happens to teams at a provider, and the events that announce it.
type clerkHistory struct {
	random   *rand.Rand
	clock    int64 // of the provider: a version, and minutes
	people   map[string]*event.User
	teams    map[string]*event.Organization
	members  map[string]*event.Membership // by team and user
	made     int                          // ids of memberships
	thorough bool                         // it announces memberships that end with their user or team
	events   []event.Event
}

// say makes an event of what is so now.
func (h *clerkHistory) say(e event.Event) {
	h.clock++
	e.Source, e.ID, e.ReceivedAt, e.Body = "app", fmt.Sprint("e", len(h.events)), time.Now(), []byte("{}")
	e.Type = "made up"
	h.events = append(h.events, e)
}

func copied[T any](of *T) *T { return new(*of) }

func (h *clerkHistory) person(id string) {
	h.clock++
	h.people[id] = fixture.User(id, h.clock, fmt.Sprint(id, h.clock, "@x"))
	h.say(event.Event{Op: event.Upsert, UserID: id, User: copied(h.people[id])})
}

func (h *clerkHistory) team(id string) {
	h.clock++
	h.teams[id] = organization(id, h.clock, fmt.Sprint(id, " ", h.clock))
	h.say(event.Event{Op: event.Upsert, Organization: copied(h.teams[id])})
}

func (h *clerkHistory) member(team, user, id string) {
	h.clock++
	role := fmt.Sprint("role", h.clock)
	m := h.members[team+user]
	if m == nil {
		if id == "" {
			h.made++
			id = fmt.Sprint("m", h.made)
		}
		m = &event.Membership{
			Row: event.Row{Source: "app", ID: id}, OrganizationID: &team, UserID: &user, Permissions: "[]", RawPublicMetadata: "{}", CreatedAt: after(int(h.clock)),
		}
	} else {
		m = copied(m)
	}
	m.Version, m.Role = h.clock, &role
	h.members[team+user] = m
	h.say(event.Event{Op: event.Upsert, UserID: user, Membership: copied(m), Organization: copied(h.teams[team])})
}

func (h *clerkHistory) leave(team, user string) {
	m := copied(h.members[team+user])
	delete(h.members, team+user)
	h.clock++
	m.Role, m.Permissions, m.RawPublicMetadata, m.DeletedAt = nil, "", "", after(int(h.clock))
	e := event.Event{Op: event.Delete, UserID: user, Membership: m}
	if o := h.teams[team]; o != nil {
		e.Organization = copied(o)
	}
	h.say(e)
}

// end deletes a user or a team, whose memberships end with it.
func (h *clerkHistory) end(id string) {
	h.clock++
	row := event.Row{Source: "app", ID: id, Version: h.clock, DeletedAt: after(int(h.clock))}
	if h.people[id] != nil {
		delete(h.people, id)
		h.say(event.Event{Op: event.Delete, UserID: id, User: &event.User{Row: row}})
	} else {
		delete(h.teams, id)
		h.say(event.Event{Op: event.Delete, Organization: &event.Organization{Row: row}})
	}
	for pair, m := range h.members {
		switch {
		case *m.UserID != id && *m.OrganizationID != id:
		case h.thorough:
			h.leave(*m.OrganizationID, *m.UserID)
		default:
			delete(h.members, pair)
		}
	}
}

// step lets something happen.
func (h *clerkHistory) step() {
	team, user := fmt.Sprint("t", h.random.IntN(2)), fmt.Sprint("u", h.random.IntN(3))
	m := h.members[team+user]
	switch roll := h.random.IntN(12); {
	case h.people[user] == nil || h.teams[team] == nil: // the deleted stay so
	case roll == 0:
		h.person(user)
	case roll == 1:
		h.team(team)
	case roll == 2 && h.random.IntN(2) == 0:
		h.end(user)
	case roll == 3 && h.random.IntN(2) == 0:
		h.end(team)
	case m == nil || roll > 8:
		h.member(team, user, "")
	case roll > 5: // they leave, and mostly join again
		h.leave(team, user)
		if h.random.IntN(4) > 0 {
			h.member(team, user, []string{"", m.ID}[h.random.IntN(2)])
		}
	default:
		h.leave(team, user)
	}
}

func newHistory(random *rand.Rand) *clerkHistory {
	h := &clerkHistory{random: random, people: map[string]*event.User{}, teams: map[string]*event.Organization{}, members: map[string]*event.Membership{}, thorough: random.IntN(2) == 0}
	for i := range 3 {
		h.person(fmt.Sprint("u", i))
	}
	for i := range 2 {
		h.team(fmt.Sprint("t", i))
	}
	for range 6 + random.IntN(12) {
		h.step()
	}
	return h
}

// rows are the members that the application's table has in the end.
func (h *clerkHistory) rows() []string {
	var rows []string
	for _, m := range h.members {
		rows = append(rows, fmt.Sprintf("%s|%s|%s", *m.OrganizationID, *m.UserID, *m.Role))
	}
	slices.Sort(rows)
	return rows
}

// delivered are the events as they arrive: in any order, some more than once.
func (h *clerkHistory) delivered() []event.Event {
	list := slices.Clone(h.events)
	for range len(list) / 3 {
		list = append(list, list[h.random.IntN(len(list))])
	}
	switch h.random.IntN(3) {
	case 0:
		h.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	case 1: // nearly in order
		for i := range list {
			j := min(len(list)-1, i+h.random.IntN(3))
			list[i], list[j] = list[j], list[i]
		}
	default: // the last first
		slices.Reverse(list)
	}
	return list
}

// Whatever the order in which the events of users, teams and memberships arrive, at which of two replicas, and
// how often, the application's tables end as the provider's are.
func TestAnyHistoryOfTeams(t *testing.T) {
	t.Parallel()
	seed := testtag.Seed(t)
	for name, table := range map[string]struct {
		members string
		key     []string
	}{
		"a foreign key":               {"team_id text references teams, user_id text references p, role text, primary key (team_id, user_id)", []string{"team_id", "user_id"}},
		"a foreign key that cascades": {"team_id text references teams on delete cascade, user_id text references p on delete cascade, role text, primary key (team_id, user_id)", []string{"team_id", "user_id"}},
		"a key of its own":            {"team_id text, user_id text, role text, membership text primary key", []string{"membership"}},
		"none":                        {"team_id text, user_id text, role text, primary key (user_id, team_id)", []string{"user_id", "team_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			targets := append(teamTargets(), fixture.Everyone())
			targets[1].Key = table.key
			if table.key[0] == "membership" {
				targets[1].Set = append(targets[1].Set, fixture.Assign("membership: new.id")...)
			}
			b := fixture.NewBench(t, "create table teams (id text primary key, name text, archived boolean not null default false);"+
				fixture.PTable+"create table members ("+table.members+");", targets...)
			replicas := []*fixture.Bench{b, b.Replica(targets...)}
			for n := range testtag.Part(600) {
				random := rand.New(rand.NewPCG(seed, uint64(n)))
				h := newHistory(random)
				converge(t, replicas, h, random)
				if t.Failed() {
					t.Fatalf("history %d of seed %d:\n%s", n, seed, h)
				}
				b.Exec("truncate rollcall.users, rollcall.organizations, rollcall.memberships, rollcall.events, rollcall.parked, p, teams, members")
			}
		})
	}
}

// converge delivers a history to two replicas and compares the tables in the end.
func converge(t *testing.T, replicas []*fixture.Bench, h *clerkHistory, random *rand.Rand) {
	t.Helper()
	list, b := h.delivered(), replicas[0]
	half := random.IntN(len(list) + 1)
	var both sync.WaitGroup
	for i, part := range [][]event.Event{list[:half], list[half:]} {
		sizes := rand.New(rand.NewPCG(random.Uint64(), 0))
		both.Go(func() {
			for len(part) > 0 {
				n := 1 + sizes.IntN(min(len(part), 5))
				if _, err := replicas[i].Apply(t.Context(), part[:n]); err != nil {
					t.Errorf("apply: %v", err)
				}
				part = part[n:]
			}
		})
	}
	both.Wait()
	for range 3 { // a parent may be parked itself
		b.Exec("update rollcall.parked set retry_at = now(), given_up = false")
		for _, name := range []string{"teams", "profiles", "members"} {
			must.Get(b.Parked.CatchUp(t.Context(), name))(t)
		}
	}
	b.Want(memberRows, h.rows()...)
	b.Want("select count(*) from rollcall.parked", "0")
	b.Want("select count(*) from rollcall.users where version is null", "0")
	b.Want("select count(*) from rollcall.organizations where version is null", "0")
}

// String lists the events as they happened.
func (h *clerkHistory) String() string {
	var text strings.Builder
	for _, e := range h.events {
		for _, r := range event.Rolls {
			if record := r.Of(&e); record != nil {
				head := record.Head()
				fmt.Fprintf(&text, "%s %s %s version %d, deleted %v", e.ID, r.Name, head.ID, head.Version, head.Dead())
			}
		}
		if m := e.Membership; m != nil {
			fmt.Fprintf(&text, " of %s in %s since %s", *m.UserID, *m.OrganizationID, m.CreatedAt.Format("15:04"))
		}
		text.WriteString("\n")
	}
	return text.String()
}
