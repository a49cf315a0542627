//go:build unix

package doctor_test

import (
	"testing"

	"rollcall/internal/fixture"
	"rollcall/internal/pgtest"
)

// Nothing is wrong with a hosted project after the script of capture install.
func TestHosted(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHosted(t)
	p := &patient{Database: fixture.At(t, h.URL), yaml: healthy, role: h.Role("rollcall"), variables: map[string]string{
		"CLERK_SECRET":    "whsec_dGVzdC1zZWNyZXQtb2YtY2xlcmstMDAwMQ==",
		"SUPABASE_SECRET": "v1,whsec_dGVzdC1zZWNyZXQtb2Ytc3VwYWJhc2UtMQ==",
	}}
	p.Exec("revoke create on schema public from public") // as of version 15
	owner := pgtest.Connect(t, h.As("owner"))
	owner.Run(tables)
	owner.Run("create role " + p.role + " login; do $$ begin execute format('grant create on database %I to " + p.role + "', current_database()); end $$; " +
		"grant usage on schema public to " + p.role + "; grant select, insert, update, delete on public.people, public.profiles to " + p.role)
	p.url = h.As("rollcall")
	p.migrate()
	s, db := p.open()
	owner.Run(db.Outbox().ByHand(s.Captures()[0]))
	p.well("hosted")
}
