// Package event holds what every package of Rollcall speaks of: what a provider said about a user,
// what became of it, and what a roll keeps. It imports the standard library only.
package event

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"
)

// Op is what an event asks of the roll.
type Op int

// The operations. Upsert and Delete carry a User, an Organization or a Membership; Announce, Refuse (of an announced
// user) and Undecodable are recorded without touching the roll; Settle has no ID and only brings every target up to
// date with what the roll has of UserID, or of the Organization and the Membership that it names by no more than
// their keys; Look has the table of users read for UserID; Ignore never reaches the database.
const (
	Upsert Op = iota + 1
	Delete
	Announce
	Refuse
	Undecodable
	Settle
	Look
	Ignore
)

// Event is one verified message of a provider, or one observation of a user that
// no provider announced (capture, reconciliation, just-in-time sync).
type Event struct {
	// Source is the configured name of the source; the space of user ids.
	Source string
	// ID identifies the message within its source over all its deliveries. Empty
	// for observations: they leave no row in rollcall.events and can't be duplicates.
	ID string
	// Type is the provider's name of the event (user.created, after-user-created,
	// database.update), one of the source's known types or "other".
	Type string
	Op   Op
	// UserID is the id of the user concerned, empty where there is none.
	UserID string
	// User is the state to bring into the roll; nil unless Op is Upsert or Delete.
	User *User
	// Organization and Membership are the states to bring into their rolls. An event about a membership
	// carries its organisation as well, as it was then; its outcome is the membership's.
	Organization *Organization
	Membership   *Membership
	// ReceivedAt is when the request arrived, UTC.
	ReceivedAt time.Time
	// SeenAt is when a listing of the provider's users, or a look at one, had this to say,
	// by the database's clock; zero for an event. It gives way to what the roll has learned
	// since: an equal version, and the absence of a user, count only if the roll's state is
	// older than SeenAt.
	SeenAt time.Time
	// Captured are the rows of rollcall.outbox that it was made of, the newest last. They
	// are deleted in the transaction that writes the roll; if the newest is gone by then,
	// another replica has applied it.
	Captured []int64
	// Body is what is kept for replay: UTF-8, freed of secrets; nil where nothing may
	// be kept.
	Body []byte
	// Reply is the JSON object the provider needs with a 200; nil means 204.
	Reply []byte
	// Reason says why an event is ignored or undecodable, or what the rules about sign-ups have decided, for the
	// operator's log. Of an Announce or Refuse it is recorded, too. It holds no value of the body.
	Reason string
	// Explain is told why the outcome is what it is, by who applies the event, for the same log;
	// nil where nobody wants to know. It may be called from another goroutine.
	Explain func(reason string)
}

// OrganizationID is the organisation that an event is about, or whose membership; "" when there is none.
func (e *Event) OrganizationID() string {
	if e.Organization == nil {
		return ""
	}
	return e.Organization.ID
}

// User is one user at one version: a row of the roll. Nil means absent. Every text
// is valid UTF-8 without NUL and every metadata object is one that jsonb accepts. A tombstone keeps
// Source, ID, Version and ExternalID and nothing else.
type User struct {
	Row

	ExternalID       *string
	Email            *string
	EmailVerified    bool
	EmailConfirmedAt *time.Time
	Phone            *string
	PhoneVerified    bool
	PhoneConfirmedAt *time.Time
	Username         *string
	FirstName        *string
	LastName         *string
	FullName         *string
	AvatarURL        *string
	// RawUserMetaData and RawAppMetaData are JSON objects, "{}" when absent.
	RawUserMetaData string
	RawAppMetaData  string
	// EmailAddresses and ExternalAccounts are JSON arrays, "" where the provider has none.
	EmailAddresses   string
	ExternalAccounts string
	IsAnonymous      bool
	IsSSOUser        bool
	Locked           bool
	Banned           bool
	BannedUntil      *time.Time
	InvitedAt        *time.Time
	CreatedAt        *time.Time
	UpdatedAt        *time.Time
	LastSignInAt     *time.Time
}

// Organization is one organisation at one version: a row of its roll. Nil means absent. A tombstone keeps
// nothing but Row.
type Organization struct {
	Row

	Name                  *string
	Slug                  *string
	ImageURL              *string
	RawPublicMetadata     string // a JSON object, "{}" when absent
	MaxAllowedMemberships *int64
	CreatedBy             *string
	RoleSetKey            *string
	CreatedAt             *time.Time
	UpdatedAt             *time.Time
}

