package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	svix "github.com/svix/svix-webhooks/go"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres/transitions"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The secrets of tests, and a channel that is none of theirs.
const (
	oldSecret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	newSecret = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4"
)

// bench is a database whose users are said.
type bench struct {
	*fixture.Bench
	log      transitions.Log
	mu       sync.Mutex
	outcomes map[string]int
}

func newBench(t testing.TB, names ...string) *bench {
	t.Helper()
	f := fixture.NewBench(t, fixture.PTable, fixture.Everyone())
	b := &bench{Bench: f, log: f.DB.Transitions(), outcomes: map[string]int{}}
	var rules []transitions.Rule
	for _, name := range names {
		rules = append(rules, transitions.Rule{Name: name, On: []string{"appeared"}})
	}
	must.Do(t, b.log.Register(t.Context(), "a", rules))
	return b
}

// appear makes new users.
func (b *bench) appear(ids ...string) {
	b.T.Helper()
	var events []event.Event
	for _, id := range ids {
		events = append(events, fixture.With(fixture.Updated(id, 1, id+"@example.com"), func(u *event.User) {
			u.CreatedAt = new(time.Now().Add(time.Minute))
		}))
	}
	b.Submit(events...)
}

// notifier says the notification "n", unless the configuration has another name.
func (b *bench) notifier(cfg Config) *Notifier {
	b.T.Helper()
	if cfg.Name == "" {
		cfg.Name = "n"
	}
	if cfg.Secrets == nil {
		cfg.Secrets = []string{newSecret}
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Observe = func(name, outcome string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.outcomes[name+" "+outcome]++
	}
	n := must.Get(New(cfg))(b.T)
	b.T.Cleanup(n.Close)
	return n
}

func (b *bench) run(n *Notifier) {
	b.T.Helper()
	must.Do(b.T, n.Run(b.T.Context(), b.log))
}

// again makes what is pending due.
func (b *bench) again() {
	b.T.Helper()
	b.Exec("update rollcall.notifications set due_at = now() where state = 'pending'")
}

const states = "select t.row_id, n.state, n.attempts::text, n.error from rollcall.notifications n join rollcall.transitions t on t.id = n.transition order by t.id, n.name"

// received is what a receiver got.
type received struct {
	header http.Header
	body   string
}

// receiver answers with a handler and keeps what it gets.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got []received
}

func newReceiver(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		r.got = append(r.got, received{request.Header.Clone(), string(body)})
		r.mu.Unlock()
		answer(w, request)
	}))
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

// A notification that fails is sent again later: with the same id and body, a timestamp of its own, and signatures of
// both secrets, which svix's library verifies.
func TestDeliveredAtLeastOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n")
	status := 500
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	n := b.notifier(Config{Query: transitions.Query{Payload: []string{"email", "banned"}}, URL: r.URL, Secrets: []string{newSecret, oldSecret}, AllowPrivate: true})
	b.appear("u1")
	before := b.Rows("select clock_timestamp()::text")[0]
	b.run(n)
	b.run(n) // it is not due
	b.Want(states, "u1|pending|1|status 500")
	b.Want("select due_at - '"+before+"' > interval '3 seconds' and due_at - clock_timestamp() < interval '5 seconds' from rollcall.notifications", "t")
	time.Sleep(1100 * time.Millisecond) // timestamps have seconds
	status = 204
	b.again()
	b.run(n)
	b.run(n)
	b.Want(states, "u1|delivered|2|∅")
	must.Equal(t, b.outcomes, map[string]int{"n retried": 1, "n delivered": 1})
	must.Equal(t, len(r.got), 2)
	first, second := r.got[0], r.got[1]
	must.Equal(t, second.body, first.body)
	must.Equal(t, second.header.Get("Webhook-Id"), first.header.Get("Webhook-Id"))
	must.True(t, second.header.Get("Webhook-Timestamp") > first.header.Get("Webhook-Timestamp"), "the second attempt has a timestamp of its own")
	for _, secret := range []string{oldSecret, newSecret} {
		verify := must.Get(svix.NewWebhook(secret))(t)
		for _, got := range r.got {
			must.Do(t, verify.Verify([]byte(got.body), got.header))
		}
	}
	at := b.Rows("select to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from rollcall.transitions")
	var said struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
	must.Do(t, json.Unmarshal([]byte(first.body), &said))
	must.Equal(t, said.Type, "appeared")
	must.Equal(t, said.Timestamp.Format("2006-01-02T15:04:05.000000"), at[0])
	must.Equal(t, said.Data, map[string]any{"source": "app", "id": "u1", "email": "u1@example.com", "banned": false})
	must.Lack(t, first.header.Get("User-Agent"), "Go-http-client")
}

