package outbox

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/directory"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bench is a fresh database with the schema rollcall and a connection to look.
type bench struct {
	*Outbox
	*pgtest.Conn
}

func newBench(t testing.TB, schema string) *bench {
	t.Helper()
	url := pgtest.NewMigrated(t, schema)
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(pool.Close)
	d := &directory.Directory{Pool: pool}
	d.Metadata.Store(1 << 20)
	return &bench{New(pool, d), pgtest.Connect(t, url)}
}

// A capture is installed when a trigger of its source fires on its table, and late by its
// oldest row alone.
func TestCaptures(t *testing.T) {
	t.Parallel()
	b := newBench(t, pgtest.Auth+`; create table "Users" (like auth.users including all)`)
	list := []Capture{{"mine", "auth.users"}, {"other", "auth.users"}, {"odd", "public.Users"}, {"nowhere", "auth.nobody"}}
	want := func(want ...Captured) {
		t.Helper()
		got, err := b.Captures(t.Context(), list)
		for i := range got {
			if late := got[i].Oldest - 3600; late > 0 && late < 600 {
				got[i].Oldest = 3600 // a slow machine
			}
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	want(Captured{Source: "mine"}, Captured{Source: "other"}, Captured{Source: "odd"}, Captured{Source: "nowhere"})
	for _, c := range []Capture{list[0], list[2]} {
		must.Do(t, b.Install(t.Context(), c))
	}
	b.Run(`insert into rollcall.outbox (source, user_id, gone, data, at) values
		('other', 'a', false, '{}', now() - interval '1 hour'), ('other', 'b', false, '{}', now()), ('odd', 'c', false, '{}', now() + interval '1 hour')`)
	b.Run("alter table auth.users disable trigger rollcall_capture")
	want(Captured{Source: "mine"}, Captured{Source: "other", Oldest: 3600}, Captured{Source: "odd", Installed: true}, Captured{Source: "nowhere"})
	b.Run("alter table auth.users enable always trigger rollcall_capture")
	want(Captured{Source: "mine", Installed: true}, Captured{Source: "other", Oldest: 3600}, Captured{Source: "odd", Installed: true}, Captured{Source: "nowhere"})
}
