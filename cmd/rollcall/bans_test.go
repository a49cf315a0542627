package main

import (
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
)

// A ban that ends by itself ends in the table, too, with two replicas.
func TestServeEndsBans(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, "create table profiles (id text primary key, banned boolean)")
	const yaml = twoSources + `
targets:
  profiles: {table: public.profiles, key: id, set: {id: new.id, banned: new.banned}, on_delete: delete}
`
	in, other := startServe(t, yaml, env(url)), startServe(t, yaml, env(url))
	in.log.await(t, "ready", 1)
	other.log.await(t, "ready", 1)
	conn := connect(t, url)
	until := time.Now().Add(1500 * time.Millisecond).UTC().Format(time.RFC3339Nano)
	body := `{"type":"UPDATE","schema":"auth","table":"users","record":{"id":"s_1","updated_at":"2026-01-02T03:04:06+00:00","banned_until":"` + until + `"},"old_record":{"id":"s_1"}}`
	if _, outcome, _ := in.send(signed(t, source.Supabase, source.Database, body)); outcome != "applied" {
		t.Fatalf("got %s", outcome)
	}
	is := func() (banned bool) {
		must.Do(t, conn.QueryRow(t.Context(), "select banned from profiles").Scan(&banned))
		return banned
	}
	if !is() {
		t.Fatal("not banned at first")
	}
	for began := time.Now(); is(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("still banned")
		}
	}
	if _, outcome, _ := in.send(signed(t, source.Supabase, source.Database, body)); outcome != "applied" || is() {
		t.Errorf("the same again: %s, banned: %v", outcome, is())
	}
}
