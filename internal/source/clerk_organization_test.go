package source

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"rollcall/internal/clerktest"
	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
)

// organizationEvent composes an organization.updated; the fields come after the id.
func organizationEvent(fields string) string {
	return `{"type":"organization.updated","timestamp":1760000000480,"data":{"id":"org_1"` + fields + `}}`
}

func organizationOf(t *testing.T, fields string) *event.Organization {
	t.Helper()
	e := decode(t, clerkSource(t), organizationEvent(fields))
	if e.Op != event.Upsert || e.UserID != "" || e.User != nil || e.Membership != nil {
		t.Fatalf("%s: %s %+v", opNames[e.Op], e.Reason, e)
	}
	checkEvent(t, e)
	return e.Organization
}

// membershipEvent composes an event about a membership; the fields come after the ids.
func membershipEvent(kind, fields string) string {
	return `{"type":"organizationMembership.` + kind + `","timestamp":1760000900123,"data":{"id":"orgmem_1",` +
		`"organization":{"id":"org_1","name":"Acme","updated_at":1760000000300},"public_user_data":{"user_id":"user_1","first_name":"Ada","banned":true}` + fields + `}}`
}

func membershipOf(t *testing.T, fields string) *event.Membership {
	t.Helper()
	e := decode(t, clerkSource(t), membershipEvent("updated", fields))
	if e.Op != event.Upsert || e.UserID != "user_1" || e.User != nil {
		t.Fatalf("%s: %s %+v", opNames[e.Op], e.Reason, e)
	}
	checkEvent(t, e)
	return e.Membership
}

func number(n *int64) string {
	if n == nil {
		return "<absent>"
	}
	return fmt.Sprint(*n)
}

func TestClerkOrganization(t *testing.T) {
	t.Parallel()
	one := func(column string) func(string) string {
		return func(fields string) string {
			o := organizationOf(t, fields)
			said := map[string]string{
				"name": str(o.Name), "slug": str(o.Slug), "image_url": str(o.ImageURL), "created_by": str(o.CreatedBy),
				"role_set_key": str(o.RoleSetKey), "most": number(o.MaxAllowedMemberships), "metadata": o.RawPublicMetadata,
			}[column]
			return said + "|" + strings.Join(o.Kept, " ")
		}
	}
	must.Table(t, one("name"), map[string]string{
		`,"name":"Acme"`: "Acme|", `,"name":""`: "<absent>|", `,"name":null`: "<absent>|", ``: "<absent>|",
		`,"name":5`: "<absent>|name", `,"name":["x"]`: "<absent>|name", `,"name":"A\u0000\ud800"`: "A\uFFFD\uFFFD|",
		`,"name":5,"name":"Acme"`: "Acme|", ",\"name\":\"\xff\"": "\uFFFD|",
	})
	must.Table(t, one("image_url"), map[string]string{
		`,"image_url":"https://img.example.com/a.png"`: "https://img.example.com/a.png|", `,"image_url":{}`: "<absent>|image_url",
	})
	must.Table(t, one("slug"), map[string]string{`,"slug":"acme"`: "acme|", `,"slug":null`: "<absent>|", `,"slug":7`: "<absent>|", ``: "<absent>|"})
	must.Table(t, one("created_by"), map[string]string{
		`,"created_by":"user_1"`: "user_1|", `,"created_by":null`: "<absent>|", `,"created_by":"\u0000"`: "<absent>|",
		`,"created_by":"` + strings.Repeat("u", 256) + `"`: "<absent>|",
	})
	must.Table(t, one("role_set_key"), map[string]string{`,"role_set_key":"role_set:default"`: "role_set:default|", `,"role_set_key":null`: "<absent>|"})
	must.Table(t, one("most"), map[string]string{
		`,"max_allowed_memberships":5`: "5|", `,"max_allowed_memberships":0`: "0|", `,"max_allowed_memberships":null`: "<absent>|",
		`,"max_allowed_memberships":-1`: "<absent>|", `,"max_allowed_memberships":1e999`: "<absent>|", `,"max_allowed_memberships":"5"`: "<absent>|",
	})
	deep := `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`
	must.Table(t, one("metadata"), map[string]string{
		`,"public_metadata":{"plan":"pro"}`: `{"plan":"pro"}|`, `,"public_metadata":[]`: "{}|", ``: "{}|",
		`,"public_metadata":{"\u0000":1e131072}`: "{\"\uFFFD\":\"1e131072\"}|", `,"public_metadata":` + deep: "{}|raw_public_metadata",
		`,"unsafe_metadata":{"a":1},"private_metadata":{"b":1}`: "{}|",
	})
}

