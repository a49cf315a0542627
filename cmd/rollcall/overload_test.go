package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/source"
	"rollcall/internal/testtag"
)

const (
	crowd       = 10_000
	crowdMemory = 256 << 20 // bytes that are resident at most
)

// rawRequest is one of the requests as bytes, 2 kB of body, and where its body begins.
func rawRequest(t testing.TB, src *source.Source, n int) (request []byte, body int) {
	t.Helper()
	text := clerkUser("user.created", fmt.Sprint("crowd_", n), ann, `"unsafe_metadata":{"bio":"`+strings.Repeat("x", 1600)+`"}`)
	header := must.Get(src.Sign(source.Hook, []byte(text)))(t)
	header.Set("Content-Length", strconv.Itoa(len(text)))
	var b bytes.Buffer
	b.WriteString("POST /webhooks/clerk HTTP/1.1\r\nHost: rollcall\r\nUser-Agent: Svix-Webhooks/1.24\r\n")
	must.Do(t, header.Write(&b))
	b.WriteString("\r\n")
	return append(b.Bytes(), text...), b.Len()
}

// caller is one of the connections.
type caller struct {
	conn    net.Conn
	request []byte
	body    int
}

// half opens the connection and sends the header and half of the body.
func (c *caller) half(address string) (err error) {
	if c.conn, err = net.Dial("tcp", address); err != nil {
		return err
	}
	_, err = c.conn.Write(c.request[:c.body+(len(c.request)-c.body)/2])
	return err
}

// rest sends what is left and reads the answer.
func (c *caller) rest() (reply, error) {
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return reply{}, err
	}
	if _, err := c.conn.Write(c.request[c.body+(len(c.request)-c.body)/2:]); err != nil {
		return reply{}, err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(c.conn, 1<<10), nil)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return reply{response.StatusCode, response.Header.Get("Rollcall-Outcome"), response.Header.Get("Retry-After")}, err
}

// each does something for every caller, some of them at once.
func each(callers []caller, do func(*caller)) {
	next := make(chan *caller)
	var working sync.WaitGroup
	for range 100 {
		working.Go(func() {
			for c := range next {
				do(c)
			}
		})
	}
	for i := range callers {
		next <- &callers[i]
	}
	close(next)
	working.Wait()
}

// resident is how much memory a process has and, where that is known, has had at most.
func resident(t testing.TB, pid int) (now, most int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		text := must.Get(exec.CommandContext(t.Context(), "ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output())(t)
		now, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return now << 10, now << 10
	}
	text := must.Get(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t)
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &now)
		_, _ = fmt.Sscanf(line, "VmHWM: %d kB", &most)
	}
	return now << 10, most << 10
}

