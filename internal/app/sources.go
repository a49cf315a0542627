package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"rollcall/internal/capture"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/reconcile"
	"rollcall/internal/source"
)

// followPause is the pause between two looks at whether a table of users can be read: one that could
// not be may be by now, for which what a capture has noted waits, and one that could may hide its rows.
const followPause = 5 * time.Second

// follow makes table sources of those whose table of users is in this database and can be read,
// and hands on why another one is none.
func (s *Setup) follow(ctx context.Context, db *postgres.DB, say func(source string, err error)) {
	for _, c := range s.Captures() {
		if err := db.Roll().Follow(ctx, c.Source, c.Table); err != nil && ctx.Err() == nil {
			say(c.Source, err)
		}
	}
}

// follow says once of each source why its table can't be read, and what needs it.
func (sv *service) follow(ctx context.Context) {
	sv.followedAt = time.Now()
	sv.setup().follow(ctx, sv.db, func(source string, err error) {
		if sv.said.unread[source] == err.Error() {
			return
		}
		sv.said.unread[source] = err.Error()
		if needs := sv.needsTable(ctx, source); len(needs) > 0 {
			sv.log.Warn("the table of users can't be read: what needs it does not work, and changes count by their version",
				"source", source, "needed_by", needs, "error", err)
			return
		}
		sv.log.Info("the table of users can't be read here: changes count by their version", "source", source, "reason", err)
	})
	for source := range sv.said.unread {
		if sv.db.Roll().Follows(source) {
			delete(sv.said.unread, source)
			sv.log.Info("the table of users can be read: its rows are the truth", "source", source)
		}
	}
}

// needsTable lists what of a source reads its table of users.
func (sv *service) needsTable(ctx context.Context, name string) (needs []string) {
	src := sv.setup().configured(name)
	if src.Reconcile != nil && src.Reconcile.Schedule != "" {
		needs = append(needs, "reconcile.schedule")
	}
	if src.Session != nil {
		needs = append(needs, "session")
	}
	captures, err := sv.db.Outbox().Captures(ctx, []outbox.Capture{{Source: name, Table: usersTable(src)}})
	if err == nil && captures[0].Installed {
		needs = append(needs, "capture")
	}
	return needs
}

// confirmTimeout bounds one go at the announced users of a source; the next one goes on.
const confirmTimeout = time.Minute

// backoffPause is how long a table of users that can't be seen is left alone. It is said once
// in that time, however many are announced.
const backoffPause = time.Minute

// backoff remembers of which sources the users can't be seen, as far as this replica has found
// out.
type backoff struct{ until sync.Map }

func (b *backoff) set(source string, until time.Time) { b.until.Store(source, until) }

// sees reports whether it is worth a look at a moment.
func (b *backoff) sees(source string, at time.Time) bool {
	until, _ := b.until.Load(source)
	end, _ := until.(time.Time) // the zero time of a source that was never set
	return !at.Before(end)
}

// confirm is the name of the job that looks for a source's announced users.
func confirm(source string) string { return "confirm " + source }

// confirmations are the jobs that look for announced users; only Supabase announces.
func (sv *service) confirmations(s *Setup) []jobs.Job {
	var list []jobs.Job
	for _, src := range s.Config.Sources {
		if src.Provider != config.Supabase {
			continue
		}
		list = append(list, jobs.Job{
			Name: confirm(src.Name), Timeout: confirmTimeout,
			Run: func(ctx context.Context) error { return sv.confirm(ctx, src) },
		})
	}
	return list
}

// dueConfirmations names the jobs of sources with announced users who are due, without those
// whose users can't be seen.
func (sv *service) dueConfirmations(ctx context.Context) ([]string, error) {
	var sources []string
	for _, src := range sv.setup().Config.Sources {
		if src.Provider == config.Supabase && sv.backoff.sees(src.Name, time.Now()) {
			sources = append(sources, src.Name)
		}
	}
	if len(sources) == 0 {
		return nil, nil
	}
	due, err := sv.db.Directory().AnnouncedSources(ctx, sources, reconcile.FirstLook)
	for i, name := range due {
		due[i] = confirm(name)
	}
	return due, err
}

