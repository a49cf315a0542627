package reconcile

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/postgres"
)

// Verdict is what a comparison says about one user.
type Verdict int

// The verdicts.
const (
	// Same: nothing is to be done.
	Same Verdict = iota + 1
	// Create: the provider has a user whom the roll does not know.
	Create
	// Update: the provider's user differs, and the roll has no newer version.
	Update
	// Touch: as Update, but only the moment of a change or of a sign-in differs.
	Touch
	// Vanished: the roll has a living user whom the provider has no more.
	Vanished
	// Buried: the provider has a user whose deletion the roll knows; a deletion is final.
	Buried
	// Newer: they differ, and the roll has the higher version.
	Newer
	// Forgotten: both know no living user.
	Forgotten
)

// judge compares a user as the provider has him with the roll; nil for absent.
func judge(theirs, ours *event.User) Verdict {
	here, there := ours != nil && !ours.Dead(), theirs != nil && !theirs.Dead()
	switch {
	case !here && !there:
		return Forgotten
	case !there:
		return Vanished
	case ours == nil:
		return Create
	case !here:
		return Buried
	}
	differ := differences(theirs, ours)
	switch {
	case len(differ) == 0:
		return Same
	case ours.Version > theirs.Version:
		return Newer
	case slices.ContainsFunc(differ, func(d Difference) bool { return !slices.Contains(moments, d.Column) }):
		return Update
	}
	return Touch
}

// moments are the columns that a sign-in or a token refresh changes, and that say nothing else
// about a user.
var moments = []string{"version", "updated_at", "last_sign_in_at"}

// Difference is one column of the record new that is not the same on both sides. Values
// that tell who somebody is are masked.
type Difference struct {
	Column string `json:"column"`
	Roll   string `json:"roll"`
	Theirs string `json:"provider"`
}

// masked are the differences that the database has found, with personal data masked.
func masked(found []postgres.Difference) []Difference {
	var list []Difference
	for _, d := range found {
		at := slices.IndexFunc(columns, func(c column) bool { return c.name == d.Column })
		if columns[at].mask && !strings.HasPrefix(d.Column, "raw_") {
			d.Roll, d.Theirs = maskedValue(d.Roll), maskedValue(d.Theirs)
		}
		list = append(list, Difference(d))
	}
	return list
}

func maskedValue(value string) string {
	if value == "null" {
		return value
	}
	return event.Mask(value)
}

// column is one column of the record new.
type column struct {
	name  string
	value func(*event.User) any // nil, string, bool, time.Time or object
	mask  bool
}

// object is JSON, compared by its meaning.
type object string

var columns = []column{
	{"version", func(u *event.User) any { return time.UnixMicro(u.Version).UTC() }, false},
	{"external_id", func(u *event.User) any { return optional(u.ExternalID) }, false},
	{"email", func(u *event.User) any { return optional(u.Email) }, true},
	{"email_verified", func(u *event.User) any { return u.EmailVerified }, false},
	{"email_confirmed_at", func(u *event.User) any { return instant(u.EmailConfirmedAt) }, false},
	{"phone", func(u *event.User) any { return optional(u.Phone) }, true},
	{"phone_verified", func(u *event.User) any { return u.PhoneVerified }, false},
	{"phone_confirmed_at", func(u *event.User) any { return instant(u.PhoneConfirmedAt) }, false},
	{"username", func(u *event.User) any { return optional(u.Username) }, true},
	{"first_name", func(u *event.User) any { return optional(u.FirstName) }, true},
	{"last_name", func(u *event.User) any { return optional(u.LastName) }, true},
	{"full_name", func(u *event.User) any { return optional(u.FullName) }, true},
	{"avatar_url", func(u *event.User) any { return optional(u.AvatarURL) }, true},
	{"raw_user_meta_data", func(u *event.User) any { return object(u.RawUserMetaData) }, true},
	{"raw_app_meta_data", func(u *event.User) any { return object(u.RawAppMetaData) }, true},
	{"is_anonymous", func(u *event.User) any { return u.IsAnonymous }, false},
	{"banned", func(u *event.User) any { return u.Banned }, false},
	{"banned_until", func(u *event.User) any { return instant(u.BannedUntil) }, false},
	{"created_at", func(u *event.User) any { return instant(u.CreatedAt) }, false},
	{"updated_at", func(u *event.User) any { return instant(u.UpdatedAt) }, false},
	{"last_sign_in_at", func(u *event.User) any { return instant(u.LastSignInAt) }, false},
	{"kept", func(u *event.User) any { return strings.Join(u.Kept, " ") }, false},
}

// kept reports whether a column can't be compared, because the provider says nothing of it that
// can be used. The version follows from updated_at.
func (c column) kept(theirs *event.User) bool {
	name := c.name
	if name == "version" {
		name = "updated_at"
	}
	return slices.Contains(theirs.Kept, name)
}

// differences lists the columns in which two living users differ.
func differences(theirs, ours *event.User) []Difference {
	var list []Difference
	for _, c := range columns {
		a, b := c.value(theirs), c.value(ours)
		if a != b && !c.kept(theirs) && !sameObject(a, b) {
			list = append(list, Difference{c.name, c.shown(b), c.shown(a)})
		}
	}
	return list
}

func sameObject(a, b any) bool {
	x, one := a.(object)
	y, two := b.(object)
	if !one || !two {
		return false
	}
	var left, right any
	return decode(string(x), &left) && decode(string(y), &right) && reflect.DeepEqual(left, right)
}

func decode(text string, into *any) bool {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // a float would call different numbers equal
	return d.Decode(into) == nil
}

func optional(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

func instant(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UTC()
}

// shown is a value for people.
func (c column) shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case object:
		return strconv.Itoa(len(v)) + " bytes"
	case string:
		if c.mask {
			return event.Mask(v)
		}
		return v
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return ""
}
