package config

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rollcall/internal/must"
	"rollcall/internal/target"
)

const (
	clerkSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	supabaseSecret = "v1,whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// environment holds every variable that the tests' files name.
func environment(more map[string]string) Env {
	vars := map[string]string{
		"DATABASE_URL":                 "postgres://app:hunter2@db/app",
		"CLERK_WEBHOOK_SIGNING_SECRET": clerkSecret,
		"SUPABASE_AUTH_HOOK_SECRET":    supabaseSecret,
		"SUPABASE_DB_WEBHOOK_SECRET":   "a-long-static-header-value",
		"SUPABASE_JWT_SECRET":          "jwt-secret-jwt-secret-jwt-secret",
		"CLERK_SECRET_KEY":             "sk_test_clerkapikey",
		"ROLLCALL_ADMIN_TOKEN":         "admin-token-value",
		"EMPTY":                        "",
	}
	for k, v := range more {
		vars[k] = v
	}
	files := map[string]string{"/run/token": "from-a-file\n", "/run/blank": "\n", "/run/two": "x\r\n\n", "/run/crlf": "x\r\n"}
	return Env{
		Getenv: func(name string) string { return vars[name] },
		ReadFile: func(path string) ([]byte, error) {
			if body, ok := files[path]; ok {
				return []byte(body), nil
			}
			if path == "/run/locked" {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

const full = `database: ${DATABASE_URL}
listen: :8080
admin_listen: 127.0.0.1:8081
admin_token: ${ROLLCALL_ADMIN_TOKEN}

sources:
  clerk:
    provider: clerk
    signing_secrets: ["${CLERK_WEBHOOK_SIGNING_SECRET}"]   # quoted
    instance_id: ins_1
    api: {key: "${CLERK_SECRET_KEY}"}
    session: {issuer: https://clerk.example.com, authorized_parties: [https://app.example.com]}
    reconcile: {schedule: "0 3 * * *", max_delete: 2.5%}
  supabase:
    provider: supabase
    signing_secrets: ["${SUPABASE_AUTH_HOOK_SECRET}"]
    when_unavailable: refuse
    users_table: auth.users
    database_webhook: {header: Authorization, secrets: ["${SUPABASE_DB_WEBHOOK_SECRET}"]}
    session:
      issuer: https://ref.supabase.co/auth/v1
      jwks_url: https://keys.example.com/jwks
      audience: authenticated
      hs256_secret: "${SUPABASE_JWT_SECRET}"
    reconcile: {schedule: "30 3 * * *"}

targets:
  profiles:
    table: public.profiles
    from: [supabase]
    key: id
    set:
      id: new.id
    on_insert:
      first_name: new.raw_user_meta_data->>'first_name'
      role: "'customer'"
    on_delete: delete
  deadstock_users:
    table: deadstock.users
    from: [supabase]
    key: [tenant, id]
    set: {tenant: 12, id: new.id, email: new.email, deleted_at: null}
    on_insert:
      full_name: coalesce(new.full_name, '')
      plan: 'free'
      active: true
      long: >-
        case when new.phone is null
          then ': #' end
    on_delete: {email: null, deleted_at: now()}
    where: new.email is not null

notify:
  welcome:
    on: [appeared, confirmed]
    from: [clerk]
    where: new.email is not null
    payload: [email]
    webhook: {url: "http://app.internal/hooks", secrets: ["${CLERK_WEBHOOK_SIGNING_SECRET}"], allow_private: true}
  feed:
    on: [left]
    channel: user_events

limits: {body: 512KiB, queue: 10, wait: 3s, lock_timeout: 500ms, statement_timeout: 2s}
retry: {attempts: 3}
retention: {bodies: 1d12h, undecodable: 36h, events: 100d}
sync: {origins: [https://app.example.com], max_age: 30s}
log: {level: debug, format: text}
`

func at(line, column int) Pos { return Pos{"rollcall.yaml", line, column} }

func sql(text string, line, column int) target.Expr {
	return target.Expr{SQL: text, Written: text, At: at(line, column).String()}
}

func col(name string, e target.Expr) target.Assignment {
	return target.Assignment{Column: name, Expr: e}
}

func load(t *testing.T, file string, more map[string]string) *Config {
	t.Helper()
	c, problems := Load("rollcall.yaml", []byte(file), environment(more))
	if len(problems) > 0 {
		t.Fatalf("problems:\n%v", problems)
	}
	return c
}

func wantConfig(t *testing.T, got, want *Config) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
}

func TestLoadFull(t *testing.T) {
	got := load(t, full, nil)
	want := &Config{
		Database:    "postgres://app:hunter2@db/app",
		Listen:      ":8080",
		AdminListen: "127.0.0.1:8081",
		AdminToken:  NewSecret("admin-token-value"),
		Sources:     fullSources(),
		Targets:     fullTargets(),
		Notify:      fullNotify(),
		Limits:      Limits{512 << 10, 1 << 20, 10, 3 * time.Second, 500 * time.Millisecond, 2 * time.Second},
		Retry:       Retry{3},
		Retention:   Retention{36 * time.Hour, 36 * time.Hour, 2400 * time.Hour},
		Sync:        Sync{[]string{"https://app.example.com"}, 30 * time.Second},
		Log:         Log{"debug", "text"},
	}
	wantConfig(t, got, want)
	must.Table(t, got.At, map[string]Pos{
		"sources.clerk.session":                        at(12, 5),
		"targets.profiles.set.id":                      at(33, 7),
		"targets.profiles.on_insert.first_name":        at(35, 7),
		"targets.profiles.on_insert.role":              at(36, 7),
		"targets.deadstock_users.set.tenant":           at(42, 11),
		"targets.deadstock_users.set.id":               at(42, 23),
		"targets.deadstock_users.set.email":            at(42, 35),
		"targets.deadstock_users.set.deleted_at":       at(42, 53),
		"targets.deadstock_users.on_insert.full_name":  at(44, 7),
		"targets.deadstock_users.on_insert.plan":       at(45, 7),
		"targets.deadstock_users.on_insert.active":     at(46, 7),
		"targets.deadstock_users.on_insert.long":       at(47, 7),
		"targets.deadstock_users.on_delete.email":      at(50, 17),
		"targets.deadstock_users.on_delete.deleted_at": at(50, 30),
	})
}

func fullSources() []Source {
	return []Source{{
		Name: "clerk", Provider: Clerk, Pos: at(7, 3),
		SigningSecrets: []Secret{NewSecret(clerkSecret)},
		InstanceID:     "ins_1",
		API:            &API{NewSecret("sk_test_clerkapikey"), "https://api.clerk.com/v1"},
		Session: &Session{
			Issuer:            "https://clerk.example.com",
			AuthorizedParties: []string{"https://app.example.com"},
		},
		Reconcile:       &Reconcile{"0 3 * * *", 0.025},
		WhenUnavailable: "admit",
	}, {
		Name: "supabase", Provider: Supabase, Pos: at(14, 3),
		SigningSecrets:  []Secret{NewSecret(supabaseSecret)},
		WhenUnavailable: "refuse",
		UsersTable:      "auth.users",
		DatabaseWebhook: &DatabaseWebhook{"Authorization", []Secret{NewSecret("a-long-static-header-value")}},
		Session: &Session{
			Issuer:      "https://ref.supabase.co/auth/v1",
			JWKSURL:     "https://keys.example.com/jwks",
			Audience:    "authenticated",
			HS256Secret: NewSecret("jwt-secret-jwt-secret-jwt-secret"),
		},
		Reconcile: &Reconcile{"30 3 * * *", DefaultMaxDelete},
	}}
}

func fullNotify() []Notification {
	where := sql("new.email is not null", 57, 12)
	return []Notification{{
		Name: "welcome", On: []string{"appeared", "confirmed"}, From: []target.Origin{{Source: "clerk"}}, Where: &where,
		Payload: []string{"email"}, Pos: at(54, 3),
		Webhook: &Webhook{NewSecret("http://app.internal/hooks"), []Secret{NewSecret(clerkSecret)}, true},
	}, {
		Name: "feed", On: []string{"left"}, Channel: "user_events", Pos: at(60, 3),
	}}
}

func fullTargets() []target.Target {
	where := sql("new.email is not null", 51, 12)
	return []target.Target{{
		Name: "profiles", At: at(28, 3).String(), Table: "public.profiles",
		From: []target.Origin{{Source: "supabase"}}, Key: []string{"id"},
		Set: []target.Assignment{col("id", sql("new.id", 33, 11))},
		OnInsert: []target.Assignment{
			col("first_name", sql("new.raw_user_meta_data->>'first_name'", 35, 19)),
			col("role", sql("'customer'", 36, 13)),
		},
		OnDelete: target.OnDelete{Action: target.DeleteRow},
	}, {
		Name: "deadstock_users", At: at(38, 3).String(), Table: "deadstock.users",
		From: []target.Origin{{Source: "supabase"}}, Key: []string{"tenant", "id"},
		Set: []target.Assignment{
			col("tenant", sql("12", 42, 19)),
			col("id", sql("new.id", 42, 27)),
			col("email", sql("new.email", 42, 42)),
			col("deleted_at", sql("null", 42, 65)),
		},
		OnInsert: []target.Assignment{
			col("full_name", sql("coalesce(new.full_name, '')", 44, 18)),
			col("plan", sql("free", 45, 13)),
			col("active", sql("true", 46, 15)),
			col("long", sql("case when new.phone is null\n  then ': #' end", 47, 13)),
		},
		OnDelete: target.OnDelete{Action: target.DeleteSet, Set: []target.Assignment{
			col("email", sql("null", 50, 24)),
			col("deleted_at", sql("now()", 50, 42)),
		}},
		Where: &where,
	}}
}

func TestLoadDefaults(t *testing.T) {
	wantConfig(t, load(t, "database: host=db dbname=app\n", nil), &Config{
		Database: "host=db dbname=app", Listen: ":8080", AdminListen: "127.0.0.1:8081",
		Limits:    Limits{1 << 20, 1 << 20, 8192, 4 * time.Second, 800 * time.Millisecond, 4 * time.Second},
		Retry:     Retry{20},
		Retention: Retention{7 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour},
		Sync:      Sync{MaxAge: time.Minute},
		Log:       Log{Level: "info"},
	})
}

func TestDefaultMaxDelete(t *testing.T) {
	c := load(t, "database: a=b\nsources: {s: {provider: clerk, reconcile: {}}}\n", nil)
	must.Equal(t, c.Sources[0].Reconcile.MaxDelete, DefaultMaxDelete, "max_delete")
}

func TestSmallest(t *testing.T) { load(t, smallest, nil) }

func TestByteOrderMarkAndCRLF(t *testing.T) {
	c := load(t, "\ufeff---\r\n"+strings.ReplaceAll(smallest, "\n", "\r\n")+"\r\n...\r\n", nil)
	must.Equal(t, c.Targets[0].At, at(8, 3).String(), "place")
}

func TestParsePos(t *testing.T) {
	for _, want := range []Pos{at(8, 3), {"a:1:b.yaml", 1, 22}, {"a:b", 0, 0}, {"", 0, 0}, {"a.yaml", 0, 0}} {
		must.Equal(t, ParsePos(want.String()), want, want.String())
	}
}

func TestFollows(t *testing.T) {
	all, some := target.Target{}, target.Target{From: []target.Origin{{Source: "a"}}}
	must.True(t, all.Follows("b") && some.Follows("a") && !some.Follows("b"),
		"an empty from follows every source, another one those it names")
}

func TestSecretsStayHidden(t *testing.T) {
	c := load(t, full, nil)
	asJSON := must.Get(json.Marshal(c))(t)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "token", c.AdminToken)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", *c, "token", c.AdminToken, "list", c.Sources[0].SigningSecrets)
	printed := string(asJSON) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed += fmt.Sprintf(verb+verb, *c, c) + fmt.Sprintf(verb, c.AdminToken)
		for _, s := range c.Sources {
			printed += fmt.Sprintf(verb+verb, s, s.SigningSecrets) + fmt.Sprintf(verb, s.Session)
			if s.API != nil {
				printed += fmt.Sprintf(verb+verb, *s.API, s.API)
			}
			if s.DatabaseWebhook != nil {
				printed += fmt.Sprintf(verb, *s.DatabaseWebhook)
			}
		}
	}
	for _, secret := range []string{
		"hunter2", "admin-token-value", clerkSecret, supabaseSecret, "sk_test_clerkapikey", "a-long-static", "jwt-secret",
	} {
		must.Lack(t, printed, secret, fmt.Sprintf("%x", secret))
	}
	must.Contain(t, printed, "[secret]", "new.email")
	must.True(t, c.AdminToken.Reveal() == "admin-token-value" && !c.AdminToken.IsZero() && (Secret{}).IsZero(),
		"a secret must reveal itself when asked")
}

func TestReference(t *testing.T) {
	byPath := map[string]Field{}
	for _, f := range Reference() {
		must.True(t, f.Doc != "" && f.Type != "", "%s has no doc or no type", f.Path)
		byPath[f.Path] = f
	}
	for path, want := range map[string]Field{
		"limits.body":                    {Type: "a size such as 1MiB", Default: "1MiB"},
		"limits.queue":                   {Type: "a whole number", Default: "8192"},
		"limits.wait":                    {Type: "a duration such as 4s or 7d", Default: "4s"},
		"log.level":                      {Type: "debug, info, warn or error", Default: "info"},
		"sources":                        {Type: "map by name"},
		"sources.*.signing_secrets":      {Type: "list of texts"},
		"sources.*.provider":             {Type: "clerk or supabase", Required: true},
		"sources.*.api":                  {Type: "map", Only: Clerk},
		"sources.*.api.key":              {Type: "text", Required: true},
		"sources.*.reconcile.max_delete": {Type: "a percentage such as 5%", Default: "5%"},
		"targets.*.key":                  {Type: "text or list of texts", Required: true},
		"targets.*.set":                  {Type: "map of column to SQL expression", Required: true},
		"targets.*.on_delete":            {Type: "delete, keep or map of column to SQL expression", Required: true},
		"targets.*.where":                {Type: "SQL expression"},
		"database":                       {Type: "text", Required: true},
	} {
		want.Path, want.Doc = path, byPath[path].Doc
		must.Equal(t, byPath[path], want, path)
	}
}
