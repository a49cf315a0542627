package directory

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is a fresh database with the schema rollcall and a connection to look.
type bench struct {
	*Directory
	*pgtest.Conn
}

func newBench(t testing.TB, schema string) *bench {
	t.Helper()
	url := pgtest.NewMigrated(t, schema)
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(pool.Close)
	d := &Directory{Pool: pool}
	d.Metadata.Store(1 << 20)
	return &bench{d, pgtest.Connect(t, url)}
}

// prepare prepares a statement whose plan is made once, as on the connections of the pool.
func (b *bench) prepare(name, statement string) {
	b.Run("set enable_seqscan = off; set plan_cache_mode = force_generic_plan; prepare " + name + " as " + statement)
}

// plan is that of a call of a prepared statement.
func (b *bench) plan(options, call string) string {
	return strings.Join(b.Rows("explain ("+options+") execute "+call), "\n")
}

// A page of a comparison reads its own part of the roll, by the key, with the plans of an
// empty table: not all that is left. Of the table it reads nothing that was before.
func TestCompareGoesByTheKey(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table people (id uuid primary key, email text)")
	u := must.Get(b.Users(t.Context(), "app", "public.people"))(t)
	b.prepare("compare", u.compare)
	plan := b.plan("costs off", "compare ('app', '00000000-0000-4000-8000-000000000000', 100, 1000000, 1000000, null)")
	if !regexp.MustCompile(`Index Cond: \(\(source = \$1\) AND \(id > .*\) AND \(id <= .*\)\)`).MatchString(plan) {
		t.Error(plan)
	}
	if !regexp.MustCompile(`Index Cond: \(id >= COALESCE`).MatchString(plan) {
		t.Errorf("a page begins at the beginning of the table:\n%s", plan)
	}
	b.Run(`insert into people values ('00000000-0000-0000-0000-000000000000')`) // the first of all, and an id like any other
	b.Run(`insert into people select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x' from generate_series(1, 40, 2) g`)
	b.Run(`insert into rollcall.users (source, id, version) select 'app', '00000000-0000-4000-8000-' || lpad(g::text, 12, '0'), 1 from generate_series(2, 60) g`)
	if users, _ := compareAll(t, u, 7); users != 61 {
		t.Errorf("%d users were compared, want 61", users)
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

// What is due is found by an index, in its order, whatever the statistics say.
func TestAnnouncedGoesByTheIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	for name, test := range map[string]struct{ statement, arguments string }{
		"announced": {announcedSQL, "'app', interval '2 s', 500"},
		"due":       {announcedSourcesSQL, "'{app}', interval '2 s'"},
	} {
		b.prepare(name, test.statement)
		plan := b.plan("costs off", name+" ("+test.arguments+")")
		if !strings.Contains(plan, "Index Scan using events_announced") || strings.Contains(plan, "Sort") || strings.Contains(plan, "Seq Scan") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
}

// What a replica that was stopped for a while still records does not change a run that another
// replica has ended.
func TestRunStaysEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	first := must.Get(b.BeginRun(t.Context(), "app", "a list"))(t)
	first.Users.Created, first.Users.Position = 1, "1"
	must.Do(t, first.Save(t.Context()))
	first.Release() // as PostgreSQL does when it is silent
	second := must.Get(b.BeginRun(t.Context(), "app", "a list"))(t)
	defer second.Release()
	if second.Users.Position != "1" {
		t.Errorf("it goes on at %q", second.Users.Position)
	}
	second.Users.Created, second.Users.Position = 3, "3"
	must.Do(t, second.End(t.Context(), nil))
	first.Users.Created, first.Users.Position = 2, "2"
	must.Do(t, first.Save(t.Context()))
	b.WantRows("select created, position, finished_at is not null from rollcall.reconciliations", "3|3|t")
}

// compareAll reads page after page and counts the users, each of which must come once, and the pages.
func compareAll(t *testing.T, u *Users, n int) (users, pages int) {
	t.Helper()
	seen := map[string]bool{}
	for page := (Compared{}); !page.End; pages++ {
		page = must.Get(u.Compare(t.Context(), page.Last, "", n))(t)
		for _, d := range page.Differing {
			if seen[d.ID] {
				t.Errorf("%s came again", d.ID)
			}
			seen[d.ID] = true
		}
	}
	return len(seen), pages
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
	if users, pages := compareAll(t, u, 4096); users != 42 || pages < 3 {
		t.Errorf("%d users on %d pages, want 42 on 3 or more", users, pages)
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
	if users, pages := compareAll(t, u, 16); users != 20 || pages < 3 {
		t.Errorf("%d users on %d pages", users, pages)
	}
	slowly("5")
	must.Fail(t, must.Err(u.Compare(t.Context(), "", "", 1)), nil, "limits.statement_timeout")
}

// The plan of a page is by the keys also where the statistics are those of empty tables.
func TestCompareWithStaleStatistics(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Auth)
	u := must.Get(b.Users(t.Context(), "app", "auth.users"))(t)
	b.Run("alter table auth.users set (autovacuum_enabled = off); alter table rollcall.users set (autovacuum_enabled = off); analyze auth.users; analyze rollcall.users")
	b.prepare("compare", u.compare)
	const after = "('app', '00000000-0000-4000-8000-000000010000', 100, 16000000, 1000000, null)"
	b.Run("execute compare " + after) // planned while both are empty
	n := testtag.Part(400_000)
	b.Run(`insert into auth.users (id) select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid from generate_series(1, ` + strconv.Itoa(n) + `) g`)
	b.Run(`insert into rollcall.users (source, id, version) select 'app', id::text, 1 from auth.users`)
	plan := b.plan("analyze, costs off, timing off, summary off", "compare "+after)
	for _, m := range regexp.MustCompile(`Index Scan .*rows=(\d+)`).FindAllStringSubmatch(plan, -1) {
		if len(m[1]) > 3 {
			t.Errorf("a page of 100 users reads %s rows:\n%s", m[1], plan)
		}
	}
	if strings.Contains(plan, "Seq Scan") {
		t.Error(plan)
	}
}

// Of a large roll other users are chosen each time, and only a part of it is read.
func TestSample(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.Run(`insert into rollcall.users (source, id, version, changed_at, raw_user_meta_data)
select s, md5(g::text), 1, now() - interval '1 hour', jsonb_build_object('pad', repeat('x', 600)) from generate_series(1, 15000) g, unnest('{app,clerk}'::text[]) s`)
	b.WantRows("select ("+fmt.Sprintf(sampleShare, "rollcall.users")+")::int between 30 and 70", "t")
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
	b.WantRows("select ("+fmt.Sprintf(sampleShare, "rollcall.users")+")::int between 30 and 70", "t")
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
		if ids := must.Get(b.Listing("app").Sample(t.Context(), 6, time.Now()))(t); !slices.Equal(ids, []string{"31337"}) {
			t.Errorf("chosen: %v", ids)
		}
	}
}

// A page that is to end at an id ends there on both sides, whoever is behind it.
func TestCompareUpTo(t *testing.T) {
	t.Parallel()
	b := newBench(t, "create table people (id uuid primary key, email text, created_at timestamptz default '2026-01-01')")
	const id = "00000000-0000-4000-8000-00000000000"
	b.Run("insert into people (id) select ('" + id + "' || g)::uuid from generate_series(1, 5) g")
	b.Run("insert into rollcall.users (source, id, version) select 'app', '" + id + "' || g, 1 from generate_series(1, 9) g")
	u := must.Get(b.Users(t.Context(), "app", "public.people"))(t)
	page := must.Get(u.Compare(t.Context(), id+"1", id+"3", 100))(t)
	if page.Last != id+"3" || !page.End || len(page.Differing) != 2 {
		t.Errorf("got %+v, want two users and the end of the page", page)
	}
	page = must.Get(u.Compare(t.Context(), id+"1", id+"3", 1))(t)
	if page.Last != id+"2" || page.End || len(page.Differing) != 1 {
		t.Errorf("got %+v, want one user and more to come", page)
	}
}
