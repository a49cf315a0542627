// Package clerktest is a stand-in for Clerk's Backend API, for tests. It keeps users,
// serves them as Clerk does (GET /v1/users, /v1/users/count, /v1/users/{id}), writes the
// webhooks that speak of them, and fails in the ways in which a real one may fail. It
// imports nothing of Rollcall, so that no mistake can stand on both sides.
//
// Everything here is safe for concurrent use, and every knob may be turned at any time.
package clerktest

import (
	"cmp"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// instances counts the stand-ins of a process: no two share a user id.
var instances atomic.Int64

// Clerk is one instance: its users, its key, its API.
type Clerk struct {
	t        testing.TB
	number   int64
	instance string
	done     chan struct{} // closed when the test ends
	start    sync.Once
	server   *httptest.Server

	mu     sync.Mutex
	users  map[string]*record
	order  []*record // by (created_at, id); who is deleted stays while there is a lag
	made   int64     // how many ids were made
	knobs  knobs
	log    []Request
	recent []time.Time // requests within the window of the limit
	pages  int
}

// record is all that was ever known of a user.
type record struct {
	id      string
	created time.Time
	states  []state // by time; the last one is the present
}

type state struct {
	since   time.Time
	user    User
	deleted bool
}

// asOf is the state at a moment; nil when the user was not there.
func (r *record) asOf(at time.Time) *User {
	for i := len(r.states) - 1; i >= 0; i-- {
		if s := &r.states[i]; !s.since.After(at) {
			if s.deleted {
				return nil
			}
			return &s.user
		}
	}
	return nil
}

func byCreation(a, b *record) int {
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id))
}

// New makes an empty instance. Its server starts with the first call of URL and ends with
// the test.
func New(t testing.TB) *Clerk {
	t.Helper()
	n := instances.Add(1)
	c := &Clerk{
		t: t, number: n, instance: fmt.Sprintf("ins_2test%022d", n), done: make(chan struct{}),
		users: map[string]*record{},
	}
	c.knobs.key = fmt.Sprintf("sk_live_made_up_for_tests_%d", n)
	t.Cleanup(func() { close(c.done) })
	return c
}

// URL is the base of the API, with its /v1, on a server of its own.
func (c *Clerk) URL() string {
	c.start.Do(func() {
		c.server = httptest.NewServer(c)
		c.t.Cleanup(c.server.Close)
		// Cleanups run last first: requests that are kept waiting have to end before.
		c.t.Cleanup(func() { c.SetDelay(0); c.server.CloseClientConnections() })
	})
	return c.server.URL + "/v1"
}

// Key is the secret key that the API takes.
func (c *Clerk) Key() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.knobs.key
}

// Instance is the id of the instance, as webhooks carry it.
func (c *Clerk) Instance() string { return c.instance }

// Put creates a user, or replaces the one with that id, and returns what is kept: with
// an id and with times where there were none.
func (c *Clerk) Put(u User) User {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(u)
}

// PutMany creates n users, each a millisecond after the other, the last one now; each
// has names and addresses of its own. It returns their ids in the order of creation.
func (c *Clerk) PutMany(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin, ids := time.Now().Add(-time.Duration(n)*time.Millisecond), make([]string, n)
	for i := range ids {
		at := begin.Add(time.Duration(i) * time.Millisecond)
		ids[i] = c.put(User{CreatedAt: at, UpdatedAt: at, FirstName: "Ada", LastName: fmt.Sprintf("Example %d", i),
			Email: fmt.Sprintf("ada.%d.%d@example.com", c.number, c.made+1)}).ID
	}
	return ids
}

func (c *Clerk) put(u User) User {
	now := millis(time.Now())
	if u.ID == "" {
		c.made++
		u.ID = fmt.Sprintf("user_2test%06d%016d", c.number, c.made)
	}
	u.CreatedAt, u.UpdatedAt = millis(cmp.Or(u.CreatedAt, now)), millis(cmp.Or(u.UpdatedAt, now))
	if old := c.users[u.ID]; old != nil {
		c.forget(old)
	}
	since := u.CreatedAt // one that was made in the past shows as of then
	if since.After(now) {
		since = now
	}
	r := &record{id: u.ID, created: u.CreatedAt, states: []state{{since: since, user: u}}}
	c.users[u.ID] = r
	at, _ := slices.BinarySearchFunc(c.order, r, byCreation)
	c.order = slices.Insert(c.order, at, r)
	return u
}

// Update changes a user and counts updated_at on, unless change sets it itself. It
// reports whether there is such a user.
func (c *Clerk) Update(id string, change func(*User)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.users[id]
	if r.present() == nil {
		return false
	}
	u := *r.present()
	before := u.UpdatedAt
	change(&u)
	u.ID, u.CreatedAt = r.id, r.created
	if u.UpdatedAt.Equal(before) {
		u.UpdatedAt = slices.MaxFunc([]time.Time{millis(time.Now()), before.Add(time.Millisecond)}, time.Time.Compare)
	}
	r.states = append(r.states, state{since: time.Now(), user: u})
	return true
}

// present is the user's present state, nil when deleted or never there.
func (r *record) present() *User {
	if r == nil || r.states[len(r.states)-1].deleted {
		return nil
	}
	return &r.states[len(r.states)-1].user
}

// Delete removes a user; it reports whether there was one.
func (c *Clerk) Delete(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.users[id]
	if r.present() == nil {
		return false
	}
	r.states = append(r.states, state{since: time.Now(), user: *r.present(), deleted: true})
	if c.knobs.lag == 0 {
		c.forget(r)
	}
	return true
}

// forget takes a record out of the lists; its last state is kept for webhooks.
func (c *Clerk) forget(r *record) {
	if at, found := slices.BinarySearchFunc(c.order, r, byCreation); found {
		c.order = slices.Delete(c.order, at, at+1)
	}
}

// Users lists the users as they are, by creation.
func (c *Clerk) Users() []User {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []User
	for _, r := range c.order {
		if u := r.present(); u != nil {
			all = append(all, *u)
		}
	}
	return all
}

// last is the newest known state of a user, deleted or not.
func (c *Clerk) last(id string) User {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.users[id]
	if r == nil {
		c.t.Fatalf("clerktest: there has never been a user %s", id)
		return User{}
	}
	return r.states[len(r.states)-1].user
}

func millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