// Organisations and memberships have the versions of users.
func TestClerkOrganizationTimes(t *testing.T) {
	t.Parallel()
	const received = "1795230000123456 2026-11-21T03:00:00.123456Z"
	for name, version := range map[string]func(string) string{
		"organization": func(fields string) string {
			o := organizationOf(t, fields)
			return fmt.Sprint(o.Version, " ", stamp3339(o.UpdatedAt), " ", stamp3339(o.CreatedAt), " ", o.Kept)
		},
		"membership": func(fields string) string {
			m := membershipOf(t, fields)
			return fmt.Sprint(m.Version, " ", stamp3339(m.UpdatedAt), " ", stamp3339(m.CreatedAt), " ", m.Kept)
		},
	} {
		// The creation tells the lives of a membership apart: there is no other to keep.
		kept := map[string]string{"organization": "[created_at]", "membership": "[]"}[name]
		must.Table(t, version, map[string]string{
			`,"updated_at":1760000000450,"created_at":1760000000400`: "1760000000450000 2025-10-09T08:53:20.45Z 2025-10-09T08:53:20.4Z []",
			`,"updated_at":null,"created_at":1760000000400`:          "1760000000400000 <absent> 2025-10-09T08:53:20.4Z []",
			``:                                 "0 <absent> <absent> []",
			`,"updated_at":1e300`:              received + " <absent> [updated_at]",
			`,"updated_at":"soon"`:             received + " <absent> [updated_at]",
			`,"updated_at":5,"created_at":"x"`: "5000 1970-01-01T00:00:00.005Z <absent> " + kept,
		})
	}
}

func TestClerkMembership(t *testing.T) {
	t.Parallel()
	s := clerkSource(t)
	e := decode(t, s, membershipEvent("created", `,"role":"org:owner-of-the-moon","role_name":"Owner","permissions":["org:a:read"],"created_at":1760000000400,"updated_at":1760000000450`))
	m, o := e.Membership, e.Organization
	must.Equal(t, []string{m.Source, m.ID, str(m.OrganizationID), str(m.UserID), str(m.Role), str(m.RoleName), m.Permissions},
		[]string{"clerk", "orgmem_1", "org_1", "user_1", "org:owner-of-the-moon", "Owner", `["org:a:read"]`}, "membership")
	must.Equal(t, m.Version, 1760000000450000, "version")
	must.Equal(t, []string{o.Source, o.ID, str(o.Name)}, []string{"clerk", "org_1", "Acme"}, "organization")
	must.Equal(t, o.Version, 1760000000300000, "version of the organization: its own")
	must.Equal(t, e.User, nil, "public_user_data is no user")
	must.Equal(t, e.UserID, "user_1", "whose event it is")
	must.Table(t, func(fields string) string {
		m := membershipOf(t, fields)
		return str(m.Role) + "|" + str(m.RoleName) + "|" + m.Permissions + "|" + m.RawPublicMetadata + "|" + strings.Join(m.Kept, " ")
	}, map[string]string{
		``:                             "<absent>|<absent>|[]|{}|",
		`,"role":7,"role_name":[]`:     "<absent>|<absent>|[]|{}|",
		`,"role":"a\u0000"`:            "a\uFFFD|<absent>|[]|{}|",
		`,"permissions":null`:          "<absent>|<absent>|[]|{}|",
		`,"permissions":{"a":"b"}`:     "<absent>|<absent>|[]|{}|",
		`,"permissions":"org:a:read"`:  "<absent>|<absent>|[]|{}|",
		`,"permissions":[ "a" , "b" ]`: `<absent>|<absent>|["a","b"]|{}|`,
		`,"permissions":[5,"a",null,["b"],{"c":"d"},"e\u0000\ud800","e\"\u00fc"]`:              "<absent>|<absent>|[\"a\",\"e\uFFFD\uFFFD\",\"e\\\"\\u00fc\"]|{}|",
		`,"public_metadata":{"desk":1}`:                                                        `<absent>|<absent>|[]|{"desk":1}|`,
		`,"public_metadata":{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`: "<absent>|<absent>|[]|{}|raw_public_metadata",
	})
	must.Equal(t, membershipOf(t, `,"permissions":[`+strings.Repeat(`"org:reports:read",`, 499)+`"x"]`).Permissions,
		`[`+strings.Repeat(`"org:reports:read",`, 499)+`"x"]`, "500 permissions")
	must.Equal(t, membershipOf(t, `,"permissions":[`+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)+`,"x"]`).Permissions, `["x"]`, "deep permissions")
}

