// Package source holds all that Rollcall knows of the providers Clerk and Supabase:
// how their requests prove where they come from (Verify), what they say about a user
// (Decode), and how they sign (Sign, for tests and package testevent).
//
// JSON is read in place by package rawjson, for this package answers for the bytes:
// claims go back as they came, and what is stored must decode to the same user again.
package source

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	svix "github.com/svix/svix-webhooks/go"

	"rollcall/internal/event"
	"rollcall/internal/rawjson"
)

// The providers, as the configuration names them.
const (
	Clerk    = "clerk"
	Supabase = "supabase"
)

// Other is the type of every event whose name is not among the known ones, so that a
// sender can't invent metric labels.
const Other = "other"

// Endpoint is one of the ways in which a source's events arrive; each has its own proof.
type Endpoint int

// The endpoints. Every provider has Hook; only Supabase has Database.
const (
	// Hook takes signed requests: Clerk's webhooks, Supabase's auth hooks.
	Hook Endpoint = iota
	// Database takes Supabase's database webhooks, which carry a fixed secret header.
	Database
)

// String names the endpoint for logs.
func (d Endpoint) String() string {
	if d == Database {
		return "database"
	}
	return "hook"
}

// Config describes one source.
type Config struct {
	// Name is the configured name: the space of user ids, and the path of the webhook.
	Name string
	// Provider is Clerk or Supabase.
	Provider string
	// SigningSecrets opens the Hook endpoint: whsec_<base64> for Clerk, v1,whsec_<base64>
	// for Supabase. Several are valid at once while one is being rotated.
	SigningSecrets []string
	// InstanceID is Clerk's ins_…; when set, events of other instances are ignored.
	InstanceID string
	// WebhookHeader and WebhookSecrets open the Database endpoint of a Supabase source.
	WebhookHeader  string
	WebhookSecrets []string
	// Now is the clock for signing, and for requests that carry no ReceivedAt;
	// time.Now when nil.
	Now func() time.Time
}

// Source verifies and decodes the requests of one configured source. It is safe for
// concurrent use.
type Source struct {
	name       string
	provider   string
	instanceID string
	keys       []*svix.Webhook
	header     string
	secrets    []string
	marks      map[Endpoint][]string
	now        func() time.Time
}

// Request is what arrived at an endpoint.
type Request struct {
	Endpoint Endpoint
	Header   http.Header
	// Body must not change afterwards: the decoded event may share its memory.
	Body []byte
	// ReceivedAt decides on a signature's age, on bans, and dates deletions that carry
	// no time of their own. A replay passes the time of the first receipt.
	ReceivedAt time.Time
}

// New checks the configuration and builds a source. Its errors never hold a secret.
func New(cfg Config) (*Source, error) {
	s := &Source{
		name: cfg.Name, provider: cfg.Provider, instanceID: cfg.InstanceID,
		header: http.CanonicalHeaderKey(cfg.WebhookHeader), secrets: cfg.WebhookSecrets, now: cfg.Now, marks: marksOf(&cfg),
	}
	if s.now == nil {
		s.now = time.Now
	}
	err := checkConfig(cfg)
	if err == nil {
		s.keys, err = parseKeys(cfg.Provider, cfg.SigningSecrets)
	}
	if err == nil {
		err = checkHeaderSecrets(cfg.WebhookSecrets)
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", cfg.Name, err)
	}
	return s, nil
}

func checkConfig(cfg Config) error {
	switch {
	case cfg.Name == "":
		return errors.New("a source needs a name")
	case cfg.Provider != Clerk && cfg.Provider != Supabase:
		return fmt.Errorf("its provider must be %s or %s", Clerk, Supabase)
	case cfg.Provider == Supabase && cfg.InstanceID != "":
		return errors.New("instance_id: only Clerk has instances")
	case cfg.Provider == Clerk && len(cfg.WebhookSecrets) > 0:
		return errors.New("database_webhook: only Supabase has database webhooks")
	case len(cfg.WebhookSecrets) > 0 && cfg.WebhookHeader == "":
		return errors.New("database_webhook: name the header that carries the secret")
	}
	return nil
}

// Name returns the configured name.
func (s *Source) Name() string { return s.name }

// Provider returns Clerk or Supabase.
func (s *Source) Provider() string { return s.provider }

