package clerk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

const (
	// pageSize is the largest page that Clerk gives.
	pageSize = 500
	// overlap is the part of a page by which one that is asked for by its offset reaches
	// back. Deletions shift those behind them to the left: more than so many between two
	// pages cost further requests.
	overlap = 10
	// remembered is how many pages' users are told apart from new ones.
	remembered = 4
	// maxStalled is how many pages in a row may bring no new user. A real listing needs a
	// dozen: as often as the offset can be doubled, and what is remembered again.
	maxStalled = 100
)

// Position says where a listing goes on.
type Position struct {
	// After is the id of the last user listed, "" at the beginning.
	After string
	// Listed is how many have been listed so far.
	Listed int64
}

// Listed is one user of a page.
type Listed struct {
	// ID is "" when the entry has none that can be read.
	ID string
	// User is the JSON object. It shares the memory of its page.
	User []byte
}

// Listing lists all users in the order of their creation. It never skips a user who exists
// all the while, and may repeat some. It is not safe for concurrent use.
//
// It goes by Clerk's cursor. Should Clerk refuse it, because the cursor's user was deleted
// between two pages, or not know it, the rest goes by offset: then each page has to hold
// a user who is known to have been listed, so that none can be in between.
type Listing struct {
	api      *API
	size     int // of a page
	at       Position
	first    string // the first user this listing has seen
	byOffset bool
	done     bool
	// seen are the last users listed: all users created before one of them have been
	// listed as well. recent holds the same, the oldest first.
	seen   map[string]bool
	recent []string
}

// List begins a listing, or goes on at a position. Nothing is asked yet.
func (a *API) List(p Position) *Listing {
	l := &Listing{api: a, size: pageSize, at: p, seen: map[string]bool{}}
	if p.After != "" {
		l.remember(p.After)
	}
	return l
}

// Position is where the listing goes on after the page that Next returned last.
func (l *Listing) Position() Position { return l.at }

// Next returns the next users, 500 at most, and none at the end.
func (l *Listing) Next(ctx context.Context) ([]Listed, error) {
	for range maxStalled {
		if l.done {
			return nil, nil
		}
		page, err := l.page(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the users behind the first %d: %w", l.at.Listed, err)
		}
		if fresh := l.take(page); len(fresh) > 0 {
			return fresh, nil
		}
	}
	return nil, fmt.Errorf("list the users behind the first %d: %d pages brought no new user: %w", l.at.Listed, maxStalled, event.ErrUnavailable)
}

// listPage is a page, and where its first user stands among all.
type listPage struct {
	users  []Listed
	offset int64
}

func (l *Listing) page(ctx context.Context) (listPage, error) {
	if !l.byOffset {
		page, ok, err := l.cursorPage(ctx)
		if ok || err != nil {
			return page, err
		}
		l.byOffset = true
		l.api.log.InfoContext(ctx, "the provider does not go on behind the last user listed, the listing goes on by offset", "listed", l.at.Listed)
	}
	return l.offsetPage(ctx)
}

// cursorPage asks for the users behind the last one; false when the provider refuses the
// cursor, or ignores it.
func (l *Listing) cursorPage(ctx context.Context) (listPage, bool, error) {
	query := url.Values{}
	if l.at.After != "" {
		query.Set("starting_after", l.at.After)
	} else if l.at.Listed > 0 {
		return listPage{}, false, nil // there is no user to go on behind
	}
	users, err := l.users(ctx, query)
	if l.at.After != "" && (rejected(err) || l.repeats(users)) {
		return listPage{}, false, nil
	}
	return listPage{users, l.at.Listed}, err == nil, err
}

// rejected reports whether the provider understood a request and rejects what it says.
func rejected(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && errors.Is(e, errRejected) && e.status >= http.StatusBadRequest
}

// repeats reports whether a page begins again, or holds a user listed just before.
func (l *Listing) repeats(users []Listed) bool {
	return slices.ContainsFunc(users, func(u Listed) bool { return l.seen[u.key()] || u.ID != "" && u.ID == l.first })
}

// offsetPage asks for users by offset, from so far back that the page holds a user who
// has been listed: those before that user have been, too, and those behind are here. From
// the very beginning none can be missed.
func (l *Listing) offsetPage(ctx context.Context) (listPage, error) {
	for back := int64(l.size / overlap); ; back *= 2 {
		offset := max(l.at.Listed-back, 0)
		users, err := l.users(ctx, url.Values{"offset": {strconv.FormatInt(offset, 10)}})
		if err != nil || offset == 0 || l.repeats(users) {
			return listPage{users, offset}, err
		}
	}
}

// take goes on behind a page and returns those of it who are not known to be listed.
func (l *Listing) take(page listPage) []Listed {
	l.done = len(page.users) < l.size
	l.at.Listed = page.offset + int64(len(page.users))
	var fresh []Listed
	for _, u := range page.users {
		l.at.After = cmp.Or(u.ID, l.at.After)
		l.first = cmp.Or(l.first, u.ID)
		if key := u.key(); !l.seen[key] {
			fresh = append(fresh, u)
			l.remember(key)
		}
	}
	return fresh
}

func (l *Listing) remember(key string) {
	l.seen[key] = true
	l.recent = append(l.recent, key)
	if len(l.recent) > remembered*l.size {
		delete(l.seen, l.recent[0])
		l.recent = l.recent[1:]
	}
}

// key tells users apart, those without an id by all that is said of them.
func (u Listed) key() string {
	if u.ID != "" {
		return u.ID
	}
	sum := sha256.Sum256(u.User)
	return string(sum[:])
}

// users asks for one page, patiently.
func (l *Listing) users(ctx context.Context, query url.Values) ([]Listed, error) {
	query.Set("limit", strconv.Itoa(l.size))
	query.Set("order_by", "+created_at") // encoded as %2B: a plus would arrive as a blank
	q := question{name: "GET /users", path: "/users", query: query.Encode(), most: maxPageAnswer}
	var users []Listed
	err := l.api.read(ctx, q, "the answer is no list of users", func(body []byte) (ok bool) {
		users, ok = readPage(rawjson.ToUTF8(body))
		return ok
	})
	return users, err
}

// readPage reads an array of users, bare or as the data of an object.
func readPage(body []byte) ([]Listed, bool) {
	body = bytes.Trim(body, " \t\r\n")
	if !rawjson.Valid(body) {
		return nil, false
	}
	if rawjson.Kind(body) == '{' {
		body = rawjson.Member(body, "data")
	}
	if rawjson.Kind(body) != '[' {
		return nil, false
	}
	var users []Listed
	for w := rawjson.Into(body); ; {
		user, ok := w.Element()
		if !ok {
			return users, true
		}
		listed := Listed{User: user}
		if id := rawjson.Text(rawjson.Member(user, "id")); rawjson.Kind(user) == '{' && event.ValidID(id) {
			listed.ID = id
		}
		users = append(users, listed)
	}
}
