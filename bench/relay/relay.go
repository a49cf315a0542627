// Package relay stands between a client and a server, and puts a distance between them. It may be cut,
// as a network is:
//
//	r, err := relay.Start("127.0.0.1:5432", 500*time.Microsecond)
//	defer r.Close()
//	connect(r.Address())
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"rollcall/internal/precise"
)

// Relay carries TCP connections to one server. What is sent arrives a delay later, in the order in which
// it was sent, however much is under way.
type Relay struct {
	server   string
	delay    time.Duration
	listener net.Listener

	mu    sync.Mutex
	open  *sync.Cond // nothing passes while cut
	cut   bool
	ended bool
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

// Database starts a relay before the server of a database's URL, and returns the URL that leads through it.
func Database(address string, delay time.Duration) (*Relay, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", fmt.Errorf("read the database's URL: %w", err)
	}
	r, err := Start(u.Host, delay)
	if err != nil {
		return nil, "", err
	}
	u.Host = r.Address()
	return r, u.String(), nil
}

// Start listens on a free port of 127.0.0.1. The delay holds for each direction.
func Start(server string, delay time.Duration) (*Relay, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	r := &Relay{server: server, delay: delay, listener: listener, conns: map[net.Conn]bool{}}
	r.open = sync.NewCond(&r.mu)
	r.all.Go(r.accept)
	return r, nil
}

// Address is the host and port to connect to.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Cut lets nothing pass in either direction, and tells neither end, until Mend.
func (r *Relay) Cut() { r.set(func() { r.cut = true }) }

// Mend ends a cut. What was sent meanwhile arrives.
func (r *Relay) Mend() { r.set(func() { r.cut = false }) }

// Close ends all connections, and waits until nothing of them is left.
func (r *Relay) Close() error {
	err := r.listener.Close()
	r.set(func() {
		r.ended = true
		for c := range r.conns {
			_ = c.Close()
		}
	})
	r.all.Wait()
	return err
}

func (r *Relay) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.open.Broadcast()
}

// pass waits while the relay is cut; false when it has been closed.
func (r *Relay) pass() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.cut && !r.ended {
		r.open.Wait()
	}
	return !r.ended
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		r.all.Go(func() { r.join(client) })
	}
}

// join carries one connection until one of its ends is closed.
func (r *Relay) join(client net.Conn) {
	defer r.leave(client)
	if !r.keep(client) || !r.pass() {
		return
	}
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", r.server)
	if err != nil {
		return
	}
	defer r.leave(server)
	if !r.keep(server) {
		return
	}
	var both sync.WaitGroup
	for _, d := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			r.carry(d[0], d[1])
			_ = d[0].Close()
			_ = d[1].Close()
		})
	}
	both.Wait()
}

// keep notes a connection that Close is to end; false when that has happened.
func (r *Relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
	return !r.ended
}

func (r *Relay) leave(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

// parcel is what was read at once, and when it arrives.
type parcel struct {
	due   time.Time
	bytes []byte
}

// carry takes what one end sends to the other.
func (r *Relay) carry(from, to net.Conn) {
	parcels := make(chan parcel, 1024)
	var delivering sync.WaitGroup
	delivering.Go(func() {
		for p := range parcels {
			if wait := time.Until(p.due); wait > 0 {
				precise.Sleep(wait)
			}
			if !r.pass() {
				break
			}
			if _, err := to.Write(p.bytes); err != nil {
				break
			}
		}
		_ = from.Close() // the reader stops
		for range parcels {
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			parcels <- parcel{time.Now().Add(r.delay), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			break
		}
	}
	close(parcels)
	delivering.Wait()
}