// manyFiles lets this process and its children have that many connections.
func manyFiles(t testing.TB) {
	t.Helper()
	var limit syscall.Rlimit
	must.Do(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Max < crowd+500 {
		t.Fatalf("a process may have %d open files here, and %d connections need more; raise the hard limit (ulimit -Hn)", limit.Max, crowd)
	}
	limit.Cur = limit.Max
	must.Do(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// Ten thousand are in the middle of their requests at once: each gets an answer, either that
// its event is applied or when to come again, and the service stays small. It runs before
// the tests that run in parallel, for a body has five seconds to arrive.
func TestCrowd(t *testing.T) {
	manyFiles(t)
	database := pgtest.NewWith(t, shopTables)
	p := startProcess(t, newCLI(t, twoSources+shopTargets, database))
	src := newSource(t, source.Clerk)
	callers := make([]caller, crowd)
	for n := range callers {
		callers[n].request, callers[n].body = rawRequest(t, src, n)
	}
	defer each(callers, func(c *caller) {
		if c.conn != nil {
			_ = c.conn.Close()
		}
	})
	began := time.Now()
	each(callers, func(c *caller) {
		if err := c.half(strings.TrimPrefix(p.public, "http://")); err != nil {
			t.Error(err)
		}
	})
	took := time.Since(began)
	now, _ := resident(t, p.cmd.Process.Pid)
	var mu sync.Mutex
	answers := map[reply]int{}
	each(callers, func(c *caller) {
		answer, err := c.rest()
		if err != nil {
			t.Errorf("no answer: %v", err)
		}
		mu.Lock()
		answers[answer]++
		mu.Unlock()
	})
	_, most := resident(t, p.cmd.Process.Pid)
	t.Logf("%d connections were open after %s, with %d MiB, and answered after %s, with %d MiB at most: %v",
		crowd, took, now>>20, time.Since(began), most>>20, answers)
	applied, later := answers[reply{204, "applied", ""}], answers[reply{503, "unavailable", "1"}]
	if applied+later != crowd || applied == 0 {
		t.Errorf("%d were applied and %d told to come again, want %d together", applied, later, crowd)
	}
	if most > crowdMemory {
		t.Errorf("%d MiB were resident, want %d at most", most>>20, crowdMemory>>20)
	}
	fixture.At(t, database).Want("select count(*) from profiles", strconv.Itoa(applied))
	if got := scrape(t, p.admin)["rollcall_connections_turned_away_total"]; got != float64(later) {
		t.Errorf("the metrics know of %v who were turned away", got)
	}
}

// Beyond limits.queue the answer comes at once: come again, or, for a sign-up, go on.
func TestQueueIsFull(t *testing.T) {
	testtag.Parallel(t)
	const queue, committers, requests = 5, 2, 40
	yaml := strings.Replace(carefulSource, "wait: 3s", fmt.Sprint("wait: 30s, lock_timeout: 30s, statement_timeout: 30s, queue: ", queue), 1)
	in := serveAt(t, yaml+shopTargets, pgtest.NewWith(t, shopTables))
	watcher := fixture.At(t, in.db.Address)
	in.db.Exec("begin; lock table rollcall.events in share mode")
	answers := make(chan heard, requests)
	for n := range requests {
		request := created(t, fmt.Sprint("user_", n), ann)
		go func() { answers <- ask(t, in.public, request) }()
		if n < committers { // each waits with a batch before the queue fills
			watcher.Await("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'", strconv.Itoa(n+1))
		}
	}
	const waiting = committers + queue
	began := time.Now()
	for range requests - waiting {
		if got, want := <-answers, unavailable; got != want {
			t.Errorf("beyond the queue: got %v, want %v", got, want)
		}
	}
	in.expect(announced(t, "supabase", "m1"), accepted("admitted"))
	in.expect(announced(t, "careful", "m1"), unavailable)
	if took := time.Since(began); testtag.Timing && took > 2*time.Second {
		t.Errorf("the answers took %s", took)
	}
	in.db.Exec("rollback")
	for range waiting {
		if got := <-answers; got != accepted("applied") {
			t.Errorf("a waiter got %v", got)
		}
	}
	in.expect(created(t, "user_later", ann), accepted("applied"))
}

// A sender that leaves while its batch is under way takes nothing along: its event is
// applied, and so are the others of the batch.
func TestSenderLeaves(t *testing.T) {
	t.Parallel()
	in := startShop(t)
	in.db.Exec("begin; lock table rollcall.events in share mode")
	const others = 10
	answers := make(chan heard, others)
	src := newSource(t, source.Clerk)
	for n := range others {
		request := created(t, fmt.Sprint("user_", n), ann)
		go func() { answers <- ask(t, in.public, request) }()
		var leaver caller
		leaver.request, _ = rawRequest(t, src, n)
		leaver.body = len(leaver.request) // half of nothing is left out
		must.Do(t, leaver.half(strings.TrimPrefix(in.public, "http://")))
		time.AfterFunc(100*time.Millisecond, func() { _ = leaver.conn.Close() })
	}
	time.Sleep(300 * time.Millisecond)
	in.db.Exec("rollback")
	for range others {
		if got := <-answers; got.outcome != "applied" {
			t.Errorf("one who stayed got %v", got)
		}
	}
	in.log.await(t, "webhook", 2*others)
	for _, line := range in.log.Lines("webhook") {
		if line["outcome"] != "applied" {
			t.Errorf("the log says %v", line)
		}
	}
	in.db.Want("select count(*) from profiles where id like 'crowd_%'", strconv.Itoa(others))
}

// Headers are in memory before a request is verified: a long session token fits,
// and beyond twice that a request is refused.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	in := startServe(t, twoSources, env(nowhere))
	for length, want := range map[int]int{20 << 10: http.StatusOK, 64 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		r := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, in.public+"/healthz", http.NoBody))(t)
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", length))
		if status, _, _ := exchange(t, r); status != want {
			t.Errorf("%d bytes: %d, want %d", length, status, want)
		}
	}
}
