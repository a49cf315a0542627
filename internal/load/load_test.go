package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/must"
	"rollcall/internal/testtag"
)

// serve answers with a handler on the loopback.
func serve(t testing.TB, h http.HandlerFunc) Receiver {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return receiver(t, server.URL)
}

func apply(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Rollcall-Outcome", "applied")
	w.WriteHeader(http.StatusNoContent)
}

func mustRun(ctx context.Context, t testing.TB, cfg Config) Result {
	t.Helper()
	cfg.Source, cfg.Ahead = clerk(t), 256
	if cfg.Mix.sum() == 0 {
		cfg.Mix = DefaultMix
	}
	r := must.Get(Run(ctx, cfg))(t)
	sum := func(counts map[string]int64) (n int64) {
		for _, each := range counts {
			n += each
		}
		return n
	}
	outcomes, events, failed := sum(r.Outcomes), sum(r.Events), sum(r.Errors)
	if events != r.Requests || outcomes != r.Accepted+r.Refused || failed != r.Failed || r.Requests != outcomes+failed {
		t.Errorf("the numbers don't add up: %+v", r)
	}
	return r
}

// As fast as it goes: what the server saw is what is counted, over as many connections as
// were asked for.
func TestClosedLoop(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	var callers sync.Map
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		callers.Store(r.RemoteAddr, true)
		time.Sleep(2 * time.Millisecond)
		apply(w, r)
	})
	var looked atomic.Int64
	r := mustRun(t.Context(), t, Config{To: to, Connections: 5, Duration: 2500 * time.Millisecond, Live: func(s Snapshot) { looked.Add(s.Accepted) }})
	if r.Requests != seen.Load() || r.Accepted != r.Requests || r.Outcomes["applied"] != r.Requests || r.Interrupted {
		t.Errorf("the server saw %d: %+v", seen.Load(), r)
	}
	if n := looked.Load(); n == 0 || n > r.Accepted {
		t.Errorf("%d were shown while it ran", n)
	}
	connections := 0
	callers.Range(func(any, any) bool { connections++; return true })
	if connections != 5 {
		t.Errorf("%d connections, want 5", connections)
	}
	if r.Latency.P50 < 2*time.Millisecond || r.Latency.Max < r.Latency.P999 || r.Elapsed < 2500*time.Millisecond || r.CPU <= 0 {
		t.Errorf("measured %+v", r)
	}
}

// A server that stalls for a second. All 200 requests that were due meanwhile have waited,
// the first for the whole second and each later one for less, though only two connections
// were there to notice: so of 800 the 80 that waited longest did so for 0.6 s and more. How
// much more is up to how fast the machine works off what is overdue.
func TestOpenLoopShowsStall(t *testing.T) {
	t.Parallel()
	const rate, stall = 200, time.Second
	var first sync.Once
	var until time.Time
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first.Do(func() { until = time.Now().Add(stall) })
		time.Sleep(time.Until(until))
		apply(w, r)
	})
	r := mustRun(t.Context(), t, Config{To: to, Connections: 2, Rate: rate, Duration: 4 * time.Second})
	if r.Requests != 4*rate || r.Accepted != r.Requests || r.Unsent != 0 {
		t.Errorf("%d of %d due were sent, %d accepted", r.Requests, 4*rate, r.Accepted)
	}
	l := r.Latency
	if l.Max < stall || l.P999 < stall*95/100 || l.P99 < stall*9/10 || l.P90 < stall/2 ||
		testtag.Timing && (l.P90 > stall*95/100 || l.P50 > stall/2) {
		t.Errorf("the stall doesn't show as it was: %+v", l)
	}
}

// Requests go out when they are due, and not before.
func TestOpenLoopKeepsThePace(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var came []time.Time
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		came = append(came, time.Now())
		mu.Unlock()
		apply(w, r)
	})
	const rate = 100
	mustRun(t.Context(), t, Config{To: to, Connections: 8, Rate: rate, Duration: time.Second})
	for n, at := range came {
		early := time.Duration(n) * time.Second / rate
		if testtag.Timing && at.Sub(came[0]) < early-100*time.Millisecond { // the first itself may have come late
			t.Fatalf("request %d came %v after the first", n, at.Sub(came[0]))
		}
	}
	if len(came) != rate || testtag.Timing && came[rate-1].Sub(came[0]) < 800*time.Millisecond {
		t.Errorf("%d came", len(came))
	}
}

// More is due than the server can do: what found no connection within the grace is said.
func TestUnsent(t *testing.T) {
	t.Parallel()
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(400 * time.Millisecond)
		apply(w, r)
	})
	r := mustRun(t.Context(), t, Config{To: to, Connections: 1, Rate: 100, Duration: time.Second})
	if r.Unsent == 0 || r.Requests+r.Unsent != 100 || r.Requests > 16 {
		t.Errorf("%+v", r)
	}
	if testtag.Timing && r.Elapsed > 2*time.Second+grace {
		t.Errorf("it took %v", r.Elapsed)
	}
}

// An interrupted run waits for the answers under way and tells what it has.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 50} {
		ctx, cancel := context.WithCancel(t.Context())
		to := serve(t, func(w http.ResponseWriter, r *http.Request) {
			cancel()
			time.Sleep(100 * time.Millisecond)
			apply(w, r)
		})
		r := mustRun(ctx, t, Config{To: to, Connections: 3, Rate: rate, Duration: time.Minute})
		if !r.Interrupted || r.Accepted == 0 || r.Accepted != r.Requests || testtag.Timing && r.Elapsed > grace {
			t.Errorf("rate %v: %+v", rate, r)
		}
	}
}

