package postgres

import (
	"regexp"
	"strings"
	"testing"
)

// A page of a comparison reads its own part of the roll, by the key, with the plans of an
// empty table: not all that is left.
func TestCompareGoesByTheKey(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable+"; create table people (id uuid primary key, email text)", profiles())
	u, err := b.Users(t.Context(), "app", "public.people")
	if err != nil {
		t.Fatal(err)
	}
	b.exec("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
	b.exec("prepare compare as " + u.compare)
	plan := strings.Join(b.rows("explain (costs off) execute compare ('app', '00000000-0000-4000-8000-000000000000', 100)"), "\n")
	if !regexp.MustCompile(`Index Cond: \(\(source = \$1\) AND \(id > .*\) AND \(id <= .*\)\)`).MatchString(plan) {
		t.Error(plan)
	}
	b.exec(`insert into people select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x' from generate_series(1, 40, 2) g`)
	b.exec(`insert into rollcall.users (source, id, version) select 'app', '00000000-0000-4000-8000-' || lpad(g::text, 12, '0'), 1 from generate_series(2, 60) g`)
	seen := map[string]int{}
	for after, end := "", false; !end; {
		pairs, err := u.Compare(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, p := range pairs {
			seen[p.ID]++
			if p.Row != nil {
				rows++
			}
			after = p.ID
		}
		end = rows < 7
	}
	if len(seen) != 60 {
		t.Errorf("%d users were compared, want 60", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}
