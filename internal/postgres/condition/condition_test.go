package condition_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/condition"
	"rollcall/internal/target"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// asked is a condition on a migrated database.
func asked(t testing.TB, b *fixture.Bench, sql string) *condition.Condition {
	t.Helper()
	return condition.New(b.Pool, target.Condition{Name: "require", Expr: target.Expr{SQL: sql, At: "r.yaml:1:2"}})
}

// met asks about the newcomer, up to three times: a busy machine may need longer than a condition may take.
func met(t testing.TB, c *condition.Condition) bool {
	t.Helper()
	is, err := c.Met(t.Context(), newcomer())
	for try := 1; try < 3 && errors.Is(err, condition.ErrSlow); try++ {
		is, err = c.Met(t.Context(), newcomer())
	}
	must.Do(t, err)
	return is
}

// newcomer is a user as an announcement has one, with what a client may write.
func newcomer() *event.User {
	email := `O'Brien "x"@example.com`
	created := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return &event.User{
		Row: event.Row{Source: "app", ID: "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90"}, Email: &email, IsAnonymous: true, CreatedAt: &created,
		RawUserMetaData: `{"a": "\u2028<b>", "n": 12345678901234567890.5}`, RawAppMetaData: `{"provider": "email"}`,
	}
}

// The condition sees each column as the roll would have it; null is not met.
func TestMet(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table invites (email text); insert into invites values ('o''brien \"x\"@example.com')")
	for sql, want := range map[string]bool{
		"true": true, "false": false, "null": false, "null::boolean": false, "true -- a comment": true,
		`new.email = 'O''Brien "x"@example.com'`:                                  true,
		"new.source = 'app' and new.id::uuid is not null":                         true,
		"new.phone is null and new.deleted_at is null and new.updated_at is null": true,
		"new.is_anonymous and not new.email_verified":                             true,
		"new.created_at = '2026-01-02 03:04:05.678901Z'":                          true,
		"new.raw_user_meta_data->>'a' = E'\\u2028<b>'":                            true,
		"(new.raw_user_meta_data->>'n') = '12345678901234567890.5'":               true,
		"new.raw_app_meta_data @> '{\"provider\": \"email\"}'":                    true,
		"exists (select from invites i where i.email = lower(new.email))":         true,
		"exists (select from rollcall.users u where u.id = new.id)":               false,
		"(select count(*) < 1 from rollcall_api.live_users)":                      true,
		"current_setting('transaction_read_only') = 'on'":                         true,
		"current_setting('statement_timeout') = '400ms'":                          true,
		"current_setting('search_path') = 'pg_catalog, public'":                   true,
		"to_jsonb(new) ? 'full_name' and not to_jsonb(new) ? 'version'":           true,
		"new.email_addresses is null and new.external_accounts is null":           true,
	} {
		c := asked(t, b, sql)
		must.Equal(t, len(must.Get(c.Check(t.Context()))(t)), 0, "findings of "+sql)
		must.Equal(t, met(t, c), want, sql)
	}
}

// What PostgreSQL refuses is found beforehand, with its place and what to do.
func TestCheck(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table secret (email text)")
	replica, role := b.AsRole("")
	for sql, want := range map[string]string{
		"new.emial is null":  "did you mean new.email?",
		"new.email":          "argument of WHERE must be type boolean",
		"count(*) > 0":       "aggregate functions are not allowed in WHERE",
		"true; drop table x": `";" in`,
		"$1 is null":         "an expression has no parameters",
		"true) or (true":     "",
		"nothing(new.email)": "name a function with its schema",
		"exists (select from secret s where s.email = new.email)": "run: grant select on public.secret to " + role,
	} {
		found := must.Get(asked(t, replica, sql).Check(t.Context()))(t)
		if len(found) != 1 || found[0].At != "r.yaml:1:2" || found[0].Target != "require" || !strings.Contains(found[0].What, want) {
			t.Errorf("%s: got %+v, want %q", sql, found, want)
		}
	}
}

// A failure tells nothing of the user, and comes in time.
func TestNotMet(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, `create table t (id text);
create function raise(text) returns boolean language plpgsql as $$ begin raise '%', $1; end $$;
create function writes() returns boolean language plpgsql as $$ begin insert into public.t values ('x'); return true; end $$;
create function opens() returns boolean language plpgsql as $$ begin set transaction read write; insert into public.t values ('x'); return true; end $$`)
	for _, sql := range []string{"raise(new.email)", "writes()", "opens()", "new.email::int > 0", "pg_sleep(20) is null"} {
		began := time.Now()
		met, err := asked(t, b, sql).Met(t.Context(), newcomer())
		must.True(t, !met && err != nil, "%s: met %v, error %v", sql, met, err)
		must.Lack(t, err.Error(), "example.com")
		must.Equal(t, errors.Is(err, condition.ErrSlow), strings.HasPrefix(sql, "pg_sleep"), sql, " is slow: ", err)
		must.True(t, time.Since(began) < 5*time.Second, "%s took %v", sql, time.Since(began))
	}
	b.Want("select count(*) from t", "0")
	b.Hold("lock table t in access exclusive mode")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must.True(t, must.Err(asked(t, b, "exists (select from t)").Met(ctx, newcomer())) != nil, "a locked table is waited for")
}

// A table that changes under a session makes no plan stale.
func TestChangedTable(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "create table invites (email text); insert into invites values ('x')")
	c := asked(t, b, "(select i from invites i limit 1) is not null")
	must.True(t, met(t, c), "before")
	b.Exec("alter table invites add n int default 1, alter email type varchar(9)")
	must.True(t, met(t, c), "behind the change")
}

// Behind a check a sign-up needn't connect; without a condition there is no connection for one. Connections
// that are lost cost no answer.
func TestConnections(t *testing.T) {
	t.Parallel()
	b := fixture.NewBench(t, "")
	replica, role := b.AsRole("")
	c, sessions := asked(t, replica, "pg_catalog.pg_sleep(0.05) is not null"), "select count(*) from pg_stat_activity where usename = '"+role+"' and state = 'idle'"
	must.Do(t, replica.Pool.Ping(t.Context()))
	b.Await(sessions, "1")
	must.Get(c.Check(t.Context()))(t)
	b.Await(sessions, "2")
	must.True(t, met(t, c), "the first")
	b.Exec("select pg_terminate_backend(pid) from pg_stat_activity where usename = '" + role + "'")
	must.True(t, met(t, c), "behind lost connections")
}
