//go:build bench

package rival

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

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
