package load

import (
	"math/rand/v2"
	"slices"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

func TestMixSet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want Mix
		ok   bool
	}{
		{"created=70,updated=25,deleted=5", Mix{70, 25, 5}, true},
		{"updated=1, created=2", Mix{2, 1, 0}, true},
		{"created=1,joined=5,promoted=2,left=3", Mix{1, 0, 0, 5, 2, 3}, true},
		{"deleted=3", Mix{0, 0, 3}, true},
		{"created=0", Mix{}, false},
		{"created=-1,updated=2", Mix{}, false},
		{"created", Mix{}, false},
		{"married=1", Mix{}, false},
		{"created=many", Mix{}, false},
		{"created=70,updated=25,created=1", Mix{}, false},
		{"", Mix{}, false},
	} {
		var m Mix
		if err := m.Set(tt.text); (err == nil) != tt.ok || m != tt.want {
			t.Errorf("%q: got %v, error %v", tt.text, m, err)
		}
	}
	m := DefaultMix
	if got, want := m.String(), "created=70,updated=25,deleted=5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func people(mix Mix, limit, lag int) *population {
	return &population{mix: mix, limit: limit, lag: lag, rand: rand.New(rand.NewPCG(1, 2))}
}

// The shares are those of the mix, and no user is spoken of before they exist or after they
// was deleted.
func TestPopulation(t *testing.T) {
	t.Parallel()
	const events, lag = 20_000, 10
	p := people(DefaultMix, 0, lag)
	var got [kinds]int
	living := map[uint32]bool{}
	for range events {
		kind, user := p.next()
		got[kind]++
		switch {
		case kind == Created && living[user]:
			t.Fatalf("user %d is created twice", user)
		case kind != Created && !living[user]:
			t.Fatalf("user %d is %s and doesn't live", user, kind)
		case kind != Created && user > p.last-lag:
			t.Fatalf("user %d is %s when %d was just created", user, kind, p.last)
		}
		living[user] = kind != Deleted
	}
	for k, weight := range DefaultMix {
		if share := float64(got[k]) / events * 100; share < float64(weight)-2 || share > float64(weight)+2 {
			t.Errorf("%.1f %% are %s, want %d", share, Kind(k), weight)
		}
	}
}

func TestPopulationLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 7, 100} {
		for _, mix := range []Mix{{100}, DefaultMix, {0, 100}, {0, 0, 100}, {1, 0, 1}, {1, 1, 1, 1, 1, 1}} {
			p := people(mix, limit, 20)
			living, most := map[uint32]bool{}, 0
			for range 2000 {
				kind, user := p.next()
				if (kind == Created) == living[user] {
					t.Fatalf("limit %d, mix %v: user %d is %s", limit, mix, user, kind)
				}
				if living[user] = true; kind == Deleted {
					delete(living, user)
				}
				most = max(most, len(living))
			}
			if most > limit || mix[Created] > 1 && most < limit {
				t.Errorf("limit %d, mix %v: %d lived", limit, mix, most)
			}
		}
	}
}

// Only who is there joins, only a member is promoted or leaves, and who is deleted is no member any more.
func TestPopulationOfTeams(t *testing.T) {
	t.Parallel()
	for _, mix := range []Mix{{10, 5, 5, 30, 20, 20}, {0, 0, 0, 1}, {0, 0, 0, 0, 1}, {0, 0, 0, 0, 0, 1}, {1, 0, 5, 5}} {
		p := people(mix, 0, 10)
		living, members := map[uint32]bool{}, map[uint32]bool{}
		var got [kinds]int
		for range 20_000 {
			kind, user := p.next()
			got[kind]++
			if living[user] == (kind == Created) || kind > Deleted && members[user] == (kind == Joined) {
				t.Fatalf("%v: user %d is %s, living %v, member %v", mix, user, kind, living[user], members[user])
			}
			switch kind {
			case Created:
				living[user] = true
			case Deleted:
				living[user], members[user] = false, false
			case Joined, Left:
				members[user] = kind == Joined
			default:
			}
		}
		for k, weight := range mix {
			must.True(t, weight == 0 || got[k] > 10, "%v: %d are %s", mix, got[k], Kind(k))
		}
		must.Equal(t, len(p.members), len(p.place), "members")
	}
}

// Where there are enough users, they join until all have.
func TestPopulationOfTeamsLimit(t *testing.T) {
	t.Parallel()
	p := people(Mix{Created: 1, Joined: 1}, 7, 20)
	var got [kinds]int
	for range 500 {
		kind, _ := p.next()
		got[kind]++
	}
	must.True(t, got[Created] == 7 && got[Joined] == 7 && got[Updated] == 486, "%v", got)
}

func TestTeam(t *testing.T) {
	t.Parallel()
	one, other, far := person(source.Clerk, 0xbeef, 7, 1), person(source.Clerk, 0xbeef, 99, 5), person(source.Clerk, 0xbeef, 100, 1)
	must.Equal(t, one.Team, testevent.Team{ID: "org_load_0000beef_0", Slug: "load-0000beef-0", Name: "Load 0", Founder: "user_load_0000beef_1", Membership: "orgmem_load_0000beef_7"}, "team")
	must.True(t, other.Team.ID == one.Team.ID && other.Team.Membership != one.Team.Membership && far.Team.ID != one.Team.ID && far.Team.Founder == far.ID, "%+v %+v", other, far)
}

func TestPick(t *testing.T) {
	t.Parallel()
	m := Mix{1, 2, 1}
	var got []Kind
	for at := range m.sum() {
		got = append(got, m.pick(at))
	}
	m[Joined], m[Left] = 2, 1
	must.Equal(t, m.String(), "created=1,updated=2,deleted=1,joined=2,left=1", "mix")
	must.Equal(t, m.sum(), 7, "sum")
	if want := []Kind{Created, Updated, Updated, Deleted}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
