package api

import (
	"errors"
	"io"
	"net/http"
	"time"
)

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
	limit := m.server.config.Limits.Body
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit} // without waiting for it
	}
	var err error
	m.from = http.MaxBytesReader(w, r.Body, limit)
	if m.text, err = io.ReadAll(m); err != nil {
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
func (s *Server) ownBody() int64 { return s.config.Limits.Bodies / 2 / s.config.Limits.Connections }

// sharedBodies is the rest of the budget.
func (s *Server) sharedBodies() int64 {
	return s.config.Limits.Bodies - s.ownBody()*s.config.Limits.Connections
}
