package capture_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/event"
	"rollcall/internal/source"
)

// lines counts what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A holder of the outbox that does not empty it is named once by the log of the others.
func TestSaysOnceThatTheHolderIsSlow(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	outbox, err := h.db.HoldOutbox(t.Context()) // and leaves it as it is
	if err != nil {
		t.Fatal(err)
	}
	defer outbox.Release()
	h.exec("insert into rollcall.outbox (source, user_id, gone, data, at) values ('supabase', $1, false, '{}', clock_timestamp() - interval '20 seconds')", id(1))
	log := &lines{}
	other := h.newReplica()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		capture.Run(ctx, capture.Config{
			Sources: []*source.Source{other.source}, DB: other.db, Submit: other.pipeline.SubmitAll,
			Observe: func(string, event.Outcome) {}, Log: slog.New(slog.NewTextHandler(log, nil)),
		})
	}()
	time.Sleep(3 * time.Second) // it has looked, and twenty seconds are not long
	if said := log.String(); said != "" {
		t.Errorf("the log says %s", said)
	}
	h.exec("update rollcall.outbox set at = at - interval '20 seconds'")
	time.Sleep(7 * time.Second) // for three looks
	cancel()
	<-ended
	said := log.String()
	if strings.Count(said, "\n") != 1 || !strings.Contains(said, "level=WARN") || !strings.Contains(said, "another replica holds the outbox") ||
		!strings.Contains(said, "backend ") {
		t.Errorf("the log says %s", said)
	}
}
