package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	svix "github.com/svix/svix-webhooks/go"
)

const (
	// attemptTime bounds an attempt, from the look-up of the name to the status.
	attemptTime = 15 * time.Second
	// maxAnswer is what is read of an answer, in bytes, and answerTime for how long: only so that the connection can
	// be used again.
	maxAnswer  = 64 << 10
	answerTime = time.Second
	// maxPause bounds what Retry-After may ask for.
	maxPause    = 10 * time.Hour
	idleTimeout = 30 * time.Second
)

// errNotPublic means that a name leads to an address of a private network. Package survey knows it by its words.
var errNotPublic = errors.New("the address is not public; if it is meant, set allow_private: true")

// endpoint is where requests are sent to.
type endpoint struct {
	url    string
	keys   []*svix.Webhook
	client *http.Client
	time   time.Duration // attemptTime
}

func newEndpoint(cfg Config) (*endpoint, error) {
	e := &endpoint{url: cfg.URL, time: attemptTime}
	for i, secret := range cfg.Secrets {
		key, err := svix.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("notification %s: secret %d is none", cfg.Name, i+1) // the error may hold a part of it
		}
		e.keys = append(e.keys, key)
	}
	dialer := &net.Dialer{Timeout: attemptTime, Resolver: cfg.resolver}
	if !cfg.AllowPrivate {
		dialer.Control = publicOnly
	}
	e.client = &http.Client{
		Transport: &http.Transport{ // no proxy: it would be the one that connects
			DialContext: dialer.DialContext, TLSHandshakeTimeout: attemptTime, ResponseHeaderTimeout: attemptTime,
			MaxResponseHeaderBytes: maxAnswer, MaxIdleConnsPerHost: atOnce, IdleConnTimeout: idleTimeout, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

// publicOnly refuses to connect to an address that is not public. It is asked with the very address that is connected
// to, so that a name which leads elsewhere a moment later gains nothing.
func publicOnly(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(to.Addr()) {
		return errNotPublic
	}
	return nil
}

// special are the networks of IANA's registries of special-purpose addresses that isPublic does not tell otherwise.
// Some hold an address of IPv4, which may be any.
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

// global are the addresses of IPv6 that are given out.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !global.Contains(a) {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// attempt sends a message once.
func (e *endpoint) attempt(ctx context.Context, id string, content []byte) attempt {
	ctx, cancel := context.WithTimeout(ctx, e.time)
	defer cancel()
	request, err := e.request(ctx, id, content)
	if err != nil {
		return attempt{err: err}
	}
	answer, err := e.client.Do(request) // publicOnly bounds where the URL leads
	if err != nil {
		return attempt{err: e.inWords(ctx, err)}
	}
	end := time.AfterFunc(answerTime, cancel)
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	end.Stop()
	_ = answer.Body.Close()
	a := attempt{status: answer.StatusCode}
	if a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable {
		a.after = retryAfter(answer.Header.Get("Retry-After"), time.Now())
		a.pause = a.after
	}
	return a
}

// request is a message with its signatures, one of each secret.
func (e *endpoint) request(ctx context.Context, id string, content []byte) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(content))
	if err != nil {
		return nil, errors.New("the URL can't be used")
	}
	now := time.Now()
	var signatures []string
	for _, key := range e.keys {
		signature, err := key.Sign(id, now, content)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		signatures = append(signatures, signature)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Rollcall")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	return request, nil
}

// inWords is an error without the URL, which may hold a key.
func (e *endpoint) inWords(ctx context.Context, err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	switch {
	case errors.Is(err, errNotPublic):
		return errNotPublic
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s", e.time)
	}
	words := receiversWords.ReplaceAllString(err.Error(), `"…"`)
	return errors.New(strings.ToValidUTF8(words[:min(len(words), maxWords)], ""))
}

// receiversWords are those that Go quotes of an answer. A receiver may repeat in them what it was sent.
var receiversWords = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// maxWords is how much of an error is kept, in bytes.
const maxWords = 300

// retryAfter reads the header: seconds, or a moment.
func retryAfter(value string, now time.Time) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = at.Sub(now)
	}
	return min(max(after, 0), maxPause)
}
