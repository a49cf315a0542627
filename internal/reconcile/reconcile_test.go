package reconcile_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rollcall/internal/event"
	"rollcall/internal/pgtest"
	"rollcall/internal/pipeline"
	"rollcall/internal/postgres"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
	"rollcall/internal/target"
	"rollcall/internal/testtag"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const profiles = `create table profiles (id uuid primary key, email text unique, name text, role text)`

func profileTarget() target.Target {
	expr := func(sql string) target.Expr { return target.Expr{SQL: sql, At: "test.yaml:1:1"} }
	return target.Target{
		Name: "profiles", At: "test.yaml:1:1", Table: "public.profiles", Key: []string{"id"},
		From:     []target.Origin{{Source: "supabase", SampleID: source.SampleID(source.Supabase)}},
		Set:      []target.Assignment{{Column: "id", Expr: expr("new.id")}, {Column: "email", Expr: expr("new.email")}, {Column: "name", Expr: expr("new.full_name")}},
		OnInsert: []target.Assignment{{Column: "role", Expr: expr("'customer'")}},
		OnDelete: target.OnDelete{Action: target.DeleteRow},
	}
}

// house is a Supabase project's database and what brings its users into the profiles.
type house struct {
	reconcile.Config
	t        testing.TB
	sql      *pgx.Conn
	pipeline *pipeline.Pipeline
}

func newHouse(t testing.TB, sqls ...string) *house {
	t.Helper()
	return openHouse(t, pgtest.NewWith(t, append([]string{pgtest.Auth, profiles}, sqls...)...), "")
}

// openHouse works as a role, the server's own when empty.
func openHouse(t testing.TB, address, role string) *house {
	t.Helper()
	h := furnish(t, address, role, profileTarget())
	h.Source = newSource(t, source.Supabase)
	h.Table = "auth.users"
	return h
}

