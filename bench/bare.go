//go:build bench

package main

import (
	"context"
	"fmt"
	"runtime"
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
	e := effort{workers: l.committers, things: len(l.events), step: l.size, warm: l.warm, window: l.window}
	e.worker = func(ctx context.Context, _ int) (func(int) error, error) {
		return func(from int) error { return l.commit(ctx, l.events[from:from+l.size]) }, nil
	}
	m, err := e.measure(ctx)
	m.PerSecond *= float64(l.size)
	m.Batch = float64(l.size)
	return m, err
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
