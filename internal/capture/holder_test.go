package capture_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/source"
	"rollcall/internal/testlog"
)

// A holder of the outbox that does not empty it is named once by the log of the others.
func TestSaysOnceThatTheHolderIsSlow(t *testing.T) {
	t.Parallel()
	p := newProject(t)
	outbox, err := p.DB.Outbox().Hold(t.Context()) // and leaves it as it is
	must.Do(t, err)
	defer outbox.Release()
	p.Exec("insert into rollcall.outbox (source, user_id, gone, data, at) values ('supabase', $1, false, '{}', clock_timestamp() - interval '20 seconds')", fixture.ID(1))
	log := &testlog.Log{}
	other := p.newReplica()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		capture.Run(ctx, capture.Config{
			Sources: []*source.Source{other.source}, DB: other.DB, Submit: other.Pipeline.SubmitAll,
			Observe: func(string, event.Outcome) {}, Log: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	time.Sleep(3 * time.Second) // it has looked, and twenty seconds are not long
	if said := log.String(); said != "" {
		t.Errorf("the log says %s", said)
	}
	p.Exec("update rollcall.outbox set at = at - interval '20 seconds'")
	time.Sleep(7 * time.Second) // for three looks
	cancel()
	<-ended
	said := log.String()
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, "level=WARN") || !strings.Contains(said, "another replica holds the outbox") ||
		!strings.Contains(said, "backend ") {
		t.Errorf("the log says %s", said)
	}
}
