// Package receipts counts what each source sends, by day and secret, in rollcall.receipts. It hides how replicas add
// to the same rows. A Tally gathers in memory what a replica notes from time to time:
//
//	tally := receipts.NewTally()
//	tally.Add(receipts.Key{Source: "clerk", Endpoint: receipts.Webhook, Secret: "1f0a"}, time.Now())
//	err := receipts.Note(ctx, pool, tally.Take(time.Now()))
package receipts

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

// The endpoints, and what stands for the secret of requests that did not verify.
const (
	Webhook    = "webhook"
	Database   = "database"
	Capture    = "capture"
	Unverified = "none"
)

// Key is what is counted by.
type Key struct {
	Source, Endpoint string
	// Secret is the mark of the secret that verified the requests; Unverified, or "" for a capture.
	Secret string
}

// Receipt is the count of a day.
type Receipt struct {
	Key
	Day      time.Time // its midnight, UTC
	Requests int64
	Last     time.Time // the zero time for no request
}

// Tally gathers what a replica receives. It is safe for concurrent use.
type Tally struct {
	mu     sync.Mutex
	counts map[Key]Receipt
	noted  map[Key]time.Time // the days for which there is a row
}

// NewTally has an entry of none for each of some keys: a secret that verifies nothing has a row each day, too.
func NewTally(keys ...Key) *Tally {
	t := &Tally{counts: map[Key]Receipt{}, noted: map[Key]time.Time{}}
	t.Watch(keys...)
	return t
}

// Watch has an entry of none for each of these keys instead of those before, as NewTally.
func (t *Tally) Watch(keys ...Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.counts, func(_ Key, r Receipt) bool { return r.Requests == 0 })
	for _, k := range keys {
		if _, counted := t.counts[k]; !counted {
			t.counts[k] = Receipt{Key: k}
		}
	}
}

// Add counts a request.
func (t *Tally) Add(k Key, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.counts[k]
	r.Key, r.Last = k, at
	r.Requests++
	t.counts[k] = r
}

// Take returns what has been counted since the last time, as of a moment, and each key once a day.
func (t *Tally) Take(now time.Time) []Receipt {
	t.mu.Lock()
	defer t.mu.Unlock()
	day := now.UTC().Truncate(24 * time.Hour)
	var list []Receipt
	for k, r := range maps.Clone(t.counts) {
		if r.Requests == 0 && t.noted[k].Equal(day) {
			continue
		}
		r.Day = day
		list = append(list, r)
		t.counts[k], t.noted[k] = Receipt{Key: k}, day
	}
	return list
}

// keep is how many days are kept.
const keep = 60

// Note adds counts to the table, and forgets old ones.
func Note(ctx context.Context, pool *connection.Pool, list []Receipt) error {
	if len(list) == 0 {
		return nil
	}
	var source, endpoint, secret []string
	var day []time.Time
	var requests []int64
	var last []*time.Time
	for _, r := range list {
		source, endpoint, secret = append(source, r.Source), append(endpoint, r.Endpoint), append(secret, r.Secret)
		day, requests = append(day, r.Day), append(requests, r.Requests)
		at := &r.Last
		if r.Last.IsZero() {
			at = nil
		}
		last = append(last, at)
	}
	_, err := pool.Exec(ctx, `
with old as (
  delete from rollcall.receipts r where r.day < (pg_catalog.now() at time zone 'UTC')::date - $7::int
)
insert into rollcall.receipts as r (source, endpoint, secret, day, requests, last_at)
select * from unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::bigint[], $6::timestamptz[]) n
order by 1, 2, 3
on conflict (source, endpoint, secret, day) do update
set requests = r.requests + excluded.requests, last_at = greatest(r.last_at, excluded.last_at)`,
		source, endpoint, secret, day, requests, last, keep)
	return connection.Wrap(pool.Explain(err), "note what was received")
}

// Recent returns the counts of all days that are kept, the oldest first.
func Recent(ctx context.Context, pool *connection.Pool) ([]Receipt, error) {
	rows, _ := pool.Query(ctx, "select source, endpoint, secret, day, requests, last_at from rollcall.receipts order by day, source, endpoint, secret")
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Receipt, err error) {
		var last *time.Time
		if err = row.Scan(&r.Source, &r.Endpoint, &r.Secret, &r.Day, &r.Requests, &last); err == nil && last != nil {
			r.Last = *last
		}
		return r, err
	})
	return list, connection.Wrap(pool.Explain(err), "look at what was received")
}

// Return takes counts back that could not be noted.
func (t *Tally) Return(list []Receipt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range list {
		now := t.counts[r.Key]
		now.Key = r.Key
		now.Requests += r.Requests
		if r.Last.After(now.Last) {
			now.Last = r.Last
		}
		t.counts[r.Key] = now
		delete(t.noted, r.Key)
	}
}
