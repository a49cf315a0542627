package load

import (
	"fmt"

	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// IDs is what the ids of all users of a run have in common, as a pattern of SQL's like:
// user_load_<run>_<n>, or at Supabase the uuid 10ad<run>, in which run and n are digits.
func IDs(provider string, run uint32) string {
	if provider == source.Clerk {
		return fmt.Sprintf(`user_load_%08x_%%`, run)
	}
	return fmt.Sprintf(`10ad%04x-%04x-4000-8000-%%`, run>>16, run&0xffff)
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
		ID: id, Email: fmt.Sprintf("load-%08x-%d@load.example", run, user), Username: fmt.Sprintf("load_%08x_%d", run, user),
		Phone:     fmt.Sprintf("+99%012d", (uint64(run)*233+uint64(user))%numbers),
		FirstName: firstNames[number%int64(len(firstNames))], LastName: lastNames[number%int64(len(lastNames))],
	}
}
