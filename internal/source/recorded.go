package source

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"rollcall/internal/event"
)

// DecodeRecorded decodes the body of a recorded event again, as Decode does with a request: e has the id, the type,
// the body and the moment of receipt that were recorded. Nothing is verified; that was done before it was recorded.
func (s *Source) DecodeRecorded(e event.Event) event.Event {
	again := s.Decode(Request{
		Endpoint: s.endpointOf(&e), Header: http.Header{webhookFamily.id: {e.ID}}, Body: e.Body, ReceivedAt: e.ReceivedAt,
	})
	again.ID, again.Reply = e.ID, nil
	return again
}

// endpointOf is the endpoint at which a recorded event has arrived. The type says so; of one that could not be read,
// the id: the database endpoint makes its ids itself, and they are the only ones of version 7.
func (s *Source) endpointOf(e *event.Event) Endpoint {
	id, err := uuid.Parse(e.ID)
	made := err == nil && id.Version() == 7
	if s.provider == Supabase && (strings.HasPrefix(e.Type, "database.") || e.Type == Other && made) {
		return Database
	}
	return Hook
}
