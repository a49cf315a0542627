package postgres

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quiet passes on what River warns of, each sentence once a minute: while the database is
// away, each of River's services says so at every try.
type quiet struct {
	slog.Handler
	said *sentences
}

type sentences struct {
	sync.Mutex
	at map[string]time.Time
}

const quietTime = time.Minute

func newQuiet(h slog.Handler) *quiet {
	return &quiet{h, &sentences{at: map[string]time.Time{}}}
}

// Enabled leaves out what River tells of its daily life.
func (q *quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

// Handle drops what was said a moment ago.
func (q *quiet) Handle(ctx context.Context, r slog.Record) error {
	q.said.Lock()
	repeated := r.Time.Sub(q.said.at[r.Message]) < quietTime
	if !repeated {
		q.said.at[r.Message] = r.Time // River's sentences are constants: there are some dozens
	}
	q.said.Unlock()
	if repeated {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs keeps in mind what was said.
func (q *quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quiet{q.Handler.WithAttrs(attrs), q.said}
}

// WithGroup keeps in mind what was said.
func (q *quiet) WithGroup(name string) slog.Handler {
	return &quiet{q.Handler.WithGroup(name), q.said}
}
