package event

import "time"

// A roll is a table of rows, one for each thing that a provider knows, at its newest known version. Roll
// describes one kind of them. Its list of fields is the only one: the parameters and columns of the
// statements, what is scanned, compared and masked, and the record new of a target follow from it.

// Row is what a row of every roll has: whose it is, and how new.
type Row struct {
	Source string
	ID     string
	// Version orders the states of a row: microseconds since 1970 UTC of the provider's own
	// updated_at, for a Clerk delete of the envelope.
	Version int64
	// DeletedAt is set for a tombstone.
	DeletedAt *time.Time

	// Kept are the columns of the roll that keep their last known value, sorted, because what the
	// provider says of them can't be used. Here they have the value of a row that is new. Nil when
	// everything can be used, and for a tombstone.
	Kept []string `json:",omitempty"`
	// KeptBecause says why, for the operator's log. It holds no value of the body, and the roll
	// doesn't keep it.
	KeptBecause string `json:",omitempty"`
}

// Head is what a row has in common with those of every other roll.
func (r *Row) Head() *Row { return r }

// Dead reports whether the row is a tombstone.
func (r *Row) Dead() bool { return r.DeletedAt != nil }

// Record is a row of a roll: *User, or that of another kind.
type Record interface{ Head() *Row }

// Roll describes a kind of roll.
type Roll struct {
	// Name is what a target's roll: calls it, One what people call a row of it, and Table its table with the schema.
	Name, One, Table string
	// Fields are the columns beside those of Row, in the order that the record new has them.
	Fields []Field
	// Of is the state that an event carries for this roll; nil when it carries none.
	Of func(*Event) Record
	// Empty is a record of which nothing is known yet.
	Empty func() Record
}

// Type is PostgreSQL's type of a column.
type Type string

// The types, and what At points to.
const (
	Text    Type = "text"        // **string
	Boolean Type = "boolean"     // *bool
	Integer Type = "bigint"      // **int64
	Time    Type = "timestamptz" // **time.Time
	JSON    Type = "jsonb"       // *string; empty is null
)

// Field is a column of a roll.
type Field struct {
	Name string
	Type Type
	// At points to the value in a record, as Type says.
	At func(Record) any
	// Keeps: the column keeps its last known value where what the provider says can't be used.
	Keeps bool
	// Masked: the value tells who a person is, and is masked where people may see it.
	Masked bool
	// Trusted: a user's own client can't write it.
	Trusted bool
	// Touched: a sign-in or a token refresh changes it, which says nothing else about the user.
	Touched bool
}

// Value is the value in a record: nil, string, bool, int64, time.Time or, of JSON, Document.
func (f *Field) Value(r Record) any {
	switch at := f.At(r).(type) {
	case **string:
		if *at != nil {
			return **at
		}
	case **int64:
		if *at != nil {
			return **at
		}
	case **time.Time:
		if *at != nil {
			return (*at).UTC()
		}
	case *bool:
		return *at
	case *string:
		if *at != "" {
			return Document(*at)
		}
	}
	return nil
}

// Document is a JSON text.
type Document string

