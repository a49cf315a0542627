package directory

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/testtag"
)

// compareAll reads page after page and returns how often each user came, and how many pages there were.
func compareAll(t *testing.T, u *Users, n int) (seen map[string]int, pages int) {
	t.Helper()
	seen = map[string]int{}
	for page := (Compared{}); !page.End; pages++ {
		page = must.Get(u.Compare(t.Context(), page.Last, n))(t)
		for _, d := range page.Differing {
			seen[d.ID]++
		}
	}
	return seen, pages
}

// A page ends where its bytes do, and the next one goes on there.
func TestComparedPageEndsByBytes(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Auth)
	b.Run(`insert into auth.users (id, raw_user_meta_data)
select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, jsonb_build_object('a', (select string_agg(md5(g || ' ' || n), '') from generate_series(1, 6000) n))
from generate_series(1, 40) g`)
	b.Run(`insert into rollcall.users (source, id, version) values ('app', '00000000-0000-4000-8000-000000000020x', 1), ('app', 'zz', 1)`)
	u := must.Get(b.Users(t.Context(), "app", "auth.users"))(t)
	seen, pages := compareAll(t, u, 4096)
	if pages < 3 || len(seen) != 42 {
		t.Errorf("%d users on %d pages, want 42 on 3 or more", len(seen), pages)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// A page that takes too long is read again with fewer users; of one user, the error names the limits.
func TestComparedPageTakesTooLong(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Auth)
	b.Run(`insert into auth.users (id) select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid from generate_series(1, 20) g`)
	u := must.Get(b.Users(t.Context(), "app", "auth.users"))(t)
	quick := u.compare
	slowly := func(seconds string) {
		u.compare = strings.Replace(quick, "from state s\n", "from (select s.* from state s cross join lateral (select pg_sleep("+seconds+") where s.id is not null offset 0) slow) s\n", 1)
	}
	slowly("0.3") // the statement timeout is 4 s
	if seen, pages := compareAll(t, u, 16); len(seen) != 20 || pages < 3 {
		t.Errorf("%d users on %d pages", len(seen), pages)
	}
	slowly("5")
	if _, err := u.Compare(t.Context(), "", 1); err == nil || !strings.Contains(err.Error(), "limits.statement_timeout") {
		t.Errorf("got %v", err)
	}
}

// The plan of a page is by the keys also where the statistics are those of empty tables.
func TestCompareWithStaleStatistics(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Auth)
	u := must.Get(b.Users(t.Context(), "app", "auth.users"))(t)
	b.Run("alter table auth.users set (autovacuum_enabled = off); alter table rollcall.users set (autovacuum_enabled = off); analyze auth.users; analyze rollcall.users")
	b.Run("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
	b.Run("prepare compare as " + u.compare)
	const after = "('app', '00000000-0000-4000-8000-000000010000', 100, 16000000, 1000000)"
	b.Run("execute compare " + after) // planned while both are empty
	n := testtag.Part(400_000)
	b.Run(`insert into auth.users (id) select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid from generate_series(1, ` + strconv.Itoa(n) + `) g`)
	b.Run(`insert into rollcall.users (source, id, version) select 'app', id::text, 1 from auth.users`)
	plan := strings.Join(b.Rows("explain (analyze, costs off, timing off, summary off) execute compare "+after), "\n")
	for _, m := range regexp.MustCompile(`Index Scan .*rows=(\d+)`).FindAllStringSubmatch(plan, -1) {
		if len(m[1]) > 3 {
			t.Errorf("a page of 100 users reads %s rows:\n%s", m[1], plan)
		}
	}
	if strings.Contains(plan, "Seq Scan") {
		t.Error(plan)
	}
}
