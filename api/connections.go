package api

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"rollcall/internal/event"
)

// connectionLimit bounds the connections of a server. Those beyond are told to come again, at a tenth
// of the memory; nobody waits unseen, and nobody's connection is reset.
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
		if c.open.Add(-1) <= c.api.config.Limits.Connections/2 && c.full.CompareAndSwap(true, false) {
			c.server.SetKeepAlivesEnabled(true)
			c.api.config.Log.Info("the connections are few enough again")
		}
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// Accept returns the next connection that is served.
func (c *connectionLimit) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil || c.open.Load() < c.api.config.Limits.Connections {
			return conn, err
		}
		if c.full.CompareAndSwap(false, true) {
			c.server.SetKeepAlivesEnabled(false) // those that only might be used again make room
			c.api.config.Log.Error("too many connections; those beyond get 503 and are told to come again", "connections", c.api.config.Limits.Connections)
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
	// An answer before the request began would be nobody's.
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