// Who never answers is given up five seconds after the end, also an early one.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	for name, duration := range map[string]time.Duration{"ended": 2 * time.Second, "interrupted": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if name == "interrupted" {
				time.AfterFunc(time.Second, cancel)
			}
			r := mustRun(ctx, t, Config{To: to, Connections: 2, Duration: duration})
			if r.Errors["unanswered"] != 2 || r.Requests != 2 || r.Example != nil {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A connection that is lost is opened again, and the request with it counted as failed; one
// that the server closes in order costs nothing.
func TestReconnects(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 5 {
		case 0:
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return
		case 1:
			w.Header().Set("Connection", "close")
		}
		apply(w, r)
	})
	r := mustRun(t.Context(), t, Config{To: to, Connections: 2, Duration: 2 * time.Second})
	if lost := r.Errors["cut_off"] + r.Errors["reset"]; lost < n.Load()/5-2 || lost > n.Load()/5 || lost != r.Failed || r.Accepted != r.Requests-lost || lost == 0 {
		t.Errorf("the server saw %d: %+v", n.Load(), r)
	}
	if r.Example == nil {
		t.Error("there is no example of an error")
	}
}

// A server that goes away during a run: attempts are counted, and not thousands of them.
func TestGoneServer(t *testing.T) {
	t.Parallel()
	listener := must.Get(net.Listen("tcp", "127.0.0.1:0"))(t)
	to := receiver(t, "http://"+listener.Addr().String())
	var server *http.Server
	var first sync.Once
	server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first.Do(func() { time.AfterFunc(200*time.Millisecond, func() { _ = server.Close() }) })
		apply(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	r := mustRun(t.Context(), t, Config{To: to, Connections: 3, Duration: 1200 * time.Millisecond})
	if r.Errors["refused"] == 0 || r.Errors["refused"] > 40 || r.Accepted == 0 {
		t.Errorf("%+v", r)
	}
	if _, err := Run(t.Context(), Config{To: to, Source: clerk(t), Mix: DefaultMix, Connections: 3, Duration: time.Second}); err == nil {
		t.Error("a run began without a server")
	}
}

// Refusals are counted by outcome, and their latency isn't mixed in.
func TestRefused(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	to := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%2 == 0 {
			time.Sleep(50 * time.Millisecond)
			apply(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, "later", http.StatusServiceUnavailable)
	})
	r := mustRun(t.Context(), t, Config{To: to, Connections: 1, Duration: 2 * time.Second})
	if r.Outcomes["unavailable"] == 0 || r.Refused != r.Outcomes["unavailable"] || r.Latency.P50 < 50*time.Millisecond {
		t.Errorf("%+v", r)
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost": true, "https://127.8.8.8": true,
		"http://[::ffff:127.0.0.1]": true, "http://192.0.2.1": false, "http://[2001:db8::1]:80": false, "http://0.0.0.0:8080": false,
	} {
		if got := receiver(t, base).Local(); got != want {
			t.Errorf("%s: got %v", base, got)
		}
	}
	if allLoopback([]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")}) || allLoopback(nil) {
		t.Error("a name with one address elsewhere counts as local")
	}
}

func TestReadAnswer(t *testing.T) {
	t.Parallel()
	const next = "HTTP/1.1 200 OK\r\nRollcall-Outcome: duplicate\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, text string
		outcome    string
		last       bool
		err        string
	}{
		{"empty", "HTTP/1.1 204 No Content\r\nRollcall-Outcome: applied\r\n\r\n" + next, "applied", false, ""},
		{"any case", "HTTP/1.1 204 No Content\r\nrollcall-outcome:parked\r\n\r\n" + next, "parked", false, ""},
		{"a body", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nRollcall-Outcome: unavailable\r\nContent-Length: 7\r\n\r\n{\"a\":1}" + next, "unavailable", false, ""},
		{"chunked", "HTTP/1.1 200 OK\r\nRollcall-Outcome: ignored\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + next, "ignored", false, ""},
		{"closing", "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\nno", "unavailable", true, ""},
		{"until closed", "HTTP/1.0 502 Bad Gateway\r\n\r\nsorry", "http_502", true, ""},
		{"no promise", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n" + next, "http_503", false, ""},
		{"announced", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nRollcall-Outcome: stale\r\n\r\n" + next, "stale", false, ""},
		{"of a stranger", "HTTP/1.1 200 OK\r\nRollcall-Outcome: won\r\nContent-Length: 0\r\n\r\n" + next, "http_200", false, ""},
		{"with controls", "HTTP/1.1 200 OK\r\nRollcall-Outcome: \x1b[2J\r\nContent-Length: 0\r\n\r\n", "", true, "malformed"},
		{"cut off", "HTTP/1.1 204 No Con", "", true, "cut_off"},
		{"cut off in its body", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 20\r\n\r\nno", "", true, "cut_off"},
		{"cut off in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", "", true, "cut_off"},
		{"nothing", "", "", true, "cut_off"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n", "", true, "malformed"},
		{"a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "", true, "malformed"},
		{"endless", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", answerLimit+10), "http_200", true, ""},
	} {
		reader := bufio.NewReader(strings.NewReader(tt.text))
		a, last, err := readAnswer(reader)
		if kind := errorKindOrNone(err); kind != tt.err || last != tt.last {
			t.Errorf("%s: error %v (%s), last %v", tt.name, err, kind, last)
			continue
		}
		if err == nil && a.name() != tt.outcome {
			t.Errorf("%s: got %s, want %s", tt.name, a.name(), tt.outcome)
		}
		if err != nil || last {
			continue
		}
		if a, _, err = readAnswer(reader); err != nil || a.name() != "duplicate" {
			t.Errorf("%s: the next answer is %v, error %v", tt.name, a, err)
		}
		if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: something is left", tt.name)
		}
	}
}

func errorKindOrNone(err error) string {
	if err == nil {
		return ""
	}
	return errorKind(err)
}
