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
	"time"

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
	first, last := deref(u.FirstName), deref(u.LastName)
	if first != "" && last != "" {
		return first + " " + last
	}
	return first + last
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
