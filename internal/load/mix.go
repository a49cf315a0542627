package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// Kind is what an event says.
type Kind int

// The kinds, in the order in which they are printed.
const (
	Created Kind = iota
	Updated
	Deleted
	Joined   // a user joins an organisation
	Promoted // a member gets another role
	Left     // a member leaves
	kinds
)

var kindNames = [kinds]string{"created", "updated", "deleted", "joined", "promoted", "left"}

func (k Kind) String() string { return kindNames[k] }

// Mix says how often events of each kind are sent, by weight.
type Mix [kinds]int

// DefaultMix is that of an application that grows.
var DefaultMix = Mix{Created: 70, Updated: 25, Deleted: 5}

// Set reads what String writes; a kind that isn't named is not sent. With Type it makes a
// Mix the value of a flag.
func (m *Mix) Set(text string) error {
	var mix Mix
	var named [kinds]bool
	for part := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(strings.TrimSpace(part), "=")
		weight, err := strconv.Atoi(number)
		if err != nil || weight < 0 || weight > 1_000_000 {
			return fmt.Errorf("%q: write kind=weight, such as created=70,updated=25,deleted=5", part)
		}
		k := slices.Index(kindNames[:], name)
		if k < 0 {
			return fmt.Errorf("%q: a kind is %s", name, strings.Join(kindNames[:], ", "))
		}
		if named[k] {
			return fmt.Errorf("%q: %s stands twice; keep one", part, name)
		}
		mix[k], named[k] = weight, true
	}
	if mix.sum() == 0 {
		return errors.New("nothing would be sent: give one kind a weight")
	}
	*m = mix
	return nil
}

// Type implements pflag.Value.
func (*Mix) Type() string { return "mix" }

// String is created=70,updated=25,deleted=5. Kinds of memberships are named only where they are sent.
func (m *Mix) String() string {
	var parts []string
	for k, weight := range m {
		if weight > 0 || Kind(k) <= Deleted {
			parts = append(parts, fmt.Sprintf("%s=%d", Kind(k), weight))
		}
	}
	return strings.Join(parts, ",")
}

func (m *Mix) sum() int {
	sum := 0
	for _, weight := range m {
		sum += weight
	}
	return sum
}

// pick is the kind at a point between 0 and the sum.
func (m *Mix) pick(at int) Kind {
	for k, weight := range m {
		if at < weight {
			return Kind(k)
		}
		at -= weight
	}
	return Created // can't be: the weights add up
}

// population decides which user an event is about. Users are numbered from 1.
type population struct {
	mix   Mix
	limit int // of living users, 0 is none
	lag   int // how many creations later a user may be spoken of
	rand  *rand.Rand

	last    uint32   // the newest user
	young   []uint32 // created lately, whose creation may still be under way
	settled []uint32
	members []uint32       // of organisations
	place   map[uint32]int // in members
}

// next decides what the next event says, and of which user. Where no user is there to be updated
// or deleted, or to join, one is created; where there are enough, one is updated. Where there is no member
// to be promoted or to leave, a user joins; where all have joined, another is created.
func (p *population) next() (Kind, uint32) {
	kind := p.mix.pick(p.rand.IntN(p.mix.sum()))
	full := p.limit > 0 && len(p.young)+len(p.settled) >= p.limit
	if kind == Created && full {
		kind = Updated
	}
	if full && len(p.settled) == 0 {
		p.settled, p.young = p.young, nil
	}
	if kind == Created || len(p.settled) == 0 {
		return Created, p.create()
	}
	if (kind == Promoted || kind == Left) && len(p.members) > 0 {
		user := p.members[p.rand.IntN(len(p.members))]
		if kind == Left {
			p.leave(user)
		}
		return kind, user
	}
	at := p.rand.IntN(len(p.settled))
	user := p.settled[at]
	switch kind {
	case Deleted:
		end := len(p.settled) - 1
		p.settled[at] = p.settled[end]
		p.settled = p.settled[:end]
		p.leave(user)
	case Joined, Promoted, Left:
		return p.join(user, full)
	default:
	}
	return kind, user
}

