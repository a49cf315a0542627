package clerk

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/sync/errgroup"

	"rollcall/internal/rawjson"
)

// Member names a user's membership of an organisation: Clerk has no request for one by its id.
type Member struct{ Organization, User string }

// fetcher asks for single rows of one kind, each named by a key.
type fetcher[K any] struct {
	api     *API
	of      collection
	request string // in errors
	single  func(context.Context, K) ([]byte, error)
}

func (a *API) users() fetcher[string] { return fetcher[string]{a, users, users.single(), a.user} }

func (a *API) organizations() fetcher[string] {
	return fetcher[string]{a, organizations, organizations.single(), a.organization}
}

func (a *API) memberships() fetcher[Member] {
	return fetcher[Member]{a, memberships, membersOfOne, a.membership}
}

// Fetch asks once for one user, for a caller who waits: while the provider wants to be
// left alone it fails at once. It returns the user as a JSON object, or ErrGone.
func (a *API) Fetch(ctx context.Context, id string) ([]byte, error) { return a.users().once(ctx, id) }

// FetchOrganization is Fetch for an organisation.
func (a *API) FetchOrganization(ctx context.Context, id string) ([]byte, error) {
	return a.organizations().once(ctx, id)
}

// FetchMembership is Fetch for a membership. Its id may be another one than before: who leaves and joins
// again may get a new one.
func (a *API) FetchMembership(ctx context.Context, of Member) ([]byte, error) {
	return a.memberships().once(ctx, of)
}

// FetchAll asks for several users, patiently, a few at once. The results are in the order
// of the ids, nil for who isn't there.
func (a *API) FetchAll(ctx context.Context, ids []string) ([][]byte, error) {
	return a.users().all(ctx, ids)
}

// FetchOrganizations is FetchAll for organisations.
func (a *API) FetchOrganizations(ctx context.Context, ids []string) ([][]byte, error) {
	return a.organizations().all(ctx, ids)
}

// FetchMemberships is FetchAll for memberships.
func (a *API) FetchMemberships(ctx context.Context, of []Member) ([][]byte, error) {
	return a.memberships().all(ctx, of)
}

// once asks for one row, for a caller who waits.
func (f fetcher[K]) once(ctx context.Context, key K) ([]byte, error) {
	if left := f.api.pausing(); left > 0 {
		return nil, &apiError{request: f.request, kind: errPausing, after: left}
	}
	f.api.pace.Allow() // counts where there is room: the patient ones make way
	return f.single(ctx, key)
}

// all asks for several rows, patiently.
func (f fetcher[K]) all(ctx context.Context, keys []K) ([][]byte, error) {
	rows := make([][]byte, len(keys))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(abreast)
	for i, key := range keys {
		group.Go(func() error {
			err := f.api.patiently(ctx, func() (err error) {
				rows[i], err = f.single(ctx, key)
				return err
			})
			if errors.Is(err, ErrGone) {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("fetch %d %s: %w", len(keys), f.of.what, err)
	}
	return rows, nil
}

func (a *API) user(ctx context.Context, id string) ([]byte, error) { return a.single(ctx, users, id) }

func (a *API) organization(ctx context.Context, id string) ([]byte, error) {
	return a.single(ctx, organizations, id)
}

// single asks for a row by its id. Errors don't say whose it is.
func (a *API) single(ctx context.Context, from collection, id string) ([]byte, error) {
	if noID(id) {
		return nil, &apiError{request: from.single(), kind: ErrGone}
	}
	q := question{name: from.single(), path: from.path + "/" + url.PathEscape(id), most: maxRowAnswer, one: true}
	body, err := a.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	row := rawjson.Object(rawjson.ToUTF8(body))
	if row == nil || rawjson.Text(rawjson.Member(row, "id")) != id {
		return nil, q.unreadable("the answer is not what was asked for")
	}
	return row, nil
}

// noID reports whether nothing has such an id: a server could take it for another path.
func noID(id string) bool { return id == "" || id == "." || id == ".." }

// membersOfOne is how errors call the request for a membership.
const membersOfOne = "GET /organizations/{id}/memberships"

// membership asks for the memberships of an organisation, filtered by the user. One of another user, or in
// another organisation, shows that the filter does not work: then an empty answer would say nothing.
func (a *API) membership(ctx context.Context, of Member) ([]byte, error) {
	gone := &apiError{request: membersOfOne, kind: ErrGone}
	if noID(of.Organization) || of.User == "" {
		return nil, gone
	}
	q := question{
		name: membersOfOne, path: organizations.path + "/" + url.PathEscape(of.Organization) + "/memberships",
		query: url.Values{"user_id": {of.User}, "limit": {"2"}}.Encode(), most: maxRowAnswer, one: true,
	}
	body, err := a.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	page, ok := readPage(rawjson.ToUTF8(body))
	if !ok {
		return nil, q.unreadable("the answer is no list of memberships")
	}
	for _, m := range page {
		user := rawjson.Text(rawjson.Member(rawjson.Member(m.Row, "public_user_data"), "user_id"))
		in := rawjson.Text(rawjson.Member(rawjson.Member(m.Row, "organization"), "id"))
		if user != "" && user != of.User || in != "" && in != of.Organization || m.ID == "" {
			return nil, q.unreadable("the answer holds a membership that was not asked for")
		}
	}
	if len(page) == 0 {
		return nil, gone
	}
	return page[0].Row, nil
}

// Count asks how many users there are, patiently.
func (a *API) Count(ctx context.Context) (int64, error) {
	return a.count(ctx, users, question{name: "GET /users/count", path: "/users/count", most: maxRowAnswer})
}

// CountOrganizations is Count for organisations.
func (a *API) CountOrganizations(ctx context.Context) (int64, error) {
	return a.count(ctx, organizations, organizations.question("limit=1"))
}

// CountMemberships is Count for memberships.
func (a *API) CountMemberships(ctx context.Context) (int64, error) {
	return a.count(ctx, memberships, memberships.question("limit=1"))
}

func (a *API) count(ctx context.Context, of collection, q question) (int64, error) {
	var total int64
	err := a.read(ctx, q, "the answer holds no count", func(body []byte) (counted bool) {
		total, counted = rawjson.Integer(rawjson.Member(rawjson.Object(rawjson.ToUTF8(body)), "total_count"))
		return counted && total >= 0
	})
	if err != nil {
		return 0, fmt.Errorf("count the %s: %w", of.what, err)
	}
	return total, nil
}