// InstanceID is the instance of Clerk whose events are taken, "" for all.
func (s *Source) InstanceID() string { return s.instanceID }

// Open reports whether an endpoint has a secret; one without stays closed.
func (s *Source) Open(d Endpoint) bool {
	if d == Database {
		return len(s.secrets) > 0
	}
	return d == Hook && len(s.keys) > 0
}

// Type is an event type that an endpoint knows.
type Type struct {
	Name string
	// Op is what an event of this type asks for when it can be read.
	Op event.Op
}

// types lists the types of one operation.
func types(op event.Op, names ...string) []Type {
	list := make([]Type, len(names))
	for i, name := range names {
		list[i] = Type{name, op}
	}
	return list
}

var (
	clerkTypes = slices.Concat(
		types(event.Upsert, "user.created", "user.updated",
			"session.created", "session.pending", "session.ended", "session.removed", "session.revoked"),
		types(event.Delete, "user.deleted"),
		types(event.Upsert, "organization.created", "organization.updated",
			"organizationMembership.created", "organizationMembership.updated"),
		types(event.Delete, "organization.deleted", "organizationMembership.deleted"),
		types(event.Upsert, Other), // a session event that is not known yet carries its user, too
		types(event.Ignore, "email.created", "sms.created",
			"organizationInvitation.created", "organizationInvitation.accepted", "organizationInvitation.revoked"),
	)
	hookTypes = slices.Concat(
		types(event.Announce, hookBefore),
		types(event.Upsert, hookAfter),
		types(event.Ignore, hookToken, hookMFA, hookPassword, hookEmail, hookSMS, Other),
	)
	databaseTypes = slices.Concat(
		types(event.Upsert, "database.insert", "database.update"), // an update may be a soft delete, too
		types(event.Delete, "database.delete"),
		types(event.Ignore, Other),
	)
)

// Types returns the event types known at an endpoint, for metric labels, and Other for all
// the rest.
func (s *Source) Types(d Endpoint) []Type { return slices.Clone(s.types(d)) }

func (s *Source) types(d Endpoint) []Type {
	switch {
	case s.provider == Clerk && d == Hook:
		return clerkTypes
	case s.provider == Clerk:
		return nil
	case d == Database:
		return databaseTypes
	}
	return hookTypes
}

// known maps a sent type to itself when it is in the list, else to Other.
func (s *Source) known(d Endpoint, name []byte) string {
	for _, t := range s.types(d) {
		if t.Name == string(name) {
			return t.Name
		}
	}
	return Other
}

// SampleID is an id such as a provider gives its users: a target's key must hold it.
func SampleID(provider string) string {
	if provider == Clerk {
		return "user_2abcDEF3ghiJKL4mnoPQR5stuVW"
	}
	return "0b8ff2a7-5c0f-4f0f-8a51-3b1d3c5f7e90"
}

// at is the moment of receipt in the precision that PostgreSQL keeps.
func (s *Source) at(received time.Time) time.Time {
	if received.IsZero() {
		received = s.now()
	}
	return received.UTC().Truncate(time.Microsecond)
}

// Decode turns a verified request into an event. It never fails: what can't be read
// or isn't wanted is an event as well, with its Reason.
func (s *Source) Decode(r Request) event.Event {
	m := s.receive(r)
	switch {
	case r.Endpoint == Database:
		return m.database()
	case s.provider == Clerk:
		return m.clerk()
	}
	return m.supabase()
}

// DecodeUser decodes a user given as a JSON object: a row of auth.users, as to_jsonb makes
// it, or a user of Clerk's API, which comes out as if an event had carried it. A
// soft-deleted row is a tombstone. Bans are judged at receivedAt. The error holds nothing
// of the object.
func (s *Source) DecodeUser(object []byte, receivedAt time.Time) (*event.User, error) {
	object = rawjson.Object(rawjson.ToUTF8(object))
	reason := reasonNoObject
	var p *profile
	switch {
	case object == nil:
	case s.provider == Clerk:
		p, reason = readClerkUser(object, s.at(receivedAt))
	default:
		p, reason = readSupabaseUser(object, s.at(receivedAt))
	}
	if reason != "" {
		return nil, fmt.Errorf("decode a user of source %s: %w", s.name, errors.New(reason))
	}
	return p.user(s.name), nil
}
