// Package clerktest is a stand-in for Clerk's Backend API, for tests. It keeps users, organisations and
// memberships, serves them as Clerk does (GET /v1/users, /v1/users/count, /v1/users/{id},
// /v1/users/{id}/organization_memberships, /v1/organizations, /v1/organizations/{id},
// /v1/organizations/{id}/memberships, /v1/organization_memberships), writes the webhooks that speak of
// them, and fails in the ways in which a real one may fail. It imports nothing of Rollcall, so that no
// mistake can stand on both sides.
//
// Everything here is safe for concurrent use, and every knob may be turned at any time.
package clerktest

import (
	"cmp"
	"fmt"
	"net/http/httptest"
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

	mu            sync.Mutex
	users         table[User]
	organizations table[Organization]
	memberships   table[Membership]
	members       map[string]int // of each organisation, now
	made          int64          // how many ids were made
	knobs         knobs
	log           []Request
	recent        []time.Time // requests within the window of the limit
	pages         int
}

// New makes an empty instance. Its server starts with the first call of URL and ends with
// the test.
func New(t testing.TB) *Clerk {
	t.Helper()
	n := instances.Add(1)
	c := &Clerk{
		t: t, number: n, instance: fmt.Sprintf("ins_2test%022d", n), done: make(chan struct{}),
		members: map[string]int{},
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
	c.fill(&u.ID, "user", &u.CreatedAt, &u.UpdatedAt)
	c.users.put(u.ID, u.CreatedAt, u)
	return u
}

// fill makes what a test left out.
func (c *Clerk) fill(id *string, kind string, created, updated *time.Time) {
	if *id == "" {
		c.made++
		*id = fmt.Sprintf("%s_2test%06d%016d", kind, c.number, c.made)
	}
	now := millis(time.Now())
	*created, *updated = millis(cmp.Or(*created, now)), millis(cmp.Or(*updated, now))
}

// Update changes a user and counts updated_at on, unless change sets it itself. It
// reports whether there is such a user.
func (c *Clerk) Update(id string, change func(*User)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users.change(id, func(u *User) {
		was := *u
		change(u)
		u.ID, u.CreatedAt, u.UpdatedAt = was.ID, was.CreatedAt, touched(was.UpdatedAt, u.UpdatedAt)
	})
}

// Delete removes a user with all memberships; it reports whether there was one.
func (c *Clerk) Delete(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleteMemberships(func(m *Membership) bool { return m.UserID == id })
	return c.users.delete(id, c.knobs.lag)
}

// Users lists the users as they are, by creation.
func (c *Clerk) Users() []User {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users.all()
}

// last is the newest known state of a row, deleted or not.
func last[T any](c *Clerk, rows *table[T], id string) T {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	value := rows.last(id)
	if value == nil {
		c.t.Fatalf("clerktest: there has never been a %T %s", *new(T), id)
		return *new(T)
	}
	return *value
}
