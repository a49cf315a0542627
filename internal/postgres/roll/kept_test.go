package roll_test

import (
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
)

// described is a user with metadata and what follows from it.
func described(id string, version int64, text string) event.Event {
	u := fixture.User(id, version, text+"@example.com")
	u.FirstName, u.FullName, u.AvatarURL, u.Username, u.LastName = &text, &text, &text, &text, &text
	u.RawUserMetaData, u.RawAppMetaData = `{"is": "`+text+`"}`, `{"app": "`+text+`"}`
	return fixture.Said(u)
}

// keeping is a user whose metadata can't be used: banned, with a new e-mail address.
func keeping(id string, version int64, email string) event.Event {
	u := fixture.User(id, version, email)
	until := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	u.Banned, u.BannedUntil = true, &until
	u.Kept = []string{"avatar_url", "first_name", "full_name", "last_name", "raw_app_meta_data", "raw_user_meta_data", "username"}
	return fixture.Said(u)
}

const keptRow = `select id, version, email, banned, first_name, last_name, full_name, username, avatar_url,
  raw_user_meta_data, raw_app_meta_data, cardinality(kept) from rollcall.users order by id`

// What can't be used of a user keeps its last known value, and the rest is applied.
func TestKeptColumns(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.Applied, keeping("a", 2, "new@example.com"))
	b.Want(keptRow, `a|2|new@example.com|t|one|one|one|one|one|{"is": "one"}|{"app": "one"}|7`)
	b.Want("select email, name from p", "new@example.com|one")

	b.Applies(fixture.Applied, described("a", 3, "three"))
	b.Want(keptRow, `a|3|three@example.com|f|three|three|three|three|three|{"is": "three"}|{"app": "three"}|∅`)

	b.Applies(fixture.Applied, keeping("a", 4, ""))
	b.Applies(fixture.Applied, fixture.Gone("a", 5))
	b.Want(keptRow, "a|5|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅")

	b.Applies(fixture.Applied, keeping("b", 1, "b@example.com"))
	b.Want(keptRow+" desc limit 1", "b|1|b@example.com|t|∅|∅|∅|∅|∅|{}|{}|7")
}

// Every column that may be kept can be: the roll's value stays, also of a time.
func TestKeptTimes(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	at := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC) // a ban that is over would end
	first, second := fixture.User("a", 1, ""), fixture.User("a", 2, "")
	first.Banned, first.BannedUntil, first.CreatedAt, first.UpdatedAt, first.LastSignInAt = true, &at, &at, &at, &at
	second.Kept = []string{"banned", "banned_until", "created_at", "last_sign_in_at", "updated_at"}
	b.Applies(fixture.Applied, fixture.Said(first))
	b.Applies(fixture.Applied, fixture.Said(second))
	b.Want("select version, banned, banned_until = created_at, created_at = updated_at, updated_at = last_sign_in_at, created_at::date from rollcall.users",
		"2|t|t|t|t|2120-01-01")
}

// In one batch, what an overtaken event of the user says is the last known value.
func TestKeptOfOneBatch(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.All(event.Applied, 3), described("a", 2, "two"), fixture.Updated("b", 1, ""), keeping("a", 3, "new@example.com"))
	b.Want("select version, email, banned, raw_user_meta_data, first_name from rollcall.users where id = 'a'", `3|new@example.com|t|{"is": "two"}|two`)

	b.Applies([]event.Outcome{event.Stale, event.Applied, event.Applied}, keeping("a", 5, "x@example.com"), described("a", 4, "four"), keeping("a", 6, "y@example.com"))
	b.Want("select version, email, raw_user_meta_data from rollcall.users where id = 'a'", `6|y@example.com|{"is": "four"}`)

	b.Applies([]event.Outcome{event.Stale, event.Applied}, keeping("a", 7, "z@example.com"), fixture.Gone("a", 1))
	b.Want("select deleted_at is null, kept from rollcall.users where id = 'a'", "f|∅")
}

// Should the roll refuse what Decode lets pass, only the part that a client writes is left out.
func TestKeptWhatTheRollRefuses(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	refused := func(id string, version int64, email string) event.Event {
		e := described(id, version, email)
		e.User.RawUserMetaData, e.User.Banned = `{"a":"\u0000"}`, true
		return e
	}
	b.Applies(fixture.Applied, described("a", 1, "one"))
	b.Applies(fixture.All(event.Applied, 3), fixture.Updated("b", 1, ""), refused("a", 2, "two"), refused("c", 1, "c"))
	b.Want(keptRow, `a|2|two@example.com|t|one|one|one|one|one|{"is": "one"}|{"app": "one"}|7`,
		"b|1|∅|f|∅|∅|∅|∅|∅|{}|{}|∅", "c|1|c@example.com|t|∅|∅|∅|∅|∅|{}|{}|7")
	b.Applies([]event.Outcome{event.UndecodableBody}, refused("a", 3, "\x00"))
	b.Want("select version from rollcall.users where id = 'a'", "2")
}
