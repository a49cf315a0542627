package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/source"
)

// Readiness follows the commits: what the database refuses to every webhook makes serve not ready,
// and it is ready again soon after the repair, without traffic.
func TestReadyFollowsTheCommits(t *testing.T) {
	t.Parallel()
	faults := []struct{ name, fault, repair, says string }{
		{
			"a renamed column", "alter table rollcall.users rename column full_name to whole_name",
			"alter table rollcall.users rename column whole_name to full_name", "schema rollcall",
		},
		{
			"a full disk",
			`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on rollcall.users for each row execute function fill()`,
			"drop trigger fill on rollcall.users", "53100",
		},
		{
			"a full disk below the events",
			`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on rollcall.events for each row execute function fill()`,
			"drop trigger fill on rollcall.events", "53100",
		},
		{
			"a table that is gone", "alter table rollcall.events rename to happenings",
			"alter table rollcall.happenings rename to events", "schema rollcall",
		},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			in, conn := startShop(t)
			expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")), heard{204, "applied", false})
			if status, _ := get(t, in.public+"/readyz", ""); status != http.StatusOK {
				t.Fatalf("readyz at first: %d", status)
			}
			must.Get(conn.Exec(t.Context(), f.fault))(t)
			expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_b")), heard{503, "unavailable", true})
			for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
				if status, _ := get(t, in.public+"/readyz", ""); status != http.StatusServiceUnavailable {
					t.Fatalf("readyz after a failed commit: %d", status)
				}
			}
			if said := fmt.Sprint(in.log.await(t, "not ready", 1)["error"]); !strings.Contains(said, f.says) {
				t.Errorf("the log says %q, want %q in it", said, f.says)
			}
			must.Get(conn.Exec(t.Context(), f.repair))(t)
			awaitReady(t, in.public, 5*time.Second)
			in.log.await(t, "ready again", 1)
			expect(t, in, signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_b")), heard{204, "applied", false})
			var left int
			err := conn.QueryRow(t.Context(), `select (select count(*) from rollcall.users) + (select count(*) from rollcall.events)`).Scan(&left)
			if err != nil || left != 4 {
				t.Errorf("%d rows of 2 users and 2 events, error %v", left, err)
			}
		})
	}
}

// An idle serve notices by itself that nothing can be committed.
func TestReadyWhileIdle(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	must.Get(conn.Exec(t.Context(), "alter table rollcall.users rename column email to mail"))(t)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if status, _ := get(t, in.public+"/readyz", ""); status == http.StatusServiceUnavailable {
			break
		}
		if time.Since(began) > 15*time.Second {
			t.Fatal("ready although nothing can be committed")
		}
	}
}

// A target that is slow, gone or full leaves serve ready.
func TestReadyBesideABadTarget(t *testing.T) {
	t.Parallel()
	in, conn := startShop(t)
	for _, fault := range []string{
		`create function fill() returns trigger language plpgsql as $$ begin raise sqlstate '53100'; end $$;
create trigger fill before insert on public.profiles for each row execute function fill()`,
		"alter table public.profiles rename to elsewhere",
	} {
		must.Get(conn.Exec(t.Context(), fault))(t)
		in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_a")))
		if status, body := get(t, in.public+"/readyz", ""); status != http.StatusOK {
			t.Errorf("readyz beside a bad target: %d %s", status, body)
		}
	}
	must.Get(conn.Exec(t.Context(), "alter table public.elsewhere rename to profiles; drop trigger fill on public.profiles"))(t)
	must.Get(conn.Exec(t.Context(), "begin; lock table public.profiles"))(t)
	var waiting sync.WaitGroup
	waiting.Go(func() { in.send(signed(t, source.Clerk, source.Hook, clerkUser("user.created", "user_b"))) })
	defer waiting.Wait()
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if status, body := get(t, in.public+"/readyz", ""); status != http.StatusOK {
			t.Fatalf("readyz beside a locked target: %d %s", status, body)
		}
	}
}
