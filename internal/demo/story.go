package demo

import (
	"time"

	"rollcall/internal/rawjson"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

// scene is one thing that happens in the demo: a request of a provider, or SQL of an
// application or of the provider's own database, or both, or queries of users. It knows no outcome: what it
// says is what happens, and what comes of it is Rollcall's answer.
type scene struct {
	says    string // what happens, in a sentence
	sql     string // run before the request
	request *request
	asks    []string // queries whose rows are shown
	told    int      // how many notifications have arrived, which are shown
}

// request is an event of a source, changed from a built-in one.
type request struct {
	source string
	event  string // a built-in event
	set    []testevent.Change
	age    time.Duration // how long ago the provider dated it
	again  bool          // the last request of the source once more, byte for byte
	forged bool          // the body is changed after signing
}

// text puts a text into a body.
func text(path, value string) testevent.Change {
	return testevent.Change{Path: path, Value: string(rawjson.Quote(value))}
}

const (
	benID   = "5a3f1e00-0000-4000-8000-000000000b01" // the user of Supabase's built-in events
	otherID = "5a3f1e00-0000-4000-8000-000000000b02"
	adaID   = "user_2RollcallSampleAda0000000000" // the user of Clerk's
	bobID   = "user_2RollcallSampleBob0000000000"
	eveID   = "user_2RollcallSampleEve0000000000"
)

// membershipOfBob makes an event about Ada's membership one about Bob's.
func membershipOfBob(number, role string) []testevent.Change {
	return []testevent.Change{
		text(clerkID, "orgmem_2RollcallSampleBob00000000"+number), text("data.role", role),
		text("data.public_user_data.user_id", bobID), text("data.organization.name", "Example Engines"),
	}
}

const (
	clerkMail = "data.email_addresses[0].email_address"
	clerkID   = "data.id"
)

// asUser reads a table as PostgREST does for a user, by their verified token.
func asUser(id, query string) string {
	return "set role authenticated; set request.jwt.claims = '{\"sub\": \"" + id + "\"}'; " + query
}

// story is what the demo tells, in this order.
var story = []scene{
	{says: "Ben signs up with Supabase. Its hook asks before the user exists: nothing may point at them yet.",
		request: &request{source: source.Supabase, event: "before-user-created"}},
	{says: "Another sign-up has an address of a service for throw-away mail. The rules of the source refuse it, and the user is told why.",
		request: &request{source: source.Supabase, event: "before-user-created", set: []testevent.Change{text("user.id", "5a3f1e00-0000-4000-8000-000000000e01"), text("user.email", "eve@mail.mailinator.com")}}},
	{says: "Supabase has stored the user, and says so. Two applications share the project.",
		sql:     "insert into auth.users values ('" + benID + "', 'ben@example.com', '{\"first_name\": \"Ben\", \"last_name\": \"Example\"}')",
		request: &request{source: source.Supabase, event: "after-user-created"}},
	{says: "Ada signs up with Clerk. A third application, made by Prisma, follows it.",
		request: &request{source: source.Clerk, event: "user.created"}},
	{says: "Eve has a row from before the application came to Clerk, and signs in with its address. Eve takes the row over; its id and role stay.",
		sql:     `insert into public."Member" values ('m1', null, 'eve@example.com', 'Eve', 'ADMIN', '2025-01-01')`,
		request: &request{source: source.Clerk, event: "user.created", set: []testevent.Change{text(clerkID, eveID), text("data.first_name", "Eve"), text(clerkMail, "Eve@example.com")}}},
	{says: "The applications go about their own business: Ben is made an admin and orders something.",
		sql: "update public.profiles set role = 'admin', orders = 1"},
	{says: "Ben takes another name and another e-mail. A database webhook says so; the row in auth.users is what counts. What the shop owns stays, and what deadstock.users took once.",
		sql:     `update auth.users set raw_user_meta_data = '{"first_name": "Benjamin", "last_name": "Example"}', email = 'ben.example@example.com'`,
		request: &request{source: source.Supabase, event: "database.update"}},
	{says: "Ada changes name and e-mail.",
		request: &request{source: source.Clerk, event: "user.updated", set: []testevent.Change{text("data.last_name", "Lovelace"), text(clerkMail, "ada.lovelace@example.com")}}},
	{says: "Clerk got no answer in time and sends the same event again.",
		request: &request{source: source.Clerk, again: true}},
	{says: "An older update of Ada was delayed and arrives now.",
		request: &request{source: source.Clerk, event: "user.updated", set: []testevent.Change{text("data.last_name", "Outdated")}, age: time.Minute}},
	{says: "Bob signs up with Clerk, with the e-mail address of Ada's row.",
		request: &request{source: source.Clerk, event: "user.created", set: []testevent.Change{text(clerkID, bobID), text("data.first_name", "Bob"), text(clerkMail, "ada.lovelace@example.com")}}},
	{says: "They correct it.",
		request: &request{source: source.Clerk, event: "user.updated", set: []testevent.Change{text(clerkID, bobID), text("data.first_name", "Bob"), text(clerkMail, "bob@example.com")}}},
	{says: "Ada creates an organization with Clerk and is its admin. The event of the membership brings the organization along.",
		request: &request{source: source.Clerk, event: "organizationMembership.created", set: []testevent.Change{text("data.role", "org:admin")}}},
	{says: "Bob joins.",
		request: &request{source: source.Clerk, event: "organizationMembership.created", set: membershipOfBob("1", "org:member")}},
	{says: "The application gives Bob two more seats. Then Ada makes Bob an admin.",
		sql:     "update public.\"TeamMember\" set seats = 3 where \"userId\" = '" + bobID + "'",
		request: &request{source: source.Clerk, event: "organizationMembership.updated", set: membershipOfBob("1", "org:admin")}},
	{says: "Bob leaves.",
		request: &request{source: source.Clerk, event: "organizationMembership.deleted", set: membershipOfBob("1", "org:admin")}},
	{says: "Bob joins again: a new membership of the same team.",
		request: &request{source: source.Clerk, event: "organizationMembership.created", set: membershipOfBob("2", "org:member")}},
	{says: "Clerk sends the end of the first membership again, as another event. Bob must stay a member.",
		request: &request{source: source.Clerk, event: "organizationMembership.deleted", set: membershipOfBob("1", "org:admin"), age: time.Minute}},
	{says: "Ben signs in. For the token, Supabase's auth server calls the function of rollcall claims install, which adds what the shop knows.",
		asks: []string{"set role supabase_auth_admin; select rollcall_api.access_token_claims_supabase('{\"user_id\": \"" + benID + "\", \"claims\": {\"role\": \"authenticated\"}}') -> 'claims' as claims"}},
	{says: "By the policy that rollcall rls print profiles has printed, Ben reads their own row. With the token of another user there is none.",
		asks: []string{asUser(benID, "select first_name, role from public.profiles"), asUser(otherID, "select first_name, role from public.profiles")}},
	{says: "Ben deletes the account. One application wants the row gone, the other keeps it without the e-mail.",
		sql:     "delete from auth.users",
		request: &request{source: source.Supabase, event: "database.delete"}},
	{says: "A late update arrives. Ben must not come back.",
		request: &request{source: source.Supabase, event: "database.update", set: []testevent.Change{text("record.email", "ghost@example.com")}}},
	{says: "A forged request arrives: the body that Clerk signed was changed to name an administrator.",
		request: &request{source: source.Clerk, event: "user.updated", set: []testevent.Change{{Path: "data.public_metadata", Value: `{"role":"admin"}`}}, forged: true}},
	{says: "An application welcomes new users of Clerk. Rollcall has told its endpoint of each once, whatever came twice or late:",
		told: 3},
}

// watched are the tables that the demo shows, the applications' and one of Rollcall's own. The first columns, key
// of them, tell one row from another.
var watched = []struct {
	name, sql string
	key       int
}{
	{"public.profiles", `select left(id::text, 8) as id, first_name, last_name, role, orders
from public.profiles order by id`, 1},
	{"deadstock.users", `select left(id::text, 8) as id, email, full_name, role, deleted_at is not null as deleted
from deadstock.users order by id`, 1},
	{`public."Member"`, `select '…' || substr(left("clerkId", -10), 15) as "clerkId", email, name, role
from public."Member" order by "updatedAt"`, 1},
	{`public."Team"`, `select '…' || substr(left(id, -11), 14) as id, name from public."Team" order by id`, 1},
	{`public."TeamMember"`, `select '…' || substr(left("userId", -10), 15) as "userId", role, seats
from public."TeamMember" order by "userId"`, 1},
	{"rollcall.parked", `select target, '…' || substr(left(user_id, -10), 15) as user_id, error
from rollcall.parked order by since`, 2},
}
