package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"rollcall/internal/config"
	"rollcall/internal/postgres/directory"
	"rollcall/internal/postgres/jobs"
	"rollcall/internal/postgres/outbox"
	"rollcall/internal/reconcile"
)

// confirmTimeout bounds one go at the announced users of a source; the next one goes on.
const confirmTimeout = time.Minute

// backoffPause is how long a table of users that can't be seen is left alone. It is said once
// in that time, however many are announced.
const backoffPause = time.Minute

// backoff remembers of which sources the users can't be seen, as far as this replica has found
// out.
type backoff struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func newBackoff() *backoff { return &backoff{until: map[string]time.Time{}} }

func (b *backoff) set(source string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until[source] = until
}

// sees reports whether it is worth a look at a moment.
func (b *backoff) sees(source string, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !at.Before(b.until[source])
}

// confirm is the name of the job that looks for a source's announced users.
func confirm(source string) string { return "confirm " + source }

// confirmations are the jobs that look for announced users; only Supabase announces.
func (sv *service) confirmations() []jobs.Job {
	var list []jobs.Job
	for _, src := range sv.setup.Config.Sources {
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
	for _, src := range sv.setup.Config.Sources {
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
		sv.log.Warn("announced users can't be looked up; another endpoint must bring them",
			"source", src.Name, "door", sv.endpointOf(ctx, src), "error", err)
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
