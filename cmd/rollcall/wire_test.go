package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/fixture"
	"rollcall/internal/must"
	"rollcall/internal/pgtest"
	"rollcall/internal/postgres"
	"rollcall/internal/source"
)

// fault is what becomes of a batch's commit on its way.
type fault int32

const (
	passOn     fault = iota
	cutBefore        // the server never sees the commit
	holdBefore       // the same, and the connection stays open in silence
	cutAfter         // the server has committed, and its answer is lost with the connection
	holdAfter        // the same, and the connection stays open in silence
)

// wire stands between serve and PostgreSQL, reads along, and harms the commits of batches.
// Other transactions, such as those of jobs, pass.
type wire struct {
	server   string
	listener net.Listener
	held     chan struct{} // gets one for each message that is held back
	over     chan struct{} // closed when the wire is mended: what is held ends
	trips    atomic.Int64  // how often the server was ready for the next query

	frozen sync.RWMutex // held for good by freeze

	mu    sync.Mutex
	fault fault
	times int
	ended bool
}

// startWire returns the wire and the database's URL through it.
func startWire(t testing.TB, database string) (*wire, string) {
	t.Helper()
	u := must.Get(url.Parse(database))(t)
	w := &wire{server: u.Host, held: make(chan struct{}, 100), over: make(chan struct{})}
	w.listener = must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { w.mend(); _ = w.listener.Close() })
	go w.accept()
	u.Host = w.listener.Addr().String()
	return w, u.String()
}

// harm has a fault befall the next commits of batches.
func (w *wire) harm(f fault, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.times = f, times
}

// freeze lets nothing pass from now on and closes nothing, as a network that drops packets.
func (w *wire) freeze() { w.frozen.Lock() }

// mend ends all harm, and cuts the connections that are held.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.times = 0
	if !w.ended {
		w.ended = true
		close(w.over)
	}
}

// left is how many commits are still to be harmed.
func (w *wire) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.times
}

func (w *wire) take() fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.times == 0 {
		return passOn
	}
	w.times--
	return w.fault
}

// hold keeps both ends waiting until the wire is mended.
func (w *wire) hold() {
	w.held <- struct{}{}
	<-w.over
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return // the test is over
		}
		go w.join(client)
	}
}

// join carries one connection until one of its ends is closed.
func (w *wire) join(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	l := &link{wire: w, client: client, server: server, statements: map[string]string{}}
	go func() {
		l.toServer()
		_ = server.Close() // ends the other direction
	}()
	l.toClient()
}

// link is one connection through the wire.
type link struct {
	*wire
	client, server net.Conn
	statements     map[string]string // the prepared, by name
	batch          bool              // the transaction under way has recorded events
	lost           atomic.Int32      // the fault of its commit's answer
}

// toServer ends when the client leaves, or at a commit that must not arrive.
func (l *link) toServer() {
	if l.startup() != nil {
		return
	}
	for {
		kind, body, err := l.read(l.client)
		if err != nil {
			return
		}
		switch text := l.statement(kind, body); {
		case strings.Contains(text, "insert into rollcall.events"):
			l.batch = true
		case text == "rollback":
			l.batch = false
		case text == "commit" && l.batch:
			l.batch = false
			f := l.take()
			if f == holdBefore {
				l.hold()
			}
			if f == cutBefore || f == holdBefore {
				return
			}
			l.lost.Store(int32(f))
		}
		if writeMessage(l.server, kind, body) != nil {
			return
		}
	}
}

// startup passes the first message on, the only one without a kind.
func (l *link) startup() error {
	size := make([]byte, 4)
	if _, err := io.ReadFull(l.client, size); err != nil {
		return err
	}
	if _, err := l.server.Write(size); err != nil {
		return err
	}
	_, err := io.CopyN(l.server, l.client, int64(binary.BigEndian.Uint32(size))-4)
	return err
}

// statement is what a message has executed; empty for one that executes nothing.
func (l *link) statement(kind byte, body []byte) string {
	parts := bytes.SplitN(body, []byte{0}, 3)
	switch kind {
	case 'P':
		l.statements[string(parts[0])] = string(parts[1])
	case 'B':
		return l.statements[string(parts[1])]
	case 'Q':
		return string(parts[0])
	}
	return ""
}

