package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"rollcall/internal/event"
	"rollcall/internal/must"
	"rollcall/internal/rawjson"
)

// teamBodies are events about organisations and memberships; any JSON may stand for %s.
func teamBodies() []string {
	const times = `"created_at":1760000000400,"updated_at":1760000000450`
	var list []string
	for _, part := range []string{"name", "slug", "image_url", "public_metadata", "max_allowed_memberships", "created_by"} {
		org := `{"id":"user_1",` + times + `,"` + part + `":%s}`
		list = append(list, `{"type":"organization.updated","data":`+org+`}`, membershipEvent("updated", `,`+times+`,"organization":`+org))
	}
	for _, part := range []string{"role", "permissions", "public_metadata", "private_metadata"} {
		list = append(list, membershipEvent("updated", `,`+times+`,"`+part+`":%s`))
	}
	list = append(list, membershipEvent("created", `,`+times+`,"public_user_data":{"first_name":%s,"user_id":"user_1"}`),
		membershipEvent("deleted", `,`+times+`,"public_metadata":%s`),
		`{"type":"organization.deleted","timestamp":1760000900123,"data":{"id":"user_1","public_metadata":%s}}`)
	return list
}

// Whatever stands in one part of an event, the rest of it is applied.
func TestOddPartsOfTeams(t *testing.T) {
	t.Parallel()
	for _, body := range teamBodies() {
		for _, value := range hostileValues() {
			checkTeamBody(t, body, value)
		}
	}
}

// FuzzTeams puts arbitrary JSON into each part of an event about an organisation or a membership.
func FuzzTeams(f *testing.F) {
	bodies := teamBodies()
	for i, value := range hostileValues() {
		f.Add(uint8(i), []byte(value))
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		checkTeamBody(t, bodies[int(which)%len(bodies)], string(jsonValue(t, value)))
	})
}

func checkTeamBody(t *testing.T, with, value string) {
	t.Helper()
	s := clerkSource(t)
	r := Request{Header: http.Header{}, Body: []byte(strings.Replace(with, "%s", value, 1)), ReceivedAt: now}
	e := s.Decode(r)
	name := fmt.Sprintf("%s with %.60s", with, value)
	gone := strings.Contains(with, ".deleted")
	if want := map[bool]event.Op{true: event.Delete, false: event.Upsert}[gone]; e.Op != want {
		t.Errorf("%s: %s: %s", name, opNames[e.Op], e.Reason)
		return
	}
	checkTeam(t, e)
	var about *event.Row
	if strings.Contains(with, "Membership") {
		about = &e.Membership.Row
		must.True(t, e.UserID == "user_1" && e.Organization != nil && !e.Organization.Dead(), "%s: %+v", name, e)
		must.Equal(t, about.Version, 1760000000450000, name)
	} else {
		about = &e.Organization.Row
		must.True(t, e.UserID == "" && e.Membership == nil && about.ID == "user_1", "%s: %+v", name, e)
	}
	must.True(t, e.User == nil && about.Dead() == gone, "%s: %+v", name, e)
	checkKeptOfTeams(t, with, value, e)
	if !bytes.Equal(e.Body, r.Body) {
		must.True(t, len(e.Body) > 0 && !mentions(e.Body, privateMetadata+`":`+value), "%s: stored %.200s", name, e.Body)
		replay(t, s, e)
	}
}

// checkKeptOfTeams holds what is kept against an own look at the value, by encoding/json.
func checkKeptOfTeams(t *testing.T, with, value string, e event.Event) {
	t.Helper()
	kind := rawjson.Kind([]byte(value))
	var want []string
	switch {
	case strings.Contains(with, `"public_metadata":%s`) && kind == '{' && (levels(t, value) > maxNesting || strings.Count(value, "1e131071") > 8):
		want = []string{"raw_public_metadata"}
	case strings.Contains(with, `"name":%s`) && kind != '"' && kind != 'n':
		want = []string{"name"}
	case strings.Contains(with, `"image_url":%s`) && kind != '"' && kind != 'n':
		want = []string{"image_url"}
	}
	head := &e.Organization.Row
	if strings.Contains(with, "Membership") && !strings.Contains(with, `"organization":{"id":"user_1"`) {
		head = &e.Membership.Row
	}
	if head.Dead() {
		want = nil
	}
	must.True(t, slices.Equal(head.Kept, want) && (head.KeptBecause != "") == (want != nil), "%s with %.60s: keeps %v because %q", with, value, head.Kept, head.KeptBecause)
}

// checkTeam asserts what organisations and memberships promise, whatever they were made of.
func checkTeam(t testing.TB, e event.Event) {
	t.Helper()
	for _, roll := range []event.Roll{event.Organizations, event.Memberships} {
		record := roll.Of(&e)
		if record == nil {
			continue
		}
		head := record.Head()
		must.True(t, event.ValidID(head.ID) && head.Source == e.Source, "%s: %+v", roll.Name, head)
		must.True(t, !head.Dead() || head.Kept == nil, "%s: a tombstone keeps %v", roll.Name, head.Kept)
		checkTimes(t, head.DeletedAt)
		for _, name := range head.Kept {
			must.True(t, roll.Field(name) != nil && roll.Field(name).Keeps, "%s: %s can't keep its value", roll.Name, name)
		}
		for i := range roll.Fields {
			checkField(t, &roll.Fields[i], record)
		}
	}
	if m := e.Membership; m != nil {
		must.True(t, e.Organization != nil && str(m.OrganizationID) == e.Organization.ID && str(m.UserID) == e.UserID, "%+v", e)
		must.True(t, m.Dead() == (e.Op == event.Delete) && !e.Organization.Dead(), "%s: %+v", opNames[e.Op], m)
		if !m.Dead() {
			checkPermissions(t, m.Permissions)
		}
	}
}

// checkField asserts that a column can hold a value.
func checkField(t testing.TB, f *event.Field, record event.Record) {
	t.Helper()
	switch at := f.At(record).(type) {
	case **string:
		must.True(t, *at == nil || **at != "", "%s: an empty text should be absent", f.Name)
		checkText(t, str(*at))
	case *string:
		if record.Head().Dead() {
			must.Equal(t, *at, "", f.Name, " of a tombstone")
		} else if f.Name != "permissions" {
			checkMetadata(t, *at)
		}
	}
}

func checkPermissions(t testing.TB, permissions string) {
	t.Helper()
	var texts []*string
	if err := json.Unmarshal([]byte(permissions), &texts); err != nil || texts == nil || slices.Contains(texts, nil) {
		t.Errorf("no list of texts: %v: %q", err, permissions)
	}
	for _, text := range texts {
		checkText(t, *text)
	}
}
