package backfill_test

import (
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/postgres/backfill"
)

// A backfill has users take over rows, parks those who may not, and its preview counts both.
func TestBackfillAdopts(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, fixture.PeopleTable, fixture.Adopting())
	b.FillRoll(3000)
	b.Exec(`update rollcall.users set email_verified = substr(id, 2)::int % 100 <> 0;
		insert into people (email) select upper(email) from rollcall.users where substr(id, 2)::int % 10 = 0;
		insert into people (email) select email from rollcall.users where id = 'u10'; analyze people`)
	preview := must.Get(b.DB.Backfills().Preview(t.Context(), "people"))(t)
	must.Equal(t, preview, backfill.Preview{Visit: 3000, Insert: 2700, Adopt: 269, Park: 31}, "preview")
	fill(b, "people")
	b.Want(`select role || ' ' || (auth_id is null) || ' ' || count(*) from people group by role, auth_id is null order by 1`, "new false 2700", "old false 269", "old true 32")
	b.Want("select left(error, 40) || ' ' || count(*) from rollcall.parked group by left(error, 40) order by 1",
		"match: a row without a key has the user' 30", "match: several rows without a key have t 1")
	after := must.Get(b.DB.Backfills().Preview(t.Context(), "people"))(t)
	must.Equal(t, after, backfill.Preview{Visit: 3000, Park: 31}, "preview afterwards")
}
