package api

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/event"
)

// connectionLimit bounds the connections of a server. Those beyond are told to come again, at a tenth
// of the memory; no connection waits unseen, and none is reset.
type connectionLimit struct {
	net.Listener
	api    *Server
	server *http.Server
	open   atomic.Int64
	full   atomic.Bool
}

// Bound returns a listener for a server that serves Config.Connections of its connections at
// once and turns those beyond away.
func (s *Server) Bound(server *http.Server, l net.Listener) net.Listener {
	c := &connectionLimit{Listener: l, api: s, server: server}
	server.ConnState = c.changed
	return c
}

func (c *connectionLimit) changed(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.open.Add(1)
	case http.StateClosed:
		if c.open.Add(-1) <= c.api.config().Limits.Connections/2 && c.full.CompareAndSwap(true, false) {
			c.server.SetKeepAlivesEnabled(true)
			c.api.config().Log.Info("fewer connections than the limit again")
		}
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// Accept returns the next connection that is served.
func (c *connectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil || c.open.Load() < c.api.config().Limits.Connections {
			return conn, err
		}
		if c.full.CompareAndSwap(false, true) {
			c.server.SetKeepAlivesEnabled(false) // those that only might be used again make room
			c.api.config().Log.Error("too many connections; further ones are answered 503", "connections", c.api.config().Limits.Connections)
		}
		c.api.metrics.turnedAway.Inc()
		go turnAway(conn)
	}
}

// turnedAway is the answer to event.Unavailable, ready to be sent.
var turnedAway = func() string {
	r := replies[event.Unavailable]
	body := fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`+"\n", event.Unavailable, r.message)
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nRetry-After: %s\r\n%s: %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", r.status, http.StatusText(r.status), retryAfter, OutcomeHeader, event.Unavailable, len(body), body)
}()

// turnAway answers a request unread, and takes what is still to come: closing before that
// would reset the connection, and the sender might never see the answer.
func turnAway(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 512)
	// Without a request no client waits for an answer.
	if conn.SetDeadline(time.Now().Add(defaultBodyTimeout)) != nil || !reads(conn, buffer) {
		return
	}
	if _, err := io.WriteString(conn, turnedAway); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	for reads(conn, buffer) {
	}
}

func reads(conn net.Conn, buffer []byte) bool {
	_, err := conn.Read(buffer)
	return err == nil
}

// errBodies: a signature can be checked only after the last byte of a body, so the memory of all
// bodies is bounded. Half of it is divided among the connections (8 KiB each by default; providers
// send 1 to 4 KiB), so unverified bodies can't keep a provider's out. What a body takes beyond its part
// comes from the other half.
var errBodies = errors.New("the bodies of all requests take too much memory together")

// metered is a body that is counted from its first byte until its request is answered.
type metered struct {
	server *Server
	from   io.Reader
	text   []byte
	taken  int64
}

// read takes a body of bounded size; the router has bounded its time.
func (m *metered) read(w http.ResponseWriter, r *http.Request) error {
	limit := m.server.config().Limits.Body
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit} // without waiting for it
	}
	var err error
	m.from = http.MaxBytesReader(w, r.Body, limit)
	if n := r.ContentLength; 0 <= n && n <= m.server.ownBody() {
		m.text = make([]byte, n) // io.ReadAll begins with 512 bytes, and copies at each step
		_, err = io.ReadFull(m, m.text)
	} else { // it is not to take room that a sender announces and does not fill
		m.text, err = io.ReadAll(m)
	}
	if err != nil {
		return err
	}
	// The deadline would otherwise cut the connection while the answer is waited for.
	return http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	before := m.shared()
	m.taken += int64(n)
	if now := m.shared(); now > before && m.server.bodies.Add(now-before) > m.server.sharedBodies() {
		return n, errBodies
	}
	return n, err
}

// shared is what the body takes beyond its own part.
func (m *metered) shared() int64 { return max(0, m.taken-m.server.ownBody()) }

func (m *metered) release() { m.server.bodies.Add(-m.shared()) }

// ownBody is the part of the budget that each connection has to itself.
func (s *Server) ownBody() int64 { return s.config().Limits.Bodies / 2 / s.config().Limits.Connections }

// sharedBodies is the rest of the budget.
func (s *Server) sharedBodies() int64 {
	return s.config().Limits.Bodies - s.ownBody()*s.config().Limits.Connections
}

const (
	// linesTime and linesOfAKind bound the lines about requests without a valid signature: any host
	// can send tens of thousands a second. The metrics count them all.
	linesTime    = 10 * time.Second
	linesOfAKind = 20
)

// limitedLog bounds the lines of each kind and says in one line how many were left out.
type limitedLog struct {
	log   *slog.Logger
	mu    sync.Mutex
	lines map[string]int // of each kind since the first of linesTime
}

func newLimitedLog(log *slog.Logger) *limitedLog {
	return &limitedLog{log: log, lines: map[string]int{}}
}

// allow counts a line and reports whether it is to be written. The kinds are few.
func (l *limitedLog) allow(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines[kind] == 0 {
		time.AfterFunc(linesTime, func() { l.sum(kind) })
	}
	l.lines[kind]++
	return l.lines[kind] <= linesOfAKind
}

func (l *limitedLog) sum(kind string) {
	l.mu.Lock()
	n := l.lines[kind]
	delete(l.lines, kind)
	l.mu.Unlock()
	if n > linesOfAKind {
		l.log.Warn("lines of one kind were left out", "kind", kind, "lines", n-linesOfAKind, "seconds", linesTime.Seconds())
	}
}
