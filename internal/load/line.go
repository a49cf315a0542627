package load

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"
)

// line is a connection that is opened again whenever it was lost.
type line struct {
	to     Receiver
	reader *bufio.Reader
	used   time.Time // when the last answer came

	mu     sync.Mutex // guards conn and closed: the end of a run closes it from elsewhere
	conn   net.Conn
	closed bool
}

const (
	// idle is how long a connection may lie unused before another is opened: serve closes
	// those that were idle for two minutes, proxies often after one.
	idle = 30 * time.Second
	// answerLimit is what is read of an answer; Supabase takes 200 KiB.
	answerLimit = 1 << 20
)

// openLines opens all connections, so that the first requests don't wait for theirs.
func openLines(ctx context.Context, cfg Config) ([]*line, error) {
	lines := make([]*line, cfg.Connections)
	for n := range lines {
		l := &line{to: cfg.To}
		if err := l.open(ctx); err != nil {
			for _, opened := range lines[:n] {
				opened.close()
			}
			return nil, fmt.Errorf("open connection %d of %d: %w", n+1, cfg.Connections, err)
		}
		lines[n] = l
	}
	return lines, nil
}

// open makes sure that the connection is there.
func (l *line) open(ctx context.Context) error {
	if l.isOpen() {
		if time.Since(l.used) < idle {
			return nil
		}
		l.drop()
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := l.to.dial(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close() // the run has ended meanwhile
		return net.ErrClosed
	}
	l.conn, l.used = conn, time.Now()
	if l.reader == nil {
		l.reader = bufio.NewReaderSize(conn, 2<<10)
	}
	l.reader.Reset(conn)
	return nil
}

func (l *line) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// drop closes the connection; the next request opens another.
func (l *line) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close() // nothing is left to be sent
		l.conn = nil
	}
}

// close ends the line for good.
func (l *line) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drop()
}

// exchange writes a request and reads its answer. After an error, or an answer that says
// so, the connection is closed.
func (l *line) exchange(raw []byte) (answer, error) {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if conn == nil {
		return answer{}, net.ErrClosed
	}
	a, last, err := converse(conn, l.reader, raw)
	if err != nil || last {
		l.drop()
	}
	l.used = time.Now()
	return a, err
}

// converse reports with the answer whether it is the last on this connection. A server may
// answer before it has read everything and close: its answer counts, not the failed write.
func converse(conn net.Conn, from *bufio.Reader, raw []byte) (a answer, last bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return answer{}, true, err
	}
	_, unsent := conn.Write(raw)
	a, last, err = readAnswer(from)
	if err != nil {
		return answer{}, true, cmp.Or(unsent, err)
	}
	return a, last || unsent != nil, nil
}

// errMalformed is for what is no HTTP.
var errMalformed = errors.New("the answer is malformed")

// readAnswer reads an answer to its end.
func readAnswer(from *bufio.Reader) (a answer, last bool, err error) {
	for {
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			return answer{}, true, malformed(err)
		}
		if response.StatusCode < http.StatusOK && response.StatusCode != http.StatusSwitchingProtocols {
			continue // 100 Continue and its like announce the answer
		}
		n, err := io.Copy(io.Discard, io.LimitReader(response.Body, answerLimit))
		_ = response.Body.Close() // read to its end, or not worth it
		if err != nil {
			return answer{}, true, malformed(err)
		}
		return outcomeOf(response), response.Close || n == answerLimit, nil
	}
}

// malformed tells a broken answer from a broken connection.
func malformed(err error) error {
	var broken net.Error
	if errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("%w: %w", errMalformed, err)
}

// dial connects to the first address that answers.
func (r Receiver) dial(ctx context.Context) (net.Conn, error) {
	var errs []error
	for _, address := range r.addresses {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if r.url.Scheme != "https" {
			return conn, nil
		}
		secure := tls.Client(conn, &tls.Config{ServerName: r.url.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // it is of no use
			errs = append(errs, err)
			continue
		}
		return secure, nil
	}
	return nil, errors.Join(errs...)
}

// Receiver is the installation that requests go to.
type Receiver struct {
	url       *url.URL
	addresses []string // host:port, looked up once
	local     bool
}

// Resolve finds the addresses behind a base URL, http or https.
func Resolve(ctx context.Context, base string) (Receiver, error) {
	u, err := url.Parse(base)
	if err != nil {
		return Receiver{}, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return Receiver{}, fmt.Errorf("find the host of %s: %w", base, err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	r := Receiver{url: u, local: allLoopback(found)}
	for _, address := range found {
		r.addresses = append(r.addresses, net.JoinHostPort(address.Unmap().String(), port))
	}
	return r, nil
}

// Local reports whether every address is one of this machine's loopback. Requests go to
// those addresses, whatever the name means later.
func (r Receiver) Local() bool { return r.local }

func allLoopback(found []netip.Addr) bool {
	return len(found) > 0 && !slices.ContainsFunc(found, func(a netip.Addr) bool { return !a.IsLoopback() })
}
