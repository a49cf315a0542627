//go:build unix

package demo

import (
	"log/slog"
	"testing"

	"rollcall/internal/app"
	"rollcall/internal/doctor"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/tokens"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Nothing is wrong with the demo's set-up. It has no auth server, whose version could be asked.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	d := fixture.New(t, schema)
	values := environment(d.Address)
	values["WELCOME_URL"] = "http://127.0.0.1:1/welcome"
	s := must.Get(app.Read("demo/rollcall.yaml", configuration, values.get))(t)
	db := must.Get(s.Open(slog.New(slog.DiscardHandler)))(t)
	t.Cleanup(db.Close)
	must.Get(db.Migrate(t.Context()))(t)
	cfg := s.Doctor(db, nil)
	cfg.Claims[0].Role = d.NewRole("", "comment on role %[1]s is 'an auth server''s'")
	must.Do(t, tokens.Tokens{Pool: db.Pool()}.Install(t.Context(), &cfg.Claims[0]))
	found := doctor.Examine(t.Context(), cfg)
	must.True(t, !found.Wrong() && len(found.Unseen) == 1 && found.Unseen[0].Check == "the auth server of source supabase", "%+v", found)
}
