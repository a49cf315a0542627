package clerktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/must"
)

// paged are the ids of a page and the count beside it.
func paged(t *testing.T, c *Clerk, path string) ([]string, int) {
	t.Helper()
	status, body := get(t, c, c.Client(), Address+path)
	must.Equal(t, status, http.StatusOK, path)
	var page struct {
		Data  []struct{ ID string }
		Total int `json:"total_count"`
	}
	must.Do(t, json.Unmarshal([]byte(body), &page))
	ids := make([]string, len(page.Data))
	for i, row := range page.Data {
		ids[i] = row.ID
	}
	return ids, page.Total
}

func TestOrganizationLists(t *testing.T) {
	t.Parallel()
	c := New(t)
	users := c.PutMany(4)
	orgs, members := c.PutTeams(3, 4)
	backwards := slices.Clone(members)
	slices.Reverse(backwards)
	const up = "order_by=%2Bcreated_at"
	for path, want := range map[string][]string{
		"/organizations?" + up:                             orgs,
		"/organizations":                                   {orgs[2], orgs[1], orgs[0]},
		"/organizations?limit=1&offset=1&" + up:            orgs[1:2],
		"/organizations?starting_after=" + orgs[0]:         {orgs[2], orgs[1], orgs[0]},
		"/organization_memberships?limit=500&" + up:        members,
		"/organization_memberships?limit=5":                backwards[:5],
		"/organization_memberships?offset=12":              {},
		"/organizations/" + orgs[1] + "/memberships?" + up: members[4:8],
		"/organizations/" + orgs[1] + "/memberships?user_id=" + users[2] + "&user_id=" + users[0] + "&" + up: {members[4], members[6]},
		"/organizations/" + orgs[1] + "/memberships?user_id=nobody":                                          {},
		"/users/" + users[3] + "/organization_memberships?" + up:                                             {members[3], members[7], members[11]},
	} {
		got, total := paged(t, c, path)
		must.Equal(t, got, want, path)
		all := map[bool]int{true: 3, false: 12}[strings.HasPrefix(path, "/organizations?") || path == "/organizations"]
		if strings.HasPrefix(path, "/organizations/") || strings.HasPrefix(path, "/users/") {
			all = len(want)
		}
		must.Equal(t, total, all, path, ": total")
	}
	for path, want := range map[string]int{
		"/organizations?limit=501":                                                        http.StatusUnprocessableEntity,
		"/organization_memberships?offset=-1":                                             http.StatusUnprocessableEntity,
		"/organization_memberships?order_by=members":                                      http.StatusUnprocessableEntity,
		"/organizations/org_none":                                                         http.StatusNotFound,
		"/organizations/org_none/memberships":                                             http.StatusNotFound,
		"/users/user_none/organization_memberships":                                       http.StatusNotFound,
		"/organizations/" + orgs[0] + "/invitations":                                      http.StatusNotFound,
		"/organizations/" + orgs[0] + "/memberships/x":                                    http.StatusNotFound,
		"/organizations/" + orgs[0] + "/memberships?" + strings.Repeat("user_id=u&", 101): http.StatusUnprocessableEntity,
	} {
		status, _ := get(t, c, c.Client(), Address+path)
		must.Equal(t, status, want, path)
	}
}

func TestOrganizationObjects(t *testing.T) {
	t.Parallel()
	c := New(t)
	ada := c.Put(User{FirstName: "Ada", Email: "ada@example.com"})
	o := c.PutOrganization(Organization{Name: "Acme", Slug: "acme", CreatedBy: ada.ID, MaxMembers: 5, Public: map[string]any{"plan": "pro"}})
	m := c.PutMembership(Membership{OrganizationID: o.ID, UserID: ada.ID, Role: "org:admin", Permissions: []string{"org:a:read"}})
	status, body := get(t, c, http.DefaultClient, c.URL()+"/organizations/"+o.ID)
	must.True(t, status == http.StatusOK && body == string(c.OrganizationObject(o.ID)), "%d %s", status, body)
	at := o.CreatedAt.UnixMilli()
	must.Equal(t, body, fmt.Sprintf(`{"admin_delete_enabled":true,"created_at":%d,"created_by":%q,"has_image":false,"id":%q,"image_url":"","max_allowed_memberships":5,"members_count":1,"missing_member_with_elevated_permissions":false,"name":"Acme","object":"organization","pending_invitations_count":0,"private_metadata":{},"public_metadata":{"plan":"pro"},"role_set_key":null,"slug":"acme","updated_at":%d}`,
		at, ada.ID, o.ID, at), "organization")
	var got struct {
		Role         string
		Permissions  []string
		Organization struct{ ID string }
		User         struct {
			ID         string `json:"user_id"`
			Identifier string
		} `json:"public_user_data"`
	}
	must.Do(t, json.Unmarshal(c.MembershipObject(m.ID), &got))
	must.Equal(t, fmt.Sprint(got), fmt.Sprintf("{org:admin [org:a:read] {%s} {%s ada@example.com}}", o.ID, ada.ID), "membership")
	for kind, want := range map[string]string{
		"organization.updated": string(c.OrganizationObject(o.ID)), "organizationMembership.deleted": string(c.MembershipObject(m.ID)),
		"organization.deleted": `{"deleted":true,"id":"` + o.ID + `","object":"organization","slug":"acme"}`,
	} {
		id := map[bool]string{true: m.ID, false: o.ID}[strings.HasPrefix(kind, "organizationMembership")]
		body := string(c.Event(kind, id))
		must.True(t, strings.HasPrefix(body, `{"data":`+want+`,"instance_id":"`+c.Instance()+`","object":"event","timestamp":`) && strings.HasSuffix(body, `,"type":"`+kind+`"}`), "%s: %s", kind, body)
	}
	c.UpdateMembership(m.ID, func(m *Membership) { m.Role, m.Anonymous = "org:member", true })
	c.UpdateOrganization(o.ID, func(o *Organization) { o.Name = "Acme Ltd" })
	body = string(c.MembershipObject(m.ID))
	must.True(t, !strings.Contains(body, "public_user_data") && strings.Contains(body, "Acme Ltd") && strings.Contains(body, `"role":"org:member"`), "%s", body)
	must.True(t, c.Memberships()[0].UpdatedAt.After(m.UpdatedAt) && c.Organizations()[0].UpdatedAt.After(o.UpdatedAt), "the versions stand still")
}

