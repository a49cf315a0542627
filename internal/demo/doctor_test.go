//go:build unix

package demo

import (
	"log/slog"
	"testing"

	"rollcall/internal/app"
	"rollcall/internal/doctor"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Nothing is wrong with the demo's set-up.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	s := must.Get(app.Read("demo/rollcall.yaml", configuration, environment(pgtest.NewWith(t, schema))))(t)
	db := must.Get(s.Open(slog.New(slog.DiscardHandler)))(t)
	t.Cleanup(db.Close)
	must.Get(db.Migrate(t.Context()))(t)
	d := doctor.Examine(t.Context(), s.Doctor(db, nil))
	must.True(t, !d.Wrong() && len(d.Unseen) == 0, "%+v", d)
}