func newSource(t testing.TB, provider string) *source.Source {
	t.Helper()
	src, err := source.New(source.Config{Name: provider, Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// furnish is a house without a provider.
func furnish(t testing.TB, address, role string, targets ...target.Target) *house {
	t.Helper()
	h := &house{t: t}
	var err error
	if h.sql, err = pgx.Connect(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.sql.Close(context.Background()) })
	if role != "" {
		address = pgtest.As(t, address, role)
	}
	db, err := postgres.Open(postgres.Config{URL: address, Targets: targets, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found, err := db.Check(t.Context()); err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	h.pipeline = pipeline.New(pipeline.Config{Apply: db.Apply})
	h.pipeline.Start()
	t.Cleanup(func() { h.pipeline.Shutdown(context.Background()) })
	h.Config = reconcile.Config{MaxDelete: 0.05, DB: db, Submit: h.pipeline.SubmitAll, Log: slog.New(slog.DiscardHandler)}
	return h
}

func (h *house) exec(sql string) {
	h.t.Helper()
	if _, err := h.sql.PgConn().Exec(h.t.Context(), sql).ReadAll(); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
}

func (h *house) want(sql string, want ...string) {
	h.t.Helper()
	rows, _ := h.sql.Query(h.t.Context(), sql)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

// users inserts so many users into auth.users, numbered from first.
func (h *house) users(first, n int) {
	h.t.Helper()
	h.exec(fmt.Sprintf(`insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
select ('00000000-0000-4000-8000-' || lpad(g::text, 12, '0'))::uuid, g || '@x.test', jsonb_build_object('full_name', 'user ' || g, 'n', 1.50), '2026-01-01', '2026-01-02'
from generate_series(%d, %d) g`, first, first+n-1))
}

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func (h *house) run() postgres.Reconciled {
	h.t.Helper()
	tally, err := reconcile.Run(h.t.Context(), h.Config)
	if err != nil {
		h.t.Fatal(err)
	}
	return tally
}

func (h *house) wantRun(want postgres.Reconciled) {
	h.t.Helper()
	if got := h.run(); got != want {
		h.t.Errorf("got %+v\nwant %+v", got, want)
	}
}

const inStep = "select count(*)::text from auth.users a full join profiles p on p.id = a.id where a.deleted_at is null and p.email is distinct from a.email"

func TestRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 50)
	h.wantRun(postgres.Reconciled{Created: 50})
	h.wantRun(postgres.Reconciled{Unchanged: 50})
	h.exec("update auth.users set email = 'new@x.test', updated_at = now() where id = '" + id(1) + "'")
	h.exec("update auth.users set email = 'edited@x.test' where id = '" + id(2) + "'") // by SQL, the version stays
	h.exec("delete from auth.users where id = '" + id(3) + "'")
	h.exec("update auth.users set email = 'hash', raw_user_meta_data = '{}', deleted_at = now(), updated_at = now() where id = '" + id(4) + "'")
	h.exec("update auth.users set last_sign_in_at = now(), updated_at = now() where id = '" + id(5) + "'")
	h.users(51, 1)
	h.wantRun(postgres.Reconciled{Created: 1, Updated: 2, Touched: 1, Deleted: 2, Unchanged: 45})
	h.want(inStep, "0")
	h.want("select count(*)::text from profiles where role = 'customer'", "49")
	h.wantRun(postgres.Reconciled{Unchanged: 49})
	h.want("select distinct coalesce(error, 'success') from rollcall.reconciliations where finished_at is not null", "success")
	h.want("select count(*)::text from rollcall.events", "0")
}

// A dry run says column by column what differs, and writes nothing.
func TestPreview(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 30)
	h.run()
	h.exec("update auth.users set email = 'new@x.test', is_anonymous = true where id = '" + id(1) + "'")
	h.exec("delete from auth.users where id = '" + id(2) + "'")
	h.exec("update auth.users set last_sign_in_at = now(), updated_at = now() where id = '" + id(3) + "'")
	h.users(31, 1)
	h.exec("create table before as select xmin::text as written, source, id, version from rollcall.users; create table runs as table rollcall.reconciliations")
	var got []string
	tally, err := reconcile.Preview(t.Context(), h.Config, func(f reconcile.Finding) error {
		got = append(got, fmt.Sprint(f.Action, " ", f.User[34:], " ", len(f.Differences)))
		if f.Action == "updated" {
			got = append(got, fmt.Sprint(f.Differences))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"updated 01 2", "[{email 1…@x….test n…@x….test} {is_anonymous false true}]", "deleted 02 0", "touched 03 3", "created 31 6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want := (postgres.Reconciled{Created: 1, Updated: 1, Touched: 1, Deleted: 1, Unchanged: 27}); tally != want {
		t.Errorf("got %+v, want %+v", tally, want)
	}
	h.want("select count(*)::text from rollcall.users u left join before b using (source, id) where b.written is distinct from u.xmin::text", "0")
	h.want("select count(*)::text from rollcall.reconciliations r left join runs b using (id) where b is distinct from r", "0")
	h.wantRun(tally) // and a run does what it said
	h.want("select concat_ws(' ', created, updated, touched, deleted, unchanged, failed) from rollcall.reconciliations order by id desc limit 1", "1 1 1 1 27 0")
	h.want("select count(*)::text from rollcall.users where last_sign_in_at is not null", "1")
}

// When too many vanish, when the table reads empty, or when rows are hidden, nobody is
// buried, and the run is no success.
func TestGuards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		do, mend string
		want     []string
	}{
		"too many":  {"delete from auth.users where id <= '" + id(6) + "'", "", []string{"6 of the 100 users", "6%", "max_delete (5%)", "--max-delete 6%"}},
		"softly":    {"update auth.users set deleted_at = now() where id <= '" + id(6) + "'", "", []string{"6 of the 100 users"}},
		"empty":     {"delete from auth.users", "", []string{"reads empty", "the right database?"}},
		"truncated": {"truncate auth.users", "", []string{"reads empty"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.users(1, 100)
			h.run()
			h.exec(test.do)
			for range 2 {
				_, err := reconcile.Run(t.Context(), h.Config)
				h.refused(err, test.want)
				_, err = reconcile.Preview(t.Context(), h.Config, func(reconcile.Finding) error { return nil })
				h.refused(err, test.want)
			}
			h.want("select count(*)::text from rollcall.users where deleted_at is null", "100")
			h.want("select count(*)::text from profiles", "100")
			h.want("select count(*)::text from rollcall.reconciliations where error is null", "1")
			h.MaxDelete = 1
			h.run()
			h.want(inStep, "0")
		})
	}
}

func (h *house) refused(err error, want []string) {
	h.t.Helper()
	if !errors.Is(err, reconcile.ErrStopped) {
		h.t.Fatalf("got %v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			h.t.Errorf("%q is not in %q", w, err)
		}
	}
}

// Exactly the share that is allowed may vanish.
func TestGuardsAtTheLimit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 100)
	h.run()
	h.exec("delete from auth.users where id <= '" + id(5) + "'")
	h.wantRun(postgres.Reconciled{Deleted: 5, Unchanged: 95})
}

