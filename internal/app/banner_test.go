package app

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/outbox"
)

// ports are those of the listeners.
var ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)

const shownConfig = `
database: ${DATABASE_URL}
listen: 127.0.0.1:0
admin_listen: 127.0.0.1:0
sources:
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_SECRET}"]
    api: {key: sk_test_made_up}
    session: {issuer: https://clerk.example.com}
    reconcile: {schedule: "0 3 * * *"}
  app: {provider: supabase, database_webhook: {secrets: [made-up-secret-of-a-header]}}
targets:
  gone: {table: public.gone, key: id, set: {id: new.id}, on_delete: delete}
  people: {table: public.people, key: id, set: {id: new.id}, on_delete: delete}
`

// shown is what a serve shows until it is ready, without its ports.
func shown(t *testing.T, s *Setup) string {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Setup: s, Log: s.Logger(&journal{}), Version: "v1.2.3", Banner: &out, Ready: cancel}
	must.Do(t, Run(ctx, o))
	return ports.ReplaceAllString(out.String(), "127.0.0.1")
}

// A person sees at the start what receives, what is fed and by what.
func TestBanner(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.Connect(t, url).Run("create table people (id text primary key); create schema auth; create table auth.users (id uuid primary key)")
	s := readOn(t, shownConfig, url)
	places := `Rollcall v1.2.3
  receives   http://127.0.0.1/webhooks/clerk
             http://127.0.0.1/webhooks/app/database
             http://127.0.0.1/v1/sync
             http://127.0.0.1/healthz, /readyz
  admin      http://127.0.0.1/metrics, /admin/v1/status
  schedules  reconcile clerk: 0 3 * * * (UTC)
  targets    gone → public.gone: out of service: table public.gone does not
             exist; names are exact, as in the catalog: schema.table; create it,
             or correct the name
             people → public.people: in service
`
	must.Equal(t, shown(t, s), places+"  capture    app, auth.users: not installed (rollcall capture install app)\n", "the banner")

	db := must.Get(s.Open(s.Logger(&journal{})))(t)
	defer db.Close()
	must.Do(t, db.Outbox().Install(t.Context(), outbox.Capture{Source: "app", Table: "auth.users"}))
	pgtest.Connect(t, url).Run(`insert into rollcall.users (source, id, version) values ('clerk', 'u', 1);
insert into rollcall.parked (target, source, user_id, sqlstate, error, retry_at) values ('people', 'clerk', 'u', '23505', '', now())`)
	want := strings.Replace(places, "in service\n", "in service, users are parked (rollcall\n             check says why)\n", 1) + "  capture    app, auth.users: installed\n"
	must.Equal(t, shown(t, s), want, "the banner with a capture and a parked user")
	must.Contain(t, shown(t, readOn(t, jobsConfig, url)), "  schedules  none\n", "  targets    none\n", "  capture    none\n")
}

// Off a terminal a line of the log is JSON, on one it is text, unless the configuration says otherwise.
func TestFormatOfTheLog(t *testing.T) {
	t.Parallel()
	file := must.Get(os.CreateTemp(t.TempDir(), ""))(t)
	for format, isJSON := range map[string]bool{"": true, "\nlog: {format: json}": true, "\nlog: {format: text}": false} {
		must.Do(t, file.Truncate(0))
		readOn(t, jobsConfig+format, "postgres://nowhere/x").Logger(file).Info("hello")
		text := must.Get(os.ReadFile(file.Name()))(t)
		must.True(t, json.Valid(bytes.TrimLeft(text, "\x00")) == isJSON, "%q: %s", format, text)
	}
}
