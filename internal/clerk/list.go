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
	// remembered is how many pages' rows are told apart from new ones.
	remembered = 4
	// maxStalled is how many pages in a row may bring nothing new. A real listing needs a
	// dozen: as often as the offset can be doubled, and what is remembered again.
	maxStalled = 100
)

// collection is what the API has of one kind.
type collection struct {
	what, path string
	// cursor: its lists go on behind a row. All others go by offset alone.
	cursor bool
}

var (
	users         = collection{what: "users", path: "/users", cursor: true}
	organizations = collection{what: "organizations", path: "/organizations"}
	memberships   = collection{what: "memberships", path: "/organization_memberships"}
)

// single is how errors call a request for one of them.
func (c collection) single() string { return "GET " + c.path + "/{id}" }

// question asks for a page of them.
func (c collection) question(query string) question {
	return question{name: "GET " + c.path, path: c.path, query: query, most: maxPageAnswer, feature: !c.cursor}
}

// Position says where a listing goes on.
type Position struct {
	// After is the id of the last row listed, "" at the beginning.
	After string
	// Listed is how many have been listed so far.
	Listed int64
}

// Listed is one row of a page.
type Listed struct {
	// ID is "" when the entry has none that can be read.
	ID string
	// Row is the JSON object. It shares the memory of its page.
	Row []byte
}

// Listing lists all users, organisations or memberships in the order of their creation. It never skips one
// that exists all the while, and may repeat some. It is not safe for concurrent use.
//
// Users are listed by Clerk's cursor. Should Clerk refuse it, because the cursor's user was deleted
// between two pages, or not know it, the rest goes by offset: then each page has to hold
// a row that is known to have been listed, so that none can be in between. Organisations and memberships
// have no cursor, and their pages may be shorter than asked for: they end before an empty page.
type Listing struct {
	api      *API
	of       collection
	size     int // of a page
	came     int // how many rows the last page had, 0 before the first
	at       Position
	first    string // the first row this listing has seen
	byOffset bool
	done     bool
	// seen are the last rows listed: all that were created before one of them have been
	// listed as well. recent holds the same, the oldest first.
	seen   map[string]bool
	recent []string
}

// List begins a listing of users, or goes on at a position. Nothing is asked yet.
func (a *API) List(p Position) *Listing { return a.list(users, p) }

// ListOrganizations is List for organisations.
func (a *API) ListOrganizations(p Position) *Listing { return a.list(organizations, p) }

// ListMemberships is List for all memberships of the instance.
func (a *API) ListMemberships(p Position) *Listing { return a.list(memberships, p) }

func (a *API) list(of collection, p Position) *Listing {
	l := &Listing{api: a, of: of, size: pageSize, at: p, byOffset: !of.cursor, seen: map[string]bool{}}
	if p.After != "" {
		l.remember(p.After)
	}
	return l
}

// Position is where the listing goes on after the page that Next returned last.
func (l *Listing) Position() Position { return l.at }

// Next returns the next rows, 500 at most, and none at the end.
func (l *Listing) Next(ctx context.Context) ([]Listed, error) {
	for range maxStalled {
		if l.done {
			return nil, nil
		}
		before := l.at.Listed
		page, err := l.page(ctx)
		if err == nil {
			if fresh := l.take(page); len(fresh) > 0 {
				return fresh, nil
			}
			if !l.of.cursor {
				l.done, err = l.nothingBehind(ctx)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("list the %s behind the first %d: %w", l.of.what, before, err)
		}
	}
	return nil, fmt.Errorf("list the %s behind the first %d: %d pages brought no new row: %w", l.of.what, l.at.Listed, maxStalled, event.ErrUnavailable)
}

// listPage is a page, and where its first row stands among all.
type listPage struct {
	rows   []Listed
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
	rows, err := l.rows(ctx, query)
	if l.at.After != "" && (rejected(err) || l.repeats(rows)) {
		return listPage{}, false, nil
	}
	return listPage{rows, l.at.Listed}, err == nil, err
}

// rejected reports whether the provider understood a request and rejects what it says.
func rejected(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && errors.Is(e, errRejected) && e.status >= http.StatusBadRequest
}

// repeats reports whether a page begins again, or holds a row listed just before.
func (l *Listing) repeats(rows []Listed) bool {
	return slices.ContainsFunc(rows, func(u Listed) bool { return l.seen[u.key()] || u.ID != "" && u.ID == l.first })
}

// offsetPage asks for rows by offset, from so far back that the page holds one that
// has been listed: those before it have been, too, and those behind are here. From
// the very beginning none can be missed.
func (l *Listing) offsetPage(ctx context.Context) (listPage, error) {
	for back := max(int64(cmp.Or(l.came, l.size)/overlap), 1); ; back *= 2 {
		offset := max(l.at.Listed-back, 0)
		rows, err := l.rowsFrom(ctx, offset)
		if err != nil || offset == 0 || l.repeats(rows) {
			return listPage{rows, offset}, err
		}
	}
}

// nothingBehind asks whether a page behind all that was listed is empty.
func (l *Listing) nothingBehind(ctx context.Context) (bool, error) {
	rows, err := l.rowsFrom(ctx, l.at.Listed)
	return err == nil && len(rows) == 0, err
}

func (l *Listing) rowsFrom(ctx context.Context, offset int64) ([]Listed, error) {
	return l.rows(ctx, url.Values{"offset": {strconv.FormatInt(offset, 10)}})
}

// take goes on behind a page and returns those of it that are not known to be listed.
func (l *Listing) take(page listPage) []Listed {
	if l.came == 0 && !l.of.cursor { // it is resumed: what stands before the last row listed was listed before it
		last := slices.IndexFunc(page.rows, func(u Listed) bool { return u.ID != "" && u.ID == l.at.After })
		for _, u := range page.rows[:last+1] {
			l.remember(u.key())
		}
	}
	l.at.Listed, l.came = page.offset+int64(len(page.rows)), len(page.rows)
	var fresh []Listed
	for _, u := range page.rows {
		l.at.After = cmp.Or(u.ID, l.at.After)
		l.first = cmp.Or(l.first, u.ID)
		if key := u.key(); !l.seen[key] {
			fresh = append(fresh, u)
			l.remember(key)
		}
	}
	l.done = l.of.cursor && len(page.rows) < l.size
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

// key tells rows apart, those without an id by all that is said of them.
func (u Listed) key() string {
	if u.ID != "" {
		return u.ID
	}
	sum := sha256.Sum256(u.Row)
	return string(sum[:])
}

// rows asks for one page, patiently.
func (l *Listing) rows(ctx context.Context, query url.Values) ([]Listed, error) {
	query.Set("limit", strconv.Itoa(l.size))
	query.Set("order_by", "+created_at") // encoded as %2B: a plus would arrive as a blank
	var rows []Listed
	err := l.api.read(ctx, l.of.question(query.Encode()), "the answer is no list of "+l.of.what, func(body []byte) (ok bool) {
		rows, ok = readPage(rawjson.ToUTF8(body))
		return ok
	})
	return rows, err
}

// readPage reads an array of rows, bare or as the data of an object.
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
	var rows []Listed
	for w := rawjson.Into(body); ; {
		row, ok := w.Element()
		if !ok {
			return rows, true
		}
		listed := Listed{Row: row}
		if id := rawjson.Text(rawjson.Member(row, "id")); rawjson.Kind(row) == '{' && event.ValidID(id) {
			listed.ID = id
		}
		rows = append(rows, listed)
	}
}
