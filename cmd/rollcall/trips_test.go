package main

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
)

// A batch is one round trip to the database, whatever the number of targets; one with a duplicate, whose
// user is settled again, is two.
func TestRoundTripsOfABatch(t *testing.T) {
	t.Parallel()
	for targets := range 3 {
		t.Run(fmt.Sprint(targets), func(t *testing.T) {
			t.Parallel()
			cable, url := startWire(t, pgtest.NewWith(t, "create table a (id text primary key, email text, name text, role text); create table b (like a including all)"))
			cfg := postgres.Config{URL: url, Log: slog.New(slog.DiscardHandler)}
			for _, name := range []string{"a", "b"}[:targets] {
				one := fixture.Target(source.Clerk)
				one.Name, one.Table = name, "public."+name
				cfg.Targets = append(cfg.Targets, one)
			}
			db := must.Get(postgres.Open(cfg))(t)
			t.Cleanup(db.Close)
			must.Get(db.Migrate(t.Context()))(t)
			if found := must.Get(db.Targets().Check(t.Context()))(t); len(found) > 0 {
				t.Fatal(found)
			}
			said := func(id string, version int64) event.Event {
				u := &event.User{Row: event.Row{Source: source.Clerk, ID: "user_" + id, Version: version}, RawUserMetaData: "{}", RawAppMetaData: "{}"}
				return event.Event{Source: source.Clerk, ID: fmt.Sprint(id, version), Type: "user.updated", Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: time.Now()}
			}
			trips := func(events ...event.Event) int64 {
				before := cable.trips.Load()
				must.Get(db.Roll().Apply(t.Context(), events))(t)
				return cable.trips.Load() - before
			}
			trips(said("warm", 1)) // its statements are prepared now, also those of a duplicate
			trips(said("warm", 1))
			if n := trips(said("a", 1)); n != 1 {
				t.Errorf("a user who is new takes %d round trips, want 1", n)
			}
			if n := trips(said("a", 2), said("b", 1), said("c", 1)); n != 1 {
				t.Errorf("three users take %d round trips, want 1", n)
			}
			if n := trips(said("d", 1), said("a", 2)); n != 2 {
				t.Errorf("a batch with a duplicate takes %d round trips, want 2", n)
			}
		})
	}
}
