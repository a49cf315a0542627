//go:build bench

package main

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
)

// committers is how many batches are under way at once: the default of pipeline.Config.
const committers = 2

// commitment commits a batch.
type commitment func(context.Context, []event.Event) error

// loop drives commits of one size without HTTP, signatures or JSON.
type loop struct {
	events     []event.Event
	size       int // events of a commit
	committers int
	warm       time.Duration
	window     time.Duration
	commit     commitment
}

// run measures. A latency is that of a commit; the rate counts events.
func (l loop) run(ctx context.Context) (measured, error) {
	runtime.GC()
	r := &looping{loop: l, begin: time.Now().Add(l.warm)}
	r.last.Store(int64(l.window))
	took, err := sideBySide(ctx, l.committers, r.committer)
	if err != nil {
		return measured{}, err
	}
	within := time.Duration(r.last.Load())
	if within < 100*time.Millisecond {
		return measured{}, fmt.Errorf("%d events are too few to measure batches of %d", len(l.events), l.size)
	}
	m := summary(took, within)
	m.PerSecond *= float64(l.size)
	m.Batch = float64(l.size)
	m.Committed = int(r.committed.Load())
	return m, nil
}

type looping struct {
	loop
	begin     time.Time
	next      atomic.Int64
	committed atomic.Int64 // also before the measured time
	last      atomic.Int64 // nanoseconds after begin at which measuring ends
}

// committer takes batch after batch until the time or the events are used up.
func (r *looping) committer(ctx context.Context, _ int) ([]time.Duration, error) {
	var took []time.Duration
	for {
		start := time.Now()
		if start.Sub(r.begin) >= r.window {
			return took, nil
		}
		to := int(r.next.Add(int64(r.size)))
		if to > len(r.events) {
			r.last.Store(int64(start.Sub(r.begin)))
			return took, nil
		}
		if err := r.commit(ctx, r.events[to-r.size:to]); err != nil {
			return nil, err
		}
		r.committed.Add(int64(r.size))
		if done := time.Now(); start.After(r.begin) && int64(done.Sub(r.begin)) < r.last.Load() {
			took = append(took, done.Sub(start))
		}
	}
}

// applying commits as Rollcall does: the pipeline's committers call exactly this.
func applying(db *postgres.DB) commitment {
	return func(ctx context.Context, events []event.Event) error {
		outcomes, err := db.Roll().Apply(ctx, events)
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			if o != event.Applied {
				return fmt.Errorf("an event of a new user became %s", o)
			}
		}
		return nil
	}
}

// upsertBoth writes the two tables and nothing else, in one statement: the limit that
// PostgreSQL itself sets.
const upsertBoth = `with user_ as (
  select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    as u (id, email, first_name, last_name, full_name, avatar_url)
), profile as (
  insert into public.profiles as t (id, email, first_name, last_name, role)
  select id, email, first_name, last_name, 'customer' from user_
  on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email
)
insert into deadstock.users as t (id, email, full_name, role, avatar_url)
select id, email, coalesce(full_name, ''), 'free', nullif(avatar_url, '') from user_
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`

// upserting commits the upserts alone.
func upserting(pool *pgxpool.Pool) commitment {
	return func(ctx context.Context, events []event.Event) error {
		n := len(events)
		id := make([]string, n)
		columns := [5][]*string{}
		for i := range columns {
			columns[i] = make([]*string, n)
		}
		for i := range events {
			u := events[i].User
			id[i] = u.ID
			for c, value := range [5]*string{u.Email, u.FirstName, u.LastName, u.FullName, u.AvatarURL} {
				columns[c][i] = value
			}
		}
		_, err := pool.Exec(ctx, upsertBoth, id, columns[0], columns[1], columns[2], columns[3], columns[4])
		return err
	}
}
