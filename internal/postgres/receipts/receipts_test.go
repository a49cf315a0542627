//go:build unix

package receipts_test

import (
	"log/slog"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/connection"
	"rollcall/internal/postgres/receipts"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Two replicas add to the same rows; a key without a request has a row each day, and what could not be noted is not
// lost.
func TestNote(t *testing.T) {
	t.Parallel()
	url := pgtest.NewMigrated(t)
	pool := must.Get(connection.Open(connection.Config{URL: url, Log: slog.New(slog.DiscardHandler)}))(t)
	t.Cleanup(pool.Close)
	used := receipts.Key{Source: "clerk", Endpoint: receipts.Webhook, Secret: "aaaa"}
	idle := receipts.Key{Source: "clerk", Endpoint: receipts.Webhook, Secret: "bbbb"}
	now := time.Now().UTC().Truncate(time.Microsecond)
	day := now.Truncate(24 * time.Hour)
	for range 2 {
		replica := receipts.NewTally(used, idle)
		replica.Add(used, now.Add(-time.Second))
		replica.Add(used, now)
		taken := replica.Take(now)
		must.Equal(t, len(taken), 2, "keys of the first note")
		replica.Return(taken)
		must.Do(t, receipts.Note(t.Context(), pool, replica.Take(now)))
		must.Equal(t, len(replica.Take(now)), 0, "keys of a note without a request")
		must.Equal(t, len(replica.Take(now.Add(24*time.Hour))), 2, "keys of the next day")
	}
	conn := pgtest.Connect(t, url)
	conn.Run("insert into rollcall.receipts values ('clerk', 'webhook', 'cccc', current_date - 99, 1, now())")
	must.Do(t, receipts.Note(t.Context(), pool, []receipts.Receipt{{Key: idle, Day: day}}))
	must.Equal(t, must.Get(receipts.Recent(t.Context(), pool))(t), []receipts.Receipt{
		{Key: used, Day: day, Requests: 4, Last: now}, {Key: idle, Day: day},
	}, "receipts")
}

// After a reload the secrets that are new have rows, too, those that are gone have none, and no request is lost.
func TestWatch(t *testing.T) {
	t.Parallel()
	key := func(secret string) receipts.Key {
		return receipts.Key{Source: "clerk", Endpoint: receipts.Webhook, Secret: secret}
	}
	now := time.Now()
	tally := receipts.NewTally(key("gone"), key("idle"), key("used"))
	tally.Add(key("used"), now)
	tally.Watch(key("idle"), key("new"))
	requests := map[string]int64{}
	for _, r := range tally.Take(now) {
		requests[r.Secret] = r.Requests
	}
	must.Equal(t, requests, map[string]int64{"idle": 0, "new": 0, "used": 1}, "requests")
}
