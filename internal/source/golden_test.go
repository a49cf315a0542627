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
			replay(t, s, r, e)
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
			replay(t, s, r, e)
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
			replay(t, s, r, e)
			e.ID = "made at receipt"
			golden(t, "database."+name, viewOf(e, r.Body))
		})
	}
}

// replay decodes the stored body again, which must give the same user.
func replay(t testing.TB, s *Source, r Request, e event.Event) {
	t.Helper()
	if e.Body == nil {
		return
	}
	again := s.Decode(Request{Endpoint: r.Endpoint, Header: r.Header, Body: e.Body, ReceivedAt: e.ReceivedAt})
	if r.Endpoint == Database {
		again.ID = e.ID
	}
	must.Equal(t, again, e, "what the stored body decodes to")
}
