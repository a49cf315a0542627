package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
)

const hostedTarget = `
targets:
  profiles:
    table: public.profiles
    from: [supabase]
    key: id
    set: {id: new.id, email: new.email}
    on_delete: delete
`

// On a hosted Supabase project serve says what it may not read and which command prints the remedy.
// What that prints is pasted as the project's owner, and then everything works with Rollcall's role.
func TestHostedProject(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHosted(t)
	owner := connect(t, h.As("owner"))
	paste := func(sql string) {
		t.Helper()
		if _, err := owner.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	role := h.Role("rollcall")
	paste(fmt.Sprintf(`create role %[1]s login; grant connect, create on database %[2]s to %[1]s;
create table public.profiles (id uuid primary key, email text);
grant usage on schema public to %[1]s; grant select, insert, update, delete on public.profiles to %[1]s`, role, owner.Config().Database))
	l := &lobby{}
	yaml := strings.Replace(twoSources, "    database_webhook:",
		fmt.Sprintf("    session: {issuer: https://made-up.supabase.co/auth/v1, audience: authenticated, hs256_secret: %s}\n    reconcile: {schedule: 0 0 1 1 *}\n    database_webhook:", jwtSecret), 1) + hostedTarget
	url := h.As("rollcall")
	l.instance = startServe(t, yaml, env(url))
	l.log.await(t, "ready", 1)
	line := l.log.await(t, "the table of users can't be read: what needs it does not work, and changes count by their version", 1)
	reason, _ := line["error"].(string)
	if needs := fmt.Sprint(line["needed_by"]); needs != "[reconcile.schedule session]" || !strings.Contains(reason, "rollcall capture install --print supabase") || strings.Contains(reason, "grant usage") {
		t.Errorf("serve says %v", line)
	}
	command := func(want int, args ...string) string {
		t.Helper()
		var out, log strings.Builder
		code := run(t.Context(), environment{append(args, "-c", configFile(t, yaml)), env(url), strings.NewReader(""), &out, &log})
		if code != want {
			t.Errorf("%s: exit code %d, want %d; %s%s", args, code, want, out.String(), log.String())
		}
		return out.String() + log.String()
	}
	for _, refused := range [][]string{{"capture", "install", "supabase"}, {"reconcile", "supabase"}} {
		if said := command(exitProblems, refused...); !strings.Contains(said, "rollcall capture install --print supabase") || strings.Contains(said, "grant usage") {
			t.Errorf("%s: %s", refused, said)
		}
	}
	paste("insert into auth.users (id, email, created_at, updated_at) values ('" + supaUser + "', 'before@example.com', now(), now())")
	paste(command(exitFine, "capture", "install", "--print", "supabase"))
	l.log.await(t, "the table of users can be read, and decides what is so", 1)
	command(exitFine, "capture", "status", "supabase")

	sql := connect(t, h.URL)
	l.sql = sql
	want := func(profiles ...string) {
		t.Helper()
		wantSoon(t, sql, "select email from profiles order by 1", profiles...)
	}
	command(exitFine, "reconcile", "supabase")
	want("before@example.com")
	paste("update auth.users set email = 'captured@example.com', updated_at = updated_at - interval '5 ms'")
	want("captured@example.com")
	paste("insert into auth.users (id, email, created_at, updated_at) values ('5a3f1e00-0000-4000-8000-000000000b01', 'ben@example.com', now(), now())")
	want("ben@example.com", "captured@example.com")
	paste("delete from auth.users where email = 'ben@example.com'")
	want("captured@example.com")
	command(exitFine, "check")

	// just-in-time, and an announcement, of users that nothing captures
	execute(t, h.URL, "alter table auth.users disable trigger rollcall_capture")
	const carl, dora = "5a3f1e00-0000-4000-8000-000000000b02", "5a3f1e00-0000-4000-8000-000000000b03"
	paste("insert into auth.users (id, email, created_at, updated_at) values ('" + carl + "', 'carl@example.com', now(), now()), ('" + dora + "', 'dora@example.com', now(), now())")
	if a := l.call("POST", l.supabaseToken(carl), nil); a.status != 200 || a.User.Email != "carl@example.com" {
		t.Errorf("just-in-time says %s", a)
	}
	l.announce(sql, "m1", dora)
	want("captured@example.com", "carl@example.com", "dora@example.com")
	execute(t, h.URL, "delete from auth.users where id = '"+carl+"'")
	if said := command(exitFine, "reconcile", "supabase", "--max-delete", "100%"); !strings.Contains(said, "1") {
		t.Errorf("reconcile says %s", said)
	}
	want("captured@example.com", "dora@example.com")
	command(exitFine, "check")
}

// wantSoon waits for the rows of a query.
func wantSoon(t *testing.T, conn *pgx.Conn, query string, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		rows, _ := conn.Query(context.Background(), query)
		got = must.Get(pgx.CollectRows(rows, pgx.RowTo[string]))(t)
		if slices.Equal(got, want) {
			return
		}
	}
	t.Errorf("%s: %q, want %q", query, got, want)
}