func TestClerkMembershipDeletes(t *testing.T) {
	t.Parallel()
	s := clerkSource(t)
	e := decode(t, s, membershipEvent("deleted", `,"role":"org:admin","permissions":["a"],"public_metadata":{"a":`+strings.Repeat("[", 300)+strings.Repeat("]", 300)+
		`},"created_at":1760000000400,"updated_at":1760000000450`))
	checkEvent(t, e)
	m := e.Membership
	must.Equal(t, opNames[e.Op]+" "+e.UserID, "delete user_1", "event")
	must.Equal(t, fmt.Sprint(m.Version, " ", stamp3339(m.DeletedAt)), "1760000000450000 2025-10-09T09:08:20.123Z", "the old version, the time of the event")
	want := &event.Membership{Row: event.Row{Source: "clerk", ID: "orgmem_1", Version: m.Version, DeletedAt: m.DeletedAt},
		OrganizationID: m.OrganizationID, UserID: m.UserID, CreatedAt: m.CreatedAt}
	must.Equal(t, m, want, "tombstone")
	must.Equal(t, []string{str(m.OrganizationID), str(m.UserID), stamp3339(m.CreatedAt)}, []string{"org_1", "user_1", "2025-10-09T08:53:20.4Z"}, "whose it was")
	must.True(t, e.Organization != nil && !e.Organization.Dead() && str(e.Organization.Name) == "Acme", "the organization stays: %+v", e.Organization)

	e = decode(t, s, `{"type":"organization.deleted","timestamp":1760000900,"data":{"id":"org_1","slug":"acme","deleted":true,"updated_at":5}}`)
	checkEvent(t, e)
	at := time.UnixMilli(1760000900000).UTC()
	must.Equal(t, e.Organization, &event.Organization{Row: event.Row{Source: "clerk", ID: "org_1", Version: 1760000900000000, DeletedAt: &at}}, "tombstone of an organization")
	must.Equal(t, opNames[e.Op]+" "+e.UserID, "delete ", "event")
}

