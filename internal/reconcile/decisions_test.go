package reconcile

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/must"
)

func TestJudge(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	living := func(version int64, email string) *event.User {
		return &event.User{Row: event.Row{Version: version}, Email: &email, RawUserMetaData: `{"a": 1, "b": 2}`, RawAppMetaData: "{}"}
	}
	respelled := living(5, "a")
	respelled.RawUserMetaData = `{"b":2,"a":1}`
	touched := living(6, "a")
	touched.UpdatedAt, touched.LastSignInAt = &at, &at
	edited := living(6, "a")
	edited.LastSignInAt, edited.Banned = &at, true
	dead := &event.User{Row: event.Row{Version: 5, DeletedAt: &at}}
	keeping := func(version int64, columns ...string) *event.User {
		u := living(version, "a")
		u.RawUserMetaData, u.Kept = "{}", columns
		return u
	}
	kept := living(5, "a")
	kept.Kept = []string{"raw_user_meta_data"}
	undated := living(9, "a")
	undated.Kept = []string{"updated_at"}
	for name, test := range map[string]struct {
		theirs, ours *event.User
		want         Verdict
	}{
		"nobody":                    {nil, nil, Forgotten},
		"deleted on both sides":     {dead, dead, Forgotten},
		"deleted, never known":      {dead, nil, Forgotten},
		"deleted long ago":          {nil, dead, Forgotten},
		"unknown":                   {living(5, "a"), nil, Create},
		"gone":                      {nil, living(5, "a"), Vanished},
		"softly deleted":            {dead, living(5, "a"), Vanished},
		"back from the dead":        {living(6, "a"), dead, Final},
		"the same":                  {living(5, "a"), living(5, "a"), Same},
		"the same JSON":             {living(5, "a"), respelled, Same},
		"a newer version":           {living(6, "b"), living(5, "a"), Update},
		"touched":                   {touched, living(5, "a"), Touch},
		"a newer version alone":     {living(6, "a"), living(5, "a"), Touch},
		"touched, and edited":       {edited, living(5, "a"), Update},
		"touched, set back":         {living(4, "a"), touched, Newer},
		"edited, version unchanged": {living(5, "b"), living(5, "a"), Update},
		"set back":                  {living(4, "a"), living(5, "a"), Newer},
		"metadata can't be used":    {keeping(5, "raw_user_meta_data"), kept, Same},
		"since now":                 {keeping(5, "raw_user_meta_data"), living(5, "a"), Update},
		"another column":            {keeping(5, "raw_app_meta_data"), kept, Update},
		"metadata can be used":      {living(5, "a"), kept, Update},
		"kept, and a new address":   {keeping(5, "raw_user_meta_data"), living(5, "b"), Update},
		"updated_at can't be used":  {&event.User{Row: event.Row{Version: 99, Kept: undated.Kept}, Email: undated.Email, RawUserMetaData: undated.RawUserMetaData, RawAppMetaData: "{}"}, undated, Same},
	} {
		must.Equal(t, judgeUsers(test.theirs, test.ours), test.want, name)
	}
}

// judgeUsers is judge, nil for absent.
func judgeUsers(theirs, ours *event.User) Verdict {
	var a, b event.Record
	if theirs != nil {
		a = theirs
	}
	if ours != nil {
		b = ours
	}
	return judge(&event.Users, a, b)
}

// Every field of a living user counts.
func TestDifferencesSeeEveryField(t *testing.T) {
	at, text := time.Unix(1_700_000_000, 0), "x"
	values := map[reflect.Type]any{
		reflect.TypeFor[string](): `{"a": 1}`, reflect.TypeFor[*string](): &text, reflect.TypeFor[bool](): true,
		reflect.TypeFor[int64](): int64(7), reflect.TypeFor[[]string](): []string{"x"}, reflect.TypeFor[*time.Time](): &at,
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[event.User]()) {
		name := field.Name
		if name == "Row" || name == "Source" || name == "ID" || name == "DeletedAt" || name == "KeptBecause" {
			continue // the key, what living users have not, and what the roll does not keep
		}
		ours := event.User{RawUserMetaData: "{}", RawAppMetaData: "{}"}
		theirs := ours
		reflect.ValueOf(&theirs).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(values[field.Type]))
		if got := differences(&event.Users, &theirs, &ours); len(got) != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Who a person is isn't printed.
func TestDifferencesAreMasked(t *testing.T) {
	mail, phone, name := "ada@example.com", "+4912345", "Ada Lovelace"
	meta := `{"street": "Long Lane"}`
	ours := &event.User{Email: &mail, Phone: &phone, FullName: &name, RawUserMetaData: meta, RawAppMetaData: "{}"}
	got := fmt.Sprint(differences(&event.Users, &event.User{RawUserMetaData: "{}", RawAppMetaData: "{}"}, ours))
	want := "[{email a…@e….com null} {phone +… null} {full_name A… null} {raw_user_meta_data 23 bytes 2 bytes}]"
	must.Equal(t, got, want, "differences")
}

// The fields of another kind of roll are compared as those of users are.
func TestDifferencesOfAnotherRoll(t *testing.T) {
	type team struct {
		event.Row
		Name     *string
		Settings string
	}
	teams := &event.Roll{Fields: []event.Field{
		{Name: "name", Type: event.Text, At: event.Of(func(t *team) any { return &t.Name }), Masked: true},
		{Name: "settings", Type: event.JSON, At: event.Of(func(t *team) any { return &t.Settings })},
	}}
	one, two := "One", "Two"
	ours := &team{Row: event.Row{Version: 1}, Name: &one, Settings: `{"a":1}`}
	theirs := &team{Row: event.Row{Version: 1}, Name: &two, Settings: `{ "a": 1 }`}
	must.Equal(t, fmt.Sprint(differences(teams, theirs, ours)), "[{name O… T…}]", "differences")
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		found event.Outcome
		age   time.Duration
		want  event.Outcome
		next  time.Duration // after the announcement
	}{
		"not there at once":       {"", 2 * time.Second, event.Announced, 5 * time.Second},
		"looked a bit late":       {"", 4 * time.Second, event.Announced, 5 * time.Second},
		"not there a second time": {"", 5 * time.Second, event.Announced, 15 * time.Second},
		"nor a third":             {"", 16 * time.Second, event.Announced, time.Minute},
		"just before the last":    {"", time.Minute - 1, event.Announced, time.Minute},
		"the last look":           {"", time.Minute, event.NeverCreated, 0},
		"after a long pause":      {"", time.Hour, event.NeverCreated, 0},
		"pauses are left out":     {"", 20 * time.Second, event.Announced, time.Minute},
		"announced in the future": {"", -time.Hour, event.Announced, 2 * time.Second},
		"there":                   {event.Applied, 2 * time.Second, event.Applied, 0},
		"there at last":           {event.Applied, time.Hour, event.Applied, 0},
		"known already":           {event.Stale, 2 * time.Second, event.Applied, 0},
		"refused by a target":     {event.Parked, 2 * time.Second, event.Parked, 0},
		"not readable":            {event.UndecodableBody, 2 * time.Second, event.UndecodableBody, 0},
		"nothing learned":         {event.Unavailable, time.Hour, event.Announced, time.Hour},
	} {
		got, next := answer(received, received.Add(test.age), test.found)
		want := time.Time{}
		if test.want == event.Announced {
			want = received.Add(test.next)
		}
		must.Equal(t, got, test.want, name)
		must.Equal(t, next, want, name, ": next look")
	}
}