// Membership is one user's membership of an organisation at one version: a row of its roll. Nil means
// absent. Who leaves and joins again may have the same id: CreatedAt tells its lives apart. A tombstone
// keeps OrganizationID, UserID and CreatedAt beside Row.
type Membership struct {
	Row

	OrganizationID    *string
	UserID            *string
	Role              *string
	RoleName          *string
	Permissions       string // a JSON array of texts, "[]" when there are none
	RawPublicMetadata string // a JSON object, "{}" when absent
	CreatedAt         *time.Time
	UpdatedAt         *time.Time
}

// Keeps reports whether columns of the roll keep their last known value. Nil keeps none.
func (u *User) Keeps() bool { return u != nil && len(u.Kept) > 0 }

// BanOver reports whether the user is banned until a moment that is over.
func (u *User) BanOver(now time.Time) bool {
	return u.Banned && u.BannedUntil != nil && !u.BannedUntil.After(now)
}

// Tombstone is what is left of a user who was last known so and is gone.
func (u *User) Tombstone(at time.Time) *User {
	return &User{Row: Row{Source: u.Source, ID: u.ID, Version: u.Version, DeletedAt: &at}}
}

// maxID is the longest id that is kept, in bytes. Ids are keys of tables, and an entry
// of a PostgreSQL index has an upper limit.
const maxID = 255

// ValidID reports whether an id is short enough and was never repaired. One that had to be
// repaired could fall together with another user's, so it is no id.
func ValidID(id string) bool {
	return id != "" && len(id) <= maxID && utf8.ValidString(id) && !strings.ContainsAny(id, "\x00\uFFFD")
}

// Outcome is what became of a request, or of an announcement; a closed set, used as header,
// label and column value.
type Outcome string

// The outcomes. The table in api/webhook.go maps each to its answer, the same at every endpoint.
const (
	Applied         Outcome = "applied"
	Duplicate       Outcome = "duplicate"
	Stale           Outcome = "stale"
	Ignored         Outcome = "ignored"
	Announced       Outcome = "announced"
	Admitted        Outcome = "admitted"
	Refused         Outcome = "refused"
	Parked          Outcome = "parked"
	UndecodableBody Outcome = "undecodable"
	Unverified      Outcome = "unverified"
	TooLarge        Outcome = "too_large"
	Malformed       Outcome = "malformed"
	Unavailable     Outcome = "unavailable"
)

// NeverCreated is how an announcement ends whose user never came to exist. No request is
// answered with it.
const NeverCreated Outcome = "never_created"

// ErrUnavailable marks what a later retry can mend: the database is away, the queue
// is full, the process is shutting down, the wait was too long.
var ErrUnavailable = errors.New("unavailable")

// RetryAfter is for how long a retry is in vain, as far as the error knows; else 0. The errors
// that know it have a method of this name.
func RetryAfter(err error) time.Duration {
	type later interface {
		error
		RetryAfter() time.Duration
	}
	if e, ok := errors.AsType[later](err); ok {
		return e.RetryAfter()
	}
	return 0
}

// LaterError is ErrUnavailable where it is known for how long a retry is in vain.
type LaterError struct {
	// Wait is how long.
	Wait time.Duration
	// Reason is for the operator.
	Reason string
}

// Error is the reason.
func (e *LaterError) Error() string { return ErrUnavailable.Error() + ": " + e.Reason }

// RetryAfter is the wait.
func (e *LaterError) RetryAfter() time.Duration { return e.Wait }

// Is makes it an ErrUnavailable.
func (*LaterError) Is(target error) bool { return target == ErrUnavailable }

// ErrUnverified marks a request whose signature or secret does not hold.
var ErrUnverified = errors.New("unverified")

// PanicError is a panic that was stopped. Its reason holds no value of a user: what code panics
// with may be anything, so only the runtime's own words are kept, else the type.
type PanicError struct {
	Reason string
	Stack  string
}

// Error is the reason; the stack is for the log.
func (e *PanicError) Error() string { return "panic: " + e.Reason }

// Panicked makes an error of what recover has returned, in the function that is deferred.
func Panicked(value any) *PanicError {
	e := &PanicError{Reason: fmt.Sprintf("a value of type %T", value), Stack: string(debug.Stack())}
	if said, ok := value.(runtime.Error); ok {
		e.Reason = said.Error()
	}
	return e
}

// Safely returns the error of do; a panic in it is a PanicError. It is for goroutines in which
// nothing above would stop a panic from ending the process, and with it all requests.
func Safely(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Panicked(value)
		}
	}()
	return do()
}