func TestClerkOrganizationOps(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("o", 256)
	org, user := `"organization":{"id":"org_1"}`, `"public_user_data":{"user_id":"user_1"}`
	for body, want := range map[string]string{
		`{"type":"organization.created","data":{"id":"org_1"}}`:                                                    "upsert organization.created",
		`{"type":"organization.created","data":{"id":"user_1"}}`:                                                   "upsert organization.created",
		`{"type":"organization.created","data":{"id":"org_1"},"instance_id":"ins_other"}`:                          "ignore organization.created",
		`{"type":"organization.created","data":{}}`:                                                                "undecodable organization.created",
		`{"type":"organization.updated","data":{"id":"` + long + `"}}`:                                             "undecodable organization.updated",
		`{"type":"organization.updated","data":{"id":5}}`:                                                          "undecodable organization.updated",
		`{"type":"organization.updated","data":null}`:                                                              "undecodable organization.updated",
		`{"type":"organization.deleted","data":{"deleted":true,"slug":"acme"}}`:                                    "undecodable organization.deleted",
		`{"type":"organization.invented","data":{"id":"org_1"}}`:                                                   "ignore other",
		`{"type":"organizationDomain.created","data":{"id":"org_1"}}`:                                              "ignore other",
		`{"type":"organizationInvitation.created","data":{"id":"i","url":"https://x.test/?__clerk_ticket=t"}}`:     "ignore organizationInvitation.created",
		`{"type":"organizationMembership.created","data":{"id":"m",` + org + `,` + user + `}}`:                     "upsert organizationMembership.created",
		`{"type":"organizationMembership.created","data":{"id":"user_1",` + org + `,` + user + `}}`:                "upsert organizationMembership.created",
		`{"type":"organizationMembership.created","data":{` + org + `,` + user + `}}`:                              "undecodable organizationMembership.created",
		`{"type":"organizationMembership.created","data":{"id":"m",` + org + `}}`:                                  "undecodable organizationMembership.created",
		`{"type":"organizationMembership.created","data":{"id":"m",` + org + `,"public_user_data":null}}`:          "undecodable organizationMembership.created",
		`{"type":"organizationMembership.created","data":{"id":"m",` + org + `,"public_user_data":"user_1"}}`:      "undecodable organizationMembership.created",
		`{"type":"organizationMembership.created","data":{"id":"m",` + org + `,"public_user_data":{"user_id":1}}}`: "undecodable organizationMembership.created",
		`{"type":"organizationMembership.updated","data":{"id":"m",` + user + `}}`:                                 "undecodable organizationMembership.updated",
		`{"type":"organizationMembership.updated","data":{"id":"m",` + user + `,"organization":"org_1"}}`:          "undecodable organizationMembership.updated",
		`{"type":"organizationMembership.deleted","data":{"id":"m",` + user + `,"organization":{"id":"\u0000"}}}`:  "undecodable organizationMembership.deleted",
		`{"type":"organizationMembership.deleted","data":[]}`:                                                      "undecodable organizationMembership.deleted",
	} {
		e := decode(t, clerkSource(t), body)
		must.Equal(t, opNames[e.Op]+" "+e.Type, want, body)
		checkEvent(t, e)
		must.Equal(t, e.Body != nil, e.Op != event.Ignore, body, ": is the body kept")
	}
	must.Equal(t, must.Err(clerkSource(t).DecodeOrganization([]byte(`{"name":"secret"}`), now)).Error(), "decode an organization of source clerk: "+reasonNoOrganizationID, "error")
	_, _, err := clerkSource(t).DecodeMembership([]byte(`{"id":"secret","public_user_data":{"user_id":"secret"}}`), now)
	must.Fail(t, err, nil, reasonNoOrganization)
}

