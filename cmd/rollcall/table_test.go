package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/source"
)

// tableHook is a hook about a user that is in the body only.
func tableHook(id, user string) string {
	return fmt.Sprintf(`{"metadata":{"uuid":%q,"name":"after-user-created"},"user":{"id":%q,"email":"said@x.test","updated_at":"2030-01-01T00:00:00Z"}}`, id, user)
}

func (l *lobby) exec(sql string, args ...any) {
	l.t.Helper()
	must.Get(l.sql.Exec(l.t.Context(), sql, args...))(l.t)
}

// arrives waits until a profile has an e-mail address.
func (l *lobby) arrives(email string) {
	l.t.Helper()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		must.Do(l.t, l.sql.QueryRow(l.t.Context(), "select coalesce((select email from profiles), '')").Scan(&got))
		if got == email {
			return
		}
	}
	l.t.Fatalf("the profile has %q, want %q", got, email)
}

// A change counts though its updated_at is before that of the last one, and a deletion at once.
func TestServeFollowsTheTable(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.exec("create constraint trigger rollcall_capture after insert or update or delete on auth.users deferrable initially deferred for each row execute function rollcall.capture('supabase')")
	l.log.await(t, "a capture is watched", 1)
	l.exec("insert into auth.users (id, email, updated_at) values ($1, 'zero@x.test', now())", supaUser)
	l.arrives("zero@x.test")
	l.exec("update auth.users set email = 'one@x.test', updated_at = now()")
	time.Sleep(400 * time.Millisecond)
	l.exec("update auth.users set email = 'two@x.test', updated_at = updated_at - interval '5 ms'")
	l.arrives("two@x.test")
	l.wants(l.supabaseToken(supaUser), "200 "+supaUser+" map[profiles:applied]")

	l.exec("delete from auth.users")
	l.wants(l.supabaseToken(supaUser), "410 deleted map[]")
}

// A hook about a user who is not in the table is stale, and its line says why. A metric tells that the
// table decides, until it can't be read.
func TestServeSaysWhyAnEventIsStale(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	hook := func(id, want string) {
		t.Helper()
		if status, outcome, body := l.send(signed(t, source.Supabase, source.Hook, tableHook(id, supaUser))); outcome != want {
			t.Errorf("%s: %d %s %s, want %s", id, status, outcome, body, want)
		}
	}
	metric := func(want string) {
		t.Helper()
		if _, text := get(t, l.admin+"/metrics", adminToken); !strings.Contains(text, `rollcall_table_source{source="supabase"} `+want+"\n") {
			t.Errorf("rollcall_table_source is not %s", want)
		}
	}
	hook("nobody", "stale")
	if line := l.log.await(t, "webhook", 1); line["reason"] != "not in auth.users" {
		t.Errorf("log line %v", line)
	}
	metric("1")
	l.exec("alter table auth.users rename to away")
	hook("by its body", "applied")
	metric("0")
}

// Whoever asks gets an answer that was read after the question: a look that is under way already is
// not shared.
func TestSyncSeesItsOwnWrite(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	l.exec("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return new; end $$")
	l.exec("create trigger slow before insert on rollcall.users for each row when (new.version is not null) execute function slow()")
	l.exec("insert into auth.users (id, email, updated_at) values ($1, '0@x.test', now())", supaUser)
	var asking sync.WaitGroup
	for n := 1; n <= 5; n++ {
		email := fmt.Sprintf("%d@x.test", n)
		l.exec("update auth.users set email = $1", email)
		token := l.supabaseToken(supaUser)
		asking.Go(func() {
			if a := l.call("POST", token, nil); a.status != 200 || a.User.Email < email {
				t.Errorf("after %s: %s %s", email, a, a.User.Email)
			}
		})
		time.Sleep(100 * time.Millisecond)
	}
	asking.Wait()
}

// While the table has none of the roll's users, nobody is told that they are signed up, or gone.
func TestSyncInDoubt(t *testing.T) {
	t.Parallel()
	l := openLobby(t)
	const another = "6f1d0f4e-8a37-4c57-9a55-3c1d7e1d9b22"
	l.exec("insert into auth.users (id, email, updated_at) values ($1, 'a@x.test', now()), ($2, 'b@x.test', now())", supaUser, another)
	for _, user := range []string{supaUser, another} {
		l.wants(l.supabaseToken(user), "200 "+user+" map[profiles:applied]")
	}
	l.exec("create table saved as table auth.users")
	l.exec("truncate auth.users")
	if a := l.call("POST", l.supabaseToken(supaUser), nil); a.status != 503 {
		t.Errorf("the answer is %s, want 503", a)
	}
	l.exec("insert into auth.users (id, email, updated_at) select id, email, updated_at from saved where id = $1", another)
	l.wants(l.supabaseToken(supaUser), "410 deleted map[]")
}
