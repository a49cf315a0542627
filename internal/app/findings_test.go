package app

import (
	"testing"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

// serve logs a finding once, however often it looks, and once that it is gone; a look that could not see everything
// ends none. What the first check of the targets has said is not said again.
func TestServeLogsFindingsOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.NewWith(t, pgtest.Auth, "create table people (id text, email text); revoke create on schema public from public")
	log := &journal{}
	s := readOn(t, jobsConfig+"targets:\n  people:\n    table: public.people\n    key: id\n    set: {id: new.id, email: new.email}\n    on_delete: delete\n", url)
	db := must.Get(s.Open(s.Logger(log)))(t)
	t.Cleanup(db.Close)
	sv := must.Get(newService(Options{Setup: s, Log: s.Logger(log)}, db))(t)
	sv.sayFindings(must.Get(sv.prepareOnce(t.Context()))(t))
	must.Equal(t, log.Lines("a target is out of service; its users are parked")[0]["code"], any("target_key_index"), "code")

	codes := func(message string) (list []any) {
		for _, line := range log.Lines(message) {
			list = append(list, line["code"])
		}
		return list
	}
	conn := pgtest.Connect(t, url)
	conn.Run("alter table rollcall.events set (autovacuum_enabled = false)")
	for range 3 {
		sv.examine(t.Context())
	}
	must.Equal(t, codes("a finding"), []any{"events_autovacuum", "role_superuser"}, "findings in the log")
	line := log.Lines("a finding")[0]
	must.True(t, line["level"] == "WARN" && line["place"] == "table rollcall.events" && line["remedy"] == "alter table rollcall.events reset (autovacuum_enabled);",
		"the line is %v", line)
	found := map[string]bool{}
	for _, f := range sv.findings.Last().Findings {
		found[string(f.Code)] = true
	}
	must.Equal(t, found, map[string]bool{"events_autovacuum": true, "role_superuser": true, "target_key_index": true}, "findings")

	conn.Run("alter table rollcall.events reset (autovacuum_enabled); alter table rollcall.reconciliations rename to away")
	sv.examine(t.Context())
	must.Equal(t, len(log.Lines("a finding is gone")), 0, "lines while not everything can be seen")
	conn.Run("alter table rollcall.away rename to reconciliations; alter table rollcall.events set (autovacuum_enabled = false)")
	sv.examine(t.Context())
	conn.Run("alter table rollcall.events reset (autovacuum_enabled)")
	sv.examine(t.Context())
	must.Equal(t, codes("a finding is gone"), []any{"events_autovacuum"}, "findings that are gone")
	must.Equal(t, len(log.Lines("a finding")), 2, "lines")
}
