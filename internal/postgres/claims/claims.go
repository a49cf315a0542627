// Package claims lets a change that comes twice be made once: whoever makes it claims it, and keeps what was answered,
// for a day and for all replicas. It hides rollcall.answers:
//
//	c := claims.Claims{Pool: pool, Log: log}
//	kept, err := c.Claim(ctx, claims.Change{Holder: "alice", Key: key}, sum)
package claims

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/postgres/connection"
)

const (
	// answersAge is for how long an answer is kept.
	answersAge = 24 * time.Hour
	// keepTimeout bounds what it takes to keep one.
	keepTimeout = 5 * time.Second
)

// claimSQL claims key $2 of holder $1 for a request $3 (a SHA-256), unless another request has claimed it within $4.
// A request whose replica is gone keeps its key until then.
const claimSQL = `insert into rollcall.answers as a (holder, key, request) values ($1, $2, $3)
	on conflict (holder, key) do update
	set request = excluded.request, status = null, content_type = null, body = null, created_at = clock_timestamp()
	where a.created_at < now() - $4::interval`

// keptSQL is what is known of the request that has claimed a key.
const keptSQL = "select request, status, coalesce(content_type, ''), body from rollcall.answers where holder = $1 and key = $2"

// keepSQL keeps the answer ($3 status, $4 content type, $5 body) to a request. One that has failed gives its key free.
const keepSQL = `with failed as (delete from rollcall.answers where holder = $1 and key = $2 and $3::integer >= 500)
	update rollcall.answers set status = $3, content_type = $4, body = $5 where holder = $1 and key = $2 and $3::integer < 500`

// Claims are those of a database.
type Claims struct {
	Pool *connection.Pool
	Log  *slog.Logger
}

// Change names a change that may come twice: who asks, and the key that they have chosen.
type Change struct{ Holder, Key string }

// Answer is what is kept of a change.
type Answer struct {
	Request []byte // a SHA-256 of it
	Status  *int   // nil while it is under way
	Type    string
	Body    []byte
}

// Claim claims a change, which is then to be made and kept; if it was claimed before, within a day, it returns what is
// known of that.
func (l Claims) Claim(ctx context.Context, c Change, request []byte) (*Answer, error) {
	claimed, err := l.Pool.Exec(ctx, claimSQL, c.Holder, c.Key, request, answersAge)
	if err != nil || claimed.RowsAffected() == 1 {
		return nil, connection.Wrap(err, "claim an Idempotency-Key")
	}
	kept, err := l.Kept(ctx, c)
	if err == nil && kept == nil { // it has failed a moment ago
		kept = &Answer{Request: request}
	}
	return kept, err
}

// Kept is what is known of a change that was claimed, nil for nothing.
func (l Claims) Kept(ctx context.Context, c Change) (*Answer, error) {
	var kept Answer
	err := l.Pool.QueryRow(ctx, keptSQL, c.Holder, c.Key).Scan(&kept.Request, &kept.Status, &kept.Type, &kept.Body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // no answer is no error
	}
	return &kept, connection.Wrap(err, "look an Idempotency-Key up")
}

// Keep keeps the answer to a change. One that has failed, with a status of 500 and above, may be made again.
func (l Claims) Keep(ctx context.Context, c Change, a Answer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	if _, err := l.Pool.Exec(ctx, keepSQL, c.Holder, c.Key, a.Status, a.Type, a.Body); err != nil {
		l.Log.Warn("the answer to a change can't be kept; its Idempotency-Key stays taken for a day", "error", connection.Wrap(err, "keep an answer"))
	}
}

// Forget deletes the answers that are older than a day.
func (l Claims) Forget(ctx context.Context) error {
	_, err := l.Pool.Exec(ctx, "delete from rollcall.answers where created_at < now() - $1::interval", answersAge)
	return connection.Wrap(err, "delete old answers of the admin API")
}
