package reconcile

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

// What SQL reads of a row of the table of users is what package source decodes from the same row
// as JSON. The rows are random, and so is the depth of what a client has written.
func TestRowsReadBySQLAreThoseDecoded(t *testing.T) {
	t.Parallel()
	users := testtag.Part(20_000)
	url := pgtest.NewWith(t, pgtest.Auth)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	db, err := postgres.Open(postgres.Config{URL: url, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Follow(t.Context(), "supabase", "auth.users"); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(testtag.Seed(t), 1))
	events := make([]event.Event, users)
	for i := range events {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012x", i)
		insertRandomUser(t, conn, random, id)
		events[i] = event.Event{Source: "supabase", Op: event.Look, UserID: id}
	}
	for len(events) > 0 {
		n := min(len(events), 512)
		if _, err := db.Apply(t.Context(), events[:n]); err != nil {
			t.Fatal(err)
		}
		events = events[n:]
	}
	compareAll(t, db, users)
}

// compareAll decodes every row and compares it with the roll.
func compareAll(t *testing.T, db *postgres.DB, want int) {
	t.Helper()
	src, err := source.New(source.Config{Name: "supabase", Provider: source.Supabase})
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Users(t.Context(), "supabase", "auth.users")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = table.CompareAll(t.Context(), func(p postgres.Pair) error {
		seen++
		theirs, err := src.DecodeUser(p.Row, p.At)
		switch {
		case err != nil:
			return err
		case theirs.Dead() && (p.Roll == nil || p.Roll.Dead()):
			return nil // a deleted user of whom the roll has never known is left out
		case p.Roll == nil || theirs.Dead() != p.Roll.Dead():
			t.Errorf("%s: deleted %t in the table, roll %+v", p.ID, theirs.Dead(), p.Roll)
		case !sameRow(theirs, p.Roll):
			t.Errorf("%s differs in %v (versions %d, %d): %s", p.ID, differences(theirs, p.Roll), theirs.Version, p.Roll.Version, p.Row)
		}
		return nil
	})
	if err != nil || seen != want {
		t.Errorf("%d rows compared, want %d: %v", seen, want, err)
	}
}

// sameRow compares what package source could use: it leaves out metadata that nests too deep for the
// text of a JSON, and a time beyond the year 9999, both of which SQL reads.
func sameRow(theirs, ours *event.User) bool {
	own := *ours
	own.Kept = theirs.Kept
	return len(differences(theirs, &own)) == 0 && (theirs.Version == own.Version || slices.Contains(theirs.Kept, "updated_at"))
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
  email_confirmed_at, phone_confirmed_at, banned_until, created_at, updated_at, last_sign_in_at, deleted_at)
values ($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6, $7::text::timestamptz, $8::text::timestamptz, $9::text::timestamptz,
  $10::text::timestamptz, $11::text::timestamptz, $12::text::timestamptz, $13::text::timestamptz)`,
		id, pick(nil, id+"@x.test"), pick(nil, id), randomJSON(random, 0), randomJSON(random, 0), random.IntN(2) == 0,
		moment(), moment(), moment(), moment(), moment(), moment(), deleted)
	if err != nil {
		t.Fatal(err)
	}
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
	return []any{`"Ada"`, `""`, `"\u00e9\ud83d\ude00"`, `"a \"b\" \\ \n"`, `"` + strings.Repeat("x", 3000) + `"`, "true", "null", "12.50", "-0", "1e30", "[1, \"a\"]"}[random.IntN(11)]
}
