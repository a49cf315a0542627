//go:build bench

// Package rival holds what people write instead of Rollcall, in its best form: net/http,
// the same library for signatures, a pool of connections with prepared statements.
package rival

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	svix "github.com/svix/svix-webhooks/go"
)

// Config describes a rival.
type Config struct {
	// Database is a postgres:// URL.
	Database string
	// Secret is whsec_….
	Secret string
	// Connections is the size of the pool.
	Connections int32
}

// message is one verified webhook about a user.
type message struct {
	id       string
	kind     string
	received time.Time
	body     []byte
	user     user
}

// handler verifies, decodes, and answers 204 when what it was made for has committed.
type handler struct {
	pool   *pgxpool.Pool
	keys   *svix.Webhook
	commit func(context.Context, *pgxpool.Pool, *message) error
}

// PerRequest has Rollcall's guarantees (an event counts once, the newest version wins, two
// tables follow) by one transaction per webhook with a round trip per statement.
func PerRequest(ctx context.Context, cfg Config) (http.Handler, func(), error) {
	return newHandler(ctx, cfg, commitGuarded)
}

// Handler is what is written most: verify, and two upserts in a transaction. It remembers no
// event and no version.
func Handler(ctx context.Context, cfg Config) (http.Handler, func(), error) {
	return newHandler(ctx, cfg, commitUpserts)
}

func newHandler(ctx context.Context, cfg Config, commit func(context.Context, *pgxpool.Pool, *message) error) (http.Handler, func(), error) {
	keys, err := svix.NewWebhook(cfg.Secret)
	if err != nil {
		return nil, nil, errors.New("the rival's secret is no whsec_…")
	}
	pool, err := pgxpool.ParseConfig(cfg.Database)
	if err != nil {
		return nil, nil, fmt.Errorf("the rival's database: %w", err)
	}
	pool.MaxConns, pool.MinConns = cfg.Connections, cfg.Connections
	h := &handler{keys: keys, commit: commit}
	if h.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, nil, fmt.Errorf("open the rival's pool: %w", err)
	}
	return h, h.pool.Close, nil
}

