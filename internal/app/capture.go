package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/source"
)

// capture takes what the triggers on the tables of users note.
func (sv *service) capture(ctx context.Context) {
	sources := slices.DeleteFunc(slices.Clone(sv.setup.Sources), func(s *source.Source) bool {
		return s.Provider() != source.Supabase
	})
	capture.Run(ctx, capture.Config{
		Sources: sources, DB: sv.db, Submit: sv.pipeline.SubmitAll, Observe: sv.server.ObserveCapture, Log: sv.log,
	})
}

// lookAtCaptures is the pause between two looks at whether the triggers are there. What is
// missed meanwhile reconciliation finds; a trigger that is gone is gone for long.
const lookAtCaptures = time.Minute

// captureWatch says what becomes of the captures.
type captureWatch struct {
	db       *postgres.DB
	log      *slog.Logger
	captures []outbox.Capture
	open     map[string]bool // sources with an endpoint that has a secret
	there    map[string]bool // at the last look; no entry before the first
	gone     map[string]bool // the log has said so
	failing  bool            // the log has said so
}

func (sv *service) newCaptureWatch() *captureWatch {
	c := &captureWatch{
		db: sv.db, log: sv.log, captures: sv.setup.Captures(),
		open: map[string]bool{}, there: map[string]bool{}, gone: map[string]bool{},
	}
	for _, src := range sv.setup.Sources {
		c.open[src.Name()] = src.Open(source.Hook) || src.Open(source.Database)
	}
	return c
}

// run looks at once, and then about once a minute, until the context ends.
func (c *captureWatch) run(ctx context.Context) {
	if len(c.captures) == 0 {
		return
	}
	every(ctx, lookAtCaptures, func() { c.look(ctx) })
}

// look logs which captures went or came back since the last look.
func (c *captureWatch) look(ctx context.Context) {
	list, err := c.db.Outbox().Captures(ctx, c.captures)
	if err != nil {
		if ctx.Err() == nil && !c.failing {
			c.failing = true
			c.log.Warn("whether the captures are there is not known", "error", err)
		}
		return
	}
	c.failing = false
	for _, now := range list {
		c.say(now)
	}
}

func (c *captureWatch) say(now outbox.Captured) {
	before, known := c.there[now.Source]
	c.there[now.Source] = now.Installed
	install := "rollcall capture install " + now.Source
	switch {
	case before && !now.Installed:
		c.gone[now.Source] = true
		c.log.Warn("a capture is gone, or its trigger is disabled: changes are no longer noted; install it, then reconcile for what was missed",
			"source", now.Source, "why", "rollcall capture status "+now.Source, "command", install, "then", "rollcall reconcile "+now.Source)
	case c.gone[now.Source] && now.Installed:
		delete(c.gone, now.Source)
		c.log.Info("a capture is there again", "source", now.Source)
	case !known && !now.Installed && !c.open[now.Source]:
		c.log.Warn("nothing tells of the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret",
			"source", now.Source, "command", install)
	}
}
