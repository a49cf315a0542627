package clerktest

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// The sizes of a page, and of a filter.
const (
	usualPage = "10"
	maxPage   = 500
	maxFilter = 100
)

func (c *Clerk) serve(kind Kind, id string, query url.Values) answer {
	switch kind {
	case List, Organizations, Memberships, MembershipsOf, MembershipsOfUser:
		return c.list(kind, id, query)
	default:
		return c.single(kind, id)
	}
}

func (c *Clerk) single(kind Kind, id string) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch lag := c.knobs.lag; kind {
	case Count:
		return found(object{"object": "total_count", "total_count": c.users.count(lag, every)})
	case Single:
		if u := c.users.rows[id].shown(lag); u != nil {
			return found(u.object())
		}
	case SingleOrganization:
		if o := c.organizations.rows[id].shown(lag); o != nil {
			return found(c.organizationObject(o))
		}
	default:
	}
	return missing()
}

func found(value any) answer { return answer{status: http.StatusOK, body: encode(value)} }

func missing() answer { return problem(http.StatusNotFound, "resource_not_found") }

func (c *Clerk) list(kind Kind, id string, query url.Values) answer {
	c.mu.Lock()
	c.pages++
	page, before, after := c.pages, c.knobs.before, c.knobs.after
	c.mu.Unlock()
	if before != nil {
		before(page, query)
	}
	a := c.page(kind, id, query)
	if after != nil {
		after(page, query)
	}
	return a
}

func (c *Clerk) page(kind Kind, id string, query url.Values) answer {
	limit, err1 := strconv.Atoi(cmp.Or(query.Get("limit"), usualPage))
	offset, err2 := strconv.Atoi(cmp.Or(query.Get("offset"), "0"))
	order := cmp.Or(query.Get("order_by"), "-created_at")
	newest := order == "-created_at"
	// A "+" that was sent as it is arrives as a blank, and is refused.
	known := newest || order == "+created_at" || order == "created_at"
	if cmp.Or(err1, err2) != nil || limit < 1 || limit > maxPage || offset < 0 || !known {
		return problem(http.StatusUnprocessableEntity, "form_param_value_invalid")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knobs.most > 0 {
		limit = min(limit, c.knobs.most)
	}
	w := window{offset: offset, limit: limit, newest: newest, lag: c.knobs.lag, hidden: c.knobs.hidden, total: c.knobs.total}
	switch kind {
	case List:
		return c.userPage(w, query.Get("starting_after"))
	case Organizations:
		return paginated(&c.organizations, w, every, c.organizationObject)
	default:
	}
	if query.Has("user_id") {
		w.hidden = nil // it asks for single ones
	}
	return c.membershipPage(kind, id, query["user_id"], w)
}

// userPage is a bare array, and knows a cursor.
func (c *Clerk) userPage(w window, cursor string) answer {
	var refused answer
	if w.from, refused = c.from(cursor, w.newest); refused.status != 0 {
		return refused
	}
	page := []object{}
	for _, u := range c.users.page(w, every) {
		page = append(page, u.object())
	}
	return found(page)
}

// membershipPage lists those of the instance, of an organisation or of a user.
func (c *Clerk) membershipPage(kind Kind, id string, users []string, w window) answer {
	listed := every[Membership]
	switch {
	case len(users) > maxFilter:
		return problem(http.StatusUnprocessableEntity, "form_param_value_invalid")
	case kind == MembershipsOf && c.organizations.rows[id].shown(w.lag) == nil, kind == MembershipsOfUser && c.users.rows[id].shown(w.lag) == nil:
		return missing()
	case kind == MembershipsOf:
		listed = func(m *Membership) bool {
			return m.OrganizationID == id && (len(users) == 0 || c.knobs.unfiltered || slices.Contains(users, m.UserID))
		}
	case kind == MembershipsOfUser:
		listed = func(m *Membership) bool { return m.UserID == id }
	}
	return paginated(&c.memberships, w, listed, c.membershipObject)
}

// paginated is a page beside the count of all.
func paginated[T any](rows *table[T], w window, listed func(*T) bool, show func(*T) object) answer {
	page := []object{}
	for _, row := range rows.page(w, listed) {
		page = append(page, show(row))
	}
	total := rows.count(w.lag, listed)
	if w.total != nil {
		total = w.total(total)
	}
	return found(object{"data": page, "total_count": total})
}

// from is the index in the order asked for at which a page of users begins.
func (c *Clerk) from(cursor string, newest bool) (int, answer) {
	if cursor == "" || c.knobs.cursor == CursorIgnored {
		return 0, answer{}
	}
	if c.knobs.cursor == CursorRefused {
		return 0, problem(http.StatusUnprocessableEntity, "form_param_unknown")
	}
	r := c.users.rows[cursor]
	if r.shown(c.knobs.lag) == nil {
		return 0, missing()
	}
	at, _ := slices.BinarySearchFunc(c.users.order, r, byCreation)
	if newest {
		at = len(c.users.order) - 1 - at
	}
	return at + 1, answer{}
}