const maxBody = 1 << 20

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "cut off", http.StatusBadRequest)
		return
	}
	if err := h.keys.Verify(body, r.Header); err != nil {
		http.Error(w, "unverified", http.StatusUnauthorized)
		return
	}
	m := &message{id: r.Header.Get("svix-id"), received: time.Now(), body: body}
	if err := m.decode(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := h.commit(r.Context(), h.pool, m); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// user is what of Clerk's user is used.
type user struct {
	ID             string          `json:"id"`
	ExternalID     *string         `json:"external_id"`
	Username       *string         `json:"username"`
	FirstName      *string         `json:"first_name"`
	LastName       *string         `json:"last_name"`
	ImageURL       *string         `json:"image_url"`
	PrimaryEmail   *string         `json:"primary_email_address_id"`
	PrimaryPhone   *string         `json:"primary_phone_number_id"`
	Emails         []contact       `json:"email_addresses"`
	Phones         []contact       `json:"phone_numbers"`
	PublicMetadata json.RawMessage `json:"public_metadata"`
	UnsafeMetadata json.RawMessage `json:"unsafe_metadata"`
	Banned         bool            `json:"banned"`
	CreatedAt      int64           `json:"created_at"`
	UpdatedAt      int64           `json:"updated_at"`
	LastSignInAt   *int64          `json:"last_sign_in_at"`
}

type contact struct {
	ID           string `json:"id"`
	Email        string `json:"email_address"`
	Phone        string `json:"phone_number"`
	Verification *struct {
		Status string `json:"status"`
	} `json:"verification"`
}

func (c *contact) verified() bool {
	return c.Verification != nil && c.Verification.Status == "verified"
}

func (m *message) decode() error {
	var envelope struct {
		Type string `json:"type"`
		Data user   `json:"data"`
	}
	if err := json.Unmarshal(m.body, &envelope); err != nil {
		return fmt.Errorf("decode the event: %w", err)
	}
	m.kind, m.user = envelope.Type, envelope.Data
	if m.kind != "user.created" && m.kind != "user.updated" {
		return fmt.Errorf("an event %q is not expected here", m.kind)
	}
	return nil
}

// primary is the contact that an id names; empty when there is none.
func primary(list []contact, id *string) contact {
	for _, c := range list {
		if id != nil && c.ID == *id {
			return c
		}
	}
	return contact{}
}

func (u *user) email() *string { return orNil(primary(u.Emails, u.PrimaryEmail).Email) }

func (u *user) fullName() string {
	return strings.TrimSpace(deref(u.FirstName) + " " + deref(u.LastName))
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func millis(n int64) time.Time { return time.UnixMilli(n).UTC() }

const (
	insertEvent = `insert into rival.events (source, id, type, user_id, outcome, received_at, body)
values ('clerk', $1, $2, $3, 'applied', $4, $5) on conflict do nothing returning id`

	upsertUser = `insert into rival.users as u (
  source, id, version, external_id, email, email_verified, phone, phone_verified, username, first_name, last_name, full_name,
  avatar_url, raw_user_meta_data, raw_app_meta_data, is_anonymous, banned, created_at, updated_at, last_sign_in_at)
values ('clerk', $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, false, $15, $16, $17, $18)
on conflict (source, id) do update set
  version = excluded.version, changed_at = excluded.changed_at, external_id = excluded.external_id, email = excluded.email,
  email_verified = excluded.email_verified, phone = excluded.phone, phone_verified = excluded.phone_verified,
  username = excluded.username, first_name = excluded.first_name, last_name = excluded.last_name, full_name = excluded.full_name,
  avatar_url = excluded.avatar_url, raw_user_meta_data = excluded.raw_user_meta_data,
  raw_app_meta_data = excluded.raw_app_meta_data, banned = excluded.banned, created_at = excluded.created_at,
  updated_at = excluded.updated_at, last_sign_in_at = excluded.last_sign_in_at
where u.deleted_at is null and u.version <= excluded.version`

	upsertProfile = `insert into public.profiles as t (id, email, first_name, last_name, role) values ($1, $2, $3, $4, 'customer')
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`

	upsertDeadstock = `insert into deadstock.users as t (id, email, full_name, role, avatar_url) values ($1, $2, $3, 'free', $4)
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`
)

// commitUpserts writes two tables.
func commitUpserts(ctx context.Context, pool *pgxpool.Pool, m *message) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return upsertTargets(ctx, tx, &m.user) })
}

// commitGuarded does so when the event is new and the user's version is the newest.
func commitGuarded(ctx context.Context, pool *pgxpool.Pool, m *message) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var id string
		err := tx.QueryRow(ctx, insertEvent, m.id, m.kind, m.user.ID, m.received, m.body).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // it was seen before
		}
		if err != nil {
			return err
		}
		done, err := tx.Exec(ctx, upsertUser, m.user.row()...)
		if err != nil || done.RowsAffected() == 0 { // older than what is known
			return err
		}
		return upsertTargets(ctx, tx, &m.user)
	})
}

func upsertTargets(ctx context.Context, tx pgx.Tx, u *user) error {
	email := u.email()
	if _, err := tx.Exec(ctx, upsertProfile, u.ID, email, u.FirstName, u.LastName); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, upsertDeadstock, u.ID, email, u.fullName(), orNil(deref(u.ImageURL)))
	return err
}

// row is the parameters of upsertUser.
func (u *user) row() []any {
	email, phone := primary(u.Emails, u.PrimaryEmail), primary(u.Phones, u.PrimaryPhone)
	var signedIn *time.Time
	if u.LastSignInAt != nil {
		at := millis(*u.LastSignInAt)
		signedIn = &at
	}
	return []any{
		u.ID, u.UpdatedAt * 1000, u.ExternalID, orNil(email.Email), email.verified(), orNil(phone.Phone), phone.verified(), u.Username,
		u.FirstName, u.LastName, orNil(u.fullName()), orNil(deref(u.ImageURL)), string(u.UnsafeMetadata), string(u.PublicMetadata),
		u.Banned, millis(u.CreatedAt), millis(u.UpdatedAt), signedIn,
	}
}