// toClient ends when the server leaves, or at the answer that must not arrive.
func (l *link) toClient() {
	for {
		kind, body, err := l.read(l.server)
		if err != nil {
			return
		}
		switch kind {
		case 'Z': // ready for the next query
			l.trips.Add(1)
		case 'I': // an empty one: the pool's ping of a connection that was idle for a second
			l.trips.Add(-1)
		}
		if kind == 'C' && string(body) == "COMMIT\x00" {
			f := fault(l.lost.Load())
			if f == holdAfter {
				l.hold()
			}
			if f != passOn {
				return
			}
		}
		if writeMessage(l.client, kind, body) != nil {
			return
		}
	}
}

// read reads a message, or that there are no more. On a frozen wire neither gets any further.
func (l *link) read(from io.Reader) (kind byte, body []byte, err error) {
	kind, body, err = readMessage(from)
	l.frozen.RLock()
	defer l.frozen.RUnlock()
	return kind, body, err
}

func readMessage(from io.Reader) (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(from, body)
	return head[0], body, err
}

func writeMessage(to io.Writer, kind byte, body []byte) error {
	message := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body))+4)
	_, err := to.Write(append(message, body...))
	return err
}

// A batch is one round trip to the database, whatever the number of targets; one with a duplicate, whose
// user is settled again, is two.
func TestRoundTripsOfABatch(t *testing.T) {
	t.Parallel()
	for targets := range 3 {
		t.Run(fmt.Sprint(targets), func(t *testing.T) {
			t.Parallel()
			cable, url := startWire(t, pgtest.NewWith(t, "create table a (id text primary key, email text, name text, role text); create table b (like a including all)"))
			cfg := postgres.Config{URL: url, Log: slog.New(slog.DiscardHandler)}
			for _, name := range []string{"a", "b"}[:targets] {
				one := fixture.Target(source.Clerk)
				one.Name, one.Table = name, "public."+name
				cfg.Targets = append(cfg.Targets, one)
			}
			db := must.Get(postgres.Open(cfg))(t)
			t.Cleanup(db.Close)
			must.Get(db.Migrate(t.Context()))(t)
			if found := must.Get(db.Targets().Check(t.Context()))(t); len(found) > 0 {
				t.Fatal(found)
			}
			said := func(id string, version int64) event.Event {
				u := &event.User{Row: event.Row{Source: source.Clerk, ID: "user_" + id, Version: version}, RawUserMetaData: "{}", RawAppMetaData: "{}"}
				return event.Event{Source: source.Clerk, ID: fmt.Sprint(id, version), Type: "user.updated", Op: event.Upsert, UserID: u.ID, User: u, ReceivedAt: time.Now()}
			}
			trips := func(events ...event.Event) int64 {
				before := cable.trips.Load()
				must.Get(db.Roll().Apply(t.Context(), events))(t)
				return cable.trips.Load() - before
			}
			deleted := func(id string, version int64) event.Event {
				e := said(id, version)
				e.Op, e.User.DeletedAt = event.Delete, new(time.Now())
				return e
			}
			trips(said("warm", 1)) // its statements are prepared now, also those of a duplicate and of a deletion
			trips(said("warm", 1))
			trips(deleted("warm", 2))
			if n := trips(said("a", 1)); n != 1 {
				t.Errorf("a user who is new takes %d round trips, want 1", n)
			}
			if n := trips(said("a", 2), said("b", 1), said("c", 1)); n != 1 {
				t.Errorf("three users take %d round trips, want 1", n)
			}
			if n := trips(said("a", 3), deleted("b", 2)); n != 1 {
				t.Errorf("a batch with a deletion takes %d round trips, want 1", n)
			}
			if n := trips(said("d", 1), said("a", 2)); n != 2 {
				t.Errorf("a batch with a duplicate takes %d round trips, want 2", n)
			}
		})
	}
}

// An ignored event needs no round trip: it is answered while nothing passes to the database. Anything else
// waits.
func TestIgnoredWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	cable, url := startWire(t, pgtest.New(t))
	in := startServe(t, twoSources, env(url))
	in.log.await(t, "ready", 1)
	cable.freeze()
	for _, kind := range []string{"session.created", "waitlistEntry.created", "email.created"} {
		in.expect(signed(t, source.Clerk, source.Hook, clerkUser(kind, "user_1")), accepted("ignored"))
	}
	in.expect(created(t, "user_1"), unavailable)
	cable.frozen.Unlock()
}