// join makes a user a member. For who is one already another is created, or updated where there are enough.
func (p *population) join(user uint32, full bool) (Kind, uint32) {
	switch _, member := p.place[user]; {
	case member && full:
		return Updated, user
	case member:
		return Created, p.create()
	case p.place == nil:
		p.place = map[uint32]int{}
	}
	p.place[user] = len(p.members)
	p.members = append(p.members, user)
	return Joined, user
}

// leave ends a membership, if there is one.
func (p *population) leave(user uint32) {
	at, member := p.place[user]
	if !member {
		return
	}
	last := p.members[len(p.members)-1]
	p.members[at], p.place[last] = last, at
	p.members = p.members[:len(p.members)-1]
	delete(p.place, user)
}

func (p *population) create() uint32 {
	p.last++
	p.young = append(p.young, p.last)
	if len(p.young) > p.lag {
		p.settled = append(p.settled, p.young[0])
		p.young = p.young[1:]
	}
	return p.last
}

// IDs is what the ids of all users of a run have in common, as a pattern of SQL's like:
// user_load_<run>_<n>, or at Supabase the uuid 10ad<run>, in which run and n are digits.
func IDs(provider string, run uint32) string {
	if provider == source.Clerk {
		return fmt.Sprintf(`user_load_%08x_%%`, run)
	}
	return fmt.Sprintf(`10ad%04x-%04x-4000-8000-%%`, run>>16, run&0xffff)
}

// TeamIDs is IDs for the organizations and the memberships of a run, "" where the provider has none.
func TeamIDs(provider string, run uint32) (organizations, memberships string) {
	if provider != source.Clerk {
		return "", ""
	}
	rest := strings.TrimPrefix(IDs(provider, run), "user")
	return "org" + rest, "orgmem" + rest
}

var (
	firstNames = []string{"Ada", "Ben", "Chloé", "Dmitri", "Esi", "Farid", "Grete", "Hoa", "Ivo", "Jun", "Kwame", "Léa", "Mateo", "Nour", "Olga", "Priya"}
	lastNames  = []string{"Abara", "Berg", "Castro", "Dubois", "Eriksen", "Fuchs", "García", "Haddad", "Ito", "Jansen", "Kovač", "Lindqvist", "Moreau", "Nguyen", "Okafor", "Petrov", "Quist"}
)

// person makes a user up by a number. With each event the name is another, so that every
// update changes something; what a table may hold once only is theirs alone.
func person(provider string, run, user uint32, number int64) testevent.Person {
	id := fmt.Sprintf("user_load_%08x_%d", run, user)
	if provider == source.Supabase {
		id = fmt.Sprintf("10ad%04x-%04x-4000-8000-%012d", run>>16, run&0xffff, user)
	}
	const numbers = 1_000_000_000_000 // of telephone, which runs begin at different places
	return testevent.Person{
		Team: team(id, run, user),
		ID:   id, Email: fmt.Sprintf("load-%08x-%d@load.example", run, user), Username: fmt.Sprintf("load_%08x_%d", run, user),
		Phone:     fmt.Sprintf("+99%012d", (uint64(run)*233+uint64(user))%numbers),
		FirstName: firstNames[number%int64(len(firstNames))], LastName: lastNames[number%int64(len(lastNames))],
	}
}

// teamSize is how many users join one organisation, if all do.
const teamSize = 100

// team is the organisation that a user joins, and the id of the membership, always the same.
func team(user string, run, number uint32) testevent.Team {
	n := number / teamSize
	return testevent.Team{
		ID: fmt.Sprintf("org_load_%08x_%d", run, n), Slug: fmt.Sprintf("load-%08x-%d", run, n), Name: fmt.Sprintf("Load %d", n),
		Founder: fmt.Sprintf("user_load_%08x_%d", run, max(n*teamSize, 1)), Membership: "orgmem" + strings.TrimPrefix(user, "user"),
	}
}