// confirm looks for the announced users of a source who are due. That they can't be seen is no
// failure: another endpoint brings them, which the log names.
func (sv *service) confirm(ctx context.Context, src config.Source) error {
	if !sv.backoff.sees(src.Name, time.Now()) { // another replica does not know yet
		return nil
	}
	var done reconcile.Confirmed
	cfg, err := sv.reconciliation(src.Name)
	if err == nil {
		done, err = reconcile.Confirm(ctx, cfg)
	}
	if errors.Is(err, directory.ErrUnseen) {
		sv.backoff.set(src.Name, time.Now().Add(backoffPause))
		sv.log.Warn("announced users can't be looked up; another endpoint must report them",
			"source", src.Name, "endpoint", sv.endpointOf(ctx, src), "error", err)
		return nil
	}
	if done != (reconcile.Confirmed{}) {
		sv.log.Info("looked for announced users", "source", src.Name, "applied", done.Applied, "parked", done.Parked,
			"undecodable", done.Undecodable, "never_created", done.NeverCreated)
	}
	return err
}

// endpointOf says what must bring a source's users when they can't be looked up. A capture sees
// also what Rollcall's own role may not read.
func (sv *service) endpointOf(ctx context.Context, src config.Source) string {
	c := outbox.Capture{Source: src.Name, Table: usersTable(src)}
	if state, err := sv.db.Outbox().State(ctx, c); err == nil && state.Installed && state.For == src.Name {
		return "the capture of " + c.Table
	}
	if src.DatabaseWebhook != nil {
		return "POST /webhooks/" + src.Name + "/database: a database webhook on auth.users"
	}
	return "none brings every user yet: add database_webhook to the source, or run rollcall capture install; the after-user-created hook brings only some"
}

// capture takes what the triggers on the tables of users note.
func (sv *service) capture(ctx context.Context) {
	sources := slices.DeleteFunc(slices.Clone(sv.setup().Sources), func(s *source.Source) bool {
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
	*service

	there   map[string]bool // at the last look; no entry before the first
	gone    map[string]bool // the log has said so
	failing bool            // the log has said so
}

func (sv *service) newCaptureWatch() *captureWatch {
	return &captureWatch{service: sv, there: map[string]bool{}, gone: map[string]bool{}}
}

// watch looks at once, and then about once a minute, until the context ends.
func (c *captureWatch) watch(ctx context.Context) {
	if len(c.setup().Captures()) == 0 {
		return
	}
	every(ctx, lookAtCaptures, func() { c.look(ctx) })
}

// look logs which captures went or came back since the last look.
func (c *captureWatch) look(ctx context.Context) {
	list, err := c.db.Outbox().Captures(ctx, c.setup().Captures())
	if err != nil {
		if ctx.Err() == nil && !c.failing {
			c.failing = true
			c.log.Warn("the captures can't be checked; Rollcall tries again", "error", err)
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
	src, _ := c.setup().Source(now.Source) // it is one of the configuration's
	install := "rollcall capture install " + now.Source
	switch {
	case before && !now.Installed:
		c.gone[now.Source] = true
		c.log.Warn("a capture is gone, or its trigger is disabled: changes are no longer noted; install it, then reconcile",
			"source", now.Source, "why", "rollcall capture status "+now.Source, "command", install, "then", "rollcall reconcile "+now.Source)
	case c.gone[now.Source] && now.Installed:
		delete(c.gone, now.Source)
		c.log.Info("a capture is there again", "source", now.Source)
	case !known && !now.Installed && !src.Open(source.Hook) && !src.Open(source.Database):
		c.log.Warn("nothing reports the changes of a source: no capture is installed, and it has neither signing_secrets nor a database_webhook; install the capture, or give it a secret",
			"source", now.Source, "command", install)
	}
}