// Users is the roll of users.
var Users = Roll{
	Name: "users", One: "user", Table: "rollcall.users",
	Fields: []Field{
		{Name: "external_id", Type: Text, At: Of(func(u *User) any { return &u.ExternalID }), Trusted: true},
		{Name: "email", Type: Text, At: Of(func(u *User) any { return &u.Email }), Masked: true},
		{Name: "email_verified", Type: Boolean, At: Of(func(u *User) any { return &u.EmailVerified })},
		{Name: "email_confirmed_at", Type: Time, At: Of(func(u *User) any { return &u.EmailConfirmedAt })},
		{Name: "phone", Type: Text, At: Of(func(u *User) any { return &u.Phone }), Masked: true},
		{Name: "phone_verified", Type: Boolean, At: Of(func(u *User) any { return &u.PhoneVerified })},
		{Name: "phone_confirmed_at", Type: Time, At: Of(func(u *User) any { return &u.PhoneConfirmedAt })},
		{Name: "username", Type: Text, At: Of(func(u *User) any { return &u.Username }), Keeps: true, Masked: true},
		{Name: "first_name", Type: Text, At: Of(func(u *User) any { return &u.FirstName }), Keeps: true, Masked: true},
		{Name: "last_name", Type: Text, At: Of(func(u *User) any { return &u.LastName }), Keeps: true, Masked: true},
		{Name: "full_name", Type: Text, At: Of(func(u *User) any { return &u.FullName }), Keeps: true, Masked: true},
		{Name: "avatar_url", Type: Text, At: Of(func(u *User) any { return &u.AvatarURL }), Keeps: true, Masked: true},
		{Name: "raw_user_meta_data", Type: JSON, At: Of(func(u *User) any { return &u.RawUserMetaData }), Keeps: true, Masked: true},
		{Name: "raw_app_meta_data", Type: JSON, At: Of(func(u *User) any { return &u.RawAppMetaData }), Keeps: true, Masked: true, Trusted: true},
		{Name: "email_addresses", Type: JSON, At: Of(func(u *User) any { return &u.EmailAddresses }), Keeps: true, Masked: true},
		{Name: "external_accounts", Type: JSON, At: Of(func(u *User) any { return &u.ExternalAccounts }), Keeps: true, Masked: true},
		{Name: "is_anonymous", Type: Boolean, At: Of(func(u *User) any { return &u.IsAnonymous })},
		{Name: "is_sso_user", Type: Boolean, At: Of(func(u *User) any { return &u.IsSSOUser })},
		{Name: "locked", Type: Boolean, At: Of(func(u *User) any { return &u.Locked })},
		{Name: "banned", Type: Boolean, At: Of(func(u *User) any { return &u.Banned }), Keeps: true},
		{Name: "banned_until", Type: Time, At: Of(func(u *User) any { return &u.BannedUntil }), Keeps: true},
		{Name: "invited_at", Type: Time, At: Of(func(u *User) any { return &u.InvitedAt })},
		{Name: "created_at", Type: Time, At: Of(func(u *User) any { return &u.CreatedAt }), Keeps: true},
		{Name: "updated_at", Type: Time, At: Of(func(u *User) any { return &u.UpdatedAt }), Keeps: true, Touched: true},
		{Name: "last_sign_in_at", Type: Time, At: Of(func(u *User) any { return &u.LastSignInAt }), Keeps: true, Touched: true},
	},
	Of: func(e *Event) Record {
		if e.User == nil {
			return nil // not a Record that holds a nil *User
		}
		return e.User
	},
	Empty: func() Record { return &User{RawUserMetaData: "{}", RawAppMetaData: "{}"} },
}

// Organizations is the roll of organisations.
var Organizations = Roll{
	Name: "organizations", One: "organization", Table: "rollcall.organizations",
	Fields: []Field{
		{Name: "name", Type: Text, At: Of(func(o *Organization) any { return &o.Name }), Keeps: true},
		{Name: "slug", Type: Text, At: Of(func(o *Organization) any { return &o.Slug })},
		{Name: "image_url", Type: Text, At: Of(func(o *Organization) any { return &o.ImageURL }), Keeps: true},
		{Name: "raw_public_metadata", Type: JSON, At: Of(func(o *Organization) any { return &o.RawPublicMetadata }), Keeps: true, Trusted: true},
		{Name: "max_allowed_memberships", Type: Integer, At: Of(func(o *Organization) any { return &o.MaxAllowedMemberships }), Trusted: true},
		{Name: "created_by", Type: Text, At: Of(func(o *Organization) any { return &o.CreatedBy }), Trusted: true},
		{Name: "role_set_key", Type: Text, At: Of(func(o *Organization) any { return &o.RoleSetKey }), Trusted: true},
		{Name: "created_at", Type: Time, At: Of(func(o *Organization) any { return &o.CreatedAt }), Keeps: true},
		{Name: "updated_at", Type: Time, At: Of(func(o *Organization) any { return &o.UpdatedAt }), Keeps: true, Touched: true},
	},
	Of: func(e *Event) Record {
		if e.Organization == nil {
			return nil
		}
		return e.Organization
	},
	Empty: func() Record { return &Organization{RawPublicMetadata: "{}"} },
}