// The examples of Clerk's dashboard tell of an organisation that does not exist.
func TestClerkOrganizationSamples(t *testing.T) {
	t.Parallel()
	const spec = "ins_2g7np7Hrk0SN6kj5EDMLDaKNL0S"
	open := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}})
	owner := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}, InstanceID: spec})
	for _, test := range []struct {
		s                           *Source
		kind, org, member, user, in string
		want                        string
	}{
		{open, "organization.created", "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "", "", spec, "ignore sample"},
		{open, "organization.updated", "org_29w9IfBrPmcpi0IeBVaKtA7R94W", "", "", "", "ignore sample"},
		{open, "organization.deleted", "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "", "", spec, "ignore sample"},
		{open, "organization.deleted", "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "", "", "", "delete "},
		{open, "organization.created", "org_1", "", "", spec, "upsert "},
		{owner, "organization.created", "org_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "", "", spec, "upsert "},
		{open, "organizationMembership.created", "org_1", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "user_1", "", "ignore sample"},
		{open, "organizationMembership.created", "org_1", "orgmem_29w9IptNja3mP8GDXpquBwN2qR9", "user_1", "", "ignore sample"},
		{open, "organizationMembership.created", "org_29w9IfBrPmcpi0IeBVaKtA7R94W", "orgmem_1", "user_1", "", "ignore sample"},
		{open, "organizationMembership.created", "org_1", "orgmem_1", "user_2h8op3Isl1QR7tKu5FGNfaLKEoU", spec, "ignore sample"},
		{open, "organizationMembership.deleted", "org_1", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "user_1", spec, "ignore sample"},
		{open, "organizationMembership.deleted", "org_1", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "user_1", "ins_2abc", "delete "},
		{owner, "organizationMembership.created", "org_1", "orgmem_2g7np7Hrk0SN6kj5EDMLDaKNL0S", "user_1", spec, "upsert "},
		{open, "organizationMembership.created", "org_1", "orgmem_1", "user_1", spec, "upsert "},
	} {
		data := `{"id":"` + test.org + `"}`
		if test.member != "" {
			data = `{"id":"` + test.member + `","organization":` + data + `,"public_user_data":{"user_id":"` + test.user + `"}}`
		}
		e := decode(t, test.s, `{"type":"`+test.kind+`","instance_id":"`+test.in+`","data":`+data+`}`)
		must.Equal(t, opNames[e.Op]+" "+e.Reason, test.want, test)
		checkEvent(t, e)
	}
}

// What only the backend may see is taken out of the organisation in a membership, too; metadata stays whole.
func TestMembershipBodyToStore(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`,"private_metadata":{"x":1},"a":1`:                                                                                        `,"a":1`,
		`,"public_metadata":{"private_metadata":{"x":1}}`:                                                                          `,"public_metadata":{"private_metadata":{"x":1}}`,
		`,"organization":{"id":"o","private_metadata":{"x":1},"public_metadata":{"private_metadata":{"x":1}}}`:                     `,"organization":{"id":"o","public_metadata":{"private_metadata":{"x":1}}}`,
		`,"x":{"public_metadata":{"private_metadata":1}},"organization":{"id":"o"}`:                                                `,"x":{"public_metadata":{}},"organization":{"id":"o"}`,
		`,"organization":{"id":"o","x":{"public_metadata":{"private_metadata":1}}},"y":{"public_metadata":{"private_metadata":1}}`: `,"organization":{"id":"o","x":{"public_metadata":{}}},"y":{"public_metadata":{}}`,
		`,"organization":{"id":"o","private\u005fmetadata":{"x":1}}`:                                                               `,"organization":{"id":"o"}`,
	} {
		for _, kind := range []string{"created", "updated", "deleted"} {
			r := signed(t, clerkSource(t), Hook, membershipEvent(kind, in))
			e := clerkSource(t).Decode(r)
			must.Equal(t, string(e.Body), membershipEvent(kind, want), "body")
			replay(t, clerkSource(t), e)
		}
	}
	const outside = `,"y":[{"public_metadata":%s}],"z":{"organization":{"public_metadata":%[1]s}}}`
	inside := strings.TrimSuffix(membershipEvent("created", `,"organization":{"id":"o"}`), "}")
	e := decode(t, clerkSource(t), inside+fmt.Sprintf(outside, `{"private_metadata":1}`))
	must.Equal(t, string(e.Body), inside+fmt.Sprintf(outside, `{}`), "body with more than the data")
	r := signed(t, clerkSource(t), Hook, organizationEvent(`,"private_metadata":{"x":1},"public_metadata":{"private_metadata":1},"organization":{"public_metadata":{"private_metadata":1}}`))
	e = clerkSource(t).Decode(r)
	must.Equal(t, string(e.Body), organizationEvent(`,"public_metadata":{"private_metadata":1},"organization":{"public_metadata":{}}`), "body of an organization")
	replay(t, clerkSource(t), e)
}

// The url of an invitation lets its reader in: it is stored of no event, whatever else is wrong with it.
func TestInvitationsAreNotStored(t *testing.T) {
	t.Parallel()
	const invitation = `"data":{"object":"organization_invitation","id":"orginv_1","url":"https://app.test/in?__clerk_ticket=HIDEME","image_url":"kept"}`
	for _, body := range []string{
		`{"type":"organizationInvitation.created",` + invitation + `}`, `{` + invitation + `}`, `{"type":5,` + invitation + `}`, `[{` + invitation + `}]`,
		`{"type":"organizationInvitation.created",` + invitation, `{"type":"user.created",` + invitation[:len(invitation)-1] + `,"id":5}}`,
	} {
		e := decode(t, clerkSource(t), body)
		must.True(t, !bytes.Contains(e.Body, []byte("HIDEME")), "%s: stored %s", opNames[e.Op], e.Body)
	}
	e := decode(t, clerkSource(t), `{`+invitation+`}`)
	must.True(t, bytes.Contains(e.Body, []byte("image_url")), "stored %s", e.Body)
}

// What the API has is what an event would have carried.
func TestClerkTeamsOfTheAPI(t *testing.T) {
	t.Parallel()
	s := clerkSource(t)
	compared := 0
	for name, body := range files(t, "clerk") {
		if e := decode(t, s, body); e.Op == event.Upsert && strings.HasPrefix(name, "organization") {
			compared++
			checkSame(t, s, e, rawjson.Member([]byte(body), "data"))
		}
	}
	must.True(t, compared >= 2, "only %d compared", compared)
}

// What the stand-in for the API says in a webhook and in an answer is the same.
func TestClerkStandInForTeams(t *testing.T) {
	t.Parallel()
	clerk := clerktest.New(t)
	s := build(t, Config{Name: "clerk", Provider: Clerk, SigningSecrets: []string{clerkSecret}, InstanceID: clerk.Instance()})
	u := clerk.Put(clerktest.User{Email: "ada@example.com"})
	o := clerk.PutOrganization(clerktest.Organization{Name: "Acme", Slug: "acme", CreatedBy: u.ID, MaxMembers: 3, Public: map[string]any{"plan": "pro"}, Private: map[string]any{"secret": 1}})
	m := clerk.PutMembership(clerktest.Membership{OrganizationID: o.ID, UserID: u.ID, Role: "org:admin", RoleName: "Admin", Permissions: []string{"org:a:read"}, Private: map[string]any{"secret": 1}})
	e := decode(t, s, string(clerk.Event("organization.updated", o.ID)))
	must.True(t, str(e.Organization.Name) == "Acme" && str(e.Organization.CreatedBy) == u.ID && e.Organization.Version == o.UpdatedAt.UnixMicro(), "%+v", e.Organization)
	checkSame(t, s, e, clerk.OrganizationObject(o.ID))
	e = decode(t, s, string(clerk.Event("organizationMembership.created", m.ID)))
	must.True(t, e.UserID == u.ID && str(e.Membership.Role) == "org:admin" && e.Membership.Permissions == `["org:a:read"]` && e.Organization.ID == o.ID, "%+v", e)
	must.True(t, !strings.Contains(string(e.Body), "secret"), "stored %s", e.Body)
	checkSame(t, s, e, clerk.MembershipObject(m.ID))
	clerk.DeleteOrganization(o.ID)
	e = decode(t, s, string(clerk.Event("organizationMembership.deleted", m.ID)))
	must.True(t, e.Op == event.Delete && e.Membership.Dead() && e.Membership.Version == m.UpdatedAt.UnixMicro(), "%+v", e)
	e = decode(t, s, string(clerk.Event("organization.deleted", o.ID)))
	must.True(t, e.Op == event.Delete && e.Organization.Dead() && e.Organization.ID == o.ID, "%+v", e)
}
