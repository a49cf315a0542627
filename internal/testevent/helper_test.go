package testevent

import (
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/source"
)

// now is the moment that the samples are made at.
var now = time.Date(2026, 11, 21, 3, 0, 0, 123456000, time.UTC)

func build(t *testing.T, cfg source.Config) *source.Source {
	t.Helper()
	cfg.Now = func() time.Time { return now }
	s := must.Get(source.New(cfg))(t)
	return s
}

func clerkSource(t *testing.T) *source.Source {
	t.Helper()
	return build(t, source.Config{
		Name: "clerk", Provider: source.Clerk, InstanceID: "ins_2abcInstance000000000000000",
		SigningSecrets: []string{"whsec_bWFkZSB1cCBmb3IgdGVzdHMsIGNsZXJrIG9uZSEh"},
	})
}

func supabaseSource(t *testing.T) *source.Source {
	t.Helper()
	return build(t, source.Config{
		Name: "supabase", Provider: source.Supabase, SigningSecrets: []string{"v1,whsec_bWFkZSB1cCBmb3IgdGVzdHMsIHN1cGFiYXNlIDEhISE="},
		WebhookHeader: "X-Webhook-Secret", WebhookSecrets: []string{"made-up-database-secret"},
	})
}

// samplesOf are the built-in events of a source, in the order of their story.
func samplesOf(s *source.Source) []Sample {
	var all []Sample
	for _, name := range Names(s.Provider()) {
		sample, _ := Find(s, name)
		all = append(all, sample)
	}
	return all
}

// decodeAt signs, verifies and decodes a body.
func decodeAt(t *testing.T, s *source.Source, d source.Endpoint, body string) event.Event {
	t.Helper()
	request := must.Get(Seal(s, d, []byte(body)))(t)
	r := source.Request{Endpoint: d, Header: request.Header, Body: request.Body, ReceivedAt: now}
	must.Do(t, s.Verify(r))
	return s.Decode(r)
}

var opNames = map[event.Op]string{
	event.Upsert: "upsert", event.Delete: "delete", event.Announce: "announce",
	event.Undecodable: "undecodable", event.Ignore: "ignore",
}

// str reads an optional text, with a word for absent.
func str(s *string) string {
	if s == nil {
		return "<absent>"
	}
	return *s
}

func stamp3339(t *time.Time) string {
	if t == nil {
		return "<absent>"
	}
	return t.Format(time.RFC3339Nano)
}