// Who is deleted takes the memberships along.
func TestMembershipsEnd(t *testing.T) {
	t.Parallel()
	c := New(t)
	users := c.PutMany(3)
	orgs, members := c.PutTeams(2, 3)
	left := func(want ...string) {
		t.Helper()
		var got []string
		for _, m := range c.Memberships() {
			got = append(got, m.ID)
		}
		must.Equal(t, got, want, "memberships")
	}
	must.True(t, c.DeleteMembership(members[0]) && !c.DeleteMembership(members[0]), "deleted once")
	left(members[1:]...)
	c.Delete(users[1])
	left(members[2], members[3], members[5])
	must.True(t, c.DeleteOrganization(orgs[1]) && !c.DeleteOrganization(orgs[1]), "deleted once")
	left(members[2])
	must.True(t, strings.Contains(string(c.OrganizationObject(orgs[0])), `"members_count":1,`), "%s", c.OrganizationObject(orgs[0]))
	again := c.PutMembership(Membership{ID: members[0], OrganizationID: orgs[0], UserID: users[0]})
	left(members[2], again.ID)
}

func TestOrganizationKnobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t)
		users := c.PutMany(2)
		orgs, members := c.PutTeams(2, 2)
		c.SetPage(3)
		c.SetTotal(func(n int) int { return 2*n + 1 })
		got, total := paged(t, c, "/organization_memberships?limit=500&order_by=%2Bcreated_at")
		must.Equal(t, got, members[:3], "a short page")
		must.Equal(t, total, 9, "a wrong count")
		c.SetPage(0)
		c.SetTotal(nil)
		c.IgnoreFilter(true)
		got, _ = paged(t, c, "/organizations/"+orgs[0]+"/memberships?user_id="+users[0])
		must.Equal(t, len(got), 2, "members, unfiltered")
		c.Hide(func(id string) bool { return id == members[1] })
		got, total = paged(t, c, "/organization_memberships")
		must.True(t, len(got) == 3 && total == 4, "hidden: %v of %d", got, total)
		c.Hide(nil)
		c.BeforePage(func(int, url.Values) { c.DeleteMembership(members[3]) })
		got, _ = paged(t, c, "/organization_memberships")
		must.Equal(t, len(got), 3, "members, and one that left before the page")
		c.BeforePage(nil)
		c.SetLimit(2, 10*time.Second)
		for i, want := range []int{200, 200, 429} {
			status, _ := get(t, c, c.Client(), Address+"/organizations/"+orgs[i%2])
			must.Equal(t, status, want, "status")
		}
		time.Sleep(10 * time.Second)
		c.SetLimit(0, 0)
		c.SetLag(10 * time.Second)
		c.DeleteOrganization(orgs[0])
		got, total = paged(t, c, "/organization_memberships")
		must.True(t, len(got) == 3 && total == 3, "as of ten seconds ago: %v of %d", got, total)
		time.Sleep(10 * time.Second)
		got, total = paged(t, c, "/organization_memberships")
		must.True(t, len(got) == 1 && total == 1, "now: %v of %d", got, total)
		kinds := map[Kind]int{SingleOrganization: 3, Memberships: 5, MembershipsOf: 1}
		for kind, want := range kinds {
			must.Equal(t, c.Requested(kind), want, "requests: ", kind)
		}
	})
}
