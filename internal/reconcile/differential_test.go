package reconcile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// What SQL reads of a row of the table of users is what package source decodes from the same row
// as JSON. The rows are random, and so is the depth of what a client has written.
func TestRowsReadBySQLAreThoseDecoded(t *testing.T) {
	t.Parallel()
	users := testtag.Part(20_000)
	db, conn, random := followed(t)
	for i := range users {
		insertRandomUser(t, conn, random, numbered(i))
	}
	lookAtAll(t, db, users)
	compareAll(t, db, conn, users)
}

// userOf is a row of the roll of users, nil for none.
func userOf(r event.Record) *event.User {
	u, _ := r.(*event.User)
	return u
}

func numbered(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", n) }

// followed is a database with a table of users that decides, a connection of its own, and chance.
func followed(t *testing.T) (*postgres.DB, *pgx.Conn, *rand.Rand) {
	t.Helper()
	d := fixture.Supabase(t)
	db := d.Start(postgres.Config{}).DB
	must.Do(t, db.Roll().Follow(t.Context(), "supabase", "auth.users"))
	return db, d.SQL.Conn, rand.New(rand.NewPCG(testtag.Seed(t), 1))
}

// lookAtAll brings all users with lower numbers into the roll.
func lookAtAll(t *testing.T, db *postgres.DB, users int) {
	t.Helper()
	events := make([]event.Event, users)
	for i := range events {
		events[i] = event.Event{Source: "supabase", Op: event.Look, UserID: numbered(i)}
	}
	for page := range slices.Chunk(events, 512) {
		must.Get(db.Roll().Apply(t.Context(), page))(t)
	}
}

// compareAll decodes every row and compares it with the roll. SQL finds nothing that differs, and
// after other rows have taken the place of some, what differs in Go.
func compareAll(t *testing.T, db *postgres.DB, conn *pgx.Conn, want int) {
	t.Helper()
	seen := 0
	decodeAll(t, db, conn, func(p directory.Pair, theirs *event.User) {
		seen++
		switch {
		case theirs.Dead() && (p.Roll == nil || p.Roll.Head().Dead()): // a deleted user that the roll has never known is left out
		case p.Roll == nil || theirs.Dead() != p.Roll.Head().Dead():
			t.Errorf("%s: deleted %t in the table, roll %+v", p.ID, theirs.Dead(), p.Roll)
		case !sameRow(theirs, userOf(p.Roll)):
			t.Errorf("%s differs in %v (versions %d, %d): %s", p.ID, differences(&event.Users, theirs, p.Roll), theirs.Version, p.Roll.Head().Version, p.Row)
		}
	})
	if seen != want {
		t.Errorf("%d rows compared, want %d", seen, want)
	}
	for id, d := range differing(t, db) {
		t.Errorf("%s differs in SQL: %+v", id, d)
	}
}

// decodeAll decodes every row of the table, beside the roll's.
func decodeAll(t *testing.T, db *postgres.DB, conn *pgx.Conn, each func(directory.Pair, *event.User)) {
	t.Helper()
	src := fixture.Source(t, source.Supabase)
	rows, _ := conn.Query(t.Context(), `select id::text as id, row_to_json(u)::text as user from auth.users u order by id`)
	entries := must.Get(pgx.CollectRows(rows, pgx.RowToStructByPos[directory.Entry]))(t)
	for page := range slices.Chunk(entries, 1000) {
		for _, p := range must.Get(db.Directory().Listing("supabase").Note(t.Context(), page, time.Now()))(t) {
			each(p, must.Get(src.DecodeUser(p.Row, p.At))(t))
		}
	}
}

// differing are the users that SQL finds to differ, by pages of an odd size.
func differing(t *testing.T, db *postgres.DB) map[string]directory.Differing {
	t.Helper()
	table := must.Get(db.Directory().Users(t.Context(), "supabase", "auth.users"))(t)
	found := map[string]directory.Differing{}
	err := table.CompareAll(t.Context(), 77, func(page directory.Compared) error {
		for _, d := range page.Differing {
			found[d.ID] = d
		}
		return nil
	})
	must.Do(t, err)
	return found
}

// What a comparison by SQL says of a user is what Go says of the decoded row.
func TestComparisonBySQLIsThatOfGo(t *testing.T) {
	t.Parallel()
	users := testtag.Part(20_000)
	db, conn, random := followed(t)
	for _, half := range []int{0, 1} { // the first half of the ids is in the roll, others come and go
		for i := half * users / 2; i < (half+1)*users/2; i++ {
			insertRandomUser(t, conn, random, numbered(i))
		}
		if half == 0 {
			lookAtAll(t, db, users)
		}
	}
	for i := range users / 2 {
		if random.IntN(2) == 0 {
			continue
		}
		change := []string{"delete from auth.users where id = $1::uuid", "update auth.users set last_sign_in_at = now() where id = $1::uuid",
			"update auth.users set updated_at = '2026-01-01', email = 'x' || id where id = $1::uuid", "update auth.users set banned_until = null where id = $1::uuid",
			`update auth.users set raw_app_meta_data = raw_app_meta_data || '{"x":1}' where id = $1::uuid`, "delete from auth.users where $1::uuid is null"}[random.IntN(6)]
		must.Get(conn.Exec(t.Context(), change, numbered(i)))(t)
	}
	found, same, differ := differing(t, db), 0, 0
	decodeAll(t, db, conn, func(p directory.Pair, theirs *event.User) {
		got := found[p.ID]
		delete(found, p.ID)
		if len(theirs.Kept) > 0 {
			return
		}
		verdict := judgeUsers(theirs, userOf(p.Roll))
		if verdict == Final || verdict == Newer {
			verdict = Update // the table is right
		}
		want := map[Verdict]string{Create: "created", Update: "updated", Touch: "touched", Vanished: "deleted"}[verdict]
		if got.Verdict != want {
			t.Errorf("%s: SQL says %q, Go %q: %v", p.ID, got.Verdict, want, got.Columns)
		}
		if same++; want == "" || want == "deleted" || p.Roll == nil || p.Roll.Head().Dead() {
			return
		}
		differ++
		if diff := cmp.Diff(unsized(differences(&event.Users, theirs, p.Roll)), unsized(masked(got.Columns))); diff != "" {
			t.Errorf("%s (-Go +SQL): %s", p.ID, diff)
		}
	})
	for id, d := range found {
		if d.Verdict != "deleted" {
			t.Errorf("%s is not in the table: %+v", id, d)
		}
	}
	if len(found) == 0 || same == 0 || differ == 0 {
		t.Errorf("%d gone, %d alike, %d with differences", len(found), same, differ)
	}
}

// unsized leaves out the sizes of metadata, which are those of the texts in Go.
func unsized(list []Difference) []Difference {
	for i := range list {
		if strings.HasPrefix(list[i].Column, "raw_") {
			list[i].Roll, list[i].Theirs = "", ""
		}
	}
	return list
}

// sameRow compares what package source could use: it leaves out metadata that nests too deep for the
// text of a JSON, and a time beyond the year 9999, both of which SQL reads.
func sameRow(theirs, ours *event.User) bool {
	own := *ours
	own.Kept = theirs.Kept
	return len(differences(&event.Users, theirs, &own)) == 0 && (theirs.Version == own.Version || slices.Contains(theirs.Kept, "updated_at"))
}

func insertRandomUser(t *testing.T, conn *pgx.Conn, random *rand.Rand, id string) {
	t.Helper()
	pick := func(values ...any) any { return values[random.IntN(len(values))] }
	moment := func() any {
		at := time.Unix(1_700_000_000+random.Int64N(100_000_000), random.Int64N(1e9)/1000*1000).UTC()
		return pick(nil, at.Format(time.RFC3339Nano), at.Format(time.RFC3339Nano), "0001-01-01 00:00:00+00", "infinity", "-infinity", "12345-06-07 00:00:00+00")
	}
	deleted := any(nil)
	if random.IntN(10) == 0 {
		deleted = moment()
	}
	_, err := conn.Exec(t.Context(), `insert into auth.users (id, email, phone, raw_user_meta_data, raw_app_meta_data, is_anonymous,
  email_confirmed_at, phone_confirmed_at, banned_until, created_at, updated_at, last_sign_in_at, deleted_at, is_sso_user, invited_at)
values ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6, $7::text::timestamptz, $8::text::timestamptz, $9::text::timestamptz,
  $10::text::timestamptz, $11::text::timestamptz, $12::text::timestamptz, $13::text::timestamptz, $14, $15::text::timestamptz)`,
		id, pick(nil, id+"@x.test"), pick(nil, id), randomJSON(random, 0), randomJSON(random, 0), random.IntN(2) == 0,
		moment(), moment(), moment(), moment(), moment(), moment(), deleted, random.IntN(2) == 0, moment())
	must.Do(t, err)
}

// keys are those that name a user, and others.
var keys = []string{
	"username", "user_name", "preferred_username", "first_name", "given_name", "last_name", "family_name", "full_name", "name",
	"avatar_url", "picture", "custom_claims", "other", "ключ", "",
}

// randomJSON is a document as a client may write it; nil is a null column.
func randomJSON(random *rand.Rand, depth int) any {
	switch n := random.IntN(10); {
	case depth == 0 && n == 0:
		return nil
	case depth == 0 && n < 9, depth < 3 && n < 3:
		var members []string
		for range random.IntN(8) {
			members = append(members, fmt.Sprintf("%q: %s", keys[random.IntN(len(keys))], randomJSON(random, depth+1)))
		}
		return "{" + strings.Join(members, ", ") + "}"
	case n == 4:
		deep := random.IntN(250)
		return strings.Repeat("[", deep+1) + strings.Repeat("]", deep+1)
	}
	return []any{`"Ada"`, `"ada@x.test"`, `""`, `"\u00e9\ud83d\ude00"`, `"a \"b\" \\ \n"`, `"` + strings.Repeat("x", 3000) + `"`, "true", "null", "12.50", "-0", "1e30", "[1, \"a\"]"}[random.IntN(12)]
}
