package directory

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Of a large roll other users are chosen each time, and only a part of it is read.
func TestSample(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Run(`insert into rollcall.users (source, id, version, changed_at, raw_user_meta_data)
select s, md5(g::text), 1, now() - interval '1 hour', jsonb_build_object('pad', repeat('x', 600)) from generate_series(1, 15000) g, unnest('{app,clerk}'::text[]) s`)
	if share := b.Rows("select ((" + sampleShare + ")::int between 30 and 70)::text"); !slices.Equal(share, []string{"true"}) {
		t.Errorf("%s", b.Rows(sampleShare))
	}
	for _, source := range []string{"app", "clerk"} {
		chosen := map[string]bool{}
		for range 20 {
			ids, err := b.Listing(source).Sample(t.Context(), 20, time.Now())
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
}

// The partitions of a roll count.
func TestSampleOfPartitions(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Run(`alter table rollcall.users rename to one; create table rollcall.users (like rollcall.one including defaults) partition by hash (source, id);
create table rollcall.users_0 partition of rollcall.users for values with (modulus 2, remainder 0);
create table rollcall.users_1 partition of rollcall.users for values with (modulus 2, remainder 1);
insert into rollcall.users (source, id, version, changed_at, raw_user_meta_data)
select 'app', md5(g::text), 1, now() - interval '1 hour', jsonb_build_object('pad', repeat('x', 600)) from generate_series(1, 30000) g`)
	if share := b.Rows("select ((" + sampleShare + ")::int between 30 and 70)::text"); !slices.Equal(share, []string{"true"}) {
		t.Errorf("%s", b.Rows(sampleShare))
	}
	if ids, err := b.Listing("app").Sample(t.Context(), 20, time.Now()); err != nil || len(ids) != 20 {
		t.Errorf("chosen: %v, %v", ids, err)
	}
}

// Of a small roll all are chosen who live and are no newcomers.
func TestSampleOfFew(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	for n, want := range []int{0, 1, 2, 5} {
		source := fmt.Sprint("source", n)
		b.Run(fmt.Sprintf(`insert into rollcall.users (source, id, version, changed_at, deleted_at)
select '%s', 'ü' || g, 1, now() - interval '1 hour' * (g %% 2), case when g %% 4 = 1 then now() end from generate_series(1, %d) g`, source, 4*want))
		ids, err := b.Listing(source).Sample(t.Context(), 6, time.Now().Add(-time.Minute))
		if err != nil || len(ids) != want {
			t.Errorf("%d of %d were chosen: %v, %v", len(ids), want, ids, err)
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != want {
			t.Errorf("a user came twice: %v", ids)
		}
	}
}

// Among many tombstones the living user is found: a sample of none would allow every deletion.
func TestSampleAmongTombstones(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Run(`insert into rollcall.users (source, id, version, changed_at, deleted_at)
select 'app', lpad(g::text, 5, '0'), 1, now() - interval '1 hour', case when g <> 31337 then now() end from generate_series(1, 60000) g`)
	for range 5 {
		ids, err := b.Listing("app").Sample(t.Context(), 6, time.Now())
		if err != nil || !slices.Equal(ids, []string{"31337"}) {
			t.Errorf("chosen: %v, %v", ids, err)
		}
	}
}