// Memberships is the roll of users' memberships of organisations.
var Memberships = Roll{
	Name: "memberships", One: "membership", Table: "rollcall.memberships",
	Fields: []Field{
		{Name: "organization_id", Type: Text, At: Of(func(m *Membership) any { return &m.OrganizationID }), Trusted: true},
		{Name: "user_id", Type: Text, At: Of(func(m *Membership) any { return &m.UserID }), Trusted: true},
		{Name: "role", Type: Text, At: Of(func(m *Membership) any { return &m.Role }), Trusted: true},
		{Name: "role_name", Type: Text, At: Of(func(m *Membership) any { return &m.RoleName }), Trusted: true},
		{Name: "permissions", Type: JSON, At: Of(func(m *Membership) any { return &m.Permissions }), Trusted: true},
		{Name: "raw_public_metadata", Type: JSON, At: Of(func(m *Membership) any { return &m.RawPublicMetadata }), Keeps: true, Trusted: true},
		{Name: "created_at", Type: Time, At: Of(func(m *Membership) any { return &m.CreatedAt })},
		{Name: "updated_at", Type: Time, At: Of(func(m *Membership) any { return &m.UpdatedAt }), Keeps: true, Touched: true},
	},
	Of: func(e *Event) Record {
		if e.Membership == nil {
			return nil
		}
		return e.Membership
	},
	Empty: func() Record { return &Membership{RawPublicMetadata: "{}", Permissions: "[]"} },
}

// Rolls are all kinds, in the order in which their rows are locked.
var Rolls = []*Roll{&Organizations, &Users, &Memberships}

// RollNamed is the kind of roll with a name; users for none.
func RollNamed(name string) *Roll {
	for _, r := range Rolls {
		if r.Name == name {
			return r
		}
	}
	return &Users
}

// Kept are the columns that keep their last known value in any roll, and why: of users by their names, of
// other kinds with the roll's in front.
func (e *Event) Kept() (columns []string, because string) {
	for _, r := range Rolls {
		record := r.Of(e)
		if record == nil || len(record.Head().Kept) == 0 {
			continue
		}
		because = record.Head().KeptBecause
		for _, column := range record.Head().Kept {
			if r != &Users {
				column = r.Name + "." + column
			}
			columns = append(columns, column)
		}
	}
	return columns, because
}

// Of makes a Field's At of a function for the records of one kind.
func Of[R any](at func(*R) any) func(Record) any {
	return func(r Record) any {
		record, _ := any(r).(*R) // another kind is a mistake of the program, which nil shows
		return at(record)
	}
}

// Columns are the columns of the record new: the key, the fields, and deleted_at.
func (r *Roll) Columns() []string {
	list := []string{"source", "id"}
	for i := range r.Fields {
		list = append(list, r.Fields[i].Name)
	}
	return append(list, "deleted_at")
}

// Field is the field with a name, nil when there is none.
func (r *Roll) Field(name string) *Field {
	for i := range r.Fields {
		if r.Fields[i].Name == name {
			return &r.Fields[i]
		}
	}
	return nil
}

// Scan gives the destinations of a record's columns: Columns, without the key. Once they are
// scanned, done carries over what may be null in a column but not in the record.
func (r *Roll) Scan(record Record) (dest []any, done func()) {
	var copies []func()
	for i := range r.Fields {
		switch at := r.Fields[i].At(record).(type) {
		case *bool:
			dest, copies = nullable(dest, copies, at)
		case *string:
			dest, copies = nullable(dest, copies, at)
		default:
			dest = append(dest, at)
		}
	}
	return append(dest, &record.Head().DeletedAt), func() {
		for _, c := range copies {
			c()
		}
	}
}

// nullable adds a destination that takes null, of a tombstone or a row made by hand, as the zero
// value.
func nullable[T any](dest []any, copies []func(), to *T) ([]any, []func()) {
	var value *T
	return append(dest, &value), append(copies, func() {
		if *to = *new(T); value != nil {
			*to = *value
		}
	})
}
