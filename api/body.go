package api

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// errBodies: a sender of bodies needs no signature until the last byte has come, so what all
// of them take together is bounded.
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
	limit := m.server.config.BodyLimit
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
	m.taken += int64(n)
	if m.server.bodies.Add(int64(n)) > m.server.config.Bodies {
		return n, errBodies
	}
	return n, err
}

func (m *metered) release() { m.server.bodies.Add(-m.taken) }