// What an answer means. Nothing of a sick receiver is waited for longer than an attempt may take.
func TestSickReceivers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	drip := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	}
	elsewhere := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(tls.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		url    string
		want   string
		after  time.Duration // of what is tried again, at least
	}{
		"gone":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, "", "failed: status 410", 0},
		"redirect": {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, "", "pending: status 307: redirects are not followed; configure where it leads to", 5 * time.Second},
		"too many": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "", "pending: status 429", 2 * time.Minute},
		"no moment": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "-1")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "", "pending: status 429", 5 * time.Second},
		"for ever": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "2000000000")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "", "pending: status 503", 10 * time.Hour},
		"silent": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "", "pending: no answer within 300ms", 5 * time.Second},
		"drips":  {drip, "", "delivered: ", 0},
		"drips its status": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}, "", "pending: no answer within 300ms", 5 * time.Second},
		"floods": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, 1<<20)
			for range 10 << 10 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			t.Error("10 GiB of an answer were read")
		}, "", "delivered: ", 0},
		"big header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			w.WriteHeader(http.StatusOK)
		}, "", "pending: net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted", 5 * time.Second},
		"a status of its own words": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			must.Do(t, err)
			_, _ = conn.Write([]byte(`HTTP/1.1 ann@example.com\` + "\r\n\r\n"))
			_ = conn.Close()
		}, "", `pending: net/http: HTTP/1.x transport connection broken: malformed HTTP status code "…"`, 5 * time.Second},
		"a redirect to its own words": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "://ann@example.com")
			w.WriteHeader(http.StatusFound)
		}, "", `pending: failed to parse Location header "…": parse "…": missing protocol scheme`, 5 * time.Second},
		"tls":     {nil, tls.URL, "pending: tls: failed to verify certificate: x509: certificate signed by unknown authority", 5 * time.Second},
		"refused": {nil, closed.URL, "pending: dial tcp " + strings.TrimPrefix(closed.URL, "http://") + ": connect: connection refused", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := test.url
			if test.answer != nil {
				url = newReceiver(t, test.answer).URL
			}
			n := b.notifier(Config{URL: url, AllowPrivate: true})
			if strings.HasSuffix(test.want, "300ms") {
				n.endpoint.time = 300 * time.Millisecond
			}
			began := time.Now()
			a := n.endpoint.attempt(t.Context(), "msg_1", []byte("{}"))
			must.True(t, time.Since(began) < 10*time.Second, "it took %s", time.Since(began))
			got := a.result(1)
			must.Equal(t, got.State+": "+got.Error, test.want)
			must.Equal(t, got.After, test.after)
		})
	}
	t.Cleanup(func() { must.Equal(t, len(elsewhere.got), 0, "requests behind a redirect") })
}

// After svix's last pause a notification is given up.
func TestSchedule(t *testing.T) {
	t.Parallel()
	var got []string
	var all time.Duration
	for i := range 9 {
		r := attempt{status: 500}.result(i + 1)
		got = append(got, fmt.Sprint(r.State, " ", r.After))
		all += r.After
	}
	must.True(t, all > 24*time.Hour, "a receiver may be away for %s only", all)
	must.Equal(t, got, []string{
		"pending 5s", "pending 5m0s", "pending 30m0s", "pending 2h0m0s", "pending 5h0m0s", "pending 10h0m0s", "pending 10h0m0s", "failed 0s", "failed 0s",
	})
}

// A receiver that wants a pause gets nothing until it is over; another one gets its own.
func TestRetryAfterPausesTheName(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n", "other")
	busy := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	fine := newReceiver(t, func(http.ResponseWriter, *http.Request) {})
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprint("u", i))
	}
	b.appear(ids...)
	n := b.notifier(Config{URL: busy.URL, AllowPrivate: true})
	other := b.notifier(Config{Query: transitions.Query{Name: "other"}, URL: fine.URL, AllowPrivate: true})
	b.run(n)
	b.run(other)
	must.Equal(t, len(fine.got), 100)
	must.True(t, len(busy.got) <= 2*atOnce, "the busy receiver got %d", len(busy.got))
	before := len(busy.got)
	b.appear("later")
	b.again()
	must.Equal(t, must.Get(b.log.DueNames(t.Context(), []string{"n", "other"}))(t), []string{"other"}, "what is due")
	b.run(n)
	b.run(other)
	must.Equal(t, must.Get(b.log.DueNames(t.Context(), []string{"n", "other"}))(t), []string{}, "what is due")
	must.Equal(t, len(busy.got), before, "requests in the pause")
	must.Equal(t, len(fine.got), 101)
	b.Exec("update rollcall.notifiers set paused_until = now() where name = 'n'")
	b.run(n)
	must.True(t, len(busy.got) > before, "it gets nothing after the pause")
	b.Exec("update rollcall.notifications set state = 'failed' where transition = 1")
	must.Equal(t, must.Get(b.log.Retry(t.Context(), transitions.Filter{Name: "n"}))(t), 1)
	b.Want("select name, paused_until from rollcall.notifiers order by name", "n|∅", "other|∅")
}

// A receiver that is away for a day gets all of it once it is back, in spite of what was tried meanwhile.
func TestAwayForADay(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n")
	there := false
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if !there {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	n := b.notifier(Config{URL: r.URL, AllowPrivate: true})
	b.appear("u1", "u2", "u3")
	var away time.Duration
	for attempts := 0; away < 24*time.Hour; attempts++ {
		b.again()
		b.run(n)
		away += schedule[attempts]
	}
	there = true
	b.again()
	b.run(n)
	b.Want("select distinct state from rollcall.notifications", "delivered")
}

// Who listens on a channel hears each notification once, in the transaction that marks it.
func TestChannel(t *testing.T) {
	t.Parallel()
	b := newBench(t, "n")
	n := b.notifier(Config{Query: transitions.Query{Payload: []string{"email"}}, Channel: "User events"})
	listener := b.Connect()
	must.Get(listener.Exec(t.Context(), `listen "User events"`))(t)
	b.Exec("insert into rollcall.transitions (type, source, row_id, became) values ('appeared', 'app', 'long', row(null, repeat('x', 8000), null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null)::rollcall.noted); insert into rollcall.notifications (name, transition, noted_at) select 'n', id, at from rollcall.transitions")
	b.appear("u1", "u2")
	b.run(n)
	b.run(n)
	heard := map[string]int{}
	for range 2 {
		said := must.Get(listener.WaitForNotification(t.Context()))(t)
		var message struct{ Data struct{ ID, Email string } }
		must.Do(t, json.Unmarshal([]byte(said.Payload), &message))
		heard[message.Data.ID+" "+message.Data.Email]++
	}
	must.Equal(t, heard, map[string]int{"u1 u1@example.com": 1, "u2 u2@example.com": 1})
	wait, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := listener.WaitForNotification(wait)
	must.True(t, err != nil, "a third notification is heard")
	b.Want("select state, count(*)::text from rollcall.notifications group by 1 order by 1", "delivered|2", "failed|1")
}
