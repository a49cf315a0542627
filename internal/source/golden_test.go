package source

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestCapturedRequests(t *testing.T) {
	for name, c := range captures(t) {
		t.Run(name, func(t *testing.T) {
			s, r := c.source(t), c.request()
			must.Do(t, s.Verify(r))
			e := s.Decode(r)
			golden(t, "supabase."+name, viewOf(e, r.Body))
			replay(t, s, e)
		})
	}
}

func TestClerkBodies(t *testing.T) {
	s := clerkSource(t)
	for name, body := range files(t, "clerk") {
		t.Run(name, func(t *testing.T) {
			r := signed(t, s, Hook, body)
			e := decode(t, s, body)
			golden(t, "clerk."+name, viewOf(e, r.Body))
			replay(t, s, e)
		})
	}
}

func TestDatabaseBodies(t *testing.T) {
	s := supabaseSource(t)
	for name, body := range files(t, "database") {
		t.Run(name, func(t *testing.T) {
			r := signed(t, s, Database, body)
			e := decodeAt(t, s, Database, body)
			must.Equal(t, must.Get(uuid.Parse(e.ID))(t).Version(), 7, "version of the id")
			must.True(t, !strings.Contains(string(e.Body), "SECRET"), "a secret column was kept: %s", e.Body)
			replay(t, s, e)
			e.ID = "made at receipt"
			golden(t, "database."+name, viewOf(e, r.Body))
		})
	}
}

// replay decodes the recorded event again, which must give the same.
func replay(t testing.TB, s *Source, e event.Event) {
	t.Helper()
	if e.Body == nil {
		return
	}
	again := s.DecodeRecorded(event.Event{ID: e.ID, Type: e.Type, Body: e.Body, ReceivedAt: e.ReceivedAt})
	must.Equal(t, again, e, "what the recorded event decodes to")
}

// An event that could not be read says by its id at which endpoint it has arrived.
func TestEndpointOfUndecodable(t *testing.T) {
	t.Parallel()
	s := supabaseSource(t)
	e := decodeAt(t, s, Database, `{"type": "UPDATE", "schema": "auth", "table": "users", "record": {"email": "a@x"}}`)
	must.Equal(t, e.Op, event.Undecodable, "without an id")
	e.Type = Other
	e.Body = []byte(strings.Replace(string(e.Body), `"email"`, `"id": "5a3f1e00-0000-4000-8000-000000000b01", "email"`, 1))
	again := s.DecodeRecorded(e)
	must.Equal(t, again.Type+" "+again.UserID+" "+again.ID, "database.update 5a3f1e00-0000-4000-8000-000000000b01 "+e.ID, "of the database endpoint")
	e.ID = "5a3f1e00-0000-4000-8000-000000000b02"
	must.Equal(t, s.DecodeRecorded(e).Reason, reasonNoType, "of a hook")
}
