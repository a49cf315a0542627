package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/transitions"
	"rollcall/internal/testtag"

	svix "github.com/svix/svix-webhooks/go"
)

// notified is a receiver that counts what it gets, by id.
type notified struct {
	*httptest.Server
	mu     sync.Mutex
	ids    map[string]int    // requests by webhook-id
	bodies map[string]string // by webhook-id
	status int
}

func newNotified(t testing.TB) *notified {
	t.Helper()
	n := &notified{ids: map[string]int{}, bodies: map[string]string{}, status: 204}
	verify := must.Get(svix.NewWebhook(clerkSecret))(t)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verify.Verify(body, r.Header); err != nil {
			t.Errorf("a request does not verify: %v", err)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ids[r.Header.Get("Webhook-Id")]++
		n.bodies[r.Header.Get("Webhook-Id")] = string(body)
		w.WriteHeader(n.status)
	}))
	t.Cleanup(n.Close)
	return n
}

// said lists what was received, once each: "type id".
func (n *notified) said() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]int{}
	for _, body := range n.bodies {
		var b struct {
			Type string
			Data struct{ ID string }
		}
		_ = json.Unmarshal([]byte(body), &b)
		all[b.Type+" "+b.Data.ID]++
	}
	return all
}

// notifying is a configuration whose notifications go to a URL.
func notifying(url string) string {
	return twoSources + shopTargets + fmt.Sprintf(`
notify:
  welcome:
    on: [appeared, confirmed, email_changed, banned, unbanned, deleted, joined, left, role_changed]
    webhook: {url: %q, secrets: ["${CLERK_SECRET}"], allow_private: true}
`, url)
}

// born is when a user of a test was created: after any configuration.
func born() string { return fmt.Sprintf(`"created_at":%d`, time.Now().Add(time.Minute).UnixMilli()) }

// A user who signs up is said once, whatever repeats the event. A receiver that is sick gets it later, and the
// command line shows and retries what failed. A reload adds and removes notifications.
func TestNotifications(t *testing.T) {
	t.Parallel()
	to := newNotified(t)
	in := serveAt(t, notifying(to.URL), pgtest.NewWith(t, shopTables))
	in.expect(created(t, "u1", born()), accepted("applied"))
	in.expect(created(t, "u1", born()), accepted("applied"))
	in.expect(created(t, "old", `"created_at":1760000000000`), accepted("applied"))
	must.Await(t, "the user is said", func() bool { return len(to.said()) > 0 })
	in.expect(created(t, "u2", born()), accepted("applied"))
	must.Await(t, "the second user is said", func() bool { return len(to.said()) > 1 })
	must.Equal(t, to.said(), map[string]int{"appeared u1": 1, "appeared u2": 1})
	in.db.Await("select state, count(*)::text from rollcall.notifications group by 1", "delivered|2")
	in.counts(`rollcall_notifications_total{name="welcome",outcome="delivered"} 2`, `rollcall_notifications_total{name="welcome",outcome="failed"} 0`,
		`rollcall_notifications_backlog{name="welcome"} 0`, `rollcall_notifications_oldest_seconds{name="welcome"} 0`)

	to.mu.Lock()
	to.status = 410
	to.mu.Unlock()
	in.expect(created(t, "u3", born()), accepted("applied"))
	in.log.await(t, "a notification is given up", 1)
	must.Equal(t, in.run(t.Context(), "notifications").out, "welcome: pending 0, delivered 2, skipped 0, failed 1\n"+
		"  configured since "+in.db.Rows("select to_char(since at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS') from rollcall.notifiers")[0]+"Z\n")
	failed := in.run(t.Context(), "notifications", "welcome", "--failed", "-o", "json")
	must.Contain(t, failed.out, `"row_id": "u3"`, `"error": "status 410"`, `"id": "msg_`)
	to.mu.Lock()
	to.status = 200
	to.mu.Unlock()
	must.Equal(t, in.run(t.Context(), "notifications", "retry", "welcome").String(), "due again: 1\nexit 0")
	in.db.Await("select state, count(*)::text from rollcall.notifications group by 1", "delivered|3")
	must.Equal(t, in.run(t.Context(), "notifications", "retry").code, 1)
	must.Equal(t, in.run(t.Context(), "notifications", "--failed").out, "no notifications\n")

	must.Do(t, os.WriteFile(in.file, []byte(twoSources+shopTargets), 0o600))
	in.hangup <- syscall.SIGHUP
	in.log.await(t, "the configuration is reloaded", 1)
	in.expect(created(t, "u4", born()), accepted("applied"))
	in.db.Await("select count(*)::text from pg_trigger where tgname like 'note%'", "0")
	must.Do(t, os.WriteFile(in.file, []byte(strings.Replace(notifying(to.URL), "welcome", "second", 1)), 0o600))
	in.hangup <- syscall.SIGHUP
	in.log.await(t, "the configuration is reloaded", 2)
	in.expect(created(t, "u5", born()), accepted("applied"))
	must.Await(t, "the user is said by the new notification", func() bool { return to.said()["appeared u5"] == 1 })
	must.Equal(t, to.said(), map[string]int{"appeared u1": 1, "appeared u2": 1, "appeared u3": 1, "appeared u5": 1})
}

// A pause that a receiver wants does not let more wait than may.
func TestBacklogInAPause(t *testing.T) {
	t.Parallel()
	in := serveAt(t, notifying("https://example.invalid"), pgtest.NewWith(t, shopTables))
	in.db.Exec("update rollcall.notifiers set paused_until = now() + interval '10 hours'")
	in.db.Exec(fmt.Sprintf("insert into rollcall.transitions (type, source, row_id) select 'banned', 'clerk', 'u' || i from generate_series(1, %d) i", transitions.MaxBacklog+5))
	in.db.Exec("insert into rollcall.notifications (name, transition, noted_at) select 'welcome', id, at from rollcall.transitions")
	in.db.Await("select count(*)::text from rollcall.notifications where state = 'failed'", "5")
	in.counts(`rollcall_notifications_total{name="welcome",outcome="failed"} 5`)
}

// Twenty receivers that never answer slow neither an event nor another notification.
func TestSickReceiversSlowNothingElse(t *testing.T) {
	testtag.Parallel(t)
	stop := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(stop) })
	to := newNotified(t)
	yaml := notifying(to.URL)
	for i := range 20 {
		yaml += fmt.Sprintf("  hangs%d: {on: [appeared], webhook: {url: %q, secrets: [\"${CLERK_SECRET}\"], allow_private: true}}\n", i, hanging.URL)
	}
	in := serveAt(t, yaml, pgtest.NewWith(t, shopTables))
	for i := range 8 {
		began := time.Now()
		in.expect(created(t, fmt.Sprint("u", i), born()), accepted("applied"))
		must.Await(t, "the user is said", func() bool { return len(to.said()) == i+1 })
		if took := time.Since(began); testtag.Timing && took > 8*time.Second {
			t.Errorf("user %d took %s", i, took)
		}
	}
	in.counts(`rollcall_notifications_backlog{name="hangs19"} 8`)
}
