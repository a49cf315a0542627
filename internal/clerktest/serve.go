package clerktest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Address is a base for a client that Client made; nothing listens there.
const Address = "https://api.clerk.test/v1"

// answer is a response before it is sent.
type answer struct {
	status     int
	body       []byte
	retryAfter int // seconds
	cut        bool
}

// problem is an answer in the form of Clerk's errors.
func problem(status int, code string) answer {
	return answer{status: status, body: encode(object{
		"errors":         []object{{"code": code, "message": strings.ReplaceAll(code, "_", " "), "long_message": "made up"}},
		"clerk_trace_id": "made_up",
	})}
}

// ServeHTTP is the API on a server.
func (c *Clerk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := memory{c}.RoundTrip(r)
	if err != nil {
		return // the client has left
	}
	defer func() { _ = a.Body.Close() }()
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.StatusCode)
	if _, err := io.Copy(w, a.Body); err != nil {
		// what has not gone out yet would be thrown away, and the client would ask again
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// memory is the API without a network, for tests with a clock of their own.
type memory struct{ clerk *Clerk }

// Client speaks to the API in memory, whatever the host; see Address.
func (c *Clerk) Client() *http.Client { return &http.Client{Transport: memory{c}} }

// RoundTrip answers at once, or when the delay is over.
func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	a, ok := m.clerk.answer(r)
	if !ok {
		return nil, cmp.Or(r.Context().Err(), context.Canceled)
	}
	var body io.Reader = bytes.NewReader(a.body)
	if a.cut {
		body = io.MultiReader(bytes.NewReader(a.body[:len(a.body)/2]), broken{})
	}
	header := http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(a.body))}}
	if a.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(body), ContentLength: int64(len(a.body)), Request: r,
	}, nil
}

// broken is a connection that was cut.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// answer logs a request and answers it; false when the client has left before.
func (c *Clerk) answer(r *http.Request) (answer, bool) {
	kind, id := route(r)
	at := c.note(Request{Kind: kind, ID: id, Query: r.URL.Query(), Header: r.Header.Clone(), At: time.Now()})
	if !c.wait(r) {
		return answer{}, false
	}
	a, failed := c.refuse(r, kind)
	if !failed {
		a = c.serve(kind, id, r.URL.Query())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knobs.cutNext > 0 {
		c.knobs.cutNext--
		a.cut = true
	}
	if at < len(c.log) {
		c.log[at].Status = a.status
	}
	return a, true
}

func (c *Clerk) note(r Request) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, r)
	return len(c.log) - 1
}

// wait delays an answer; false when the client, or the test, is over.
func (c *Clerk) wait(r *http.Request) bool {
	c.mu.Lock()
	delay := c.knobs.delay
	c.mu.Unlock()
	if delay <= 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-c.done:
	}
	return false
}

// routes are the paths below /v1, in which * stands for an id.
var routes = map[string]Kind{
	"users": List, "users/count": Count, "users/*": Single, "users/*/organization_memberships": MembershipsOfUser,
	"organizations": Organizations, "organizations/*": SingleOrganization, "organizations/*/memberships": MembershipsOf,
	"organization_memberships": Memberships,
}

// route tells requests apart by their path, as it was sent.
func route(r *http.Request) (Kind, string) {
	path, found := strings.CutPrefix(r.URL.EscapedPath(), "/v1/")
	if !found || r.Method != http.MethodGet {
		return Other, ""
	}
	if kind, found := routes[path]; found {
		return kind, ""
	}
	parts := strings.Split(path, "/")
	if len(parts) < 2 {
		return Other, ""
	}
	id, err := url.PathUnescape(parts[1])
	parts[1] = "*"
	kind, found := routes[strings.Join(parts, "/")]
	if !found || err != nil || id == "" {
		return Other, ""
	}
	return kind, id
}

// refuse is what happens to a request before anything is looked for.
func (c *Clerk) refuse(r *http.Request, kind Kind) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.knobs
	k.seen++
	if r.Header.Get("Authorization") != "Bearer "+k.key {
		return problem(http.StatusUnauthorized, "authentication_invalid"), true
	}
	if wait := c.overLimit(time.Now()); wait > 0 {
		a := problem(http.StatusTooManyRequests, "too_many_requests")
		a.retryAfter = wait
		return a, true
	}
	if k.disabled && slices.Contains([]Kind{Organizations, SingleOrganization, Memberships, MembershipsOf, MembershipsOfUser}, kind) {
		return problem(http.StatusForbidden, "organization_not_enabled_in_instance"), true
	}
	fails := k.failNext > 0
	if fails {
		k.failNext--
	} else {
		fails = k.failEvery > 0 && k.seen%k.failEvery == 0
	}
	return problem(k.failStatus, "made_up_failure"), fails
}

// overLimit counts a request; it returns the seconds to wait when it is one too many.
func (c *Clerk) overLimit(now time.Time) int {
	if c.knobs.limit <= 0 {
		return 0
	}
	for len(c.recent) > 0 && now.Sub(c.recent[0]) >= c.knobs.window {
		c.recent = c.recent[1:]
	}
	if len(c.recent) >= c.knobs.limit {
		left := c.knobs.window - now.Sub(c.recent[0])
		return int((left + time.Second - 1) / time.Second)
	}
	c.recent = append(c.recent, now)
	return 0
}