// A role that may only read auth.users sees nobody there, without an error, unless row
// security lets it.
func TestRowSecurity(t *testing.T) {
	role := "reader_" + strings.ToLower(rand.Text())
	h := newHouse(t, fmt.Sprintf(`create role %[1]s login; grant usage on schema auth, public to %[1]s; grant select on auth.users to %[1]s;
grant select, insert, update, delete on profiles to %[1]s`, role))
	h.exec(fmt.Sprintf("grant usage on schema rollcall to %[1]s; grant select, insert, update, delete on all tables in schema rollcall to %[1]s", role))
	t.Cleanup(func() {
		_, _ = h.sql.Exec(context.Background(), fmt.Sprintf("drop owned by %[1]s; drop role %[1]s", role))
	})
	reader := openHouse(t, h.sql.Config().ConnString(), role)
	h.users(1, 20)
	_, err := reconcile.Run(t.Context(), reader.Config)
	if !errors.Is(err, postgres.ErrHidden) || !strings.Contains(err.Error(), `alter role "`+role+`" bypassrls`) {
		t.Errorf("got %v", err)
	}
	h.exec("create policy restricts on auth.users for select to " + role + " using (email like '1%')")
	if _, err = reconcile.Run(t.Context(), reader.Config); !errors.Is(err, postgres.ErrHidden) {
		t.Errorf("behind a policy: %v", err)
	}
	h.exec("drop policy restricts on auth.users; create policy shows on auth.users for select to " + role + " using (true)")
	reader.wantRun(postgres.Reconciled{Created: 20})
	h.exec("drop policy shows on auth.users; alter role " + role + " bypassrls")
	reader.wantRun(postgres.Reconciled{Unchanged: 20})
	h.exec("revoke select on auth.users from " + role)
	if _, err = reconcile.Run(t.Context(), reader.Config); err == nil || !strings.Contains(err.Error(), "rollcall capture install --print") {
		t.Errorf("without rights: %v", err)
	}
}

// An interrupted run goes on where it was, and is no success before its end.
func TestResume(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 20_000)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := h.Config
	cfg.Progress = func(done, _ int64) {
		if done > 3000 {
			cancel()
		}
	}
	before, err := reconcile.Run(ctx, cfg)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	h.want("select count(*)::text from rollcall.reconciliations where finished_at is null and created = 4096", "1")
	if last, err := h.DB.LastReconciliations(t.Context()); err != nil || len(last) > 0 {
		t.Errorf("got %v, %v: an interrupted run is no result", last, err)
	}
	h.exec("delete from auth.users where id = '" + id(1) + "'") // compared before, buried after
	var first int64
	cfg.Progress = func(done, _ int64) {
		if first == 0 {
			first = done
		}
	}
	tally, err := reconcile.Run(t.Context(), cfg)
	if err != nil || first <= before.Created {
		t.Errorf("the second run began with %d users compared, the first had %d: %v", first, before.Created, err)
	}
	if want := (postgres.Reconciled{Created: 20_000, Deleted: 1}); tally != want {
		t.Errorf("got %+v, want %+v", tally, want)
	}
	h.want("select count(*)::text from rollcall.reconciliations", "1")
	h.want(inStep, "0")
}

