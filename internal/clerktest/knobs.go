package clerktest

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Cursor is what becomes of the parameter starting_after.
type Cursor int

// The ways of a cursor.
const (
	// CursorWorks goes on after the user, and answers 404 when the user was deleted.
	CursorWorks Cursor = iota
	// CursorRefused answers 422, as if there were no such parameter.
	CursorRefused
	// CursorIgnored lists from the beginning, or from the offset.
	CursorIgnored
)

// Kind tells requests apart.
type Kind string

// The kinds of requests.
const (
	List   Kind = "list"
	Count  Kind = "count"
	Single Kind = "single"
	Other  Kind = "other"

	Organizations      Kind = "organizations"
	SingleOrganization Kind = "single organization"
	Memberships        Kind = "memberships"         // of the instance
	MembershipsOf      Kind = "memberships of"      // of an organisation
	MembershipsOfUser  Kind = "memberships of user" // of a user
)

// Request is one that arrived.
type Request struct {
	Kind   Kind
	ID     string // in the path
	Query  url.Values
	Header http.Header
	At     time.Time
	Status int // 0 while it is unanswered, or when it got no answer at all
}

type knobs struct {
	key        string
	cursor     Cursor
	delay      time.Duration
	lag        time.Duration
	limit      int
	window     time.Duration
	failNext   int
	failEvery  int
	failStatus int
	cutNext    int
	seen       int // requests, for failEvery
	most       int // of a page
	unfiltered bool
	disabled   bool
	total      func(int) int
	hidden     func(id string) bool
	before     func(page int, query url.Values)
	after      func(page int, query url.Values)
}

func (c *Clerk) turn(knob func(*knobs)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	knob(&c.knobs)
}

// SetKey changes the key that the API takes: another is refused with 401.
func (c *Clerk) SetKey(key string) { c.turn(func(k *knobs) { k.key = key }) }

// SetCursor says what becomes of cursors.
func (c *Clerk) SetCursor(cursor Cursor) { c.turn(func(k *knobs) { k.cursor = cursor }) }

// SetDelay makes every answer wait, unless the client leaves before.
func (c *Clerk) SetDelay(d time.Duration) { c.turn(func(k *knobs) { k.delay = d }) }

// SetLag makes the API answer as of a while ago: lists, the counts and single rows. Set
// it before anything is deleted.
func (c *Clerk) SetLag(d time.Duration) { c.turn(func(k *knobs) { k.lag = d }) }

// SetLimit answers 429 with Retry-After to what exceeds n requests in a window; 0 is no
// limit, as at the beginning. Clerk's own is 1000 in ten seconds.
func (c *Clerk) SetLimit(n int, window time.Duration) {
	c.turn(func(k *knobs) { k.limit, k.window = n, window })
}

// FailNext answers the next n requests with a status.
func (c *Clerk) FailNext(n, status int) {
	c.turn(func(k *knobs) { k.failNext, k.failStatus = n, status })
}

// FailEvery answers every nth request with a status; 0 ends it.
func (c *Clerk) FailEvery(n, status int) {
	c.turn(func(k *knobs) { k.failEvery, k.failStatus = n, status })
}

// CutNext breaks the next n answers off in the middle of their bodies.
func (c *Clerk) CutNext(n int) { c.turn(func(k *knobs) { k.cutNext = n }) }

// SetPage shortens all pages to n rows, whatever limit is asked for; 0 ends it.
func (c *Clerk) SetPage(n int) { c.turn(func(k *knobs) { k.most = n }) }

// SetTotal changes the total_count of lists of organisations and memberships. Nil ends it.
func (c *Clerk) SetTotal(total func(int) int) { c.turn(func(k *knobs) { k.total = total }) }

// IgnoreFilter lists the memberships of all users of an organisation, whatever user_id asks for.
func (c *Clerk) IgnoreFilter(ignored bool) { c.turn(func(k *knobs) { k.unfiltered = ignored }) }

// DisableOrganizations answers 403 to whatever is asked about organisations and memberships, as an instance that has
// not enabled them does.
func (c *Clerk) DisableOrganizations(disabled bool) { c.turn(func(k *knobs) { k.disabled = disabled }) }

// Hide leaves rows out of lists; the counts, single requests and the filter know them. Nil ends it.
func (c *Clerk) Hide(hidden func(id string) bool) { c.turn(func(k *knobs) { k.hidden = hidden }) }

// BeforePage calls back before a page is listed, with its number from 1. It may change
// what is listed.
func (c *Clerk) BeforePage(f func(page int, query url.Values)) {
	c.turn(func(k *knobs) { k.before = f })
}

// AfterPage calls back when a page has been listed, before it is sent.
func (c *Clerk) AfterPage(f func(page int, query url.Values)) {
	c.turn(func(k *knobs) { k.after = f })
}

// Requests are all that arrived, in order.
func (c *Clerk) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// Requested counts what arrived of one kind.
func (c *Clerk) Requested(kind Kind) int {
	n := 0
	for _, r := range c.Requests() {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// ForgetRequests empties the log of requests.
func (c *Clerk) ForgetRequests() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = nil
}
