package directory

import (
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/must"
)

// A page of a comparison reads its own part of the roll, by the key, with the plans of an
// empty table: not all that is left. Of the table it reads nothing that was before.
func TestCompareGoesByTheKey(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table people (id uuid primary key, email text)")
	u := must.Get(b.Users(t.Context(), "app", "public.people"))(t)
	b.Run("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
	b.Run("prepare compare as " + u.compare)
	plan := strings.Join(b.Rows("explain (costs off) execute compare ('app', '00000000-0000-4000-8000-000000000000', 100, 1000000, 1000000)"), "\n")
	if !regexp.MustCompile(`Index Cond: \(\(source = \$1\) AND \(id > .*\) AND \(id <= .*\)\)`).MatchString(plan) {
		t.Error(plan)
	}
	if !regexp.MustCompile(`Index Cond: \(id >= COALESCE`).MatchString(plan) {
		t.Errorf("a page begins at the beginning of the table:\n%s", plan)
	}
	b.Run(`insert into people values ('00000000-0000-0000-0000-000000000000')`) // the first of all, and an id like any other
	b.Run(`insert into people select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x' from generate_series(1, 40, 2) g`)
	b.Run(`insert into rollcall.users (source, id, version) select 'app', '00000000-0000-4000-8000-' || lpad(g::text, 12, '0'), 1 from generate_series(2, 60) g`)
	seen := map[string]int{}
	for after, end := "", false; !end; {
		page := must.Get(u.Compare(t.Context(), after, 7))(t)
		for _, d := range page.Differing {
			seen[d.ID]++
		}
		after, end = page.Last, page.End
	}
	if len(seen) != 61 {
		t.Errorf("%d users were compared, want 61", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}

// The count of those who are gone is that of the list of them, whatever their ids look like.
func TestCountAbsent(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table people (id uuid primary key, email text, deleted_at timestamptz)")
	u := must.Get(b.Users(t.Context(), "app", "public.people"))(t)
	b.Run(`insert into people select ('00000000-0000-4000-8000-00000000000' || c)::uuid, c || '@x', at from (values
		('a', null), ('b', '0001-01-01'), ('c', '2026-01-01'), ('d', null::timestamptz)) v (c, at)`)
	b.Run(`insert into rollcall.users (source, id, version, deleted_at) select source, id, 1, at from (values
		('app', '00000000-0000-4000-8000-00000000000a', null),  -- there
		('app', '00000000-0000-4000-8000-00000000000B', null),  -- there, by another spelling
		('app', '00000000-0000-4000-8000-00000000000c', null),  -- softly deleted
		('app', '00000000-0000-4000-8000-00000000000e', null),  -- gone
		('app', '{00000000-0000-4000-8000-00000000000d}', null),-- no uuid as the table writes it
		('app', 'user_1', null),                                -- no uuid
		('app', '00000000-0000-4000-8000-00000000000f', now()), -- deleted
		('other', 'user_2', null::timestamptz)) v (source, id, at)`)
	absent := must.Get(u.Absent(t.Context(), "", 100))(t)
	n, err := u.CountAbsent(t.Context())
	if err != nil || n != 4 || len(absent) != 4 {
		t.Errorf("%d are counted and %d listed, want 4; %v", n, len(absent), err)
	}
}
