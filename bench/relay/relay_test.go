package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"rollcall/internal/must"
)

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	listener := must.Get((&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// client is a connection through a relay.
type client struct {
	net.Conn
	*bufio.Reader
	t *testing.T
}

func connect(t *testing.T, r *Relay) *client {
	t.Helper()
	conn := must.Get((&net.Dialer{}).DialContext(t.Context(), "tcp", r.Address()))(t)
	t.Cleanup(func() { _ = conn.Close() })
	return &client{conn, bufio.NewReader(conn), t}
}

// say sends a line.
func (c *client) say(line string) { must.Get(io.WriteString(c.Conn, line+"\n"))(c.t) }

// hears waits for a line.
func (c *client) hears(line string) {
	c.t.Helper()
	must.Do(c.t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	must.Equal(c.t, must.Get(c.ReadString('\n'))(c.t), line+"\n", "the answer")
}

func start(t *testing.T, delay time.Duration) *Relay {
	t.Helper()
	r := must.Get(Start(echo(t), delay))(t)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// What is sent arrives after the delay of its direction, and what follows does not wait for an answer.
func TestDelay(t *testing.T) {
	t.Parallel()
	const delay = 100 * time.Millisecond
	c := connect(t, start(t, delay))
	began := time.Now()
	for range 20 {
		c.say("one")
	}
	for range 20 {
		c.hears("one")
	}
	took := time.Since(began)
	if took < 2*delay || took > 20*delay {
		t.Errorf("20 lines take %s there and back, want about %s", took, 2*delay)
	}
}

// All bytes arrive, in order.
func TestLargeAmounts(t *testing.T) {
	t.Parallel()
	c := connect(t, start(t, time.Millisecond))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() { _, _ = c.Conn.Write(sent) }()
	got := make([]byte, len(sent))
	must.Do(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	must.Get(io.ReadFull(c.Reader, got))(t)
	must.True(t, bytes.Equal(got, sent), "the bytes differ")
}

// A cut is silence for connections of before and for new ones; when it is mended, all arrives.
func TestCut(t *testing.T) {
	t.Parallel()
	r := start(t, 0)
	before := connect(t, r)
	before.say("zero")
	before.hears("zero")
	r.Cut()
	during := connect(t, r)
	for _, c := range []*client{before, during} {
		c.say("one")
		must.Do(t, c.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		if _, err := c.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("during a cut: %v", err)
		}
	}
	r.Mend()
	before.hears("one")
	during.hears("one")
}

// A connection ends for both ends when one of them ends it, or the relay.
func TestEnds(t *testing.T) {
	t.Parallel()
	r := start(t, 0)
	c := connect(t, r)
	c.say("zero")
	c.hears("zero")
	must.Do(t, r.Close())
	must.Do(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	if _, err := c.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the end of the relay: %v", err)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.Address()); err == nil {
		_ = conn.Close()
		t.Error("it still takes connections")
	}
}
