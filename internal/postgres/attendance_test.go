package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/sql"
)

// Of a large roll somebody else is chosen each time, and only a little of it is read.
func TestSample(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec("set enable_seqscan = off; set plan_cache_mode = force_generic_plan; begin; " + withoutBitmaps + "; prepare ends as " + endsOfRoll + "; prepare sample as " + sql.Sample)
	b.exec("execute ends ('app'); execute sample ('app', '{0}', now(), 3)") // the plans of an empty table
	b.exec("commit")
	b.exec(`insert into rollcall.users (source, id, version, changed_at)
select s, case when s = 'clerk' then 'user_2' || translate(md5(g::text), '0123456789', 'ghijKLMNOP') else md5(g::text) end, 1, now() - interval '1 hour'
from generate_series(1, 20000) g, unnest('{app,clerk}'::text[]) s`)
	for _, source := range []string{"app", "clerk"} {
		chosen := map[string]bool{}
		for range 20 {
			ids, err := b.Attendance(source).Sample(t.Context(), 20, time.Now())
			if err != nil || len(ids) != 20 {
				t.Fatal(ids, err)
			}
			for _, id := range ids {
				chosen[id] = true
			}
		}
		if len(chosen) < 200 {
			t.Errorf("%d users of %s were chosen of 400", len(chosen), source)
		}
	}
	b.exec("begin; " + withoutBitmaps)
	if plan := strings.Join(b.rows("explain (costs off) execute ends ('app')"), "\n"); strings.Count(plan, "Limit") != 2 || strings.Contains(plan, "Seq Scan") {
		t.Error(plan)
	}
	plan := strings.Join(b.rows("explain (analyze, timing off, costs off) execute sample ('app', '{0,4,8,c}', now(), 3)"), "\n")
	read := regexp.MustCompile(`Scan using users_pkey on users \(actual rows=(\d+)\S* loops=(\d+)\)`).FindStringSubmatch(plan)
	if read == nil || strings.Contains(plan, "Seq Scan") {
		t.Fatal(plan)
	}
	rows, _ := strconv.Atoi(read[1])
	loops, _ := strconv.Atoi(read[2])
	if rows*loops > 400 {
		t.Errorf("%d users were read for 3:\n%s", rows*loops, plan)
	}
}

// Of a small roll everybody is chosen who lives and is no newcomer.
func TestSampleOfFew(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	for n, want := range []int{0, 1, 2, 5} {
		source := fmt.Sprint("source", n)
		b.exec(fmt.Sprintf(`insert into rollcall.users (source, id, version, changed_at, deleted_at)
select '%s', 'ü' || g, 1, now() - interval '1 hour' * (g %% 2), case when g %% 4 = 1 then now() end from generate_series(1, %d) g`, source, 4*want))
		ids, err := b.Attendance(source).Sample(t.Context(), 6, time.Now().Add(-time.Minute))
		if err != nil || len(ids) != want {
			t.Errorf("%d of %d were chosen: %v, %v", len(ids), want, ids, err)
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != want {
			t.Errorf("somebody came twice: %v", ids)
		}
	}
}

// Among many who are dead somebody is found who lives: with nobody there would be nobody to lose.
func TestSampleAmongTombstones(t *testing.T) {
	t.Parallel()
	b := newBench(t, profilesTable, profiles())
	b.exec(`insert into rollcall.users (source, id, version, changed_at, deleted_at)
select 'app', lpad(g::text, 5, '0'), 1, now() - interval '1 hour', case when g <> 31337 then now() end from generate_series(1, 60000) g`)
	for range 5 {
		ids, err := b.Attendance("app").Sample(t.Context(), 6, time.Now())
		if err != nil || !slices.Equal(ids, []string{"31337"}) {
			t.Errorf("chosen: %v, %v", ids, err)
		}
	}
}

// A place among the ids begins as all of them do, whatever they are made of, and goes on within
// their ends.
func TestBetween(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		low, high string
		begins    int // bytes that must be within
	}{{"", "", 0}, {"a", "a", 1}, {"a", "ab", 1}, {"user_1x", "user_3y", 6}, {"", "zz", 0}, {"aé", "aü", 3}} {
		for range 50 {
			id := between(tt.low, tt.high)
			if begin := id[:tt.begins]; begin < tt.low[:tt.begins] || begin > tt.high[:tt.begins] {
				t.Errorf("%q between %q and %q", id, tt.low, tt.high)
			}
		}
	}
}