// A run that was interrupted behind a user of the roll whose id is no uuid goes on, too.
func TestResumeBehindAnIdThatIsNoUUID(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 5)
	h.exec("insert into rollcall.users (source, id, version) values ('supabase', 'user_z', 1)")
	h.MaxDelete = 1
	ctx, cancel := context.WithCancel(t.Context())
	cfg := h.Config
	cfg.Progress = func(_, _ int64) { cancel() }
	if _, err := reconcile.Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	h.wantRun(postgres.Reconciled{Created: 5, Deleted: 1})
}

// Two runs of a source at once would only do the same work twice.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r, err := h.DB.BeginReconciliation(t.Context(), "supabase", "auth.users")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reconcile.Run(t.Context(), h.Config); !errors.Is(err, postgres.ErrRunning) {
		t.Errorf("got %v", err)
	}
	r.Release()
	h.run()
}

// A page may be old when it is submitted: what counts is the table at that moment.
func TestWhatCameMeanwhileCounts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 20)
	h.run()
	h.exec("update auth.users set email = 'listed@x.test' where id = '" + id(1) + "'")
	h.exec("delete from auth.users where id = '" + id(2) + "'")
	submit := h.Submit
	cfg := h.Config
	cfg.Submit = func(ctx context.Context, findings []event.Event) ([]event.Outcome, error) {
		if findings[0].Op == event.Delete {
			h.exec("insert into auth.users (id, email) values ('" + id(2) + "', 'there again')")
		} else {
			h.exec("update auth.users set email = 'edited later' where id = '" + id(1) + "'")
		}
		return submit(ctx, findings)
	}
	if _, err := reconcile.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	h.want("select email from profiles where id <= '"+id(2)+"' order by id", "edited later", "there again")
}

// Who is there again when he is asked about is not buried.
func TestAsksOnceMore(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.users(1, 20)
	h.run()
	h.exec("delete from auth.users where id <= '" + id(2) + "'")
	users, err := h.DB.Users(t.Context(), "supabase", "auth.users")
	if err != nil {
		t.Fatal(err)
	}
	absent, err := users.Absent(t.Context(), "", 10)
	if err != nil || len(absent) != 2 {
		t.Fatal(absent, err)
	}
	h.users(1, 1)
	living, err := users.Living(t.Context(), []string{absent[0].ID, absent[1].ID})
	if err != nil || !living[id(1)] || living[id(2)] {
		t.Errorf("got %v, %v", living, err)
	}
}

// usersOfTest is how many users a measurement takes, unless ROLLCALL_TEST_USERS says otherwise.
func usersOfTest(t testing.TB, n int) int {
	t.Helper()
	if text := os.Getenv("ROLLCALL_TEST_USERS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// What a million users take, or as many as ROLLCALL_TEST_USERS says: compared with a roll
// that is right, and when a tenth is missing.
func TestSpeed(t *testing.T) {
	testtag.Parallel(t)
	n := usersOfTest(t, 100_000)
	h := newHouse(t)
	h.users(1, n)
	start := time.Now()
	h.run()
	t.Logf("%d users brought in: %s", n, time.Since(start))
	var peak uint64 // of the heap, whatever the number of users
	h.Progress = func(int64, int64) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}
	compared := time.Hour
	for range 5 { // the best try counts: other packages' tests run beside
		start = time.Now()
		h.wantRun(postgres.Reconciled{Unchanged: int64(n)})
		if compared = min(compared, time.Since(start)); compared/time.Duration(n)*1_000_000 < time.Minute {
			break
		}
	}
	if peak > 128<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
	h.users(n+1, n/10)
	start = time.Now()
	h.wantRun(postgres.Reconciled{Unchanged: int64(n), Created: int64(n / 10)})
	mended := time.Since(start)
	t.Logf("%d users compared in %s (%.0f/s), %d MiB of heap; with %d missing in %s", n, compared, float64(n)/compared.Seconds(), peak>>20, n/10, mended)
	if perMillion := compared / time.Duration(n) * 1_000_000; testtag.Timing && perMillion > time.Minute {
		t.Errorf("a million would take %s", perMillion)
	}
}
